"""Values that a browser sends of a widget before it knows that a run has set it anew.

With every click a browser sends the values of all widgets. Between a callback that sets one and the moment that the
browser draws it, that is the value from before; Streamlit takes it for a choice and calls the widget's callback. So two
edits in quick succession brought back the sample that the first of them had replaced.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from time import monotonic

import streamlit as st

# How long after a run a browser may take to draw what the run set; nobody chooses within it what was just replaced.
GRACE_SECONDS = 1.0
_PUT = "values_put"


@dataclass(frozen=True)
class _Put:
    value: object
    earlier: tuple[object, ...]
    at: float  # seconds of the monotonic clock: the end of the run that set it, while that goes on the time of setting
    is_shown: bool = False


def put(key: str, value: object) -> None:
    """Set a widget's value, before the widget is drawn; what it replaces is late where it comes in shortly after."""
    last = _last(key)
    recent = last is not None and _is_recent(last)
    if key in st.session_state and st.session_state[key] == value:  # what the widget itself sent isn't sent back to it
        if not recent:
            st.session_state.get(_PUT, {}).pop(key, None)
        return
    earlier = [*last.earlier, last.value] if last and recent else []
    before = [st.session_state[key]] if key in st.session_state else []
    replaced = tuple(other for other in (*earlier, *before) if other != value)
    st.session_state.setdefault(_PUT, {})[key] = _Put(value, replaced, monotonic())
    st.session_state[key] = value


def put_known(key: str, options: Collection[str]) -> None:
    """Before a field is drawn whose options may have changed: where it holds none of them, what the address names is
    put, or the first. A field whose value is only forgotten goes on showing it.

    options: at least one
    """
    if key in st.session_state and st.session_state[key] not in options:
        named = st.query_params.get(key)
        put(key, named if named in options else next(iter(options)))


def shown() -> None:
    """At the end of a run. What a browser sent meanwhile waited for it, so that it comes in late only now."""
    known = st.session_state.get(_PUT, {})
    for key, last in known.items():
        if not last.is_shown:
            known[key] = replace(last, at=monotonic(), is_shown=True)


def replaced(key: str) -> object:
    """What was put last has replaced this, which the browser may still have in the widget; None where that is past."""
    last = _last(key)
    return last.earlier[-1] if last and last.earlier and _is_recent(last) else None


def put_back(key: str, seen: bool = True) -> bool:
    """Whether the widget's value was late, or is the one that was put; then nobody chose it, and what was put stands.

    For the widget's callback. After a choice nothing that comes in is late any more.
    seen: False where it is known that the browser has not drawn what was put
    """
    last = _last(key)
    if last is not None and (not seen or _is_recent(last)):
        current = st.session_state.get(key)
        if current in last.earlier:
            st.session_state[key] = last.value
            st.session_state[_PUT][key] = replace(last, at=monotonic(), is_shown=False)
            return True
        if current == last.value:
            return True
    st.session_state.get(_PUT, {}).pop(key, None)
    return False


def _last(key: str) -> _Put | None:
    found: _Put | None = st.session_state.get(_PUT, {}).get(key)
    return found


def _is_recent(last: _Put) -> bool:
    return monotonic() - last.at < GRACE_SECONDS
