"""What page Rank shows: pairs measured one after the other, the heat map, the table with links, the files."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import streamlit as st

from ctkd_core.figures.pair_ranking import FIGURES, LABEL, ranking_figure, ranking_sentence, ranking_table, share_names
from ctkd_core.figures.tables import safe_csv
from ctkd_core.figures.words import progress
from ctkd_core.files import to_json
from ctkd_core.methods.options import option_words
from ctkd_core.pair.corpora.counting import Text
from ctkd_core.pair.ranking import RankedPair, names_of, ordered, pairs_of, rank_pair
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import state
from pages.parts.downloads import download
from pages.parts.job import QUICK_SECONDS
from pages.parts.plots import plot
from pages.parts.rank_choice import STUDENTS, TEACHERS, Choice
from pages.parts.results import keeps
from pages.parts.selections import clicked

NAME_PIXELS, CHARACTER_PIXELS = 20, 8  # of a column of names: around them, and for each character
Row = tuple[RankedPair, tuple[str, str]]  # with the sources of student and teacher


@keeps
def _ranked(
    student: Tokenizer, teacher: Tokenizer, names: tuple[str, str], texts: tuple[Text, ...] | None
) -> RankedPair:
    return rank_pair(student, teacher, texts, names)


def measured(chosen: Choice) -> list[Row]:
    """The pairs in order, as far as they are measured; "Stop" ends it, and what was measured is shown.

    Raises CtkdError for too few tokenizers, and for a pair that can't be measured.
    """
    known = chosen.tokenizers
    fixed = {"student": known.get(chosen.pair[0])} if chosen.side == TEACHERS else {}
    fixed |= {"teacher": known.get(chosen.pair[1])} if chosen.side == STUDENTS else {}
    pairs = pairs_of(list(dict.fromkeys(known.values())), **fixed)
    names = names_of([side for pair in pairs for side in pair])
    source_of = {id(tokenizer): source for source, tokenizer in known.items()}
    asked = tuple(source_of), chosen.side, chosen.texts
    if st.session_state.get("rank_asked") != asked:
        st.session_state["rank_asked"] = asked
        st.session_state.pop("rank_stopped", None)
    stopped = st.session_state.get("rank_stopped", False)
    found: dict[tuple[int, int], Row] = {}
    place, began = st.empty(), time.monotonic()
    for number, (student, teacher) in enumerate(pairs):
        called = names[id(student)], names[id(teacher)]
        if stopped and number >= st.session_state.get("rank_done", 0):
            break
        if time.monotonic() - began >= QUICK_SECONDS:
            with place.container(horizontal=True, vertical_alignment="center"):
                with st.container(width="stretch"):
                    said = f"Measuring {called[0]} with {called[1]} ({number} of {len(pairs)} are done)"
                    st.progress(progress(number, len(pairs)), state.plain(said))
                st.button("Stop", key=f"rank_stop_{number}", icon=":material/stop:", on_click=_stop)
        sources = source_of[id(student)], source_of[id(teacher)]
        found[id(student), id(teacher)] = _ranked(student, teacher, called, chosen.texts), sources
        if not stopped:
            st.session_state["rank_done"] = number + 1
    place.empty()
    if len(found) < len(pairs):
        with place.container(horizontal=True, vertical_alignment="center"):
            st.info(f"Stopped: {len(found)} of {len(pairs)} pairs are measured.", icon=":material/pause:")
            st.button("Go on", key="rank_on", icon=":material/play_arrow:", on_click=_go_on)
    sources_of = {id(row): sources for row, sources in found.values()}
    return [(row, sources_of[id(row)]) for row in ordered((row for row, _ in found.values()), chosen.by)]


def _stop() -> None:
    st.session_state["rank_stopped"] = True


def _go_on() -> None:
    st.session_state["rank_stopped"] = False


def overview(rows: list[Row], chosen: Choice) -> None:
    """The heat map; a click on a cell makes it the pair. Beside it the first pair, with the ways on."""
    ranked = [row for row, _ in rows]
    sources = {(row.student, row.teacher): pair for row, pair in rows}
    current = next((names for names, pair in sources.items() if pair == chosen.pair), None)

    def selected() -> None:
        if points := clicked("rank_map"):
            student_name, teacher_name = map(str, points[0][:2])
            if (pair := sources.get((student_name, teacher_name))) is not None:
                state.choose_pair(*pair)

    left, right = st.columns([7, 4], gap="medium")
    with left:
        plot(
            lambda: ranking_figure(ranked, chosen.by, current),
            key="rank_map",
            on_select=selected,
            selection_mode="points",
            alt=f"{FIGURES[chosen.by].name} of {len(rows)} pairs. {ranking_sentence(ranked, chosen.by)}",
        )
        st.caption(f"{FIGURES[chosen.by].meaning} Click a cell to make it the pair above.")
    with right, st.container(border=True, key="rank_best"):
        best, (student, teacher) = rows[0]
        st.markdown(f"**{state.plain(ranking_sentence(ranked, chosen.by))}**")
        advised = ", ".join([best.method, *option_words(best.options)])
        tried = f"; {best.confidence}" if best.confidence else ""
        st.markdown(state.plain(f"Train with {advised} (verdict {best.numbers}{tried})."))
        st.page_link(
            state.PAGES["pair"],
            label="Open this pair",
            icon=":material/join_inner:",
            query_params=state.link_to_pair(teacher, student),
        )


def table(rows: list[Row], chosen: Choice) -> None:
    """All figures of all pairs; columns sort, and each row links to page Pair."""
    shown = ranking_table([row for row, _ in rows])
    shown.insert(2, "open", [f"./pair?{urlencode({'teacher': t, 'student': s})}" for _, (s, t) in rows])
    first = ["student", "teacher", "open", FIGURES[chosen.by].name, "train with", "evidence"]  # what decides, in sight
    percents = {name: st.column_config.NumberColumn(format="percent") for name in share_names()}
    # A browser leaves columns as wide as the first rows made them, and cuts the longer names of another side.
    names = {
        side: st.column_config.TextColumn(width=NAME_PIXELS + CHARACTER_PIXELS * min(LABEL, max(map(len, shown[side]))))
        for side in ("student", "teacher")
    }
    st.dataframe(
        shown,
        key="rank_table",
        hide_index=True,
        column_order=list(dict.fromkeys([*first, *shown.columns])),
        alt=f"Every figure of every pair. {ranking_sentence([row for row, _ in rows], chosen.by)}",
        column_config={"open": st.column_config.LinkColumn(display_text="open", width="small")} | names | percents,
    )
    skipped = [row for row, _ in rows if row.skipped]
    if skipped:
        st.caption(f"Of {len(skipped)} pairs some texts weren't measured; the table says why.")


def export(rows: list[Row], chosen: Choice) -> None:
    """The ranking as files."""
    ranked = [row for row, _ in rows]
    sample = {} if chosen.corpus is None else {"sample": chosen.corpus.sample.to_dict()}
    with st.container(horizontal=True, key="rank_export"):
        download(
            "As CSV",
            lambda: safe_csv(ranking_table(ranked)),
            "ranking.csv",
            "text/csv",
            "rank_csv",
        )
        download(
            "As JSON",
            lambda: to_json(sample | {"pairs": [row.to_dict() for row in ranked]}),
            "ranking.json",
            "application/json",
            "rank_json",
        )
