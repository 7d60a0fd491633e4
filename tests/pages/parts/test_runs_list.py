"""The list of runs with those that files of views brought: shown when asked for, compared, never changed."""

from __future__ import annotations

import pytest

from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.lab import opened_runs
from ctkd_core.lab import saved_views as views
from tests.distill.comparison.make import made
from tests.homes import own_home
from tests.pages.app import opened, texts

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def theirs(tmp_path, monkeypatch) -> list[Run]:
    """Two runs from a file, in a home without runs of its own."""
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    here = own_home(tmp_path / "here", monkeypatch)
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "there"))
    runs = [made(RunStore(), 2.0 + k, method=m) for k, m in enumerate(("sft", "uld"))]
    data = views.export(views.make("runs", {"compare": ",".join(run.id for run in runs)}))
    monkeypatch.setenv("CTKD_HOME", str(here))
    return list(views.runs_in(views.open_file(data)[1]))


def test_they_are_there_where_no_run_is_and_only_when_asked_for(theirs):
    at = opened("runs")
    assert "No runs yet" in at.info[0].value and not len(at.dataframe[0].value)
    at.toggle(key="show_opened").set_value(True).run()
    assert not at.exception
    assert at.dataframe[0].value["status"].tolist() == ["✓ finished, opened"] * 2
    assert set(at.dataframe[0].value["id"]) == {run.id for run in theirs}


def test_a_comparison_of_both_marks_them(theirs):
    mine = [made(RunStore(), 3.0 - seed, method="sft", seed=seed) for seed in range(2)]
    at = opened("runs", compare=",".join(map(opened_runs.word_of, (*theirs, *mine))))
    assert not at.exception and not at.error
    assert "2 of these 4 runs, marked as opened" in texts(at)
    assert sorted(at.table[0].value["kind"]) == ["SFT", "SFT, opened", "ULD, opened"]
    rows = next(each.value for each in at.dataframe if "against the first" in each.value.columns)
    assert rows["status"].tolist() == ["✓ finished"] * 2 + ["✓ finished, opened"] * 2
    assert rows["run"].str.endswith(", opened").tolist() == [False, False, True, True]
    assert "*ctkd.RunStore().get_all(" in at.code[0].value
    at.multiselect(key="filter_from").set_value(["this machine"]).run()
    assert at.table[0].value["kind"].tolist() == ["SFT"] and not at.exception


def test_a_run_that_is_here_as_well_counts_once(theirs, tmp_path, monkeypatch):
    mine = made(RunStore(), 3.0)
    data = views.export(views.make("runs", {"run": mine.id}))
    copy = views.runs_in(views.open_file(data)[1])[0]
    at = opened("runs", compare=",".join(map(opened_runs.word_of, (mine, copy, theirs[0]))))
    assert not at.exception and not at.error
    assert any("is left out" in warning.value for warning in at.warning)
    assert sum(at.table[0].value["seeds"].astype(int)) == 2


def test_an_address_with_runs_that_are_not_here_is_a_sentence(theirs):
    made(RunStore())
    at = opened("runs", compare=f"0123456789abcdef:x,{opened_runs.word_of(theirs[0])}")
    assert "open the file again" in at.error[0].value and not at.exception
