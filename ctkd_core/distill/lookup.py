"""Which run or sweep a word on the command line means: by its id, by part of it, by its name, or "latest"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from ctkd_core.background.status import process_of
from ctkd_core.distill.sweeps import membership
from ctkd_core.errors import CtkdError, RunError, short, unknown
from ctkd_core.markup.visible import one_line, shorten

if TYPE_CHECKING:
    from ctkd_core.distill.runs import Run

T = TypeVar("T")
MOST_IDS = 8  # that one message lists
MOST_NAME = 80  # characters of a name in a message
Use = Literal["begun", "finished", "active", "stopped", "waiting"]


def named(what: str, word: str, known: Mapping[str, T], name_of: Callable[[T], str]) -> T:
    """The one of `known` (by id) that a word means.

    A whole id comes before everything else. Else it is a unique beginning or end of an id, or a name that one alone
    has. A word that is part of one's id and another's name means neither: what is removed must be certain.
    Raises RunError for none or several.
    """
    if word in known:
        return known[word]
    names = {key: name_of(each) for key, each in known.items()}
    found = [
        key for key, name in names.items() if word and (key.startswith(word) or key.endswith(word) or name == word)
    ]
    if len(found) == 1:
        return known[found[0]]
    if found:
        ids = ", ".join(found[:MOST_IDS]) + (", ..." if len(found) > MOST_IDS else "")
        raise RunError(f"{short(word)} fits {len(found)} {what}s ({ids}); name one by its id.")
    shown = {shorten(one_line(name), MOST_NAME) for name in names.values() if name}
    raise unknown(what, word, {*known, *shown}, RunError)


def name_of(run: Run) -> str:
    """The name that people gave a run; "" for none, and for a damaged run."""
    try:
        return run.config.name
    except CtkdError:
        return ""


def latest(runs: Sequence[Run], use: Use = "begun") -> Run | None:
    """The newest of `runs` (newest first) that a command can use; where there is none, the newest that has begun.

    begun     its worker was started, or somebody started it alone; of a sweep's runs those whose turn has come
    finished  trained to its end
    active    under way, else waiting
    stopped   cancelled, failed or lost
    waiting   in the queue

    Damaged runs are passed over where there is another.
    """
    for fits in (*_FITTING[use], _has_begun, _is_whole):
        for run in runs:
            if fits(run) and _is_whole(run):
                return run
    return runs[0] if runs else None


def _is_whole(run: Run) -> bool:
    try:
        return bool(run.config) and run.status().state != "damaged"
    except CtkdError:
        return False


def _has_begun(run: Run) -> bool:
    status = run.status()
    started_alone = membership.place_of(run.dir) is None and process_of(run.dir, status) is not None
    return status.state != "queued" or started_alone


def _is_finished(run: Run) -> bool:
    return run.status().state == "finished"


def _is_active(run: Run) -> bool:
    return _has_begun(run) and not run.status().ended_already


def _waits(run: Run) -> bool:
    return membership.waits(run.dir, run.status())


def _has_stopped(run: Run) -> bool:
    return run.status().state in {"cancelled", "failed", "lost"}


_FITTING: dict[Use, tuple[Callable[[Run], bool], ...]] = {
    "begun": (),
    "finished": (_is_finished,),
    "active": (_is_active, _waits),
    "stopped": (_has_stopped,),
    "waiting": (_waits,),
}
