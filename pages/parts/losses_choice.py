"""What page Losses is asked: a text, up to four methods with their options, tokens to look at. The address holds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import streamlit as st

from ctkd_core import methods
from ctkd_core.errors import CtkdError, unknown
from ctkd_core.figures.find_token import find_token
from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.question import DEFAULT_METHODS, EXAMPLES, MAX_METHODS, MAX_NAMED, Choice
from ctkd_core.tokenizers import snapshots
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import address, late_values, state
from pages.parts.attempts import show_problem
from pages.parts.forms import changed_fields
from pages.parts.launching import may_change

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

FIRST = next(iter(EXAMPLES))
EXAMPLE_NAMES = (*EXAMPLES, state.OWN)
METHODS_HELP = f"Up to {MAX_METHODS} training methods. Each is computed with its own alignment of the text."
BAR_HELP = "The first two of the methods that are shown; all of them stand below."
TOKENS_HELP = (
    "Student tokens whose gradient you want to see, separated by blanks: 201 20 ·the (· is a blank), or #643 for an id."
)


def text_choice() -> tuple[str, str]:
    """Draw the samples and both fields; returns context and text."""
    _recall()
    st.pills(
        "Text",
        EXAMPLE_NAMES,
        key="example",  # not bound: a text and the group that is pinned in it change in one step
        required=True,
        help="Short texts to begin with; own: your own context and text",
        on_change=_chosen,
        label_visibility="collapsed",
    )
    show_problem("lab_text")
    left, middle, right = st.columns([4, 5, 2.4], gap="small")
    with left:
        context = _field("Context (read, not learnt)", "lab_context")
    with middle:
        text = _field("Text that the student learns", "lab_text")
    with right:
        st.text_input("Tokens to look at", key="tokens", bind="query-params", help=TOKENS_HELP)
    return context, text


def _field(label: str, key: str) -> str:
    return st.text_area(label, key=key, height=76, on_change=_edited, args=(key,), persist_state="session")


def note() -> str:
    """What to look at in the chosen example; "" for one's own text."""
    example = EXAMPLES.get(st.session_state.get("example") or FIRST)
    return example.note if example else ""


def method_bar(*cells: DeltaGenerator) -> None:
    """The first methods of those that are shown, in the bar: another choice takes that place."""
    _seed()
    names, shown = [row.name for row in methods.training()], shown_names()
    for place, (cell, label) in enumerate(zip(cells, ("Method", "compared with"))):
        key = f"losses_{place}"
        late_values.put(key, shown[place] if place < len(shown) else None)
        options = names if st.session_state.get(key) in (*names, None) else [*names, shown[place]]
        with cell:
            st.selectbox(
                label,
                options,
                index=None,
                key=key,
                placeholder="none",
                help=BAR_HELP,
                on_change=_put,
                args=(place, key),
            )


def shown_names() -> list[str]:
    """The methods that are shown, in their order."""
    if "losses" in st.session_state and not address.came_back():
        return list(st.session_state["losses"])
    return st.query_params.get_all("losses") or list(DEFAULT_METHODS)


def _seed() -> None:
    """Where the address names a method as other pages do, and not the list, that method comes first."""
    if not address.newly_arrived("losses") or st.query_params.get_all("losses"):
        return
    known = [row.name for row in methods.training()]
    asked = [name for key in ("method", "against") if (name := st.query_params.get(key)) in known]
    if asked:
        kept = st.session_state.get("losses") or DEFAULT_METHODS
        late_values.put("losses", list(dict.fromkeys([*asked, *kept]))[:MAX_METHODS])


def _put(place: int, key: str) -> None:
    """Put the method that the bar names at its place; one that is shown already changes places with it."""
    if late_values.put_back(key):
        return
    name, shown = st.session_state.get(key), shown_names()
    if name is None:
        del shown[place : place + 1]
    elif name in shown:
        at = shown.index(name)
        place = min(place, len(shown) - 1)
        shown[at], shown[place] = shown[place], name
    else:
        shown[place : place + 1] = [name]
    late_values.put("losses", shown)


def _changed_methods() -> None:
    if late_values.put_back("losses"):
        return
    st.session_state["losses_changed"] = True


def redraw_bar() -> None:
    """Draw the whole page anew when the methods were changed below the bar, which shows the first of them."""
    if st.session_state.pop("losses_changed", False):
        st.rerun()


def method_choice(student: Tokenizer, teacher: Tokenizer) -> list[Choice]:
    """Draw the methods and the options of each; returns what is chosen, in order. Faulty options say so."""
    names = loss_lab.usable(student, teacher)
    for asked in st.query_params.get_all("losses"):
        if asked not in names:
            reason = loss_lab.unusable(student, teacher).get(asked)
            said = f"{asked} can't be shown: {reason}." if reason else str(unknown("method", asked[:80], names))
            st.warning(f"From the address: {state.plain(said)}", icon=":material/link_off:")
    if "losses" in st.session_state:
        kept = [name for name in st.session_state["losses"] if name in names]
        for name in st.session_state["losses"]:
            if name not in kept:
                why = loss_lab.unusable(student, teacher).get(name, "there is no such method")
                st.warning(f"{state.plain(name)} can't be shown: {why}.", icon=":material/block:")
        if kept != st.session_state["losses"]:
            st.session_state["losses"] = kept
    chosen = st.pills(
        f"Methods (up to {MAX_METHODS})",
        names,
        selection_mode="multi",
        default=[name for name in DEFAULT_METHODS if name in names],
        key="losses",
        bind="query-params",
        on_change=_changed_methods,
        help=METHODS_HELP + "  \n" + "  \n".join(f"**{n}**: {state.plain(methods.get(n).idea)}" for n in names),
    )
    if len(chosen) > MAX_METHODS:
        st.warning(f"Shown are the first {MAX_METHODS} of {len(chosen)} methods.", icon=":material/filter_list:")
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        choices = [_options(name) for name in chosen[:MAX_METHODS]]
        if left_out := loss_lab.unusable(student, teacher):
            with st.popover(f"{len(left_out)} methods can't be shown", icon=":material/block:"):
                st.markdown("  \n".join(f"**{name}**: {state.plain(why)}." for name, why in left_out.items()))
    return choices


