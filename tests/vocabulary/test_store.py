"""Maps on disk: round trips, other tokenizers, damage, full disks, and the cache."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctkd_core import files
from ctkd_core.errors import ProjectionError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import project, store
from ctkd_core.vocabulary.projection import REASONS, Projection
from tests.tiny import tiny_byte_level, tiny_metaspace
from tests.vocabulary.test_matches import VOCABULARIES

Folders = pytest.TempPathFactory


@pytest.fixture
def pair() -> tuple[Tokenizer, Tokenizer]:
    return tiny_byte_level(), tiny_metaspace()


@pytest.fixture
def saved(pair: tuple[Tokenizer, Tokenizer], tmp_path: Path) -> Path:
    return store.save(project(*pair), tmp_path / "map")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))


def same(a: Projection, b: Projection) -> bool:
    arrays = [(getattr(a.matrix, n), getattr(b.matrix, n)) for n in ("data", "indices", "indptr")]
    equal = all(np.array_equal(x, y) for x, y in [*arrays, (a.reason, b.reason)])
    return equal and (a.shape, a.method, a.options) == (b.shape, b.method, b.options)


def numbers(folder: Path) -> Path:
    (file,) = folder.glob("map-*.safetensors")
    return file


def edit(folder: Path, **values: object) -> None:
    path = folder / store.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@settings(max_examples=25, deadline=None)
@given(VOCABULARIES, VOCABULARIES, st.sampled_from(["clean", "released"]), st.sampled_from([0, 7]))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, s: Tokenizer, t: Tokenizer, variant: str, more: int
) -> None:
    p = project(s, t, variant=variant).widen(s.n_ids + more, t.n_ids + more)
    folder = store.save(p, tmp_path_factory.mktemp("maps") / "map")
    assert same(store.load(folder, s, t), p)


def test_the_manifest_says_what_it_is(saved: Path, pair: tuple[Tokenizer, Tokenizer]) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    p = project(*pair)
    assert (manifest["format"], manifest["version"]) == ("ctkd-vocabulary-map", 1)
    assert manifest["student"]["fingerprint"] == pair[0].fingerprint
    assert manifest["teacher"]["n_ids"] == pair[1].n_ids
    assert manifest["rows"] == p.rows()
    assert manifest["options"] == p.options
    assert manifest["row_sum_error"] == p.row_sum_error
    assert manifest["reasons"] == list(REASONS)
    assert manifest["tensors"]["file"] == numbers(saved).name


def test_saving_again_replaces_the_map(saved: Path, pair: tuple[Tokenizer, Tokenizer]) -> None:
    exact = project(*pair, "exact")
    store.save(exact, saved)
    assert same(store.load(saved, *pair), exact)
    assert (
        sorted(p.name for p in saved.iterdir()) == ["manifest.json", numbers(saved).name]
        or len(list(saved.iterdir())) == 2
    )


def test_other_tokenizers_are_refused_by_name(saved: Path, pair: tuple[Tokenizer, Tokenizer]) -> None:
    other = tiny_byte_level(320, 1)
    with pytest.raises(ProjectionError, match="student tokenizer 'tiny-byte-level-400-3', not for 'tiny-byte"):
        store.load(saved, other, pair[1])
    with pytest.raises(ProjectionError, match="teacher tokenizer 'tiny-metaspace-460', not for 'tiny-byte"):
        store.load(saved, pair[0], other)
    roles = replace(pair[0], eos_id=None)
    with pytest.raises(ProjectionError, match="the same vocabulary with other roles"):
        store.load(saved, roles, pair[1])


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_truncated_numbers_are_refused(saved: Path, pair: tuple[Tokenizer, Tokenizer], length: int) -> None:
    data = numbers(saved).read_bytes()
    numbers(saved).write_bytes(data[:length])
    with pytest.raises(ProjectionError, match=r"is damaged: .* has [\d,]+ bytes instead of"):
        store.load(saved, *pair)


def test_changed_numbers_are_refused(saved: Path, pair: tuple[Tokenizer, Tokenizer]) -> None:
    data = bytearray(numbers(saved).read_bytes())
    data[-1] ^= 1
    numbers(saved).write_bytes(data)
    with pytest.raises(ProjectionError, match="SHA-256 differs"):
        store.load(saved, *pair)
    numbers(saved).unlink()
    with pytest.raises(ProjectionError, match="can't be read"):
        store.load(saved, *pair)


def test_damaged_manifests_are_refused(saved: Path, pair: tuple[Tokenizer, Tokenizer], tmp_path: Path) -> None:
    whole = (saved / "manifest.json").read_bytes()
    for text, words in (
        (whole[:-40], "isn't whole JSON"),
        (b"\xff\xfe", "isn't whole JSON"),
        (b"[1, 2]", "isn't the manifest of a vocabulary map"),
        (whole.replace(b'"version": 1', b'"version": 2'), "format version 2; this program reads version 1"),
        (whole.replace(b'"shape"', b'"shapes"'), "lacks 'shape'"),
        (whole.replace(b'"exact",', b'"exakt",', 1), "reasons that this program doesn't know"),
        (whole.replace(b'"file": "map', b'"file": "../map'), "names the file"),
    ):
        (saved / "manifest.json").write_bytes(text)
        with pytest.raises(ProjectionError, match=words):
            store.load(saved, *pair)
    with pytest.raises(ProjectionError, match="no vocabulary map in"):
        store.load(tmp_path / "nowhere", *pair)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("indices", lambda a: a + 10_000, "point"),
        ("indices", lambda a: a[:-1], "fit together"),
        ("indptr", lambda a: a[::-1].copy(), "fit together"),
        ("reason", lambda a: a + 99, "reasons that don't exist"),
        ("data", lambda a: a * np.float32("nan"), "not finite"),
        ("data", lambda a: -a, "negative"),
        ("data", lambda a: a.astype(np.float64), "lacks the array 'data' of type float32"),
    ],
)
def test_numbers_that_make_no_map_are_refused(
    saved: Path, pair: tuple[Tokenizer, Tokenizer], name: str, change, words: str
) -> None:
    import hashlib

    from safetensors.numpy import load_file, save_file

    file = numbers(saved)
    arrays = load_file(file)
    save_file(arrays | {name: change(arrays[name])}, file)
    data = file.read_bytes()
    edit(saved, tensors={"file": file.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(ProjectionError, match=words):
        store.load(saved, *pair)


@pytest.mark.parametrize("writes", [0, 1, 2])  # the numbers, their folder, the manifest
@pytest.mark.parametrize("fresh", [True, False])
def test_a_full_disk_leaves_nothing_half(
    pair: tuple[Tokenizer, Tokenizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int, fresh: bool
) -> None:
    folder = tmp_path / "map"
    first, second = project(*pair, "exact"), project(*pair)
    if not fresh:
        store.save(first, folder)
    before = sorted(p.name for p in folder.iterdir()) if folder.exists() else None
    real, count = files.os.fsync, [0]

    def full(descriptor: int) -> None:
        count[0] += 1
        if count[0] > writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ProjectionError, match=r"can't save the map in .*: No space left on device"):
        store.save(second, folder)
    monkeypatch.setattr(files.os, "fsync", real)
    if fresh:
        assert not folder.exists()
    else:
        assert sorted(p.name for p in folder.iterdir()) == before
        assert same(store.load(folder, *pair), first)
    assert same(store.load(store.save(second, folder), *pair), second)


def test_a_folder_that_cannot_be_made(pair: tuple[Tokenizer, Tokenizer], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProjectionError, match="can't save the map in"):
        store.save(project(*pair), tmp_path / "file" / "map")


def test_the_cache_builds_once(pair: tuple[Tokenizer, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.cached(*pair) is None
    built = store.cached_project(*pair)
    folder = store.cached(*pair, top_k="4")  # the value, not how it was given, decides
    assert folder is not None
    assert (
        store.cached(*pair, "exact") is store.cached(*pair, top_k=3) is store.cached(*pair, variant="released") is None
    )
    assert store.cached(pair[1], pair[0]) is store.cached(replace(pair[0], eos_id=None), pair[1]) is None

    def never(*args: object, **kwargs: object) -> Projection:
        raise AssertionError("built again")

    monkeypatch.setattr(store, "project", never)
    told: list[tuple[float, str]] = []
    again = store.cached_project(*pair, progress=lambda *news: told.append(news))
    assert same(again, built)
    assert told[-1][0] == 1.0
    assert "cache" in told[-1][1]


def test_a_damaged_entry_is_built_again(pair: tuple[Tokenizer, Tokenizer]) -> None:
    built = store.cached_project(*pair)
    folder = store.cached(*pair)
    assert folder is not None
    for damage in (b"", b"{", numbers(folder).read_bytes()):
        (folder / "manifest.json").write_bytes(damage)
        assert same(store.cached_project(*pair), built)
        assert same(store.load(folder, *pair), built)
    numbers(folder).write_bytes(b"half")
    assert same(store.cached_project(*pair), built)
    assert same(store.load(folder, *pair), built)


def test_a_cache_that_cannot_be_written_costs_time_only(
    pair: tuple[Tokenizer, Tokenizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "file"))
    assert same(store.cached_project(*pair), project(*pair))
    with pytest.raises(ProjectionError, match="did you mean 'top_k'"):
        store.cached(*pair, top=3)


def test_other_files_in_the_folder_stay(pair: tuple[Tokenizer, Tokenizer], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "map-exact.safetensors").write_bytes(b"somebody else's")
    store.save(project(*pair), folder)
    store.save(project(*pair, method="exact"), folder)
    assert (folder / "map-exact.safetensors").read_bytes() == b"somebody else's"
    assert len(list(folder.glob("map-*.safetensors"))) == 2, "the map before is gone"


def test_a_map_replaced_while_it_is_read_is_read_again(
    pair: tuple[Tokenizer, Tokenizer], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, newer = store._read_arrays, project(*pair, method="exact")

    def replaced(folder, manifest):
        if manifest.method == "pieces":
            store.save(newer, folder)
        return read(folder, manifest)

    monkeypatch.setattr(store, "_read_arrays", replaced)
    assert same(store.load(saved, *pair), newer)


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m | {"shape": [m["shape"][0], 10**30]},
        lambda m: m | {"shape": [m["shape"][0], 10**12]},
        lambda m: m | {"tensors": m["tensors"] | {"file": "a\0b"}},
    ],
)
def test_a_damaged_manifest_is_said_to_be_damaged(pair: tuple[Tokenizer, Tokenizer], saved: Path, damage) -> None:
    path = saved / store.MANIFEST
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(ProjectionError, match="damaged"):
        store.load(saved, *pair)


def test_a_manifest_nested_too_deeply(pair: tuple[Tokenizer, Tokenizer], saved: Path) -> None:
    (saved / store.MANIFEST).write_text("[" * 100_000)
    with pytest.raises(ProjectionError, match="damaged"):
        store.load(saved, *pair)


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [*store.MapManifest.model_fields, *store.SavedTokenizer.model_fields, *store.Numbers.model_fields]
)


@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_manifest_is_read_or_refused_with_a_reason(
    pair: tuple[Tokenizer, Tokenizer], saved: Path, data: st.DataObject
) -> None:
    path = saved / store.MANIFEST
    whole = path.read_text()
    manifest = json.loads(whole)
    table = data.draw(st.sampled_from([manifest, manifest["student"], manifest["tensors"], manifest["rows"]]))
    table |= data.draw(st.dictionaries(FIELDS, DOCUMENTS, min_size=1, max_size=3))
    path.write_text(json.dumps(data.draw(st.sampled_from([manifest, manifest["student"], [manifest]]))))
    try:
        store.load(saved, *pair)
    except ProjectionError as fault:
        assert str(saved) in str(fault)
    finally:
        path.write_text(whole)
    assert same(store.load(saved, *pair), project(*pair))


def test_a_misfit_names_file_field_and_what_to_do(pair: tuple[Tokenizer, Tokenizer], saved: Path) -> None:
    edit(saved, shape=[1, "2"])
    with pytest.raises(ProjectionError, match=r"manifest.json.*'shape.1'.*got '2'.*Build the map again"):
        store.load(saved, *pair)
