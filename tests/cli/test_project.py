"""`ctkd project`: what it reports, refuses and writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.vocabulary import MAPS
from ctkd_core.vocabulary.store import load
from tests.cli.test_main import Ctkd
from tests.tiny import tiny_byte_level

KEYS = {"student", "teacher", "method", "variant", "options", "shape", "padding", "nnz", "rows", "row_sum_error"}


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of two small tokenizers on disk; maps are cached in a home of this test's own."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    words = []
    for flag, tokenizer in (("-s", tiny_byte_level()), ("-t", tiny_byte_level(320, 1))):
        path = tmp_path / f"{tokenizer.name}.json"
        tokenizer.backend.save(str(path))
        words += [flag, str(path)]
    return words


def test_the_bundled_pair(ctkd: Ctkd) -> None:
    data = ctkd.json("project", "-m", "pieces", "--token", "201", "--column", "2")
    assert set(data["rows"]) >= {"exact", "canonical", "pieces", "nearest", "empty"}
    assert sum(data["rows"].values()) == data["shape"][0]
    assert data["row_sum_error"] < 1e-5
    assert data["classes"]["digits_3"] == {"total": 1000, "matched": 0}, "SmolLM2 splits digits"
    assert data["classes"]["digits_1"] == {"total": 10, "matched": 10}
    weights = {entry["text"]: entry["weight"] for entry in data["token"]["entries"]}
    assert weights == pytest.approx({"2": 0.9009, "0": 0.0901, "1": 0.009}, abs=1e-4)
    column = data["column"]
    assert column["entries"][0] == {
        "student_id": column["entries"][0]["student_id"],
        "text": "2",
        "weight": 1.0,
        "reason": "exact",
    }
    assert column["count"] > 100, "every number that begins with 2 points at it"
    assert len(column["entries"]) == 20


def test_keys_and_options_of_every_map(ctkd: Ctkd, pair: list[str]) -> None:
    for name, row in MAPS.items():
        data = ctkd.json("project", *pair, "-m", name)
        assert set(data) >= KEYS | {"classes"}
        assert (data["method"], data["variant"]) == (name, "clean")
        assert sum(data["rows"].values()) == data["shape"][0] == tiny_byte_level().n_ids
        help_text = ctkd("project", "--help")[1]
        assert all(option.help in help_text for option in row.options)


def test_variant_and_options(ctkd: Ctkd, pair: list[str]) -> None:
    released = ctkd.json("project", *pair, "--variant", "released")
    assert released["rows"]["empty"] == 0, "the scale slot fills every row"
    assert released["options"]["scale_slot"] is True
    without = ctkd.json("project", *pair, "--variant", "released", "-o", "scale-slot=false")
    assert without["options"]["scale_slot"] is False
    assert without["options"]["reverse"] is True
    exact = ctkd.json("project", *pair, "-m", "exact", "-o", "match=raw")
    assert exact["rows"]["pieces"] == 0


def test_refusals(ctkd: Ctkd, pair: list[str], tmp_path: Path) -> None:
    assert "did you mean 'pieces'" in ctkd.error("project", "-m", "piece")
    assert "did you mean 'top_k'" in ctkd.error("project", "-o", "topk=3")
    assert "unknown variant of vocabulary map 'exact'" in ctkd.error("project", "-m", "exact", "--variant", "released")
    assert "--top-k takes" in ctkd.error("project", "--top-k", "0")
    assert "is cut into" in ctkd.error("project", *pair, "--token", "2024 is no token")
    assert ctkd.json("project", *pair, "--token", "#201")["token"]["id"] == 201
    assert "is cut into" in ctkd.error("project", *pair, "--column", "201")
    assert "smaller than the" in ctkd.error("project", *pair, "--teacher-width", "10")
    assert "ends in .jsonl" in ctkd.error("project", *pair, "--export", str(tmp_path / "a.pt"), "--layout", "pairs")


def test_save_export_and_widen(ctkd: Ctkd, pair: list[str], tmp_path: Path) -> None:
    folder, file = tmp_path / "map", tmp_path / "w.safetensors"
    words = ["--save", str(folder), "--export", str(file), "--student-width", "512", "--teacher-width", "384"]
    data = ctkd.json("project", *pair, *words)
    assert (data["saved"], data["exported"]) == (str(folder), str(file))
    assert data["shape"] == [512, 384]
    assert data["padding"] == [512 - tiny_byte_level().n_ids, 384 - tiny_byte_level(320, 1).n_ids]
    assert data["rows"]["padding"] == data["padding"][0]
    loaded = load(folder, load_tokenizer(pair[1]), load_tokenizer(pair[3]))
    assert loaded.shape == (512, 384)
    arrays = load_file(file)
    assert arrays["indices"].shape[0] == 512
    assert np.allclose(arrays["likelihoods"].sum(axis=1), loaded.row_sums(), atol=1e-6)
    assert json.loads((folder / "manifest.json").read_text())["rows"] == data["rows"]


def test_text_for_people(ctkd: Ctkd, pair: list[str]) -> None:
    code, out, _ = ctkd("project", *pair, "--token", "201", "--column", "<eos>", "--top-k", "1")
    assert code == 0
    assert "1 of 3 entries" in out
    assert "role" in out
    _, out, _ = ctkd("project", *pair, "-m", "exact", "--token", "201")
    assert "maps to nothing" in out
