"""Filling a cache: size told before, parts that stay when it is stopped, folders of something else, no room."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.background.progress import Cancelled
from ctkd_core.distill.models.teachers import planned_teachers
from ctkd_core.distill.teachers import fill as filling
from ctkd_core.distill.teachers.fill import fill, plan
from ctkd_core.distill.teachers.manifest import MANIFEST, TeacherFigures, read_manifest
from ctkd_core.distill.teachers.matching import check_cache
from ctkd_core.distill.teachers.rows import RowLayout
from ctkd_core.distill.teachers.store import Cache
from ctkd_core.errors import RunError
from ctkd_core.files import file_sha256
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import cache_teacher


def content(folder: Path) -> set[bytes]:
    """Every row of the cache, wherever it lies."""
    import numpy as np

    return {row.tobytes() for path in folder.glob("*.rows.npy") for row in np.load(path, allow_pickle=False)}


@pytest.mark.parametrize(("dtype", "k"), [("float16", 8), ("float32", 0)])
def test_the_size_is_told_beforehand(pair, tmp_path, dtype, k):
    planned = plan(pair.config(), k=k, dtype=dtype)
    manifest = fill(planned, tmp_path / "cache")
    assert (manifest.samples, manifest.rows) == (len(planned.readings), planned.rows)
    headers = 256 * 2 * len(manifest.parts)
    assert planned.bytes <= manifest.bytes <= planned.bytes + headers
    assert manifest.kept.k == (k or manifest.kept.width)


def test_what_was_stopped_goes_on_and_gives_the_same(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "PART_SECONDS", 0.0)  # a part a batch
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    cache_teacher(pair.config(), whole, k=8)
    calls = []

    def stop(share, sentence):
        calls.append(share)
        if sentence.startswith("Reading 16"):
            raise Cancelled

    with pytest.raises(Cancelled):
        cache_teacher(pair.config(), parted, k=8, progress=stop)
    left = read_manifest(parted)
    assert not left.complete
    assert left.samples == 16
    cache_teacher(pair.config(), parted, k=8)
    assert read_manifest(parted).complete
    assert content(parted) == content(whole)
    assert calls == sorted(calls)


def test_a_damaged_part_alone_is_made_anew(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "PART_SECONDS", 0.0)
    folder = tmp_path / "cache"
    before = cache_teacher(pair.config(), folder, k=8)
    rows = content(folder)
    damaged = folder / "part-00002.rows.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    after = cache_teacher(pair.config(), folder, k=8)
    assert content(folder) == rows
    assert set(before.parts) - set(after.parts) == {"part-00002"}
    assert after.parts["part-00001"] == before.parts["part-00001"]


def before_hashes(folder: Path) -> dict[str, Any]:
    """The manifest of a cache as versions wrote it that put no hash into it."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["sha256"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return manifest


def test_a_part_whose_manifest_names_no_index_is_made_anew(pair, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    cache_teacher(pair.config(), folder, k=8)
    rows = content(folder)
    manifest = before_hashes(folder)
    del manifest["parts"]["part-00000"]["files"]["part-00000.index.npy"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    layout = RowLayout(8, manifest["kept"]["width"])
    with pytest.raises(RunError, match=r"damaged: its manifest names .* instead of an index and rows"):
        Cache.open(folder, layout.record)
    cache_teacher(pair.config(), folder, k=8)
    assert content(folder) == rows


@pytest.mark.parametrize(("key", "value", "said"), [("k", 10**12, "more than"), ("rows", "merged", "says how")])
def test_a_manifest_that_cannot_be_is_refused(pair, tmp_path, key, value, said):
    folder = tmp_path / "cache"
    cache_teacher(pair.config(), folder, k=8)
    manifest = before_hashes(folder)
    manifest["kept"][key] = value
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=f"isn't one.*{said}.*fill it anew"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", r"isn't one \(Invalid JSON"),
        ({"samples": -1}, r"parts.part-00000.samples: .* 0"),
        ({"rows": 10**30}, r"parts.part-00000.rows: "),
    ],
)
def test_a_manifest_without_a_hash_has_counts_that_can_be(pair, tmp_path, text, said):
    folder = tmp_path / "cache"
    cache_teacher(pair.config(), folder, k=8)
    manifest = before_hashes(folder)
    if isinstance(text, dict):
        manifest["parts"]["part-00000"] |= text
        text = json.dumps(manifest)
    (folder / MANIFEST).write_text(text)
    with pytest.raises(RunError, match=said):
        read_manifest(folder)


