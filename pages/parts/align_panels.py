"""The picture on page Align, the card of the pinned group and the panel of health."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from ctkd_core import methods
from ctkd_core.alignment import Alignment
from ctkd_core.alignment.kinds import UNEQUAL, UNEQUAL_MEANING
from ctkd_core.alignment.metrics import Agreement
from ctkd_core.figures.card import CardSide, GroupCard, expected, group_card, next_difference, uncertainty
from ctkd_core.figures.chips import chip_page, page_of, page_starts
from ctkd_core.figures.tables import health_table
from ctkd_core.lab.evidence import Evidence
from ctkd_core.markup.glossary import explained
from ctkd_core.markup.numbers import percent
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import loaders, state
from pages.parts.align_pinning import jump, page_that_follows
from pages.parts.component import token_chips
from pages.parts.loaders import Chosen

SAME = {True: "same bytes on both sides", False: f"{UNEQUAL} {UNEQUAL_MEANING}", None: "one side only"}
# Up to here every method is computed for the card and the metrics; longer texts would take seconds.
EVERY_METHOD_CHARACTERS = 20_000


@dataclass(frozen=True)
class View:
    """What the page shows: method A's alignment, B's (None when they are the same), how they agree, the models."""

    a: Alignment
    b: Alignment | None
    found: Agreement | None
    student: Tokenizer
    teacher: Tokenizer
    evidence: Evidence | None = None

    @property
    def pinned(self) -> int | None:
        """The group of `a` that the URL pins; None for none or one that this alignment doesn't have."""
        group = state.pinned()
        return group if group is not None and group < len(self.a) else None

    @property
    def shown(self) -> list[Alignment]:
        """Method A and, where it is another one, B."""
        return [self.a] if self.b is None else [self.a, self.b]

    def every_method(self) -> dict[str, Alignment]:
        """A, B and, of a short text, all other methods as they are without options; by their names."""
        found = {one.label: one for one in self.shown}
        text = self.a.student.text
        if len(text) <= EVERY_METHOD_CHARACTERS:
            for row in methods.aligning():
                one = loaders.aligned(self.student, self.teacher, Chosen(row.name), text, self.evidence)
                found.setdefault(one.label, one)
        return found


def picture(view: View) -> None:
    """Tools above, so that they stay where they are, and the two rows of tokens."""
    a, b, found = view.a, view.b, view.found
    starts = page_starts(a)
    pinned = view.pinned
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        count = 0 if found is None else len(found.differing)
        st.button(
            f"Next disagreement ({count})" if count else "No disagreement",
            key="next_difference",
            icon=":material/arrow_forward:",
            on_click=lambda: jump(next_difference(found.differing, a, pinned)) if found is not None else None,
            disabled=not count,
            shortcut="Alt+N",
            help="Pin the next place where the two methods differ",
        )
        st.button("Unpin", key="unpin", icon=":material/close:", on_click=jump, args=(None,), disabled=pinned is None)
        ids = st.toggle("ids", key="ids", persist_state="session", help="Index and id under every token")
        ribbons = st.toggle(
            f"draw {(b or a).label}",
            key="draw_b",
            value=True,
            disabled=b is None,
            persist_state="session",
            help=None if b else "Choose another method under “compared with” to see where the two differ.",
        )
        opens = None if pinned is None else lambda: page_of(starts, pinned)
        page = page_that_follows("chip", len(starts), pinned, opens)
    data = chip_page(a, page, b if ribbons else None)
    token_chips(data | {"ids": ids}, pinned, jump, key="chips")
    if len(starts) > 1:
        st.caption(f"Groups {data['first']} to {data['last'] - 1} of {data['total']}; all of them are analysed.")


def health_panel(view: View) -> None:
    """The figures behind the verdict, of both methods."""
    with st.container(border=True, key="health"):
        meant = explained("group", "super-group", "boundary F1")
        st.markdown("**Health of the alignment**", help=meant)
        table = health_table(view.shown, [one.metrics() for one in view.shown])
        st.table(table, hide_index=True, border="horizontal", alt="Health of each method's alignment")


def card(view: View) -> None:
    """The pinned group: both sides, kind, what the models say, and which methods see it the same way."""
    a, group = view.a, view.pinned
    with st.container(border=True, key="group_card"):
        if group is None:
            st.caption("Click a group to pin it: its bytes, its kind and what other methods make of it appear here.")
            return
        shown = group_card(a, group, view.every_method().values())
        st.markdown(
            f"**Group {shown.group}** · {shown.name} ({shown.meaning}) · {SAME[shown.same_text]}",
            help=explained("group"),
        )
        left, right = st.columns(2, gap="medium")
        with left:
            _side("Teacher", shown.teacher, view, shown.group)
        with right:
            _side("Student", shown.student, view, shown.group)
        _opinions(shown)
        st.caption(f"{a.method} cannot see: {state.plain(methods.get(a.method).cannot_see)}")


def _opinions(shown: GroupCard) -> None:
    lines = []
    for verdict in shown.verdicts:
        icon = ":material/check:" if verdict.agrees else ":material/call_split:"
        lines.append(f"{icon} **{', '.join(verdict.methods)}**: {state.plain(verdict.sentence)}")
    st.markdown("  \n".join(lines) or "No other method was computed.")


def _side(title: str, side: CardSide, view: View, group: int) -> None:
    at = f"token {side.start}" if side.end - side.start == 1 else f"tokens {side.start} to {side.end - 1}"
    st.caption(f"{title}: {state.plain(side.tokenizer)}" + (f", {at}" if side.tokens else ""))
    if not side.tokens:
        st.markdown("*faces nothing*")
        return
    st.text(" │ ".join(side.tokens) + (f"  … {side.more} more" if side.more else ""))
    st.caption(f"ids {', '.join(map(str, side.ids))} · bytes {side.hex}")
    if view.evidence is not None:
        which = title.lower()
        nats = " │ ".join(f"{h:.2f}" for h in uncertainty(view.a, group, view.evidence, which))
        tokenizer = view.teacher if which == "teacher" else view.student
        likely = ", ".join(
            f"“{state.plain(text)}” {percent(p, 0)}"
            for text, p in expected(view.a, group, view.evidence, which, tokenizer)
        )
        st.caption(f"entropy {nats} nats · expects after it: {likely}")
