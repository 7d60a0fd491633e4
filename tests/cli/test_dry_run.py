"""`ctkd distill --dry-run`: a run before it is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ctkd_core.cli.distill import build_config
from ctkd_core.distill.checks import Check
from ctkd_core.distill.config import PRESETS, RunConfig, preset_changes
from ctkd_core.distill.runs import RunStore
from tests.cli.test_main import Ctkd

CHECKS = [Check("data", True, "44 examples."), Check("length", False, "3 are cut\nby half\x1b[31m.", fatal=False)]
REFUSED = Check("memory", False, "9 GB are needed.", "Halve batch_size.")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    monkeypatch.setattr("ctkd_core.distill.checks.preflight", lambda *args: CHECKS)
    return RunStore(tmp_path / "runs")


def test_the_document_has_config_checks_and_estimate(ctkd: Ctkd, store: RunStore) -> None:
    found = ctkd.json("distill", "--dry-run", "--steps", "7", "--runs-dir", str(store.root))
    assert RunConfig.from_dict(found["config"]) == PRESETS["quick"].replace(steps=7)
    assert RunConfig.from_dict(found["changed"]) == PRESETS["quick"].replace(steps=7)
    assert found["preset"] == {"name": "quick", "sets": {"batch_size": 6, "save_student": False}}
    assert [check["name"] for check in found["checks"]] == ["data", "length"]
    low, high = found["estimate"]["seconds"]
    assert 0 < low < high
    assert found["estimate"]["bytes"]["total"] > found["estimate"]["bytes"]["student"] > 0
    assert not store.list() and not store.root.exists()


@pytest.mark.parametrize("name", list(PRESETS))
def test_what_is_printed_is_a_config_file(ctkd: Ctkd, store: RunStore, tmp_path: Path, name: str) -> None:
    words = ["--preset", name, "--name", "naïve \u202e\x1b[31m", "--learning-rate", "5e-5", "--seed", "3"]
    code, out, _ = ctkd("distill", "--dry-run", *words, "--runs-dir", str(store.root))
    assert code == 0
    assert "\x1b" not in out
    file = tmp_path / "run.yaml"
    file.write_text(out, encoding="utf-8")
    asked = PRESETS[name].replace(name="naïve \u202e\x1b[31m", learning_rate=5e-5, seed=3)
    assert build_config(str(file), None, None, {}) == asked
    assert f"# The preset {name} sets " in out
    assert "ok       data: 44 examples." in out and "warning  length: 3 are cut" in out
    assert "hidden_size" not in out, "what is at its default isn't written"


def test_a_config_file_without_a_preset_starts_from_the_defaults(ctkd: Ctkd, store: RunStore, tmp_path: Path) -> None:
    file, at = tmp_path / "run.yaml", ["--runs-dir", str(store.root)]
    file.write_text("steps: 9\n")
    assert ctkd.json("distill", str(file), "--dry-run", *at)["preset"] is None
    file.write_text("steps: 9\npreset: standard\n")
    assert ctkd.json("distill", str(file), "--dry-run", *at)["preset"]["name"] == "standard"


def test_what_would_be_refused_ends_with_3(ctkd: Ctkd, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctkd_core.distill.checks.preflight", lambda *args: [*CHECKS, REFUSED])
    at = ["--dry-run", "--runs-dir", str(store.root)]
    assert ctkd.json("distill", *at, code=3)["checks"][-1]["fix"] == "Halve batch_size."
    code, out, _ = ctkd("distill", *at)
    assert code == 3
    assert "refused  memory: 9 GB are needed. Halve batch_size." in out
    assert yaml.safe_load(out)["batch_size"] == 6


def test_without_a_tokenizer_nothing_is_estimated(ctkd: Ctkd, store: RunStore) -> None:
    found = ctkd.json("distill", "--dry-run", "-s", "deepseak", "--runs-dir", str(store.root))
    assert found["estimate"] is None


def test_the_help_says_what_presets_set(ctkd: Ctkd) -> None:
    _, out, _ = ctkd("distill", "--help")
    for name in PRESETS:
        assert all(f"{key} " in out for key in preset_changes(name))
    assert "(true or false; default true, in the preset quick false)" in out
    assert "Sets batch_size 6, save_student false." in out
