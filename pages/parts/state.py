"""The state that a URL holds: pair, methods, text, group. The rest of the app reads it from here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

import streamlit as st

from ctkd_core import methods
from ctkd_core.errors import CtkdError, unknown
from ctkd_core.tokenizers.catalog import DEFAULT_PAIR, TOKENIZERS
from ctkd_core.tokenizers.sample_texts import TEXTS
from pages.parts import address, late_values

OWN = "own"
LINKED_PAIR = "pair"
LINKED_METHOD = "see"
DEFAULT_METHODS = {"method": "sedi", "against": "uld"}  # method A and the one it is compared with
TEXT_NAMES = (*TEXTS, OWN)
PAGES = {
    "start": "pages/start.py",
    "pair": "pages/pair.py",
    "rank": "pages/rank.py",
    "align": "pages/align.py",
    "vocabulary": "pages/vocabulary.py",
    "losses": "pages/losses.py",
    "evidence": "pages/evidence.py",
    "runs": "pages/runs.py",
}
ICONS = {
    "start": ":material/home:",
    "pair": ":material/join_inner:",
    "rank": ":material/leaderboard:",
    "align": ":material/compare_arrows:",
    "vocabulary": ":material/grid_on:",
    "losses": ":material/ssid_chart:",
    "evidence": ":material/science:",
    "runs": ":material/monitoring:",
}
MOST_TOLD = 8  # of the values of one parameter
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|<>$:~&])")


def plain(text: str) -> str:
    """`text` for a place that reads Markdown: nothing in it is markup."""
    return _MARKDOWN.sub(r"\\\1", text)


def show_error(fault: object) -> None:
    """Say what is wrong: an error, or a sentence."""
    st.error(plain(str(fault)), icon=":material/error:")


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """Turn a CtkdError into its sentence; the rest of the block is left out, the rest of the page goes on."""
    try:
        yield
    except CtkdError as fault:
        show_error(fault)


def pair() -> tuple[str, str]:
    """Sources of (student, teacher) tokenizer."""
    state = st.session_state
    return state.get("student") or DEFAULT_PAIR[0], state.get("teacher") or DEFAULT_PAIR[1]


def choose_pair(student: str, teacher: str) -> None:
    """Make these two the pair, as one step of the browser's history (before the bar is drawn: in callbacks)."""
    chosen = {"student": student, "teacher": teacher}
    defaults = dict(zip(chosen, DEFAULT_PAIR))
    for side, source in chosen.items():
        late_values.put(side, source)
    named = {side: None if source == defaults[side] else source for side, source in chosen.items()}
    address.change({LINKED_PAIR: None} | named)


def link_to_pair(teacher: str, student: str, **more: str) -> dict[str, str]:
    """Parameters of a link to another page that names a pair.

    On the way the browser overwrites `teacher` and `student` with what the bar holds, so the pair stands there twice.
    """
    return {"teacher": teacher, "student": student, LINKED_PAIR: f"{teacher},{student}"} | more


def take_linked_pair() -> None:
    """Make the pair of such a link the pair; before the bar is drawn."""
    teacher, comma, student = st.query_params.get(LINKED_PAIR, "").partition(",")
    if comma and teacher and student:
        choose_pair(student, teacher)


def link_to_method(name: str) -> dict[str, str]:
    """Parameters of a link to page Align that names method A: under its own name a bar would overwrite it, too."""
    return {LINKED_METHOD: name}


def take_linked_method() -> None:
    """Make the method of such a link method A, beside another one; before the bar is drawn."""
    name = st.query_params.get(LINKED_METHOD)
    if name is None:
        return
    if name in [row.name for row in methods.aligning()]:
        other = next(method for method in (method_names()[1], *DEFAULT_METHODS.values()) if method != name)
        chosen = {"method": name, "against": other}
        for key, value in chosen.items():
            late_values.put(key, value)
        named = {key: None if value == DEFAULT_METHODS[key] else value for key, value in chosen.items()}
    else:
        warn_of_unknown([str(unknown("method", name[:80], [row.name for row in methods.aligning()]))])
        named = {}
    address.change({LINKED_METHOD: None} | named)


def default_pair() -> None:
    """Go back to the catalog's pair (a callback)."""
    choose_pair(*DEFAULT_PAIR)


def swap_pair() -> None:
    """Exchange student and teacher (a callback)."""
    for side in ("student", "teacher"):
        late_values.put_back(side)
    student, teacher = pair()
    choose_pair(teacher, student)


def method_names() -> tuple[str, str]:
    """Method A and the method it is compared with."""
    a, b = (st.session_state.get(key) or default for key, default in DEFAULT_METHODS.items())
    return a, b


def is_number(word: str) -> bool:
    """Whether a word of the address is a whole number from 0 on; "²" is a digit, too, and none."""
    return word.isascii() and word.isdigit() and len(word) < 9


def pinned() -> int | None:
    """The group that every panel shows, None when none is pinned."""
    value = st.query_params.get("group", "")
    return int(value) if is_number(value) else None


def pin(group: int | None) -> None:
    """Pin a group, or none; the address bar keeps it."""
    if group is None:
        st.query_params.pop("group", None)
    else:
        st.query_params["group"] = str(group)


def drop_unknown_group(count: int) -> None:
    """Take a group out of the address that these `count` groups don't have, and say so."""
    asked = st.query_params.get("group")
    if asked is None or ((group := pinned()) is not None and group < count):
        return
    pin(None)
    there = f"this text has {count:,}, counted from 0" if count else "this text has none"
    st.warning(f"The address names group {plain(asked[:40])}; {there}. None is pinned.", icon=":material/link_off:")


def tell_unknown(known: Mapping[str, tuple[str, Collection[str]]]) -> None:
    """Say which values of the address aren't known. Call this before the widgets, which drop them silently.

    known: for each parameter what it names ("sample text"), and the values that there are.
    """
    warn_of_unknown(
        str(unknown(what, asked[:80], names))
        for key, (what, names) in known.items()
        for asked in list(dict.fromkeys(st.query_params.get_all(key)))[:MOST_TOLD]
        if asked and asked not in names
    )


def warn_of_unknown(problems: Iterable[str]) -> None:
    """Say which names of the address were passed over."""
    for problem in problems:
        st.warning(f"The address names something unknown: {plain(problem)}", icon=":material/link_off:")


def sources(current: str) -> list[str]:
    """Choices of a tokenizer field: the catalog, and what is chosen now."""
    names = list(TOKENIZERS)
    return names if current in names else [*names, current]
