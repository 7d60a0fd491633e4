"""Where the text comes from: samples, typing, a file. The URL holds a sample's name or the id of a saved text.

The field of samples isn't bound to the address: a text and the group that is pinned in it change in one step.
"""

from __future__ import annotations

from itertools import takewhile

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.lab.code import NamedText
from ctkd_core.tokenizers import snapshots
from ctkd_core.tokenizers.sample_texts import TEXTS
from pages.parts import address, late_values, state
from pages.parts.attempts import attempt, show_problem
from pages.parts.launching import may_change
from pages.parts.uploads import upload_tokenizer

# Longer texts are analysed whole; the text field shows them part by part.
EDITABLE_CHARACTERS = 20_000
PART_CHARACTERS = 4_000
DEFAULT = next(iter(TEXTS))


def text_input(label: str = "Text to align", tokenizers: bool = True) -> str:
    """Draw the controls and return the text, "" when there is none.

    label: what the field is called; tokenizers: whether one may be uploaded here, too.
    """
    _recall()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.pills(
            "Text",
            state.TEXT_NAMES,
            key="text",
            required=True,
            wrap=True,
            on_change=_chosen,
            label_visibility="collapsed",
            help="  \n".join(f"**{t.name}**: {t.note}" for t in TEXTS.values()) + "  \n**own**: your own text",
        )
        with st.popover("Upload a text", icon=":material/upload_file:", disabled=not may_change()):
            st.file_uploader("UTF-8 text, at most 1 MB", key="text_file", max_upload_size=2, on_change=_uploaded)
        if tokenizers:
            upload_tokenizer()
    show_problem("text")
    text: str = st.session_state["typed"]
    if len(text) > EDITABLE_CHARACTERS:
        return _part_of(text)
    return st.text_area(
        label,
        key="typed",
        height=76,
        on_change=_edited,
        label_visibility="collapsed",
        placeholder="Type or paste a text, then press Ctrl+Enter.",
    )


def _part_of(text: str) -> str:
    """A field with one part of a long text; an edit changes this part and keeps the rest. Returns the whole."""
    st.session_state["typed"] = text  # Streamlit forgets it where its own field isn't drawn
    parts = -(-len(text) // PART_CHARACTERS)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            f"This text has {len(text):,} characters. All of it is analysed; the field shows it part by part, the "
            "picture page by page.",
            width="content",
        )
        late_values.put("text_part", min(st.session_state.get("text_part") or 1, parts))
        part = st.pagination(
            parts, key="text_part", max_visible_pages=5, on_change=late_values.put_back, args=("text_part",)
        )
    start = (part - 1) * PART_CHARACTERS
    key = f"typed_part_{part}"  # one for each: else what a browser still sends of one would be taken for another
    late_values.put(key, text[start : start + PART_CHARACTERS])
    st.text_area(
        f"Part {part} of {parts} of the text",
        key=key,
        height=110,
        on_change=_part_edited,
        args=(text, start, key),
        label_visibility="collapsed",
    )
    return text


def _part_edited(text: str, start: int, key: str) -> None:
    before = late_values.replaced(key)
    if late_values.put_back(key):
        return
    edited, cut = st.session_state[key], text[start : start + PART_CHARACTERS]
    if isinstance(before, str) and text.startswith(before, start):  # what the field held before it was cut anew
        cut = max(cut, before, key=lambda held: _same_end(held, edited))
    late_values.put("text", state.OWN)
    _keep(text[:start] + edited + text[start + len(cut) :], part=st.session_state["text_part"])


