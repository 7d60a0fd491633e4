"""Page Vocabulary map: every state has its sentence, the address brings the view back, a build can be watched."""

from __future__ import annotations

import json
import os
import signal

import pytest

from ctkd_core.background.processes import process_alive
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.vocabulary import build as builds
from pages.parts import address, late_values
from tests.pages.app import figures, opened, texts
from tests.patience import wait_for
from tests.tiny import saved, tiny_byte_level, tiny_metaspace

LIMIT = 2 * 2**20
real = pytest.mark.real


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two small tokenizers as files, a home of their own, and no map so quick that it's built at once."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(builds, "SMALL", 0)
    paths = {}
    for side, tokenizer in (("student", tiny_byte_level()), ("teacher", tiny_metaspace())):
        paths[side] = str(saved(tokenizer, tmp_path / side))
    yield paths
    for launch in (tmp_path / "home").rglob("launch.json"):
        said = json.loads(launch.read_text())
        if process_alive(said["pid"], said["pid_start"]):
            os.kill(said["pid"], signal.SIGKILL)


def shown(at) -> str:
    assert not at.exception, at.exception
    return texts(at)


def buttons(at) -> set[str]:
    return {button.key for button in at.button}


def the_build(pair):
    return builds.find(load_tokenizer(pair["student"]), load_tokenizer(pair["teacher"]), "pieces")


@real
def test_the_default_pair_has_a_verdict_bars_density_and_a_token():
    at = opened("vocabulary", map="exact")
    said = shown(at)
    assert "By the vocabularies alone, **P-KL** suits this pair" in said
    assert "3-digit numbers 0 of 1,000" in said
    found = figures(at)
    assert found["Student tokens that one teacher token says alone"]["data"][1]["text"][2] == "0 / 1,000"
    assert "Entries per bin, log colour, 256 x 256 bins" in found
    assert max(len(json.dumps(spec)) for spec in found.values()) < LIMIT
    assert "**201** (id 643) maps to nothing" in said
    assert "Most is lost in 3-digit numbers: all 1,000 student tokens have no teacher token" in said.replace("\\", "")
    assert at.query_params == {"map": "exact"}


def test_a_pair_opens_on_a_token_of_its_own_and_lists_its_class(pair, monkeypatch):
    monkeypatch.setattr(builds, "SMALL", 10**6)
    at = opened("vocabulary", **pair)
    first = at.text_input(key="token").value
    assert first != "201"
    assert "maps to nothing" in shown(at) or "is spread over" in shown(at)
    assert "token" not in at.query_params
    at.button(key="list_lost").click().run()
    title = at.button(key="list_lost").label.removeprefix("List ")
    assert set(next(t.value for t in at.dataframe if "becomes" in t.value)["class"]) == {title}
    at.text_input(key="token").set_value("the").run()
    at.selectbox(key="map").set_value("exact").run()
    assert at.text_input(key="token").value == "the", "what somebody looked up stays"


@real
def test_a_look_up_shows_the_row_and_the_column():
    at = opened("vocabulary", map="exact", token="·the")
    assert "**·the** (id 270) is said by one teacher token, ·the" in shown(at)
    row = next(table.value for table in at.dataframe if "teacher_id" in table.value)
    assert row[["teacher", "weight", "reason"]].to_numpy().tolist() == [["·the", 1.0, "exact"]]
    at.text_input(key="token").set_value("#20").run()
    assert "**2** (id 20)" in shown(at)
    at.text_input(key="token").set_value("zzzqqq").run()
    assert "is cut into zz \\| z \\| qq \\| q" in shown(at)
    assert figures(at), "the rest of the page is still there"


@real
@pytest.mark.parametrize(
    ("panel", "title"),
    [
        ("Window", "student tokens,"),
        ("Neighbours", "Neighbours of"),
        ("Rows and columns", "Teacher tokens with the most student tokens"),
        ("Reasons", "Reason of each row, by class"),
    ],
)
def test_only_the_open_tab_computes(panel, title):
    at = opened("vocabulary", map="exact", panel=panel, token="2")
    shown(at)
    titles = set(figures(at)) - {"Student tokens that one teacher token says alone"}
    titles = {t for t in titles if not t.startswith("Entries per bin")}
    assert any(title in t for t in titles)
    assert len(titles) == (3 if panel == "Rows and columns" else 1)