def test_a_cache_in_no_home_folder_is_refused(pair):
    config = pair.config(teacher_cache="~nosuchuser9/x")
    with pytest.raises(RunError, match="no home folder"):
        check_cache(config, planned_teachers(config, load_tokenizer(config.teacher))[0])


@pytest.mark.parametrize("change", [{"kept": {"width": 341}}, {"whose": {"precision": "bf16"}}, {"complete": False}])
def test_an_edited_manifest_is_refused_and_one_without_a_hash_taken(pair, tmp_path, change):
    folder = tmp_path / "cache"
    made = cache_teacher(pair.config(), folder, k=8)
    manifest = json.loads((folder / MANIFEST).read_text())
    ((key, value),) = change.items()
    edited = manifest | {key: manifest[key] | value if isinstance(value, dict) else value}
    (folder / MANIFEST).write_text(json.dumps(edited))
    with pytest.raises(RunError, match=r"isn't the one that was written: its SHA-256 differs\. Restore it, or delete"):
        read_manifest(folder)
    with pytest.raises(RunError, match="SHA-256 differs"):
        cache_teacher(pair.config(), folder, k=8)
    (folder / MANIFEST).write_text(json.dumps(dict(reversed(manifest.items()))))
    assert read_manifest(folder) == made, "its order and spaces say nothing"
    before_hashes(folder)
    assert read_manifest(folder) == cache_teacher(pair.config(), folder, k=8) == made


@pytest.mark.parametrize("name", ["part-00000.rows.npy", "part-00009.rows.npy"])
def test_a_folder_in_the_place_of_a_file_is_named(pair, tmp_path, name):
    folder = tmp_path / "cache"
    cache_teacher(pair.config(), folder, k=8)
    rows = content(folder)
    (folder / name).unlink(missing_ok=True)
    (folder / name / "mine").mkdir(parents=True)
    with pytest.raises(RunError, match=rf"{name}' is a folder where a file of the cache belongs; move it away"):
        cache_teacher(pair.config(), folder, k=8)
    assert (folder / name / "mine").is_dir()
    (folder / name).rename(tmp_path / "moved")
    cache_teacher(pair.config(), folder, k=8)
    assert content(folder) == rows


def test_a_second_call_asks_no_teacher(pair, tmp_path, monkeypatch):
    first = cache_teacher(pair.config(), tmp_path / "cache", k=8)
    monkeypatch.setattr(filling, "_reader", lambda planned: pytest.fail("asked"))
    assert cache_teacher(pair.config(), tmp_path / "cache", k=8) == first


def test_figures_grow_with_what_a_run_wants(pair, tmp_path):
    cache_teacher(pair.config(eval_samples=1), tmp_path / "cache", k=8)
    more = cache_teacher(pair.config(eval_samples=3, sample_tokens=6), tmp_path / "cache", k=8).figures
    assert len(more.scored) == 3
    assert more.answer_tokens == 6
    assert more.bits_per_byte(3) > 0
    assert more.bits_per_byte(9) is None


@pytest.mark.parametrize(
    ("changes", "more", "words"),
    [
        ({}, {"k": 9}, "it keeps 8 of 340 tokens as float16, rows 'answer', and 9 of 340"),
        ({"max_length": 40}, {}, "max_length was 48 and is 40 now"),
    ],
)
def test_a_folder_of_something_else_is_refused(pair, tmp_path, changes, more, words):
    cache_teacher(pair.config(), tmp_path / "cache", k=8)
    with pytest.raises(RunError, match=words):
        cache_teacher(pair.config(**changes), tmp_path / "cache", **{"k": 8} | more)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="isn't empty and holds no cache"):
        cache_teacher(pair.config(), tmp_path / "mine")


def test_a_cache_that_does_not_fit_is_refused_before_anything_is_read(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "SPARE", 10**18)
    monkeypatch.setattr(filling, "_reader", lambda planned: pytest.fail("asked"))
    with pytest.raises(RunError, match=r"no room for the cache: it takes .* kB and"):
        cache_teacher(pair.config(), tmp_path / "cache", k=8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 341}, "k is 1 to 340"),
        ({"k": -1}, "k is 1 to"),
        ({"dtype": "int4"}, "float16 or float32"),
        ({"number": 2}, "has 1 teachers; there is no teacher 2"),
    ],
)
def test_impossible_wishes_are_refused(pair, options, words):
    with pytest.raises(RunError, match=words):
        plan(pair.config(), **options)