def _same_end(a: str, b: str) -> int:
    """Characters that both have at their end."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b))))


def named(text: str) -> NamedText:
    """The text with what else names it: a sample, or the id in the address."""
    name = st.session_state.get("text") or ""
    sample = name if name in TEXTS and TEXTS[name].text == text else ""
    return NamedText(text, sample, st.query_params.get("snapshot", "") if name == state.OWN else "")


def forget_text() -> None:
    """Take the text out of the address, where another choice leaves it out (a callback); the field remembers it."""
    address.change({"text": None, "snapshot": None})


def reset_text() -> None:
    """Back to the first sample (a callback)."""
    show_sample(DEFAULT)


def show_sample(name: str) -> None:
    """Put a sample into the field, whatever stands there (before the page is drawn)."""
    address.change(put_sample(name))


def put_sample(name: str) -> dict[str, str | None]:
    """The same, without the address; gives what changes there."""
    late_values.put("text", name)
    _show(TEXTS[name].text)
    return _remember(name)


def note() -> str:
    """What to look at in the chosen sample; "" for one's own text."""
    sample = TEXTS.get(st.session_state.get("text") or DEFAULT)
    return sample.note if sample else ""


def _recall() -> None:
    """After a link, Back or Forward, the text that the address names; else the one that was shown last."""
    in_address = st.query_params.get("text") or DEFAULT, st.query_params.get("snapshot")
    last = st.session_state.get("typed_for")
    is_drawn = "typed" in st.session_state and "text" in st.session_state
    if not (address.newly_arrived("text") and in_address != last) and is_drawn:
        return
    name, snapshot = in_address
    if last and not address.came_back() and "text" not in st.query_params:  # another page's link has dropped it
        name, snapshot = last
    if name not in state.TEXT_NAMES:
        name = DEFAULT
    own_snapshot, own_text = st.session_state.get("own_text", (None, ""))
    if name == state.OWN:
        snapshot = snapshot or own_snapshot
    late_values.put("text", name)
    named = _remember(name, snapshot)
    if in_address != st.session_state["typed_for"]:
        address.change({key: named[key] for key in ("text", "snapshot")})
    if "typed" in st.session_state and st.session_state["typed_for"] == last:
        return
    text = ""
    if name in TEXTS:
        text = TEXTS[name].text
    elif snapshot == own_snapshot:  # also where it has no id: nothing could be saved
        text = own_text
    elif snapshot:
        try:
            text = snapshots.load_text(snapshot)
        except CtkdError as fault:
            st.session_state["text_problem"] = str(fault)
    late_values.put("typed", text)


def _remember(name: str, snapshot: str | None = None) -> dict[str, str | None]:
    """Keep under which name and id the field's text stands in the address; gives what changes there for another."""
    st.session_state["typed_for"] = name, snapshot if name == state.OWN else None
    name, snapshot = st.session_state["typed_for"]
    return {"text": None if name == DEFAULT else name, "snapshot": snapshot, "group": None}


def _show(text: str, part: int = 1) -> None:
    late_values.put("typed", text)
    late_values.put("chip_page", 1)
    late_values.put("text_part", part)


def _chosen() -> None:
    in_address = st.session_state.get("typed_for", (None, None))[1]
    if late_values.put_back("text", seen=st.query_params.get("snapshot") == in_address):
        return
    name = st.session_state["text"]
    if name in TEXTS:
        show_sample(name)
    else:
        late_values.put_back("typed")
        _keep(st.session_state.get("typed", ""))


def _edited() -> None:
    if late_values.put_back("typed"):
        return
    late_values.put("text", state.OWN)
    _keep(st.session_state["typed"])


def _uploaded() -> None:
    file = st.session_state.get("text_file")
    if file is None:
        return

    def take() -> None:
        text = snapshots.decode_text(file.getvalue(), file.name)
        late_values.put("text", state.OWN)
        _keep(text)

    attempt("text", take)


def _keep(text: str, part: int = 1) -> None:
    _show(text, part)
    snapshot = None  # it can be looked at; only what is kept has an address
    if may_change():
        try:
            snapshot = snapshots.save_text(text)
        except (CtkdError, OSError) as fault:
            # the text can still be looked at, only its link won't work
            st.session_state["text_problem"] = f"The text can't be saved for its link: {fault}"
    st.session_state["own_text"] = snapshot, text
    address.change(_remember(state.OWN, snapshot))
