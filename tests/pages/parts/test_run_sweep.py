"""Page Runs with sweeps: the form, the list, the queue's order, and the comparison over seeds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ctkd_core.background.status import write_status
from ctkd_core.distill.config import PRESETS
from ctkd_core.distill.runs import RunStore
from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.sweeps import sweep as sweeps
from ctkd_core.distill.sweeps.definition import SweepDefinition
from pages.parts import late_values
from tests.distill.comparison.make import made
from tests.pages.app import figures, opened, texts
from tests.patience import PATIENCE

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> RunStore:
    """Runs of this test only; no process is started."""
    init = RunStore.__init__
    monkeypatch.setattr(RunStore, "__init__", lambda self, root=None: init(self, root or tmp_path))
    monkeypatch.setattr(queue, "start_waiting", lambda root, besides=None: [])
    monkeypatch.setattr("ctkd_core.distill.checks.require", lambda config, root: [])
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    return RunStore()


def test_a_sweep_is_told_and_queued(store):
    at = opened("runs", view="New sweep")
    assert not at.exception
    assert "6 runs" in texts(at)  # sft and sedi at three seeds
    at.multiselect(key="sweep_options").set_value(["learning_rate", "sedi.temperature"]).run()
    at.text_input(key="sweep_values_learning_rate").set_value("1e-4, 2e-4").run()
    at.text_input(key="sweep_values_sedi-temperature").set_value("1, 2").run()
    assert "18 runs" in texts(at)  # (1 + 2) kinds x 2 rates x 3 seeds
    at.text_input(key="sweep_seeds").set_value("x").run()
    assert "numbers and ranges" in at.error[0].value
    at.text_input(key="sweep_seeds").set_value("7").run()
    at.button(key="start_sweep").click().run()
    assert not at.exception
    assert [run.config.seed for run in queue.waiting(store.root)] == [7] * 6
    assert "1. in line" in at.dataframe[0].value["status"].str.cat(sep=" ")


def clicked_twice() -> None:
    """What a double click asks for: the second comes in before another page is drawn."""
    from ctkd_core.distill.config import PRESETS
    from ctkd_core.distill.sweeps.definition import SweepDefinition
    from pages.parts import run_form, run_sweep

    definition = SweepDefinition(base=PRESETS["quick"].to_dict(), methods=("sft",), seeds=(3,))
    for _ in range(2):
        run_sweep._start(definition)
        run_form._start(PRESETS["quick"])


def test_a_double_click_queues_once(store, monkeypatch):
    begun = []
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 0)  # the form is chosen again at once
    monkeypatch.setattr("pages.parts.loaders.start", lambda config: begun.append(config) or made(store))
    at = AppTest.from_function(clicked_twice, default_timeout=PATIENCE).run()
    assert not at.exception
    assert len(queue.waiting(store.root)) == len(begun) == 1
    at = opened("runs", view="New sweep", sweep_methods="sft", sweep_seeds="5")
    for _ in range(2):
        at.button(key="start_sweep").click().run()
        at.segmented_control(key="view").set_value("New sweep").run()
    assert len(queue.waiting(store.root)) == 3, "the form that is drawn again queues again"


def test_runs_that_are_taken_over_need_no_checks(store, monkeypatch):
    checked = []
    monkeypatch.setattr("ctkd_core.distill.checks.require", lambda config, root: checked.append(config.method) or [])
    definition = SweepDefinition(base=PRESETS["quick"].to_dict(), methods=("sft", "uld"), seeds=(3,))
    done = store.create(sweeps.plan(definition)[0])
    write_status(done.dir, replace(done.status(), state="finished", step=1))
    at = opened("runs", view="New sweep", sweep_methods=["sft", "uld"], sweep_seeds="3", sweep_reuse="true")
    at.button(key="start_sweep").click().run()
    assert not at.exception and not at.error
    assert checked == ["uld"]


def test_a_run_that_is_not_taken_over_as_its_data_changed_is_named(store):
    definition = SweepDefinition(base=PRESETS["quick"].to_dict(), methods=("sft",), seeds=(3,))
    done = store.create(sweeps.plan(definition)[0])
    (done.dir / "env.json").write_text('{"data": {"source": "bundled", "fingerprint": "of another text"}}')
    write_status(done.dir, replace(done.status(), state="finished", step=1))
    asked = {"view": "New sweep", "sweep_methods": ["sft"], "sweep_seeds": "3"}
    assert f"The data of run {done.id} has changed since" in texts(opened("runs", **asked, sweep_reuse="true"))
    assert "has changed since" not in texts(opened("runs", **asked)), "it isn't asked for"


def test_an_address_opens_the_form_filled_in(store):
    link = {
        "sweep_preset": "standard",
        "sweep_seeds": "3,5",
        "sweep_name": "two & more",
        "sweep_methods": ["sft", "uld", "sedi"],
        "sweep_options": ["learning_rate", "sedi.temperature"],
        "sweep_values_learning_rate": "1e-4, 2e-4",
        "sweep_values_sedi-temperature": "2",
        "sweep_reuse": "true",
    }
    at = opened("runs", view="New sweep", **link)
    assert not at.exception and not at.error and not at.warning
    assert "12 runs" in texts(at)  # 3 kinds x 2 rates x 2 seeds
    for key in ("sweep_preset", "sweep_seeds", "sweep_name", "sweep_methods", "sweep_options"):
        assert at.session_state[key] == link[key]
    shown = at.code[0].value
    assert "two & more" in shown and "'preset': 'standard'" in shown and "reuse=True" in shown
    assert "'sedi.temperature': ('2',)" in shown and "seeds=(3, 5)" in shown


def test_what_a_link_names_that_is_not_there_is_told_and_the_rest_is_shown(store):
    given = {"sweep_preset": "none", "sweep_methods": ["uld", "uld", "<b>", "*x*"], "sweep_seeds": "0"}
    at = opened("runs", view="New sweep", sweep_options=["learning_rate", "cdm.window", "../x"], **given)
    assert not at.exception and not at.error
    said = "\n".join(warning.value for warning in at.warning).replace("\\", "")
    assert all(f"{word!r}" in said for word in ("none", "<b>", "*x*", "cdm.window", "../x")), said
    assert at.multiselect(key="sweep_methods").value in (["uld"], ["uld", "uld"])
    assert at.dataframe[0].value["run"].tolist() == ["uld, seed 0"]
    assert at.text_input(key="sweep_values_learning_rate").value == ""


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("sweep_seeds", "0-99999999999", "no range of 1 to 2,000"),
        ("sweep_seeds", "²", "numbers and ranges"),
        ("sweep_values_learning_rate", "inf", "learning_rate"),
        ("sweep_values_learning_rate", "<script>", "learning_rate"),
        ("sweep_values_learning_rate", ",".join(map(str, range(1, 2000))), "at most 2,000"),
    ],
)
def test_values_of_a_link_that_cannot_be_are_sentences(store, key, value, said):
    at = opened("runs", view="New sweep", sweep_options="learning_rate", **{key: value})
    assert not at.exception
    assert any(said in error.value.replace("\\", "") for error in at.error), [error.value for error in at.error]


def test_a_link_has_no_file_of_this_machine_looked_at(store, tmp_path, monkeypatch):
    looked: list[object] = []
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **o: (looked.append(str(self)), stat(self, **o))[1])
    secret = str(tmp_path / "secret.jsonl")
    at = opened("runs", view="New sweep", sweep_options="data", sweep_values_data=secret)
    assert not at.exception and not [path for path in looked if "secret" in str(path)]
    assert at.text_input(key="sweep_values_data").value == "" and "type them" in at.warning[0].value
    at.text_input(key="sweep_values_data").set_value(secret).run()
    assert [path for path in looked if "secret" in str(path)], "which is what is looked at when somebody types it"
    assert secret not in str(dict(at.query_params))


def test_another_view_leaves_the_fields_of_the_form_behind(store):
    at = opened("runs", view="New sweep", sweep_seeds="7", sweep_methods="uld")
    at.button(key="start_sweep").click().run()
    assert not at.exception and [run.config.method for run in store.list()] == ["uld"]
    assert not [key for key in at.query_params if key.startswith("sweep_")]


def test_nothing_is_queued_where_pages_may_change_nothing(store, monkeypatch):
    at = opened("runs", view="New sweep")
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "0")
    at.button(key="start_sweep").click().run()  # a click can be forged
    assert "can be reached from other machines" in at.error[0].value
    assert at.button(key="start_sweep").disabled
    assert store.list() == []


def test_a_sweep_is_moved_and_cancelled_as_a_whole(store):
    first, second = (sweeps.start(store, SweepDefinition(name=n, seeds=[0, 1])) for n in ("one", "two"))
    at = opened("runs")
    at.button(key=f"first_{second.id}").click().run()
    assert [run.summary()["sweep"] for run in queue.waiting(store.root)] == [second.id] * 2 + [first.id] * 2
    at.button(key=f"cancel_{second.id}").click().run()
    assert second.summary()["states"] == {"cancelled": 2}
    at.button(key=f"resume_{second.id}").click().run()
    assert second.summary()["states"] == {"queued": 2}
    assert not at.exception


def test_a_sweep_whose_runs_were_all_asked_to_stop_is_not_asked_again(store):
    sweep = sweeps.start(store, SweepDefinition(seeds=[0, 1]))
    for run in sweep.runs():
        write_status(run.dir, replace(run.status(), state="running", pid=os.getpid(), detached=False))
    first, second = sweep.runs()
    first.cancel(wait=False)
    at = opened("runs")
    assert "2 running (1 asked to stop)" in texts(at)
    at.button(key=f"cancel_{sweep.id}").click().run()
    assert "2 running (2 asked to stop)" in texts(at) and second.summary()["asked_to_stop"]
    assert f"cancel_{sweep.id}" not in {button.key for button in at.button}


def test_a_comparison_over_seeds(store):
    runs = [made(store, 2.0 + k - (m == "uld"), method=m, seed=k) for k in range(3) for m in ("sft", "uld")]
    at = opened("runs", compare=",".join(run.id for run in runs))
    assert not at.exception
    table = at.table[0].value
    assert table["kind"].tolist() == ["ULD", "SFT"]
    assert table["chance"].tolist() == ["0.25", "–"]
    assert len(figures(at)["Training loss"]["data"]) == 4  # two lines, two bands
    at.segmented_control(key="compare_axis").set_value("tokens").run()
    assert figures(at)["Training loss"]["layout"]["xaxis"]["title"]["text"] == "learnt tokens"
    at.toggle(key="compare_mean").set_value(False).run()
    assert len(figures(at)["Training loss"]["data"]) == 6
    at.multiselect(key="filter_method").set_value(["uld"]).run()
    assert at.table[0].value["kind"].tolist() == ["ULD"]
    assert not at.exception
    assert at.dataframe[-1].value["prompt"].tolist() == ["2 + 2?"]


def test_a_run_can_be_taken_away(store):
    at = opened("runs", run=made(store, method="gold").id)
    assert not at.exception
    keys = [button.key for button in at.get("download_button")]
    assert {"run_html", "export_trl"} <= {key for key in keys if key} or len(keys) == 2
