"""What commands print with --json has the type that is named for it; `Ctkd.json` compares in every other test, too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.cli import COMMANDS, module_of, printed
from ctkd_core.cli.printed import pairs, runs
from ctkd_core.distill.comparison.statistics import Difference, Estimate
from ctkd_core.distill.runs import RunStore
from ctkd_core.distill.sweeps.definition import SweepDefinition
from ctkd_core.distill.sweeps.sweep import start
from ctkd_core.errors import CtkdError
from ctkd_core.files import documents
from ctkd_core.lab.question import EXAMPLES
from ctkd_core.pair.advice import Advice
from ctkd_core.pair.evidence import Finding
from ctkd_core.pair.ranking import RankedPair
from tests.cli.test_main import Ctkd
from tests.distill.comparison.make import made

TEXT = ("--text", "In 2024, naïve 🤦")
EXAMPLE = ("--text", EXAMPLES["number"].text, "--context", EXAMPLES["number"].context)


def test_every_command_and_action_has_a_document() -> None:
    actions = set(COMMANDS)
    for command in COMMANDS:
        module = module_of(command)
        own = getattr(module, "ACTIONS", {})
        actions |= {f"{command} {action}" for action in own}
        for action in own or [""]:
            assert printed.document_of([command, action])
    assert set(printed.DOCUMENTS) <= actions


@pytest.mark.parametrize(
    "words",
    [
        ("tokenizers",),
        ("tokenizers", "smollm2"),
        ("align", *TEXT),
        ("align", "-m", "cdm", *TEXT),
        ("compare", *TEXT, "-m", "sedi", "-m", "uld"),
        ("rank", "deepseek", "smollm2", *TEXT),
        ("project", "-m", "exact", "--token", "#643", "--column", "2"),
        ("evidence",),
        ("evidence", "--part", "analyses", "--part", "experiments"),
        ("methods",),
        ("methods", "gold"),
        ("losses",),
        pytest.param(("losses", *EXAMPLE), marks=pytest.mark.real),
        ("doctor",),
        ("schema",),
        ("schema", "align"),
        ("sweep", "--methods", "sft,gold", "--seeds", "0,1", "--preset", "quick", "--dry-run"),
    ],
    ids=" ".join,
)
def test_a_command_prints_its_document(ctkd: Ctkd, words: tuple[str, ...]) -> None:
    found = ctkd.json(*words)
    assert found
    documents.fitting(printed.document_of(words), found, "it")


def test_commands_about_runs_print_their_documents(ctkd: Ctkd, tmp_path: Path) -> None:
    folder = ("--runs-dir", str(tmp_path / "runs"))
    store = RunStore(tmp_path / "runs")
    runs = [made(store, 2.0 + k, method=method).id for k, method in enumerate(("sft", "gold"))]
    made(store, 2.0).dir.joinpath("config.json").unlink()
    rows = ctkd.json("runs", "ls", *folder)
    assert {row["status"] for row in rows} == {"finished", "damaged"}
    ctkd.json("runs", "show", runs[0], *folder)
    assert "path" in ctkd.json("runs", "compare", *runs, "--out", str(tmp_path / "table.csv"), *folder)
    ctkd.json("runs", "report", *runs, "-o", str(tmp_path / "report.html"), *folder)
    ctkd.json("runs", "export", runs[0], "--out", str(tmp_path / "metrics.csv"), *folder)
    ctkd.json("export", runs[1], "--to", "trl", "-o", str(tmp_path / "trl"), "--no-student", *folder)
    ctkd.json("runs", "archive", runs[0], *folder)
    ctkd.json("runs", "unarchive", runs[0], *folder)
    ctkd.json("runs", "rm", runs[0], *folder)


def test_commands_about_sweeps_print_their_documents(
    ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctkd_core.distill.sweeps.queue.start_waiting", lambda root: [])
    store, folder = RunStore(tmp_path), ("--runs-dir", str(tmp_path))
    sweep = start(store, SweepDefinition(base={"steps": 2}, methods=["sft", "gold"]))
    assert ctkd.json("sweep", "ls", *folder)[0]["sweep_id"] == sweep.id
    assert len(ctkd.json("sweep", "show", sweep.id, *folder)["rows"]) == 2
    assert len(ctkd.json("runs", "queue", *folder)) == 2
    ctkd.json("sweep", "move", sweep.id, "last", *folder)
    assert len(ctkd.json("sweep", "cancel", sweep.id, *folder)["cancelled"]) == 2
    assert len(ctkd.json("sweep", "resume", sweep.id, *folder)["queued"]) == 2


def test_commands_about_views_print_their_documents(
    ctkd: Ctkd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    name = ctkd.json("view", "save", "align", "--sample", "numbers")["id"]
    assert [row["id"] for row in ctkd.json("view", "ls")] == [name]
    ctkd.json("view", "show", name)
    assert ctkd.json("view", "rm", name) == {"removed": [name]}


@pytest.mark.parametrize(
    ("document", "made_of"),
    [
        (pairs.FindingDocument, Finding),
        (pairs.AdviceDocument, Advice),
        (pairs.RankedPairDocument, RankedPair),
        (runs.EstimateDocument, Estimate),
        (runs.DifferenceDocument, Difference),
    ],
)
def test_a_document_names_every_field_of_what_it_is_made_of(document: Any, made_of: type) -> None:
    assert set(document.__annotations__) == {field.name for field in dataclasses.fields(made_of)}


def row() -> dict[str, Any]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return json.loads(json.dumps(made(RunStore(folder)).summary()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": "4"}, "'step'"),
        ({"status": "done"}, "'status'"),
        ({"metrics": {"loss_last": "low"}}, "loss_last"),
        ({"warnings": None}, "'warnings'"),
    ],
)
def test_another_type_would_be_seen(change: dict[str, Any], said: str) -> None:
    documents.fitting(printed.RunRow, row() | {"of a later version": 1}, "it")
    with pytest.raises(CtkdError, match=said):
        documents.fitting(printed.RunRow, row() | change, "it")
    with pytest.raises(CtkdError, match="lacks 'attempt'"):
        documents.fitting(printed.RunRow, {key: value for key, value in row().items() if key != "attempt"}, "it")
