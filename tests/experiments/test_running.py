"""Running what is missing: resumed where it was stopped, failed runs left out, analyses; no model is loaded."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ctkd_core.distill.config import RunConfig
from ctkd_core.errors import RunError
from ctkd_core.methods.evidence import store
from experiments import __main__, definition, digest, passes, results, running
from experiments.analyses import readme
from tests.experiments import made

Said = list[str]


class Pretended:
    """`distill` without training: every run ends with a value of its seed; some fail."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran, self.failing, self.states = folder, [], set(), {}
        self.figure = 1.5
        (folder / "env.json").write_text('{"revision": "abc", "device": "cpu"}', encoding="utf-8")

    def __call__(self, config: RunConfig, _store: Any) -> Any:
        if config.name in self.failing:
            raise RunError("no memory is left.")
        self.ran.append(config.name)
        rows = [
            {"kind": "eval", "step": 0, "bits_per_byte": 2.0, "teacher_bits_per_byte": 1.0},
            {"kind": "train", "step": 1, "loss": 3.0, "seconds": 0.5},
            {"kind": "eval", "step": 1, "bits_per_byte": self.figure + config.seed / 10},
        ]
        state = self.states.get(config.name, "finished")
        return SimpleNamespace(
            id=f"run{len(self.ran)}",
            dir=self.folder,
            metric_rows=lambda: iter(rows),
            status=lambda: SimpleNamespace(state=state),
        )


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    found = Pretended(tmp_path)
    monkeypatch.setattr(running, "distill", found)
    monkeypatch.setattr(digest, "write", lambda: store.PATH)
    return found


