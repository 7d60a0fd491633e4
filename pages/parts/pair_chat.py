"""The tab Chat templates on page Pair: what both sides write around one conversation, and where the answer begins."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.figures.pair_special import (
    chat_sentence,
    difference_table,
    marker_sentence,
    marker_table,
    seam_text,
    token_table,
)
from ctkd_core.tokenizers.chat_templates import (
    CONVERSATIONS,
    Rendered,
    differences,
    markers,
    parse_conversation,
    written,
)
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import pair_data as data
from pages.parts import state
from pages.parts.pair_verdict import View

NAMES = (*CONVERSATIONS, state.OWN)
FIRST = NAMES[0]


def chat(view: View) -> None:
    """Choose a conversation; both texts, how they differ, BOS, seam and tokens of each side."""
    messages = _conversation()
    if messages is None:
        return
    student, teacher = (data.rendered(side, messages) for side in (view.student, view.teacher))
    show = st.info if student.text is not None and student.text == teacher.text else st.warning
    show(chat_sentence(student, teacher), icon=":material/forum:")
    left, right = st.columns(2, gap="medium")
    with left:
        _side("student", student, view.student, view.teacher, teacher)
    with right:
        _side("teacher", teacher, view.teacher, view.student, student)
    if student.text is not None and teacher.text is not None and student.text != teacher.text:
        st.caption("Where the two texts differ")
        st.dataframe(
            difference_table(differences(student.text, teacher.text)),
            key="template_difference",
            hide_index=True,
            alt="Stretches of the two rendered conversations in order, and whether they are the same",
        )


def _conversation() -> list[dict[str, str]] | None:
    name = st.pills(
        "Conversation",
        NAMES,
        default=FIRST,
        key="conversation",
        bind="query-params",
        required=True,
        label_visibility="collapsed",
    )
    if name in CONVERSATIONS:
        return [dict(message) for message in CONVERSATIONS[name]]
    text = st.text_area(
        "Conversation: each message begins with system:, user: or assistant:",
        value=written(CONVERSATIONS[FIRST]),
        key="conversation_text",
        height=120,
        persist_state="session",
    )
    try:
        return parse_conversation(text)
    except CtkdError as fault:
        state.show_error(fault)
        return None


def _side(title: str, side: Rendered, tokenizer: Tokenizer, other: Tokenizer, of_other: Rendered) -> None:
    st.subheader(f"{title.capitalize()}: {state.plain(side.tokenizer)}", anchor=False)
    if side.text is None:
        st.warning(state.plain(_capital(side.problem)), icon=":material/speaker_notes_off:")
    else:
        st.code(side.text, language=None, wrap_lines=True)
        icon = ":material/error:" if side.doubled else ":material/check:"
        st.markdown(f"{icon} {state.plain(side.bos_sentence)}")
        _seam(side)
    if of_other.encoding is not None:
        found = markers(tokenizer, other, of_other.encoding)
        writer = "teacher" if title == "student" else "student"
        st.markdown(f":material/translate: {state.plain(marker_sentence(title, writer, found))}")
        if found:
            with st.expander(f"The {writer}'s markers, read by the {title}", icon=":material/table:"):
                st.dataframe(
                    marker_table(found),
                    key=f"markers_{title}",
                    hide_index=True,
                    alt=f"Special tokens in the {writer}'s text and how many tokens of the {title} each takes",
                )
    if side.encoding is not None:
        with st.expander(f"{len(side.encoding):,} tokens of the {title}", icon=":material/data_array:"):
            st.dataframe(
                token_table(side.encoding),
                key=f"template_tokens_{title}",
                hide_index=True,
                height=300,
                alt=f"Tokens of the {title}'s rendered conversation",
            )


def _seam(side: Rendered) -> None:
    if side.seam is None:
        st.caption("There is no answer at the end of this conversation, so there is no seam to look at.")
        return
    icon = ":material/check:" if side.seam.holds else ":material/call_split:"
    st.markdown(f"{icon} {state.plain(side.seam.sentence)}")
    apart, together = seam_text(side.seam)
    st.code(f"apart     {apart}\ntogether  {together}", language=None, wrap_lines=True)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