@real
def test_digits_that_are_no_numbers_are_no_window():
    at = opened("vocabulary", map="exact", window="²,1,1,1")
    assert not at.exception and "window" not in at.query_params
    assert any("The window in the address isn't" in warning.value for warning in at.warning)


@real
def test_the_address_holds_order_and_window():
    at = opened("vocabulary", map="exact", order="class", cells="mass", window="200,900,0,49152")
    shown(at)
    assert "Mass per bin, log colour, 256 x 256 bins" in figures(at)
    assert at.number_input(key="window_row").value == 200
    at.number_input(key="window_row").set_value(5000).run()
    assert at.query_params["window"] == "5000,900,0,49152"
    at.button(key="next_tokens").click().run()
    assert int(at.query_params["window"].split(",")[0]) > 5000
    at.button(key="window_back").click().run()
    assert "window" not in at.query_params
    at.number_input(key="window_rows").set_value(7).run()
    assert at.query_params["window"].split(",")[1] == "7"
    at.selectbox(key="order").set_value("length").run()
    assert "window" not in at.query_params, "positions of another order mean other tokens"


@real
def test_what_back_has_replaced_is_no_look_up(monkeypatch):
    """A browser sends the field's old value with whatever happens before it has drawn the new one."""
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 3600.0)
    at = opened("vocabulary", map="exact", window="200,900,0,49152")
    first = at.text_input(key="token").value
    at.text_input(key="token").set_value("7").run()
    assert "window" not in at.query_params
    with monkeypatch.context() as back:
        back.setattr(address, "came_back", lambda: True)
        at.query_params.pop("token", None)
        at.query_params["window"] = "200,900,0,49152"
        at.run()
    assert at.text_input(key="token").value == first
    at.text_input(key="token").set_value("7").run()
    assert at.text_input(key="token").value == first
    assert at.query_params["window"] == "200,900,0,49152"
    at.text_input(key="token").set_value("8").run()
    assert at.text_input(key="token").value == "8"


@real
@pytest.mark.parametrize("window", ["999999,64,0,64", "-1,2,3,4", "a,b", "1,2,3", "0,0,0,0", "99999999,1,1,1"])
def test_a_window_that_does_not_fit_is_brought_inside(window):
    at = opened("vocabulary", map="exact", window=window)
    shown(at)
    assert 0 <= at.number_input(key="window_row").value < 129_280
    assert any("The window in the address isn't" in warning.value for warning in at.warning)


@real
def test_unknown_names_in_the_address_are_named():
    at = opened("vocabulary", map="exakt", order="clas", panel="Nothing")
    said = " ".join(w.value for w in at.warning)
    assert "did you mean 'exact'" in said
    assert "did you mean 'class'" in said


def test_an_unknown_tokenizer_has_a_sentence_and_a_way_out():
    at = opened("vocabulary", student="deapseek")
    assert "did you mean" in at.error[0].value
    assert "default_pair" in buttons(at)
    assert not figures(at)


@real
def test_the_lost_list_filters_by_class_and_counts():
    at = opened("vocabulary", map="exact", panel="Lost")
    shown(at)
    everything = next(t.value for t in at.dataframe if "becomes" in t.value)
    assert everything["in_samples"].is_monotonic_decreasing
    assert len(everything) > 1000
    at.button_group(key="lost_classes").set_value(["3-digit numbers"]).run()
    some = next(t.value for t in at.dataframe if "becomes" in t.value)
    assert set(some["class"]) == {"3-digit numbers"}
    assert len(some) == 1000
    assert "1,000 student tokens that no teacher token says alone" in shown(at)


def test_equal_tokenizers_are_the_identity(pair):
    at = opened("vocabulary", student=pair["student"], teacher=pair["student"], map="exact")
    assert "Both sides have the same vocabulary: the map is the identity" in shown(at)