def test_a_manifest_that_is_none_is_refused(pair, tmp_path):
    cache_teacher(pair.config(), tmp_path / "cache", k=8)
    path = tmp_path / "cache" / "manifest.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"version": 9}))
    with pytest.raises(RunError, match="format version 9"):
        read_manifest(tmp_path / "cache")
    path.write_text("{")
    with pytest.raises(RunError, match="isn't one"):
        read_manifest(tmp_path / "cache")
    with pytest.raises(RunError, match="there's no cache of a teacher"):
        read_manifest(tmp_path)


def test_halved_numbers_are_off_by_what_is_promised(pair, tmp_path):
    import numpy as np

    kept = []
    for dtype in ("float16", "float32"):
        cache_teacher(pair.config(), tmp_path / dtype, k=8, dtype=dtype)
        (path,) = (tmp_path / dtype).glob("*.rows.npy")
        kept.append(np.load(path, allow_pickle=False))
    half, full = (rows["log_probs"].astype(np.float64) for rows in kept)
    assert (np.abs(half - full) <= np.abs(full) / 2048).all()
    np.testing.assert_array_equal(kept[0]["next"], kept[1]["next"])


def test_a_teacher_that_gives_no_numbers_is_refused(pair, tmp_path, monkeypatch):
    import torch

    from ctkd_core.distill.models import teachers

    load = teachers.load_model

    def broken(*given, **named):
        model = load(*given, **named)
        with torch.no_grad():
            model.get_input_embeddings().weight[5:] = torch.nan
        return model

    monkeypatch.setattr(teachers, "load_model", broken)
    with pytest.raises(RunError, match="hold NaN or infinity"):
        cache_teacher(pair.config(), tmp_path / "cache", k=8)


def test_weights_that_come_with_the_first_reading_are_noted(pair, tmp_path, monkeypatch):
    """Those of a hub's model aren't here before it is loaded."""
    from ctkd_core.distill.teachers import identity

    here, told, reader = [], identity.weights_fingerprint, filling._reader

    def fingerprint(source):
        return told(source) if here else None

    def loaded(planned):
        here.append(1)
        return reader(planned)

    monkeypatch.setattr(identity, "weights_fingerprint", fingerprint)
    monkeypatch.setattr(filling, "_reader", loaded)
    config = pair.config(eval_samples=1)
    assert cache_teacher(config, tmp_path / "cache", k=8).whose.weights == told(str(pair.teacher))
    here.clear()
    told = lambda source: "f" * 64  # noqa: E731 - it changed on the hub meanwhile
    with pytest.raises(RunError, match="the teacher's weights changed"):
        cache_teacher(config.replace(eval_samples=2), tmp_path / "cache", k=8)


def test_figures_are_those_of_the_held_out_text(pair, tmp_path):
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join(json.dumps({"prompt": f"Add {a}.", "completion": f"It is {a}"}) + "\n" for a in "678"))
    one = cache_teacher(pair.config(), tmp_path / "cache", k=8)
    other = cache_teacher(pair.config(eval_data=str(held_out)), tmp_path / "cache", k=8)
    assert (one.figures.of, other.figures.of) == ("", file_sha256(held_out))
    assert other.figures.scored != one.figures.scored
    assert cache_teacher(pair.config(), tmp_path / "cache", k=8).figures == one.figures


def test_what_another_process_filled_meanwhile_stays(pair, tmp_path, monkeypatch):
    whole = cache_teacher(pair.config(), tmp_path / "cache", k=8)
    stale = replace(whole, parts={}, complete=False, figures=TeacherFigures())
    monkeypatch.setattr(filling, "_begun", lambda planned, folder: stale)
    monkeypatch.setattr(filling, "_reader", lambda planned: pytest.fail("asked"))
    assert cache_teacher(pair.config(), tmp_path / "cache", k=8) == whole
    stale = replace(stale, kept=replace(stale.kept, k=9))
    with pytest.raises(RunError, match="another process made the cache"):
        cache_teacher(pair.config(), tmp_path / "cache", k=8)
