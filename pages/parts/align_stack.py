"""The tab Methods on page Align: three methods or more under one text, with a lane of disagreements."""

from __future__ import annotations

import streamlit as st

from ctkd_core import methods
from ctkd_core.alignment import Alignment
from ctkd_core.figures.stack import (
    MOST_METHODS,
    page_of_token,
    stack_page,
    stack_sentence,
    stack_table,
    unit_pages,
)
from pages.parts import loaders
from pages.parts.align_panels import EVERY_METHOD_CHARACTERS, View
from pages.parts.align_pinning import group_table, jump, page_that_follows
from pages.parts.component import token_stack
from pages.parts.loaders import Chosen
from pages.parts.terms import small_print
from pages.parts.twin import folded

MORE = ("cdm", "gold", "mined", "sedi")  # stand beside the two of the bar until somebody chooses


def stack(view: View) -> None:
    """The tab."""
    chosen = _lanes(view)
    pages = unit_pages(chosen)
    count = len(pages) - 1
    pinned = view.pinned
    small_print(stack_sentence(chosen))
    opens = None if pinned is None else lambda: page_of_token(pages, int(view.a.groups[pinned, 0]))
    page = page_that_follows("stack", count, pinned, opens)
    data = stack_page(chosen, page)
    token_stack(data, pinned, jump, key="stack_lanes")
    notes = [f"{name} leaves {number:,} teacher tokens alone." for name, number in data["alone"].items()]
    if count > 1:
        notes.append(f"Student tokens {data['first']:,} to {data['last'] - 1:,} of {data['total']:,}.")
    if notes:
        small_print(" ".join(notes))
    with folded():
        group_table(stack_table(chosen), "stack_table", "Where methods disagree, and what each makes of it")


def _lanes(view: View) -> list[Alignment]:
    """The two methods of the bar, with their options, and those that are chosen here."""
    text = view.a.student.text
    if len(text) > EVERY_METHOD_CHARACTERS:
        small_print(f"Over {EVERY_METHOD_CHARACTERS:,} characters only the two methods of the bar are stacked.")
        return view.shown
    there = {one.method for one in view.shown}
    names = [row.name for row in methods.aligning() if row.name not in there]
    room = MOST_METHODS - len(view.shown)
    default = [name for name in MORE if name in names][: 4 - len(view.shown)]
    shown = st.pills(
        f"Beside {' and '.join(one.label for one in view.shown)}",
        names,
        selection_mode="multi",
        default=default,
        key="stacked",
        bind="query-params",
        help=f"Up to {room} more, each without options. "
        + "  \n".join(f"**{row.name}**: {row.idea}" for row in methods.aligning()),
    )
    if len(shown) > room:
        st.warning(f"Shown are the first {room} of {len(shown)} methods.", icon=":material/filter_list:")
    more = [
        loaders.aligned(view.student, view.teacher, Chosen(name), text, view.evidence) for name in list(shown)[:room]
    ]
    return [*view.shown, *more]
