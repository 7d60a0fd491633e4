"""Below what pages show: the code that is shown runs and answers as the page does; a view is kept and comes back."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shlex
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

import ctkd_core as ctkd
from ctkd_core.background.status import write_status
from ctkd_core.cli.main import main
from ctkd_core.distill.runs import RunStore
from ctkd_core.lab import saved_views as views
from ctkd_core.methods.evidence import KINDS, REGIMES, load
from ctkd_core.pair.ranking import rank_pair
from ctkd_core.tokenizers import snapshots
from pages.parts import (
    align_tabs,
    launching,
    losses_choice,
    losses_tabs,
    pair_data,
    pair_tabs,
    rank_choice,
    run_views,
    state,
    vocabulary_tabs,
)
from tests.distill.comparison.make import made
from tests.homes import own_home
from tests.pages.app import chips, opened, texts
from tests.patience import PATIENCE
from tests.tiny import saved, tiny_byte_level, tiny_metaspace

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return own_home(tmp_path / "home", monkeypatch)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> dict[str, str]:
    """The address of two tiny tokenizers: pages open quickly with them."""
    found = {}
    for side, tokenizer in (("student", tiny_byte_level()), ("teacher", tiny_metaspace())):
        found[side] = str(saved(tokenizer, tmp_path_factory.mktemp(side)).parent)
    return found


def ran(at, capsys) -> tuple[str, list]:
    """What the shown Python prints, and the documents of the shown commands."""
    assert not at.exception
    shown = {element.language: element.value for element in at.code}
    capsys.readouterr()
    exec(compile(shown["python"], "<shown code>", "exec"), {"__name__": "__main__"})
    printed, documents = capsys.readouterr().out, []
    for line in shown.get("bash", "").splitlines():
        name, *words = shlex.split(line)
        if name == "ctkd":
            assert main([*words, "--json"]) == 0, capsys.readouterr().err
            documents.append(json.loads(capsys.readouterr().out))
    return printed, documents


def test_align(pair, capsys):
    at = opened("align", **pair, text="numbers", method="gold", against="cdm", group="2")
    printed, (document,) = ran(at, capsys)
    assert list(document["methods"]) == ["gold", "cdm"]
    assert str(document["methods"]["cdm"]["n_groups"]) in printed
    assert document["agreement"][0]["disagreements"]


def test_pair(pair, capsys):
    printed, (document,) = ran(opened("pair", **pair), capsys)
    assert printed.startswith(document["advice"]["method"])


@pytest.mark.parametrize("side", ["teachers for the student", "students for the teacher", "all pairs"])
def test_rank(pair, side, capsys):
    at = opened("rank", **pair, ranked=[*pair.values()], side=side, rank_by="shared vocabulary")
    printed, (document,) = ran(at, capsys)
    assert document["by"] == "canonical"
    assert [row["student"] for row in document["pairs"]] == [line.split()[0] for line in printed.splitlines()]
    assert len(document["pairs"]) == len(at.dataframe[0].value) == (2 if side == "all pairs" else 1)
    at.button(key="keep_view").click().run()
    ((name, view),) = views.kept()
    assert view.page == "rank" and view.address["ranked"] == [*pair.values()]
    assert "No file" not in texts(at) and len(views.read_file(views.export(view)).tokenizers) == 2
    if side == "all pairs":
        again = opened("start", open=name)
        assert not again.exception
        assert list(again.dataframe[0].value["shared vocabulary"]) == list(at.dataframe[0].value["shared vocabulary"])


def test_rank_on_a_text_of_ones_own(pair, home, monkeypatch, capsys):
    plain = opened("rank", **pair, ranked=[*pair.values()])
    plain.segmented_control(key="measure_on").set_value("one text").run()
    plain.text_area(key="typed").set_value("In 2024 we sold 201. Naïve").run()
    at = plain
    assert not at.exception
    printed, (document,) = ran(at, capsys)
    (row,) = document["pairs"]
    student, teacher = (ctkd.load_tokenizer(pair[side]) for side in ("student", "teacher"))
    wanted = rank_pair(student, teacher, ["In 2024 we sold 201. Naïve"])
    assert row["boundaries"] == wanted.boundaries and str(wanted.boundaries) in printed
    again = opened("rank", **pair, ranked=[*pair.values()], measure_on="one text", text="numbers")
    assert not again.exception and "--sample numbers" in ran_words(again)
    at.segmented_control(key="measure_on").set_value("the bundled samples").run()
    assert "snapshot" not in at.query_params
    assert "--text" not in ran_words(at)


def ran_words(at) -> str:
    """The shown command."""
    return next(element.value for element in at.code if element.language == "bash")


def test_a_view_of_a_ranking_takes_its_text_along(home, monkeypatch):
    address = {"measure_on": "one text", "text": "own", "snapshot": snapshots.save_text("in 2024"), "ranked": ["qwen"]}
    view = views.make("rank", {"student": "deepseek", "teacher": "smollm2"} | address)
    data = views.export(view)
    own_home(home.parent / "there", monkeypatch)
    _, opened_view, notes = views.open_file(data)
    assert notes == [] and snapshots.load_text(opened_view.get("snapshot")) == "in 2024"
    assert opened_view.address == view.address


def test_vocabulary(pair, capsys):
    at = opened("vocabulary", **pair, map="exact", token="2")
    printed, (document,) = ran(at, capsys)
    assert str(document["rows"]) in printed
    assert document["token"]["text"] == "2"


def test_losses(capsys):
    printed, (document,) = ran(opened("losses"), capsys)
    assert [line.split()[0] for line in printed.splitlines()] == list(document["methods"])


@pytest.mark.parametrize(
    ("asked", "said", "part"),
    [
        ({}, "'rank'", "settings"),
        ({"section": "Claims"}, "reproduced", "claims"),
        ({"section": "At a glance"}, "Bytes", "glance"),
        ({"section": "Analyses"}, "make evidence", "analyses"),
        ({"section": "Do it again"}, "make evidence", "experiments"),
    ],
)
def test_evidence(asked, said, part, capsys):
    printed, (document,) = ran(opened("evidence", **asked), capsys)
    assert said in printed and document[part]


def test_evidence_of_what_was_never_tried(capsys):
    there = {(condition.kind, condition.regime) for _, condition in load().conditions}
    kind, regime = next((k, r) for k in KINDS for r in REGIMES if (k, r) not in there)
    at = opened("evidence", kind=kind, regime=regime)
    assert "Never tried" in texts(at)
    printed, (document,) = ran(at, capsys)
    assert "first-look" in printed
    assert "first-look" in {row["experiment"] for row in document["settings"]}


# Tabs and views of each page, by the parameter that chooses one.
EVERY_VIEW = {
    "pair": ("look", pair_tabs.TABS),
    "rank": ("side", rank_choice.SIDES),
    "align": ("tab", align_tabs.TABS),
    "vocabulary": ("panel", vocabulary_tabs.TABS),
    "losses": ("lab_tab", losses_tabs.TABS),
    "evidence": ("section", ("Methods", "Answers", "At a glance", "Claims", "Analyses", "Do it again")),
    "runs": ("view", run_views.VIEWS),
}


@pytest.mark.parametrize("page", [page for page in state.PAGES if page != "start"])
def test_every_view_of_every_page_shows_code(page, pair, monkeypatch):
    monkeypatch.setattr(pair_data, "offline_names", lambda: ["smollm2", "deepseek"])  # not all pairs of the catalog
    parameter, names = EVERY_VIEW[page]
    more = {} if page in ("losses", "runs", "evidence") else dict(pair)
    more |= {"map": "exact"} if page == "vocabulary" else {}
    more |= {"ranked": list(pair.values())} if page == "rank" else {}
    at = opened(page, **more)
    if at.tabs:
        assert [tab.label for tab in at.tabs] == list(names)
    for name in names:
        at = opened(page, **more, **{parameter: name}) if name != names[0] else at
        assert not at.exception
        shown = [element.value for element in at.code if element.language == "python"]
        assert len(shown) == 1, f"{page}, {name}"
        compile(shown[0], "<shown code>", "exec")


def test_runs(home, capsys):
    runs = [made(RunStore(), 2.0 + k, method=method) for k, method in enumerate(("sft", "uld"))]
    ids = [run.id for run in runs]
    printed, (rows,) = ran(opened("runs"), capsys)
    assert all(name in printed for name in ids) and len(rows) == 2
    printed, (document,) = ran(opened("runs", run=ids[0]), capsys)
    assert document["run_id"] == ids[0] and "eval" in printed
    printed, (document,) = ran(opened("runs", compare=",".join(ids)), capsys)
    assert document["statistics"]["figure"] == "bits_per_byte" and "ULD" in printed


def test_a_view_is_kept_and_its_link_opens_it(pair):
    at = opened(
        "align", **pair, text="own", snapshot=snapshots.save_text("in 2024"), method="gold", against="cdm", group="1"
    )
    at.text_input(key="view_title").set_value("Mine *[x](y)*")
    at.button(key="keep_view").click().run()
    assert not at.exception
    ((name, view),) = views.kept()
    assert view.title == "Mine *[x](y)*"
    assert (view.get("method"), view.get("against"), view.get("group")) == ("gold", "cdm", "1")
    again = opened("start", open=name)
    if any(button.key == "load_named" for button in again.button):
        again.button(key="load_named").click().run()
    assert not again.exception
    assert again.text_area(key="typed").value == "in 2024"
    assert chips(again)["methods"] == chips(at)["methods"] == ["gold", "cdm"]
    assert again.query_params["group"] == "1"


def open_file_elsewhere(home, monkeypatch, data: bytes) -> AppTest:
    """Page Start of another machine after this file was opened there."""
    own_home(home.parent / "there", monkeypatch)
    at = opened("start")
    at.file_uploader(key="view_upload").set_value(("x.ctkd-view.json", data, "application/json")).run()
    assert not at.exception
    assert "The file is sound" in texts(at)
    return at


def test_a_run_opens_elsewhere_read_only(home, monkeypatch, capsys):
    run = made(RunStore(), 2.0, name="*mine*", student="owner/name")
    write_status(run.dir, replace(run.status(), state="cancelled", message="Cancelled at step 3."))
    here = opened("runs", run=run.id)
    assert "view_file" in [button.key for button in here.get("download_button")]
    data = views.export(views.make("runs", {"run": run.id, "student": "deepseek", "teacher": "smollm2"}))
    start = open_file_elsewhere(home, monkeypatch, data)
    labels = [element.proto.label for element in start.get("page_link")]
    assert any(label.startswith(f"Runs · {run.id} · ") for label in labels)
    assert run.id not in "".join(label for label in labels if not label.startswith("Runs")), "no recent run of here"
    ((_, view),) = views.kept()
    at = opened("runs", **{key: values[0] for key, values in view.address.items()})
    assert not at.exception and not at.error
    assert "Read-only: from the file of a view" in at.info[0].value
    assert "Cancelled at step 3" in texts(at) and r"\*mine\*" in texts(at)
    assert [m.value for m in at.metric] == [m.value for m in here.metric]
    assert at.dataframe[0].value.equals(here.dataframe[0].value)
    keys = {button.key for button in at.button}
    assert keys.isdisjoint({"resume", "cancel", "copy_run"}) and {"resume", "copy_run"} <= {b.key for b in here.button}
    assert at.selectbox(key="student").value == "deepseek", "a stranger's source isn't put into the bar"
    printed, (document,) = ran(at, capsys)
    assert document["run_id"] == run.id and "eval" in printed
    at.button(key="back").click().run()
    assert "opened" not in at.query_params and not at.exception
    assert "No runs yet" in texts(at)


def test_a_comparison_opens_elsewhere(home, monkeypatch, capsys):
    runs = [made(RunStore(), 2.0 + k, method=method) for k, method in enumerate(("sft", "uld"))]
    address = {"compare": ",".join(run.id for run in runs)}
    here = opened("runs", **address)
    data = views.export(views.make("runs", address))
    open_file_elsewhere(home, monkeypatch, data)
    ((_, view),) = views.kept()
    at = opened("runs", **{key: values[0] for key, values in view.address.items()})
    assert not at.exception and not at.error
    assert at.table[0].value.equals(here.table[0].value)
    printed, (document,) = ran(at, capsys)
    assert document["statistics"]["figure"] == "bits_per_byte" and "ULD" in printed
    assert RunStore().list(archived=True) == []
    gone = opened("runs", compare=address["compare"], opened="0123456789abcdef")
    assert "open the file again" in gone.error[0].value and not gone.exception


def test_a_run_that_trains_has_no_file_yet(home):
    run = made(RunStore(), 2.0)
    write_status(run.dir, replace(run.status(), state="queued"))
    at = opened("runs", run=run.id)
    assert "view_file" not in [button.key for button in at.get("download_button")]
    assert "when it has ended" in texts(at)


def test_a_link_to_a_view_that_is_not_here_says_so():
    at = opened("start", open="0123456789")
    assert "no saved view" in texts(at)
    assert not at.exception


def forged_keep() -> None:
    """A page on which a click arrives although the button is disabled."""
    from pages.parts import share

    share._keep("evidence", {"student": ["deepseek"]})


def kept_here(home) -> list[str]:
    """What is kept of views in the folder of this machine."""
    return [name for name in ("views", "uploads", "snapshots") if any((home / name).glob("*"))]


def test_who_may_change_nothing_keeps_no_view(home, monkeypatch):
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")
    assert opened("evidence").button(key="keep_view").disabled
    at = AppTest.from_function(forged_keep, default_timeout=PATIENCE).run()
    assert at.session_state["view_problem"] == launching.REFUSAL
    assert kept_here(home) == []
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    AppTest.from_function(forged_keep, default_timeout=PATIENCE).run()
    assert kept_here(home) == ["views"], "else nothing was tried above"


def test_who_may_change_nothing_opens_no_file(home, monkeypatch):
    text = "not from here"
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    tokenizer = tiny_byte_level().backend.to_str().encode()
    held = {
        "name": "t.json",
        "sha256": hashlib.sha256(tokenizer).hexdigest(),
        "gzip": base64.b64encode(gzip.compress(tokenizer)).decode(),
    }
    address = {"student": ["upload:t"], "teacher": ["smollm2"], "snapshot": [name], "text": ["own"]}
    document = {"format": "ctkd-view", "version": 1, "view": {"page": "align", "address": address}}
    data = json.dumps(document | {"texts": {name: text}, "tokenizers": {"upload:t": held}}).encode()
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")
    at = opened("start")
    at.file_uploader(key="view_upload").set_value(("x.ctkd-view.json", data, "application/json")).run()
    assert launching.REFUSAL.partition(".")[0] in texts(at)
    assert kept_here(home) == []
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    at = opened("start")
    at.file_uploader(key="view_upload").set_value(("x.ctkd-view.json", data, "application/json")).run()
    assert "The file is sound" in texts(at)
    assert kept_here(home) == ["views", "uploads", "snapshots"], "else nothing was tried above"


def test_the_link_of_a_kept_view_stands_only_beside_that_view(pair):
    at = opened("align", **pair, text="numbers", method="gold", group="1", tour="drift.2")
    at.button(key="keep_view").click().run()
    ((name, view),) = views.kept()
    assert not set(view.address) & {"tour", "see", "pair"}, "how one came here is no part of what is shown"
    assert any(f"/?open={name}" in block.value for block in at.code)
    drawn = [element.value if element.type == "caption" else getattr(element, "key", None) for element in at.main]
    assert drawn.index("Kept. On this machine, this address opens it:") < drawn.index("view_title"), (
        "at the end of a page a window shows no more than the beginning of what opens"
    )
    at.query_params["group"] = "2"
    at.run()
    assert not at.exception and not any("/?open=" in block.value for block in at.code)
    at.query_params["group"] = "1"
    at.run()
    assert any(f"/?open={name}" in block.value for block in at.code)
    at.switch_page("pages/pair.py").run()
    assert not at.exception and not any("/?open=" in block.value for block in at.code)


def test_the_start_page_lists_views_by_their_names():
    views.keep(views.make("pair", {"student": "deepseek", "teacher": "smollm2"}, "<b>first</b> *look*"))
    at = opened("start")
    assert not at.exception
    labels = [element.proto.label for element in at.get("page_link")]
    assert any(r"\<b\>first\</b\> \*look\*" in label and "Pair" in label for label in labels)


def test_a_view_of_the_first_example_shows_it_whatever_was_shown_last(pair):
    from pages.parts.share import link

    view = views.make("losses", pair)
    at = opened("losses", **pair, example="prose")
    at.switch_page("pages/start.py").run()
    at.query_params.clear()
    for key, value in link(view).items():
        at.query_params[key] = value
    at.switch_page("pages/losses.py").run()
    assert not at.exception
    assert at.pills(key="example").value == losses_choice.FIRST


def test_views_without_a_name_are_told_apart_by_methods_and_time():
    pair = {"student": "deepseek", "teacher": "smollm2", "method": "uld"}
    for against in ("cdm", "gold"):
        views.keep(views.make("align", pair | {"against": against}))
    labels = [element.proto.label for element in opened("start").get("page_link")]
    shown = [label for label in labels if label.startswith("Align · smollm2 → deepseek · uld, ")]
    assert sorted(label.split(" · ")[2] for label in shown) == ["uld, cdm", "uld, gold"]
    assert {label.split(" · ")[3] for label in shown} == {"just now"}


def test_how_one_came_to_a_page_is_no_part_of_its_view():
    at = opened("evidence", see="cdm")
    assert "see" in at.query_params, "this page takes no method"
    at.button(key="keep_view").click().run()
    ((_, view),) = views.kept()
    assert not set(view.address) & {"see", "pair"}
