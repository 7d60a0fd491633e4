"""Tokenizers and alignments for the pages, computed once and shared by all sessions (they are frozen)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from ctkd_core import methods
from ctkd_core.alignment import Alignment, align_encodings
from ctkd_core.distill import checkup as doctor
from ctkd_core.distill.checkup import Problem
from ctkd_core.errors import TokenizerError, short
from ctkd_core.figures.curves import downsample_values
from ctkd_core.figures.tables import shown_groups
from ctkd_core.figures.words import gib
from ctkd_core.lab import evidence as models
from ctkd_core.lab.evidence import Evidence
from ctkd_core.tokenizers.encoding import Encoding
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.sources import folders_unlisted
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import consent, state
from pages.parts.results import keeps

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ctkd_core.distill.checks import Check
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.estimate import Duration
    from ctkd_core.distill.runs import Run, RunStore
    from ctkd_core.distill.sweeps.definition import SweepDefinition
    from ctkd_core.distill.sweeps.sweep import Sweep

SPARKLINE_POINTS = 40


def tokenizers() -> tuple[Tokenizer, Tokenizer]:
    """Student and teacher of the bar above. Raises TokenizerError that names the fault of each."""
    found, faults = [], []
    if unasked := consent.missing(state.pair()):
        raise TokenizerError(f"the address names {', '.join(map(short, unasked))}, which nobody agreed to load.")
    with (
        folders_unlisted(),
        st.spinner("Loading tokenizers; a first conversion takes some seconds", show_time=True),
    ):
        for source in dict.fromkeys(state.pair()):
            try:
                found.append(load_tokenizer(source))
            except TokenizerError as fault:
                faults.append(str(fault))
    if faults:
        raise TokenizerError("  \n".join(faults))
    return found[0], found[-1]


@dataclass(frozen=True)
class Chosen:
    """A method as it is chosen on a page: its variant, and the alignment options that aren't at their default."""

    method: str
    variant: str = "clean"
    options: tuple[tuple[str, Any], ...] = ()


def aligned(
    student: Tokenizer, teacher: Tokenizer, chosen: Chosen, text: str, evidence: Evidence | None = None
) -> Alignment:
    """The alignment, from the cache when it was asked for before. `evidence` serves methods that weigh by it."""
    used = evidence if methods.get(chosen.method).aligner_inputs else None
    return _aligned(student, teacher, chosen, text, used)


@keeps
def _aligned(student: Tokenizer, teacher: Tokenizer, chosen: Chosen, text: str, evidence: Evidence | None) -> Alignment:
    return align_encodings(
        encoded(student, text),
        encoded(teacher, text),
        method=chosen.method,
        variant=chosen.variant,
        student_entropy=evidence and evidence.student_entropy,
        teacher_entropy=evidence and evidence.teacher_entropy,
        teacher_space_probability=evidence and evidence.teacher_space_probability,
        **dict(chosen.options),
    )


@keeps
def encoded(tokenizer: Tokenizer, text: str) -> Encoding:
    """The text under one tokenizer, once for all methods."""
    return tokenizer.encode_among_threads(text)


def evidence(text: str, student: Tokenizer, teacher: Tokenizer) -> Evidence | None:
    """What the models said of this text, None when they weren't asked."""
    if models.problem(text, teacher):
        return None
    file = models.job(text, student, teacher).folder / models.FILE
    try:
        stamp = file.stat().st_mtime_ns
    except OSError:
        return None
    return _evidence(str(file), stamp)


@keeps
def _evidence(file: str, stamp: int) -> Evidence | None:
    del stamp  # part of the key: a new file is read anew
    return models.read(Path(file))


def truth(student: Tokenizer, teacher: Tokenizer, text: str) -> Alignment:
    """The components of span overlap on bytes, which every method is measured against."""
    return aligned(student, teacher, Chosen("sedi"), text)  # its default compares bytes


@keeps
def logit_rates(alignment: Alignment, evidence: Evidence, student: Tokenizer, teacher: Tokenizer) -> dict[str, float]:
    """Metrics of one alignment that rest on the models' candidates, kept."""
    from ctkd_core.pair.logit_metrics import logit_metrics, sequence_match_rate

    candidates = evidence.teacher_top_ids, evidence.teacher_top_logprobs
    return logit_metrics(alignment, *candidates, student, teacher) | sequence_match_rate(alignment)


