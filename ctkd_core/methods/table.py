"""The table of methods: the CLI, the pages, the trainer, the docs and the tests all read it.

A method is a named choice of aligner, vocabulary map and loss, with its paper. To add one, write its loss (or aligner)
and its row in a file of `ctkd_core/methods/families/`, which is found by itself; `docs/adding-a-method.md` walks
through it.
"""

from __future__ import annotations

import importlib
import pkgutil

from ctkd_core.errors import CtkdError, unknown
from ctkd_core.methods import families
from ctkd_core.methods.row import Method

# Families in the order of lists and forms; those that aren't named here come last, by name.
_FIRST = (*("baselines", "uld", "cdm", "mined", "xtoken", "multilevel_ot", "cot2align", "dskd", "sedi", "gold", "alm"),)


def get(name: str, error: type[CtkdError] = CtkdError) -> Method:
    """The row called `name`; an unknown name fails with the nearest ones."""
    try:
        return METHODS[name]
    except (KeyError, TypeError):
        raise unknown("method", name, METHODS, error) from None


def aligner(name: str, error: type[CtkdError] = CtkdError) -> Method:
    """The row called `name`, which has an alignment; raises `error` for an unknown name and for one that has none."""
    row = get(name, error)
    if not row.can_align:
        able = ", ".join(other.name for other in aligning())
        raise error(f"method {name!r} has no alignment; choose one of {able}.")
    return row


def aligning() -> list[Method]:
    """Methods that have an alignment of their own, in table order."""
    return [m for m in METHODS.values() if m.can_align and not m.alignment_of]


def training() -> list[Method]:
    """Methods that have a loss, in table order."""
    return [m for m in METHODS.values() if m.can_train]


def shown_on_a_text(name: str) -> Method:
    """The row whose groups stand for method `name` where a text is aligned: those that it trains on, else its own.

    Raises CtkdError for an unknown method.
    """
    row = get(name)
    return get(row.groups_of or row.alignment_of or row.name)


def assemble(rows: list[Method]) -> dict[str, Method]:
    """Rows by name. Raises ValueError for a name that stands twice and for a row that leans on one that isn't there."""
    found: dict[str, Method] = {}
    for row in rows:
        if found.setdefault(row.name, row) is not row:
            raise ValueError(f"two methods are called {row.name!r}; give one of them another name.")
    for row in rows:
        for field in ("alignment_of", "groups_of"):
            other = getattr(row, field)
            if other and (other not in found or not found[other].can_align):
                raise ValueError(f"method {row.name!r} has {field}={other!r}, which is no method with an aligner.")
    return found


def _rows() -> list[Method]:
    names = {module.name for module in pkgutil.iter_modules(families.__path__)} - {"shared"}
    ordered = sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return [row for name in ordered for row in importlib.import_module(f"{families.__name__}.{name}").ROWS]


METHODS: dict[str, Method] = assemble(_rows())
