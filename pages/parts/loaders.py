"""Tokenizers and alignments for the pages, computed once and shared by all sessions (they are frozen)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from ctkd_core import doctor
from ctkd_core.alignment import Alignment, align
from ctkd_core.doctor import Problem
from ctkd_core.encoding import Tokenizer, load_tokenizer
from ctkd_core.errors import CtkdError
from ctkd_core.figures.curves import downsample_values
from ctkd_core.figures.tables import shown_groups
from ctkd_core.figures.words import gib
from pages.parts import state

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.distill.checks import Check
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.runs import Run, RunStore

SPARKLINE_POINTS = 40


def tokenizers() -> tuple[Tokenizer, Tokenizer]:
    """Student and teacher of the bar above. Raises TokenizerError."""
    with st.spinner("Loading tokenizers; a first conversion takes some seconds", show_time=True):
        student, teacher = state.pair()
        return load_tokenizer(student), load_tokenizer(teacher)


def aligned(student: Tokenizer, teacher: Tokenizer, method: str, text: str) -> Alignment:
    """The alignment by `method`, from the cache when it was asked for before."""
    return _aligned(student, teacher, method, text)[0]


# The tokenizers are part of the value: an entry keeps them alive, so an `id` can't come to mean another one.
@st.cache_resource(max_entries=24, show_spinner=False, hash_funcs={Tokenizer: id})
def _aligned(student: Tokenizer, teacher: Tokenizer, method: str, text: str) -> tuple[Alignment, Tokenizer, Tokenizer]:
    return align(text, student=student, teacher=teacher, method=method), student, teacher


def rates(student: Tokenizer, teacher: Tokenizer, method: str, text: str) -> dict[str, float]:
    """`Alignment.metrics()` of one method."""
    return _rates(aligned(student, teacher, method, text))[0]


@st.cache_resource(max_entries=24, show_spinner=False, hash_funcs={Alignment: id})
def _rates(alignment: Alignment) -> tuple[dict[str, float], Alignment]:
    return alignment.metrics(), alignment


def group_rows(a: Alignment, b: Alignment | None) -> pd.DataFrame:
    """`figures.tables.shown_groups`, kept: a long text has many groups."""
    return _group_rows(a, b)[0]


@st.cache_resource(max_entries=4, show_spinner=False, hash_funcs={Alignment: id})
def _group_rows(a: Alignment, b: Alignment | None) -> tuple[pd.DataFrame, Alignment, Alignment | None]:
    return shown_groups(a, b), a, b


def store() -> RunStore:
    """The run folders under CTKD_HOME."""
    from ctkd_core.distill.runs import RunStore

    return RunStore()


def run_summaries(most: int | None = None, archived: bool = False) -> list[dict[str, Any]]:
    """`Run.summary` of each run, newest first, with `losses` for a sparkline; unreadable folders are passed over."""
    rows = []
    for run in store().list(archived)[:most]:
        try:
            row = run.summary()
        except CtkdError:
            continue
        losses = [r["loss"] for r in metric_rows(run) if r.get("kind") == "train" and r.get("loss") is not None]
        rows.append(row | {"losses": downsample_values(losses, SPARKLINE_POINTS)})
    return rows


def metric_rows(run: Run) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl that count; only what was appended since the last call is read."""
    from ctkd_core.distill.records import current_rows

    tail = _tail(str(run.dir))
    with tail.lock:
        fresh, tail.offset = run.read_metrics(tail.offset)
        tail.rows.extend(fresh)
        return current_rows(tail.rows)


class _Tail:
    """What was read of one run's file, shared by all sessions."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.rows: list[dict[str, Any]] = []
        self.offset = 0
        self.lock = threading.Lock()


@st.cache_resource(max_entries=64, show_spinner=False)
def _tail(run_dir: str) -> _Tail:  # the name has no underscore: Streamlit would leave it out of the key
    return _Tail(run_dir)


def estimate(config: RunConfig) -> float | None:
    """Seconds that a run will take here."""
    from ctkd_core.distill.estimate import estimate_seconds

    return estimate_seconds(config)


def preflight_checks(config: RunConfig) -> list[Check]:
    """`distill.preflight`: what has to be true before a run starts."""
    from ctkd_core.distill import preflight

    return preflight(config)


@dataclass(frozen=True)
class MachineReport:
    """The check-up in lines of (label, value, whether it is fine), and what to mend."""

    lines: tuple[tuple[str, str, bool], ...]
    problems: tuple[Problem, ...]


@st.cache_resource(ttl=120, max_entries=1, show_spinner=False)
def machine_report() -> MachineReport:
    """What `ctkd doctor` finds, without starting torch."""
    problems: list[Problem] = []
    found, memory = doctor.device(False, problems), doctor.memory(problems)
    disk, assets = doctor.disk(problems), doctor.assets(problems)
    teacher = next(row for row in assets if row["kind"] == "teacher")
    ready = sum(1 for row in assets if row["kind"] == "tokenizer" and row["present"])
    total = sum(1 for row in assets if row["kind"] == "tokenizer")
    free, space = memory["available"], disk["free"]
    accelerators = ", ".join(found["accelerators"]) or "no accelerator; the presets run on the processor"
    says = {(True, True): "ready", (True, False): "there, converted at its first use"}
    lines = (
        ("Device", f"{found['usable_cpus']} CPU cores, {accelerators}", True),
        ("Memory", f"{gib(free)} free of {gib(memory['total'])}", free >= doctor.NEEDED_MEMORY),
        ("Disk", f"{gib(space)} free for runs", disk["writable"] and space >= doctor.NEEDED_DISK),
        ("Tokenizers", f"{ready} of {total} are installed", ready == total),
        (
            "Teacher",
            says.get((bool(teacher["present"]), bool(teacher["converted"])), "not installed"),
            bool(teacher["present"] and teacher["converted"]),
        ),
    )
    return MachineReport(lines, tuple(problems))