@keeps
def group_rows(a: Alignment, b: Alignment | None) -> pd.DataFrame:
    """`figures.tables.shown_groups`, kept: a long text has many groups."""
    return shown_groups(a, b)


def store() -> RunStore:
    """The run folders under CTKD_HOME."""
    from ctkd_core.distill.runs import RunStore

    return RunStore()


def run_summaries(most: int | None = None, archived: bool = False) -> list[dict[str, Any]]:
    """`Run.summary` of each run, newest first, with `losses` for a sparkline.

    Two small files are read for each, three where a sweep made it.
    """
    return [_summary(run) for run in store().list(archived)[:most]]


def opened_summaries(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The same of runs that files of views brought; `opened`: the word that names each in an address."""
    from ctkd_core.lab import opened_runs

    return [_summary(run) | {"opened": opened_runs.word_of(run)} for run in runs]


def _summary(run: Run) -> dict[str, Any]:
    row = run.summary(curve=True)
    return row | {"losses": downsample_values(row["losses"], SPARKLINE_POINTS)}


def metric_rows(run: Run) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl that count; only what was appended since the last call is read."""
    return metrics(run)[0]


def metrics(run: Run) -> tuple[list[dict[str, Any]], str]:
    """As `metric_rows`, and what in the file is no row, as a sentence."""
    from ctkd_core.distill.records import current_rows

    tail = _tail(str(run.dir))
    with tail.lock:
        fresh = run.metrics_part(tail.offset)
        tail.offset = fresh.end
        tail.rows.extend(fresh.rows)
        tail.damage = tail.damage or fresh.damage
        return current_rows(tail.rows), tail.damage


class _Tail:
    """What was read of one run's file, shared by all sessions."""

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self.rows: list[dict[str, Any]] = []
        self.offset = 0
        self.damage = ""
        self.lock = threading.Lock()


@keeps
def _tail(run_dir: str) -> _Tail:
    return _Tail(run_dir)


def estimate(config: RunConfig) -> Duration:
    """How long a run will take here."""
    from ctkd_core.distill.estimate import estimate as duration_of

    return duration_of(config)


def preflight_checks(config: RunConfig) -> list[Check]:
    """`distill.preflight`: what has to be true before a run starts, by what is known at once."""
    from ctkd_core.distill import preflight

    with folders_unlisted():
        return preflight(config, wait=False)


def start(config: RunConfig) -> Run:
    """Make a run and start it. Raises CtkdError, OSError."""
    runs = store()
    with folders_unlisted():
        return runs.launch(runs.create(config))


def start_sweep(definition: SweepDefinition) -> Sweep:
    """Make the runs of a sweep and queue them, once each kind of them has passed the pre-flight. Raises CtkdError."""
    from ctkd_core.distill.checks import require
    from ctkd_core.distill.sweeps import sweep as sweeps
    from ctkd_core.distill.sweeps.definition import kinds_of, plan

    runs, configs = store(), plan(definition)
    taken = sweeps.finished(runs, configs) if definition.reuse else {}
    with folders_unlisted():
        for config, *_ in kinds_of(sweeps.unmade(configs, taken)):
            require(config, runs.root)
        return sweeps.start(runs, definition)


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
    tokenizers = [row for row in assets if row["kind"] == "tokenizer" and not row.get("optional")]
    ready, total = sum(1 for row in tokenizers if row["present"]), len(tokenizers)
    free, space = memory["available"], disk["free"]
    accelerators = ", ".join(found["accelerators"]) or "no accelerator; the presets run on the processor"
    states = {(True, True): "ready", (True, False): "there, converted at its first use"}
    lines = (
        ("Device", f"{found['usable_cpus']} CPU cores, {accelerators}", True),
        ("Memory", f"{gib(free)} free of {gib(memory['total'])}", free >= doctor.NEEDED_MEMORY),
        ("Disk", f"{gib(space)} free for runs", disk["writable"] and space >= doctor.NEEDED_DISK),
        ("Tokenizers", f"{ready} of {total} are installed", ready == total),
        (
            "Teacher",
            states.get((bool(teacher["present"]), bool(teacher["converted"])), "not installed"),
            bool(teacher["present"] and teacher["converted"]),
        ),
    )
    return MachineReport(lines, tuple(problems))
