"""Page Rank: which pairs, the order, links into each pair, files of others, what is asked before it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core.pair.corpora import sample
from tests.pages.app import figures, opened, texts
from tests.tiny import saved, tiny_byte_level, tiny_metaspace

pytestmark = pytest.mark.real


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two tokenizers in folders, which an address can name."""
    found = []
    for name, tokenizer in (("one", tiny_byte_level()), ("two", tiny_metaspace())):
        found.append(str(saved(tokenizer, tmp_path / name).parent))
    return found


def test_teachers_of_folders_are_asked_for_measured_and_linked(files: list[str]) -> None:
    at = opened("rank", agree=False, student=files[0], ranked=files[1])
    assert sum("The address names" in warning.value for warning in at.warning) == 2
    assert "rank_map" not in at.session_state
    at.button(key="load_named").click().run()
    assert not at.exception and not at.error
    (frame,) = at.dataframe
    assert list(frame.value["student"]) == ["one"] and list(frame.value["teacher"]) == ["two"]
    (link,) = frame.value["open"]
    assert link.startswith("./pair?teacher=") and link.endswith("one")
    assert "First of 1: student one, teacher two" in texts(at).replace("\\", "")
    (heat,) = (spec["data"][0] for name, spec in figures(at).items() if name.startswith("Common boundaries"))
    assert heat["x"] == ["two"] and heat["y"] == ["one"]
    at.segmented_control(key="side").set_value("students for the teacher").run()
    wide, named = (json.loads(at.dataframe[0].proto.columns)[side]["width"] for side in ("teacher", "student"))
    assert wide > named > 0, "smollm2 is longer than one and two; the browser kept the columns of the table before"
    at.segmented_control(key="side").set_value("all pairs").run()
    assert not at.warning
    assert any("at least two" in info.value for info in at.info), "one tokenizer has no pair"


def test_unknown_words_of_the_address_are_told() -> None:
    at = opened("rank", rank_by="beauty", ranked="smollm2", side="nobody")
    said = "\n".join(warning.value for warning in at.warning)
    assert "beauty" in said and "nobody" in said
    assert not at.exception


def test_a_text_that_is_typed_or_uploaded_is_what_pairs_are_measured_on(files: list[str]) -> None:
    at = opened("rank", student=files[0], ranked=files[1], measure_on="one text")
    before = at.dataframe[0].value
    at.text_area(key="typed").set_value("").run()
    assert any("There is no text yet" in info.value for info in at.info) and not at.dataframe
    at.file_uploader(key="text_file").set_value(("mine.txt", b"7 777 77", "text/plain")).run()
    assert not at.exception and not at.error
    assert at.text_area(key="typed").value == "7 777 77"
    assert not at.dataframe[0].value.equals(before)
    assert at.query_params["text"] == "own" and at.query_params["snapshot"]
    at.text_area(key="typed").set_value(" ").run()
    assert "no text can be measured" in at.error[0].value and not at.exception


def test_stopped_halfway_shows_what_is_done(files: list[str]) -> None:
    at = opened("rank", student=files[0], ranked=files[1])
    at.session_state["rank_stopped"] = True
    at.session_state["rank_done"] = 0
    at.run()
    assert any("Stopped: 0 of 1 pairs" in info.value for info in at.info)
    at.button(key="rank_on").click().run()
    assert not at.info and "First of 1" in texts(at)


def test_all_pairs_show_progress_on_the_way(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.parts.rank_views.QUICK_SECONDS", -1.0)
    at = opened("rank", side="all pairs", rank_by="shared vocabulary", ranked=files)  # type: ignore[arg-type]
    assert not at.exception and not at.error
    rows = set(zip(at.dataframe[0].value["student"], at.dataframe[0].value["teacher"]))
    assert {("one", "two"), ("two", "one")} <= rows
    values = list(at.dataframe[0].value["shared vocabulary"])
    assert values == sorted(values, reverse=True)


def test_a_corpus_is_uploaded_or_named_by_its_path_and_a_sample_is_measured(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = opened("rank", student=files[0], ranked=files[1], measure_on="a corpus")
    assert any("There is no corpus yet" in info.value for info in at.info) and not at.dataframe
    rows = b'{"text": "7 777 77"}\n{"text": "some words"}\n{"other": 1}\n'
    at.file_uploader(key="rank_file").set_value(("mine.jsonl", rows, "text/plain")).run()
    assert not at.exception and not at.error
    assert "Measured on all 3 documents of the corpus" in texts(at)
    assert "Of 1 pairs some texts weren't measured" in texts(at)
    assert "--corpus mine.jsonl" in at.code[1].value and "give its path" in texts(at)
    before = at.dataframe[0].value
    monkeypatch.setattr(sample, "WHOLE", 1000)
    at.file_uploader(key="rank_file").set_value([]).run()
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("\n\n".join(f"In {year} we sold {year * 7} units." for year in range(900)))
    at.text_input(key="rank_path").set_value(f" {folder} ").run()
    assert not at.exception and not at.error
    assert "Measured on a sample: 500 documents" in texts(at).replace("\\", "")
    assert not at.dataframe[0].value.equals(before)
    assert str(folder) in at.code[0].value and str(folder) in at.code[1].value
    assert str(folder) not in str(dict(at.query_params)), "an address names no file that others would read"
    (folder / "a.txt").write_bytes(b"caf\xe9")
    at.text_input(key="rank_path").set_value(str(folder / "a.txt")).run()
    assert "isn't UTF-8" in at.error[0].value and not at.dataframe and not at.exception
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")
    at.text_input(key="rank_path").set_value(str(folder)).run()
    assert "can be reached from other machines" in at.error[0].value


def test_reading_a_corpus_can_be_stopped(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.parts.rank_corpus.QUICK_SECONDS", -1.0)
    (tmp_path / "a.txt").write_text("7 777 77")
    path = str(tmp_path / "a.txt")
    at = opened("rank", student=files[0], ranked=files[1], measure_on="a corpus")
    at.session_state["rank_reading_stopped"] = path
    at.text_input(key="rank_path").set_value(path).run()
    assert at.dataframe, "a path that is typed again is read"
    at.session_state["rank_reading_stopped"] = path
    at.run()
    assert any("Stopped" in info.value for info in at.info) and not at.dataframe
    at.button(key="rank_read").click().run()
    assert at.dataframe and not at.exception and not at.error


def test_a_broken_upload_is_told_by_the_name_that_it_had(files: list[str]) -> None:
    at = opened("rank", student=files[0], ranked=files[1], measure_on="a corpus")
    at.file_uploader(key="rank_file").set_value(("mine.jsonl", b'{"text": "a"}\nno json', "text/plain")).run()
    assert "'mine.jsonl', line 2" in at.error[0].value.replace("\\", "") and not at.exception
