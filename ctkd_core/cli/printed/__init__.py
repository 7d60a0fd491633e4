"""What each command prints with --json: the type of its document, by command and action.

The documents themselves are plain data, made where their figures are. `ctkd schema` shows these types, and the tests
check every document that they make a command print. Later versions may add keys, none goes or changes its type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ctkd_core.cli.printed.base import Removed
from ctkd_core.cli.printed.evidence import EvidenceDocument
from ctkd_core.cli.printed.machine import App, Preparation, Terms
from ctkd_core.cli.printed.methods import LossesOfText, LossRow, MethodRow
from ctkd_core.cli.printed.pairs import PairDocument, Projected, RankedDocument, ReportDocument, View
from ctkd_core.cli.printed.runs import (
    Archived,
    Evaluated,
    ExportedDocument,
    FileWritten,
    MetricsWritten,
    Queue,
    RunPlanned,
    RunRow,
    RunsCompared,
    RunShown,
    SweepPlanned,
    SweepRow,
    TeacherCache,
    Unarchived,
)
from ctkd_core.cli.printed.texts import Aligned, CatalogRow, ComparedDocument, TokenizerFacts
from ctkd_core.distill.checkup import Checkup

DOCUMENTS: dict[str, Any] = {
    "tokenizers": list[CatalogRow] | list[TokenizerFacts],
    "align": Aligned,
    "compare": ComparedDocument,
    "pair": PairDocument,
    "rank": RankedDocument,
    "evidence": EvidenceDocument,
    "report": ReportDocument,
    "view ls": list[View],
    "view rm": Removed,
    "view": View,
    "project": Projected,
    "methods": list[MethodRow] | MethodRow,
    "losses": list[LossRow] | LossesOfText,
    "distill": RunRow | RunPlanned,
    "cache-teacher": TeacherCache,
    "sweep ls": list[SweepRow],
    "sweep move": Queue,
    "sweep": SweepRow | SweepPlanned,
    "runs ls": list[RunRow],
    "runs queue": list[RunRow],
    "runs show": RunShown,
    "runs cancel": RunRow | list[RunRow],
    "runs compare": RunsCompared,
    "runs report": FileWritten,
    "runs export": MetricsWritten,
    "runs archive": Archived,
    "runs unarchive": Unarchived,
    "runs rm": Removed,
    "runs": RunRow,
    "evaluate": Evaluated,
    "export": ExportedDocument,
    "doctor": Checkup,
    "prepare": list[Preparation] | Terms,
    "schema": dict[str, Any],
    "app": App,
}


def document_of(words: Sequence[str]) -> Any:
    """The type of what the command that these words name prints: of its action, else of the command."""
    return DOCUMENTS.get(" ".join(words[:2])) or DOCUMENTS[words[0]]
