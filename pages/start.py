"""Start: what this is, three pairs that work offline, recent runs, and whether this machine is ready."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.methods.evidence import load
from ctkd_core.pair.evidence import tried_before
from ctkd_core.tokenizers.assets import is_installed
from ctkd_core.tokenizers.catalog import TOKENIZERS
from pages.parts import loaders, state
from pages.parts.frame import framed
from pages.parts.gemma import second_model
from pages.parts.help_menu import tour_links
from pages.parts.run_views import FORM
from pages.parts.runs_list import bits, dot, when
from pages.parts.saved_views import saved_views

# teacher, student, text, what it shows
PRESETS = (
    ("smollm2", "deepseek", "prose", "Digits one by one against digits in threes", "The pair that the runs use."),
    (
        "qwen",
        "mistral-v3",
        "emoji",
        "Byte-level against SentencePiece",
        "Emoji are cut at different bytes.",
    ),
    (
        "mistral-tekken",
        "qwen",
        "code",
        "Two large vocabularies",
        "Mostly token by token; look at indentation and numbers.",
    ),
)
AIMS = (
    (
        "pair",
        ":material/join_inner:",
        "Choose a pair",
        "What two vocabularies share, and which method fits them.",
    ),
    (
        "align",
        ":material/compare_arrows:",
        "Understand an alignment",
        "Which tokens face which, and where methods differ.",
    ),
    ("align", ":material/balance:", "Compare methods on a pair", "Rates of every method beside the byte-exact truth."),
    (
        "evidence",
        ":material/science:",
        "See what helps",
        "Which method for which kind of pair, as far as it was tried.",
    ),
    ("runs", ":material/model_training:", "Train a student", "A short distillation on this machine, with live curves."),
)
SHOWN_PROBLEMS = 2
AIM_PARAMS: tuple[dict[str, str], ...] = ({}, {}, {"tab": "Metrics"}, {}, {"view": FORM})


def main() -> None:
    st.title("Cross-tokenizer knowledge distillation, made visible", anchor=False)
    st.markdown(
        "A teacher and a student that cut text differently can't compare their predictions position by position. "
        "Here you see how methods bring them together, measure where they fail, and train a student with them. "
        "Everything on this page works without a network."
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="tours"):
        st.markdown("New here? Look around in a minute:", width="content")
        tour_links()
    st.header("What do you want to do?", anchor=False)
    for cell, (page, icon, title, text), params in zip(st.columns(len(AIMS)), AIMS, AIM_PARAMS):
        with cell, st.container(border=True, height="stretch"):
            st.page_link(state.PAGES[page], label=f"**{title}**", icon=icon, query_params=params, width="stretch")
            st.caption(text)
    st.header("Start with a pair: teacher → student", anchor=False)
    for cell, preset in zip(st.columns(3), PRESETS):
        with cell:
            preset_card(*preset)
    left, right = st.columns([3, 2], gap="large")
    with left:
        recent_runs()
        saved_views()
    with right:
        machine()
        second_model()


def preset_card(teacher: str, student: str, text: str, title: str, note: str) -> None:
    """A pair that opens on page Align with one click."""
    with st.container(border=True, height="stretch"):
        params = state.link_to_pair(teacher, student, text=text)
        missing = [name for name in (teacher, student) if not is_installed(TOKENIZERS[name])]
        st.page_link(
            state.PAGES["align"],
            label=f"**{teacher} → {student}**",
            icon=":material/play_arrow:",
            query_params=params,
            disabled=bool(missing),
            width="stretch",
        )
        st.caption(f"{title}. {note}")
        st.caption(f"{TOKENIZERS[teacher].title} · {TOKENIZERS[student].title}")
        with state.errors_shown():
            st.caption(tried_before(load(), student, teacher))
        if missing:
            st.caption("Not installed: " + "; ".join(f"`{TOKENIZERS[name].install}`" for name in missing))


def recent_runs() -> None:
    """The last five runs, each a link."""
    st.header("Recent runs", anchor=False)
    with state.errors_shown():
        rows = loaders.run_summaries(5)
        if not rows:
            st.caption("No runs yet.")
            st.page_link(
                state.PAGES["runs"], label="Start a first run", icon=":material/add:", query_params={"view": FORM}
            )
        for row in rows:
            name = state.plain(row["name"] or row["method"] or row["run_id"])
            pair = state.plain(f"{row['teacher']} → {row['student']}" if row["method"] else "damaged")
            with st.container(horizontal=True, vertical_alignment="center"):
                st.page_link(
                    state.PAGES["runs"],
                    label=f"{dot(row['status'])} **{name}** · {pair}",
                    query_params={"run": row["run_id"]},
                )
                if row["status"] == "damaged":
                    st.caption(state.plain(row["message"]))
                else:
                    st.caption(f"{row['status']}, step {row['step']} of {row['steps']}, {bits(row)}, {when(row)}")


@st.fragment
def machine() -> None:
    """Device, memory, disk, teacher; what is missing comes with the command that mends it."""
    st.header("This machine", anchor=False)
    try:
        report = loaders.machine_report()
    except (CtkdError, OSError) as fault:
        state.show_error(fault)
        return
    marks = {True: ":green[:material/check_circle:]", False: ":orange[:material/warning:]"}
    st.markdown("  \n".join(f"{marks[good]} **{label}** {state.plain(value)}" for label, value, good in report.lines))
    shown, rest = report.problems[:SHOWN_PROBLEMS], report.problems[SHOWN_PROBLEMS:]
    notes = [f"{problem.what}: {problem.fix}" for problem in shown]
    if rest:
        notes.append(f"and {len(rest)} more: ctkd doctor lists them")
    if notes:
        st.caption("  \n".join(map(state.plain, notes)))
    if report.problems:
        st.button("Check again", key="check_again", on_click=loaders.machine_report.clear, icon=":material/refresh:")


if framed():
    main()
