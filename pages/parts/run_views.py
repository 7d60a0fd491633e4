"""Which view of page Runs an address asks for: the list, a form (run, sweep), one run, several compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from ctkd_core.distill.comparison.kinds import FROM_A_FILE
from ctkd_core.errors import CtkdError
from ctkd_core.lab import opened_runs
from ctkd_core.lab import saved_views as views
from ctkd_core.tokenizers.catalog import TOKENIZERS
from pages.parts import address, carry, late_values, loaders, state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.runs import Run, RunStore

LIST, FORM, SWEEP = "All runs", "New run", "New sweep"
VIEWS = (LIST, FORM, SWEEP)
# What an address says besides the pair; another view begins without them.
_OF_A_VIEW = ("run", "compare", "copy", carry.PARAMETER, "method", "against", views.OPENED)


def show_view(name: str, **params: str) -> None:
    """Turn to another view of the page, as one step of the browser's history (a callback)."""
    late_values.put("view", name)
    dropped: dict[str, str | None] = dict.fromkeys(_OF_A_VIEW)
    address.change(dropped | {"view": None if name == LIST else name} | params)


def opened() -> str:
    """The name of runs that the file of a view brought; "" where the address shows those of this machine."""
    shown = st.query_params.get("run") or st.query_params.get("compare")
    return st.query_params.get(views.OPENED, "") if shown else ""


def shown_store() -> RunStore:
    """The runs that the address is about. Raises CtkdError for those of a file that isn't here."""
    return opened_runs.store(opened()) if opened() else loaders.store()


def shown_runs(names: list[str]) -> list[Run]:
    """The runs that are compared, those of this machine first; what is left out of them is told.

    Raises CtkdError for what isn't here.
    """
    found, left_out = opened_runs.named(names, shown_store())
    for run in left_out:
        st.warning(
            f"Run {run.id} of a file is left out: a run with its id is compared already.", icon=":material/info:"
        )
    return found


def note_opened(runs: Sequence[Run] = ()) -> None:
    """Above runs from files: where they come from, and that they are read-only; `runs`: all that are compared."""
    count = sum(run.is_opened for run in runs)
    if opened() or (count and count == len(runs)):
        st.info(
            "Read-only: from the file of a view, measured elsewhere and kept apart from the runs of this machine. "
            "Checkpoints, models and logs stayed where they were made.",
            icon=":material/folder_open:",
        )
    elif count:
        st.info(
            f"{count} of these {len(runs)} runs, marked as {FROM_A_FILE}, came from files of views: measured "
            "elsewhere, read-only, and kinds of their own beside the runs of this machine.",
            icon=":material/folder_open:",
        )


def begin_from_shown(**changes: str) -> None:
    """Open the form with the settings of the run that is shown (a callback); `changes` may name another method."""
    show_view(FORM, copy=st.query_params["run"], **changes)


def shown_config() -> RunConfig | None:
    """The config of the run that is shown, where a form may begin from it; None where none is, where it can't be read
    (the page says why), and for one from a file."""
    name = st.query_params.get("run")
    return _config(name) if name and not opened() else None


def take_its_pair() -> None:
    """Make the pair that of the run that is shown, or that the form begins from unless the address names another.

    Only when the address has just been arrived at: afterwards the bar may choose another pair.
    """
    name, named = st.query_params.get("run"), False
    if not name:
        name, named = st.query_params.get("copy"), any(st.query_params.get(side) for side in ("student", "teacher"))
    before = st.session_state.get("pair_of_run")
    st.session_state["pair_of_run"] = name
    if not name or named or not (address.newly_arrived("pair_of_run") or before != name):
        return
    config = _config(name)
    # A stranger's file names no path that other pages would then read.
    if config and (not opened() or {config.student, config.teacher} <= set(TOKENIZERS)):
        state.choose_pair(config.student, config.teacher)


def _config(name: str) -> RunConfig | None:
    try:
        return shown_store().get(name).config
    except CtkdError:
        return None
