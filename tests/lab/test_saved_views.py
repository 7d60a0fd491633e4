"""Saved views: one id for equal ones, a file that holds everything, and nothing of a file that isn't sound."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.errors import CtkdError
from ctkd_core.lab import saved_views as views
from ctkd_core.tokenizers import snapshots, uploads
from ctkd_core.tokenizers.load import load_tokenizer
from tests.homes import own_home
from tests.tiny import saved, tiny_byte_level

KEPT = ("views", "snapshots", "uploads")
TEXT = "</script><b>naïve</b> 2024 \u202e"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    own_home(tmp_path / "there")  # before the other one is this process's: both share what is slow to make
    own_home(tmp_path / "here", monkeypatch)
    return tmp_path


def elsewhere(home, monkeypatch) -> None:
    """Another machine: nothing is kept there."""
    monkeypatch.setenv("CTKD_HOME", str(home / "there"))


def align_view(**changes) -> views.SavedView:
    own = {"text": "own", "snapshot": snapshots.save_text(TEXT), "group": "1", "a_sedi_unit": "char"}
    return views.make("align", {"student": "deepseek", "teacher": "deepseek", "method": "cdm"} | own | changes, "Mine")


def uploaded() -> str:
    data = tiny_byte_level().backend.to_str().encode()
    return uploads.source_of(snapshots.save_tokenizer(data, "my.tiny.json"))


def test_equal_views_have_one_short_id_and_come_back_as_they_were():
    view = align_view()
    name = views.keep(view)
    assert len(name) == 10
    again = views.make("align", dict(reversed(view.address.items())), "Another name")
    assert views.keep(again) == name
    assert views.load(name).address == view.address
    assert views.load(name).title == "Another name"
    other = views.keep(align_view(group="2"))
    assert [found for found, _ in views.kept()] == [other, name]
    views.remove(name)
    with pytest.raises(CtkdError, match="no saved view"):
        views.load(name)
    with pytest.raises(CtkdError, match="no saved view"):
        views.remove(name)


def test_the_address_of_a_view_is_the_address_of_its_page():
    view = views.make("losses", {"losses": ["gold", "sedi"], "open": "0123456789", "empty": []})
    assert view.path == "/losses?losses=gold&losses=sedi"


@pytest.mark.parametrize("name", ["../../etc/passwd", "0123456789", "", "ABCDEF0123", "0" * 99])
def test_ids_that_are_none_are_refused(name):
    with pytest.raises(CtkdError, match="no saved view"):
        views.load(name)


def test_a_damaged_view_is_told_and_the_others_are_listed(home):
    good, bad = views.keep(align_view()), views.keep(align_view(group="2"))
    (home / "here" / "views" / f"{bad}.json").write_text('{"page": "nowhere", "address": 3}')
    with pytest.raises(CtkdError, match=r"page.*Save it again"):
        views.load(bad)
    assert [name for name, _ in views.kept()] == [good]
    assert views.keep(align_view(group="2")) == bad
    assert len(views.kept()) == 2


def test_there_is_an_end_to_how_many_are_kept(monkeypatch):
    monkeypatch.setattr(views, "MOST_VIEWS", 1)
    name = views.keep(align_view())
    assert views.keep(align_view()) == name
    with pytest.raises(CtkdError, match="ctkd view rm"):
        views.keep(align_view(group="2"))


def test_a_view_that_could_not_be_read_again_is_not_kept(home):
    view = views.make("losses", {f"k{i}": ["x" * 4_000] * 32 for i in range(2)})
    with pytest.raises(CtkdError, match=r"256,\d+ bytes, and 200,000"):
        views.keep(view)
    data = json.dumps(plain(view=view.model_dump(), texts={snapshot_id(TEXT): TEXT})).encode()
    with pytest.raises(CtkdError, match="200,000"):
        views.open_file(data)
    assert not [name for name in KEPT if (home / "here" / name).exists()]


def test_a_title_stays_where_no_other_one_is_given_and_a_file_replaces_none():
    view = views.make("align", {"student": "deepseek"}, "Mine")
    name = views.keep(view)
    assert views.keep(views.make("align", view.address)) == name
    assert views.load(name).title == "Mine"
    theirs = views.make("align", view.address, "Click here").model_dump()
    found, opened, _ = views.open_file(json.dumps(plain(view=theirs)).encode())
    assert found == name
    assert opened.title == views.load(name).title == "Mine"


@pytest.mark.real
def test_a_file_holds_text_and_tokenizer_and_opens_where_neither_is(home, monkeypatch):
    source = uploaded()
    data = views.export(align_view(student=source))
    fingerprint = load_tokenizer(source).fingerprint
    elsewhere(home, monkeypatch)
    with pytest.raises(CtkdError):
        load_tokenizer(source)
    name, view, notes = views.open_file(data)
    assert not notes
    assert snapshots.load_text(view.get("snapshot")) == TEXT
    assert load_tokenizer(view.get("student")).fingerprint == fingerprint
    assert (view.get("method"), view.get("group"), view.get("a_sedi_unit")) == ("cdm", "1", "char")
    assert views.load(name).address == view.address
    assert views.export(views.load(name)) != b""


@pytest.mark.real
def test_a_tokenizer_of_a_folder_goes_along_without_the_folders_name(home, monkeypatch, tmp_path):
    folder = tmp_path / "private" / "tiny"
    saved(tiny_byte_level(), folder)
    data = views.export(align_view(student=str(folder)))
    assert b"private" not in data
    elsewhere(home, monkeypatch)
    _, view, _ = views.open_file(data)
    assert view.get("student").startswith("upload:tiny-")


@pytest.mark.real
def test_another_version_of_a_catalogs_tokenizer_or_a_sample_is_told():
    document = json.loads(views.export(align_view(text="prose")))
    document["catalog"]["deepseek"] = "0" * 64
    document["texts"]["prose"] = "Another prose."
    _, view, notes = views.open_file(json.dumps(document).encode())
    assert len(notes) == 2 and "another version" in notes[1]
    assert view.get("text") == "own"
    assert snapshots.load_text(view.get("snapshot")) == "Another prose."


def snapshot_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(**changes) -> dict:
    address = {"student": ["deepseek"], "teacher": ["smollm2"]}
    document = {"format": "ctkd-view", "version": 1, "view": {"page": "align", "address": address, "title": "x"}}
    return document | changes


def held(data: bytes, **changes) -> dict:
    packed = base64.b64encode(gzip.compress(data)).decode()
    return {"name": "t.json", "sha256": hashlib.sha256(data).hexdigest(), "gzip": packed} | changes


EVIL = [
    b"",
    b"[]",
    b"not json",
    b"\xff\xfe",
    b"[" * 100_000,
    json.dumps(plain(format="other")).encode(),
    json.dumps(plain(version=2)).encode(),
    json.dumps(plain(view={"page": "../start", "address": {}})).encode(),
    json.dumps(plain(view={"page": "align", "address": {"a b": ["x"]}})).encode(),
    json.dumps(plain(view={"page": "align", "address": {"x": "y" * 5_000}})).encode(),
    json.dumps(plain(view={"page": "align", "address": {f"k{i}": ["x"] for i in range(200)}})).encode(),
    json.dumps(plain(view={"page": "align", "address": {}, "made": 1e300})).encode(),
    json.dumps(plain(view={"page": "runs", "address": {"run": ["x"]}})).encode(),
    json.dumps(plain(texts={"0123456789abcdef": "not what the id names"})).encode(),
    json.dumps(plain(texts={"../../x": "text"})).encode(),
    json.dumps(plain(texts={"prose": ""})).encode(),
    json.dumps(plain(texts={"prose": "é" * 600_000})).encode(),
    json.dumps(plain(tokenizers={"upload:x": held(b"{}", sha256="0" * 64)})).encode(),
    json.dumps(plain(tokenizers={"upload:x": held(b"{}", gzip="AAAA")})).encode(),
    json.dumps(plain(tokenizers={"upload:x": held(b"{}", gzip="not base64!")})).encode(),
    json.dumps(plain(tokenizers={"upload:x": held(b" " * (41 * 2**20))})).encode(),
]


@pytest.mark.parametrize("data", EVIL, ids=range(len(EVIL)))
def test_a_file_that_is_not_sound_is_refused_and_nothing_is_kept(data, home):
    with pytest.raises(CtkdError):
        views.open_file(data, "evil.json")
    assert not [name for name in KEPT if (home / "here" / name).exists()]


def test_a_tokenizer_in_a_file_passes_the_checks_of_an_upload(home):
    with pytest.raises(CtkdError):
        views.open_file(json.dumps(plain(tokenizers={"upload:x": held(b'{"model": 3}')})).encode())
    assert not [name for name in KEPT if (home / "here" / name).exists()]


GOOD = tiny_byte_level().backend.to_str().encode()


def named(*tokenizers: bytes, **changes) -> dict:
    """A file whose address names these tokenizers and one text."""
    sources = [f"upload:t-{k}" for k in range(len(tokenizers))]
    address = {side: [source] for side, source in zip(views.SIDES, sources)} | {"snapshot": [snapshot_id(TEXT)]}
    return plain(
        view={"page": "align", "address": address},
        texts={snapshot_id(TEXT): TEXT},
        tokenizers=dict(zip(sources, map(held, tokenizers))),
        **changes,
    )


def test_nothing_is_kept_where_the_second_tokenizer_is_refused(home):
    with pytest.raises(CtkdError):
        views.open_file(json.dumps(named(GOOD, b'{"model": 3}')).encode())
    assert not [name for name in KEPT if (home / "here" / name).exists()]


def test_nothing_is_kept_where_no_view_may_be_added(home, monkeypatch):
    monkeypatch.setattr(views, "MOST_VIEWS", 0)
    with pytest.raises(CtkdError, match="ctkd view rm"):
        views.open_file(json.dumps(named(GOOD)).encode())
    assert not [name for name in KEPT if (home / "here" / name).exists()]


def test_only_what_the_address_names_is_kept(home):
    document = named(GOOD)
    document["texts"][snapshot_id("stowaway")] = "stowaway"
    document["tokenizers"]["upload:stowaway"] = held(GOOD + b" ", name="stowaway.json")
    _, view, _ = views.open_file(json.dumps(document).encode())
    assert [path.stem for path in (home / "here" / "snapshots").iterdir()] == [snapshot_id(TEXT)]
    (folder,) = (home / "here" / "uploads").iterdir()
    assert view.get("student") == f"upload:{folder.name}"
    assert folder.name.startswith("t-")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(views, "MOST_FILE", 10)
    with pytest.raises(CtkdError, match="at most 10"):
        views.read_file(b" " * 11)


keys = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True)


@given(st.dictionaries(keys, st.lists(st.text(max_size=20), min_size=1, max_size=3), max_size=6))
def test_whatever_an_address_says_its_view_comes_back_from_json(address):
    view = views.make("evidence", address)
    again = views.SavedView.model_validate_json(view.model_dump_json())
    assert again == view
    assert "open" not in view.address


def rank_view(*sources: str) -> views.SavedView:
    return views.make("rank", {"student": "deepseek", "teacher": sources[0], "ranked": list(sources)})


def test_a_ranking_takes_its_tokenizers_along(home, monkeypatch, tmp_path):
    folder = tmp_path / "private" / "tiny"
    saved(tiny_byte_level(400, 3), folder)
    sources = [uploaded(), "deepseek", str(folder)]
    prints = [load_tokenizer(source).fingerprint for source in sources]
    data = views.export(rank_view(*sources))
    assert b"private" not in data and set(views.read_file(data).catalog) == {"deepseek"}
    elsewhere(home, monkeypatch)
    _, view, notes = views.open_file(data)
    assert not notes and [load_tokenizer(source).fingerprint for source in view.address["ranked"]] == prints
    assert view.get("teacher") == view.address["ranked"][0]
    assert views.export(view) != b""


def test_a_ranking_of_equal_tokenizers_names_them_once(home, tmp_path):
    for name in ("one", "two"):
        saved(tiny_byte_level(), tmp_path / name / "tiny")
    view = rank_view(str(tmp_path / "one" / "tiny"), "deepseek", str(tmp_path / "two" / "tiny"))
    _, again, _ = views.open_file(views.export(view))
    assert again.address["ranked"] == [again.get("teacher"), "deepseek"]


def test_no_path_goes_along_that_no_page_reads(tmp_path):
    folder = tmp_path / "private" / "tiny"
    saved(tiny_byte_level(), folder)
    source = str(folder)
    view = views.make("pair", {"student": [source, source + "/more"], "teacher": "deepseek", "ranked": [source]})
    assert b"private" not in views.export(view)


def test_there_is_an_end_to_the_tokenizers_of_a_file(home, monkeypatch):
    view = rank_view(uploaded(), "deepseek")
    size = len(GOOD)
    monkeypatch.setattr(views, "MOST_TOKENIZERS", 1)
    with pytest.raises(CtkdError, match="at most 1 tokenizers"):
        views.export(view)
    monkeypatch.setattr(views, "MOST_TOKENIZERS", 2)
    data = views.export(view)
    monkeypatch.setattr(views, "MOST_UNPACKED", size - 1)
    with pytest.raises(CtkdError, match="rank fewer"):
        views.export(view)
    with pytest.raises(CtkdError, match="rank fewer"):
        views.open_file(data)
    assert not (home / "here" / "views").exists()
    document = plain(tokenizers={f"upload:{n}": held(GOOD) for n in range(27)})
    with pytest.raises(CtkdError, match="26"):
        views.open_file(json.dumps(document).encode())


def test_a_ranking_on_a_corpus_stays_where_the_corpus_is():
    view = views.make("rank", {"student": "deepseek", "teacher": "smollm2", "measure_on": "a corpus"})
    with pytest.raises(CtkdError, match="a file holds no corpus"):
        views.export(view)
    assert views.load(views.keep(view)) == view
