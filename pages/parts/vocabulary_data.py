"""Maps and what is derived from them, computed once and shared by all sessions; and what the address says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import MAPS, Projection
from ctkd_core.vocabulary.density import ORDERS, WEIGHTS, Density, Window, density, order_of
from ctkd_core.vocabulary.store import cached, cached_project, load
from pages.parts import late_values, state
from pages.parts.results import keeps, keeps_few

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.figures.vocabulary_tokens import Opening
    from ctkd_core.pair.advice import Advice

DEFAULT_MAP = "pieces"
ALL = "all samples"
# What the address may say, and what each of it names.
CHOICES = {"map": ("vocabulary map", tuple(MAPS)), "order": ("order of tokens", ORDERS), "cells": ("weight", WEIGHTS)}


def keep_window_inside(shape: tuple[int, int]) -> None:
    """Move a window of the address that lies outside of a map of this shape, or isn't one, and say so."""
    asked, found = st.query_params.get("window"), window()
    if not asked:
        return
    kept = None if found is None else found.clamped(*shape)
    if found is None or kept != found:
        set_window(kept)
        where = "the four numbers of one" if found is None else f"one inside the map's {shape[0]:,} by {shape[1]:,} ids"
        then = "it follows the token" if kept is None else "it was moved"
        st.warning(f"The window in the address isn't {where}; {then}.", icon=":material/link_off:")


def window() -> Window | None:
    """The window of the address ("row,rows,column,columns"); None without a readable one."""
    parts = st.query_params.get("window", "").split(",")
    if len(parts) != 4 or not all(map(state.is_number, parts)):
        return None
    return Window(*map(int, parts))


def set_window(found: Window | None) -> None:
    """Keep a window in the address, or none: then it follows the looked-up token."""
    if found is None:
        st.query_params.pop("window", None)
    else:
        st.query_params["window"] = f"{found.row},{found.row_count},{found.column},{found.column_count}"


def options(method: str, variant: str) -> dict[str, str]:
    """Options of this map and variant that the address gives ("pieces,clean,top_k=8")."""
    head, _, rest = st.query_params.get("options", "").partition(f"{method},{variant},")
    return dict(part.split("=", 1) for part in rest.split(",") if "=" in part) if not head else {}


def set_options(method: str, variant: str, changed: dict[str, Any]) -> None:
    """Keep the options that aren't the preset's in the address."""
    if changed:
        st.query_params["options"] = ",".join([method, variant, *(f"{k}={v}" for k, v in changed.items())])
    else:
        st.query_params.pop("options", None)


def open_panel(name: str) -> None:
    """Open a tab (a callback). The tabs aren't bound to the address: then the old name would stay in it."""
    late_values.put("panel", name)
    st.query_params["panel"] = name


def quick_map(student: Tokenizer, teacher: Tokenizer, method: str, options: dict[str, Any]) -> Projection:
    """A map that takes a fraction of a second, built while one waits. Raises ProjectionError."""
    with st.spinner("Building the map"):
        return _quick(student, teacher, method, tuple(sorted(options.items())))


@keeps_few
def _quick(student: Tokenizer, teacher: Tokenizer, method: str, options: tuple[tuple[str, Any], ...]) -> Projection:
    return cached_project(student, teacher, method, **dict(options))


def stored_map(student: Tokenizer, teacher: Tokenizer, method: str, options: dict[str, Any]) -> Projection | None:
    """The map if the cache on disk has it. Raises ProjectionError for a damaged one."""
    folder = cached(student, teacher, method, **options)
    if folder is None:
        return None
    with st.spinner("Reading the map"):
        return _stored(student, teacher, str(folder), folder.stat().st_mtime_ns)


@keeps_few
def _stored(student: Tokenizer, teacher: Tokenizer, folder: str, changed: int) -> Projection:
    del changed  # part of the key: a map that was built again is read again
    return load(folder, student, teacher)


class Held:
    """A projection as the argument of a fragment: compared by identity, never copied or hashed by its arrays."""

    def __init__(self, projection: Projection) -> None:
        self.map = projection


def hold(projection: Projection) -> Held:
    """Wrap a map for a fragment."""
    return Held(projection)


@keeps
def binned(projection: Projection, order: str, weight: str) -> Density:
    """The density of a map, both sides in the same order."""
    rows, columns = order_of(projection.student, order), order_of(projection.teacher, order)
    return density(projection, rows, columns, weight)


def lost(projection: Projection, domain: str) -> pd.DataFrame:
    """`lost_table` with the occurrences in one domain of the bundled samples, or in all of them."""
    with st.spinner("Listing what is lost"):
        return _lost(projection, domain)


@keeps
def _lost(projection: Projection, domain: str) -> pd.DataFrame:
    from ctkd_core.figures.vocabulary_tokens import lost_table, token_counts
    from ctkd_core.pair.corpus import DOMAINS

    texts = [text for name, samples in DOMAINS.items() if domain in (ALL, name) for text in samples]
    return lost_table(projection, token_counts(projection.student, texts))


def domains() -> list[str]:
    """Names of the bundled samples, all of them first."""
    from ctkd_core.pair.corpus import DOMAINS

    return [ALL, *DOMAINS]


@keeps
def advice(student: Tokenizer, teacher: Tokenizer) -> Advice:
    """P-KL or H-KL for a pair, from its vocabularies alone."""
    from ctkd_core.pair.advice import advise
    from ctkd_core.pair.report import vocabulary_facts

    facts = vocabulary_facts(student, teacher)
    shares = {way: share["smaller"] for way, share in facts["shares"].items()}
    same = student.fingerprint == teacher.fingerprint
    return advise(facts | {"overlap": shares, "same_tokenizer": same})


@keeps_few
def opening(projection: Projection, wanted: str) -> Opening | None:
    """What the page begins with."""
    from ctkd_core.figures.vocabulary_tokens import opening as first

    return first(projection, wanted)
