"""What page Pair shows, computed once and shared by all sessions; and what the address says of it."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from ctkd_core.figures.pair_domains import MEASURES
from ctkd_core.figures.pair_slices import RATES
from ctkd_core.pair.report import PairReport, pair_report
from ctkd_core.tokenizers.assets import is_installed
from ctkd_core.tokenizers.catalog import TOKENIZERS
from ctkd_core.tokenizers.chat_templates import Rendered, render
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary.overlap import WAYS, Overlap, overlap
from pages.parts.results import keeps

TRUTH = "sedi"  # the advice rests on byte-exact groups, whatever method the bar above names
# What the address may say, and what each of it names.
CHOICES = {"measure": ("measure", tuple(MEASURES)), "slice_rate": ("rate", tuple(RATES))}


@keeps
def report(student: Tokenizer, teacher: Tokenizer) -> PairReport:
    """`pair_report` over the bundled samples, aligned on bytes. Raises CtkdError."""
    return pair_report(student, teacher, method=TRUTH)


@keeps
def shared(student: Tokenizer, teacher: Tokenizer) -> Overlap:
    """What the vocabularies share, counted three ways."""
    return overlap(student, teacher)


def domains(student: Tokenizer, teacher: Tokenizer, method: str) -> dict[str, dict[str, Any]]:
    """`corpus.measure_domains` of the bundled samples by a method. Raises CtkdError."""
    with st.spinner("Measuring the bundled samples"):
        return _domains(student, teacher, method)


@keeps
def _domains(student: Tokenizer, teacher: Tokenizer, method: str) -> dict[str, dict[str, Any]]:
    from ctkd_core.pair.corpus import measure_domains

    return measure_domains(student, teacher, method=method)


def rendered(tokenizer: Tokenizer, messages: list[dict[str, str]]) -> Rendered:
    """A conversation through the tokenizer's template, in a child process."""
    with st.spinner("Filling in the chat templates"):
        return _rendered(tokenizer, json.dumps(messages))


@keeps
def _rendered(tokenizer: Tokenizer, messages: str) -> Rendered:
    return render(tokenizer, json.loads(messages))


def offline_names() -> list[str]:
    """Tokenizers of the catalog that are installed."""
    return [name for name, row in TOKENIZERS.items() if is_installed(row)]


@keeps
def shares(student: str, teacher: str) -> dict[str, float]:
    """Of two catalog tokenizers, for each way of counting: share of the student's tokens that the teacher has."""
    one, other = sorted((student, teacher))  # counted once for both directions
    found = overlap(load_tokenizer(one), load_tokenizer(other)).shares
    return {way: found[way].student if one == student else found[way].teacher for way in WAYS}