def test_every_run_is_kept_and_none_is_run_twice(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, said = made.experiment(tmp_path, monkeypatch), Said()
    assert running.run(found, only=["few"], seeds=[0], report=said.append) == 3
    assert pretended.ran == ["few sft 0", "few alm 0", "few gold-warm 0"]
    assert running.run(found, report=said.append) == 6
    assert running.run(found, report=said.append) == 0
    assert len(pretended.ran) == 9
    record = results.read(found)[definition.plan(found)[0].key]
    assert record["figures"]["bits_per_byte"] == 1.5
    assert record["curve"][1] == {"step": 1, "training_seconds": 0.5, "bits_per_byte": 1.5}
    assert record["teacher"] == {"teacher_bits_per_byte": 1.0}
    assert "/" not in record["config"]["data"]
    assert record["held_out_bytes"] == sum(record["held_out_bytes_by_domain"].values())
    kept = json.loads((found.folder / "results.json").read_text(encoding="utf-8"))["runs"]
    assert [run["seed"] for run in kept] == sorted(run["seed"] for run in kept)


def test_what_another_experiment_ran_is_taken_from_there(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, said = made.experiment(tmp_path, monkeypatch), Said()
    running.run(first, seeds=[0], report=lambda _: None)
    pretended.ran.clear()
    # The same runs under other names, read by another figure, and one that the first doesn't have.
    yaml = (
        made.YAML.replace("name: few", "name: again")
        .replace("n: few", "n: again")
        .replace("  alm: {}", "  warm: {method: alm, learning_rate: 0.5}")
    )
    yaml = yaml.replace("  gold-warm:", "  other:").replace("better: alm", "better: warm")
    second = made.experiment(tmp_path, monkeypatch, yaml, "second")
    assert running.run(second, seeds=[0], report=said.append) == 3
    assert pretended.ran == ["again warm 0"]
    assert "2 of 3 missing runs" in said[0]
    kept = {record["label"]: record for record in results.read(second).values()}
    assert set(kept) == {"sft", "warm", "other"}
    assert {record["condition"] for record in kept.values()} == {"again"}
    assert kept["other"]["run"] == "run3"
    found = digest.build([second]).experiments[0].conditions[0]
    assert {tried.label: len(tried.runs) for tried in found.methods} == {"sft": 1, "warm": 1, "other": 1}
    assert running.run(second, seeds=[0], report=said.append) == 0

    # What is run again there is new here; what isn't there any more is missing here.
    pretended.figure = 1.25
    running.run(first, seeds=[0], again=True, report=lambda _: None)
    values = {r["label"]: r["figures"]["bits_per_byte"] for r in results.read(second).values()}
    assert values == {"sft": 1.25, "warm": 1.5, "other": 1.25}
    third = made.experiment(tmp_path, monkeypatch, yaml, "third")
    assert {r["of"] for r in results.of_others(third, definition.plan(third), said.append).values()} == {
        first.name,
        second.name,
    }, "whose run it is, not who refers to it"
    whole = results.read(first)
    lost = [record for record in whole.values() if record["label"] != "sft"]
    made.write(first, lost)
    assert {record["label"] for record in results.read(second).values()} == {"warm", "other"}
    assert [planned.label for planned in running.missing(second, seeds=[0])] == ["sft"]
    results.write(second, results.read(second))
    made.write(first, list(whole.values()))
    assert {r["label"] for r in results.read(second).values()} == {"sft", "warm", "other"}, "what came back is there"
    changed = [record | {"content": {"bundled": "another"}} for record in whole.values()]
    made.write(first, changed)
    assert results.of_others(third, definition.plan(third), said.append).keys() == {
        key for key, record in results.read(second).items() if record["label"] == "warm"
    }, "what was run on other text isn't taken"
    assert {r["content"]["bundled"] for r in results.read(second).values() if "of" in r} == {"another"}
    assert running.run(second, seeds=[0], again=True, report=lambda _: None) == 3
    assert not any("of" in record for record in results.read(second).values())


def test_again_runs_all_and_says_both(pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = made.experiment(tmp_path, monkeypatch), Said()
    running.run(found, seeds=[0], report=lambda _: None)
    assert running.run(found, seeds=[0], again=True, report=said.append) == 3
    assert "(the result kept before: bits per byte 1.5000)" in said[1]


def test_a_stopped_pass_goes_on_and_a_complete_one_begins_anew(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    running.run(found, report=lambda _: None)

    def age(*times: str) -> None:
        """The records finished at these times, in the order of the plan; those without one at the last of them."""
        kept = results.read(found)
        for number, planned in enumerate(definition.plan(found)):
            kept[planned.key] |= {"finished": times[min(number, len(times) - 1)]}
        results.write(found, kept)

    age("2026-01-01T00:00:00Z")
    pretended.states = {"few gold-warm 0": "cancelled"}
    assert running.run(found, again=True, report=lambda _: None) == 2
    (begun,) = json.loads(passes.path_of(found).read_text(encoding="utf-8")).values()
    age("2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    pretended.states, pretended.ran = {}, []
    assert running.run(found, seeds=[1], again=True, report=lambda _: None) == 3, "another choice is a pass of its own"
    pretended.ran = []
    age("2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    assert running.run(found, again=True, report=lambda _: None) == 7
    assert "few sft 0" not in pretended.ran and "few gold-warm 0" in pretended.ran
    assert not passes.path_of(found).exists()
    assert begun > "2026-01-01T00:00:00Z"
    age("2026-01-01T00:00:00Z")
    assert running.run(found, again=True, report=lambda _: None) == 9


def test_times_of_passes_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    for text in ("[", "[]", '{"a": 1}'):
        passes.path_of(found).write_text(text, encoding="utf-8")
        with pytest.raises(definition.ExperimentError, match="Remove it; the pass then begins anew"):
            passes.begun(found)


def test_what_another_process_wrote_meanwhile_is_kept(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads stand for two processes: each record is written while the other one wants to."""
    found, write = made.experiment(tmp_path, monkeypatch), results.write

    def slowly(experiment: Any, records: Any) -> None:
        time.sleep(0.02)  # between reading and writing, where another one's record would get lost
        write(experiment, records)

    monkeypatch.setattr(results, "write", slowly)
    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(lambda seed: running.run(found, seeds=[seed], report=lambda _: None), (0, 1, 2)))
    assert counts == [3, 3, 3]
    assert len(results.read(found)) == 9


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"only": ["fw"]}, "unknown condition 'fw'; did you mean 'few'"), ({"seeds": [1, 7]}, "no seed 7; .* 0, 1, 2")],
)
def test_an_unknown_condition_or_seed_is_refused(
    asked: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made.experiment(tmp_path, monkeypatch)
    running.check([found], only=["few"], seeds=[0, 2])
    with pytest.raises(definition.ExperimentError, match=said):
        running.check([found], **asked)


def test_the_command_fails_where_a_run_failed(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.experiment(tmp_path, monkeypatch)
    pretended.failing = {"few alm 0"}
    assert __main__.main(["run", "made", "--seeds", "0"]) == 1
    captured = capsys.readouterr()
    assert "made: 2 results more now." in captured.out
    assert captured.err.endswith("error: few alm 0: no memory is left.\n")
    assert __main__.main(["run", "made", "--only", "many"]) == 1
    assert "unknown condition 'many'" in capsys.readouterr().err


def test_a_failed_run_is_said_and_left_out(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, said = made.experiment(tmp_path, monkeypatch), Said()
    pretended.failing = {"few alm 0"}
    assert running.run(found, seeds=[0], report=said.append) == 2
    assert any("no memory is left" in text for text in said)
    assert [planned.label for planned in running.missing(found, seeds=[0])] == ["alm"]


def test_a_cancelled_run_stops_the_rest(pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = made.experiment(tmp_path, monkeypatch), Said()
    pretended.states = {"few alm 0": "cancelled"}
    assert running.run(found, report=said.append) == 1
    assert "cancelled; stopped" in said[-1]


def test_the_budget_begins_no_run_later(pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, said = made.experiment(tmp_path, monkeypatch), Said()
    assert running.run(found, budget=-1.0, report=said.append) == 0
    assert said == ["made: 9 runs are left; the same command goes on."]


ANALYSIS = "title: a\nquestion: b\nminutes: 1\nsmall: true\nanalysis: looking\n"
FOUND = {"tables": [{"title": "T", "columns": ["x"], "rows": [[1]]}], "claims": [], "environment": {}}


def test_an_analysis_is_run_once(pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = made.experiment(tmp_path, monkeypatch, ANALYSIS), []

    def run(experiment: Any, report: Any) -> Any:
        calls.append(experiment.name)
        return FOUND

    monkeypatch.setitem(sys.modules, "experiments.analyses", SimpleNamespace(__path__=[]))
    monkeypatch.setitem(sys.modules, "experiments.analyses.looking", SimpleNamespace(run=run))
    assert [running.run(found, report=lambda _: None) for _ in range(2)] == [1, 0]
    assert running.run(found, again=True, report=lambda _: None) == 1
    assert len(calls) == 2
    assert results.read_analysis(found).tables[0].rows == [[1]]
    FOUND_BAD = {"tables": "none"}
    monkeypatch.setitem(
        sys.modules, "experiments.analyses.looking", SimpleNamespace(run=lambda experiment, report: FOUND_BAD)
    )
    with pytest.raises(definition.ExperimentError, match="what looking gives"):
        running.run(found, again=True, report=lambda _: None)


def test_an_analysis_is_told_of_again_and_writes_its_readme(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, calls = made.experiment(tmp_path, monkeypatch, ANALYSIS), []

    def run(experiment: Any, report: Any, again: bool = False) -> Any:
        calls.append(again)
        return FOUND

    monkeypatch.setitem(sys.modules, "experiments.analyses.looking", SimpleNamespace(run=run))
    path = found.folder / "README.md"
    path.write_text(f"# Asked\n{readme.BEGIN}{readme.END}\n", encoding="utf-8")
    for again in (False, True):
        running.run(found, again=again, report=lambda _: None)
    assert calls == [False, True]
    assert "### T" in path.read_text(encoding="utf-8")


def test_an_analysis_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made.experiment(tmp_path, monkeypatch, ANALYSIS.replace("looking", "nowhere"))
    with pytest.raises(definition.ExperimentError, match="there is no analysis 'nowhere'"):
        running.run(found, report=lambda _: None)


def test_the_command_line(
    pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made.experiment(tmp_path, monkeypatch, made.YAML.replace("minutes: 3", "minutes: 3\nsmall: true"))
    assert __main__.main(["run", "--seeds", "0"]) == 0
    assert "made: 3 results more now." in capsys.readouterr().out
    assert __main__.main(["list"]) == 0
    assert "3 runs done, 3 minutes in all, small" in capsys.readouterr().out
    assert __main__.main(["run", "nothing"]) == 1
    assert "there is no experiment 'nothing'" in capsys.readouterr().err