def test_a_map_is_built_watched_and_shown(pair):
    at = opened("vocabulary", **pair)
    assert "There is no map “Pieces” for this pair yet: 400 student ids by" in shown(at)
    assert not figures(at)
    at.button(key="build_map").click().run()
    shown(at)

    def drawn():
        assert not at.error, texts(at)
        return figures(at) or (at.run() and None)

    wait_for(drawn, what="the map")
    assert "Student tokens that one teacher token says alone" in figures(at)
    assert not {"build_map", "cancel_build"} & buttons(at)


def pid_of(build):
    return json.loads((build.job.folder / "control" / "launch.json").read_text())["pid"]


@pytest.fixture
def held(monkeypatch, started_anew):
    """Builds stand still once they are started: one may be through before the page is."""
    real = builds.start

    def start(*args):
        found = real(*args)
        os.kill(pid_of(found), signal.SIGSTOP)
        return found

    monkeypatch.setattr(builds, "start", start)


@pytest.mark.usefixtures("held")
def test_a_running_build_shows_progress_in_every_tab_and_can_be_cancelled(pair):
    at = opened("vocabulary", **pair)
    at.button(key="build_map").click().run()
    build = the_build(pair)
    other = opened("vocabulary", **pair)
    shown(other)
    assert "cancel_build" in buttons(other)
    other.button(key="cancel_build").click().run()
    wait_for(lambda: build.status().ended_already, what="the end of the build")
    at.run()
    assert "The build was cancelled; nothing was kept." in shown(at)
    assert at.button(key="build_map").label == "Build it again"


@pytest.mark.usefixtures("held")
def test_a_killed_build_says_so_and_can_be_started_again(pair):
    at = opened("vocabulary", **pair)
    at.button(key="build_map").click().run()
    build = the_build(pair)
    os.kill(pid_of(build), signal.SIGKILL)
    wait_for(lambda: build.status().ended_already, what="the end of the build")
    at.run()
    assert "ended without a word" in at.error[0].value
    assert at.button(key="build_map").label == "Build it again"


def test_a_build_that_cannot_start_says_why(pair, monkeypatch):
    at = opened("vocabulary", **pair)

    def refused(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(builds, "start", refused)
    at.button(key="build_map").click().run()
    assert "No space left" in at.error[0].value
    assert "build_map" in buttons(at)


def test_a_damaged_map_is_named_and_built_again(pair):
    from ctkd_core.vocabulary.store import cached, cached_project

    student, teacher = load_tokenizer(pair["student"]), load_tokenizer(pair["teacher"])
    cached_project(student, teacher, "pieces")
    (cached(student, teacher, "pieces") / "manifest.json").write_text("{")
    at = opened("vocabulary", **pair)
    assert "is damaged" in at.error[0].value
    assert "build_map" in buttons(at)


def test_options_are_part_of_the_map_and_of_the_address(pair, monkeypatch):
    monkeypatch.setattr(builds, "SMALL", 10**6)
    at = opened("vocabulary", **pair, panel="Rows and columns")
    shown(at)
    at.number_input(key="map_pieces_clean_top_k").set_value(1).run()
    assert at.query_params["options"] == "pieces,clean,top_k=1"
    fan_out = next(t.value for t in at.dataframe if list(t.value.columns) == ["teacher_tokens", "student_tokens"])
    assert fan_out["student_tokens"][1] > 0
    assert fan_out["student_tokens"][2:].sum() == 0
    again = opened("vocabulary", **pair, options="pieces,clean,top_k=1")
    assert again.number_input(key="map_pieces_clean_top_k").value == 1
    bad = opened("vocabulary", **pair, options="pieces,clean,top_k=many")
    assert "takes a whole number" in bad.warning[0].value
    assert figures(bad)


def test_markup_in_tokens_and_addresses_stays_text(pair, monkeypatch):
    monkeypatch.setattr(builds, "SMALL", 10**6)
    at = opened("vocabulary", **pair, token="<img src=x> **b** $x$ :red[y]")
    said = at.warning[0].value
    assert "\\<img" in said
    assert "\\*\\*" in said
    assert "\\:red\\[" in said