def named_tokens(student: Tokenizer) -> tuple[int, ...]:
    """Ids of the tokens in the field; what isn't a token gets a sentence."""
    found: list[int] = []
    for word in str(st.session_state.get("tokens") or "").split()[:MAX_NAMED]:
        try:
            found.append(find_token(student, word))
        except CtkdError as fault:
            st.warning(state.plain(str(fault)), icon=":material/search_off:")
    return tuple(dict.fromkeys(found))


def _options(name: str) -> Choice:
    row, key = methods.get(name), f"l_{name}"
    if not row.loss_options and len(row.variants) < 2:
        return Choice(name)
    with st.popover(f"Options of {name}", icon=":material/tune:"):
        variant, changed = changed_fields(row, key, 2, row.loss_options_of)
    try:
        Choice(name, variant, changed).resolved()
    except CtkdError as fault:
        st.error(f"{name}: {state.plain(str(fault))} Its defaults are used.", icon=":material/error:")
        changed = ()
    return Choice(name, variant, changed)


def _recall() -> None:
    """After a link, Back or Forward, the text that the address names; else the one that was shown last."""
    in_address = st.query_params.get("example") or FIRST, st.query_params.get("lab")
    last = st.session_state.get("lab_for")
    is_drawn = "lab_text" in st.session_state and "example" in st.session_state
    if not (address.newly_arrived("lab_text") and in_address != last) and is_drawn:
        return
    name, saved = in_address
    if last and not address.came_back() and "example" not in st.query_params:  # another page's link has dropped it
        name, saved = last
    if name not in EXAMPLE_NAMES:
        name = FIRST
    late_values.put("example", name)
    named = _remember(name, saved)
    if in_address != st.session_state["lab_for"]:
        address.change({key: named[key] for key in ("example", "lab")})
    if "lab_text" in st.session_state and st.session_state["lab_for"] == last:
        return
    example = EXAMPLES.get(name, EXAMPLES[FIRST])
    context, text = example.context, example.text
    own, *fields = st.session_state.get("lab_own", (None, context, text))
    if name == state.OWN and saved == own:  # also where it has no id: nothing could be saved
        context, text = fields
    elif name == state.OWN and saved:
        try:
            context, text = map(str, json.loads(snapshots.load_text(saved)))
        except (CtkdError, ValueError, TypeError) as fault:
            st.session_state["lab_text_problem"] = f"The text of this address can't be read: {fault}"
    late_values.put("lab_context", context)
    late_values.put("lab_text", text)


def _remember(name: str, saved: str | None = None) -> dict[str, str | None]:
    """Keep under which name and id the fields' text stands in the address; gives what changes there for another."""
    st.session_state["lab_for"] = name, saved if name == state.OWN else None
    name, saved = st.session_state["lab_for"]
    return {"example": None if name == FIRST else name, "lab": saved, "group": None}


def _chosen() -> None:
    in_address = st.session_state.get("lab_for", (None, None))[1]
    if late_values.put_back("example", seen=st.query_params.get("lab") == in_address):
        return
    if (name := st.session_state["example"]) in EXAMPLES:
        show_example(name)
        return
    for key in ("lab_context", "lab_text"):
        late_values.put_back(key)
    _keep()


def _edited(key: str) -> None:
    late_values.put_back("lab_text" if key == "lab_context" else "lab_context")
    if late_values.put_back(key):
        return
    late_values.put("example", state.OWN)
    _keep()


def _keep() -> None:
    saved = None  # it can be looked at; only what is kept has an address
    fields = st.session_state.get("lab_context") or "", st.session_state.get("lab_text") or ""
    if may_change():
        try:
            saved = snapshots.save_text(json.dumps(fields))
        except (CtkdError, OSError) as fault:
            # the text can still be looked at, only its link won't work
            st.session_state["lab_text_problem"] = f"The text can't be saved for its link: {fault}"
    st.session_state["lab_own"] = saved, *fields
    address.change(_remember(state.OWN, saved))


def show_example(name: str) -> None:
    """Put an example into both fields, whatever stands there (before the page is drawn)."""
    address.change(put_example(name))


def put_example(name: str) -> dict[str, str | None]:
    """The same, without the address; gives what changes there."""
    example = EXAMPLES[name]
    late_values.put("example", name)
    late_values.put("lab_context", example.context)
    late_values.put("lab_text", example.text)
    return _remember(name)


def reset() -> None:
    """Back to the first example (a callback)."""
    show_example(FIRST)
