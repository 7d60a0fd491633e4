"""Bits per byte of the parts of a text: by the domain and language that its record names, and by class of token.

By class, both models are measured over the same bytes: the smallest stretches of text that both tokenizers cut out.
Within one the bits of a model's tokens add up (the chain rule), so that `201` as one token and as three are comparable.
The class of a stretch is that of the student's tokens in it (`group_classes`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctkd_core.markup.visible import one_line, shorten
from ctkd_core.vocabulary.classes import CLASSES

if TYPE_CHECKING:
    from ctkd_core.distill.evaluate import Scored
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MOST_DOMAINS = 40
OTHER_DOMAINS = "(others)"
LONGEST_NAME = 40


def domains_of(names: Iterable[str]) -> list[str]:
    """Names for display, "" where there is none; beyond MOST_DOMAINS the rare ones are one."""
    names = [shorten(one_line(name.strip()), LONGEST_NAME) for name in names]
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name] += 1
    kept = set(sorted(counts, key=lambda name: -counts[name])[:MOST_DOMAINS])
    return [name if name in kept else OTHER_DOMAINS for name in names]


def bits_by_domain(
    domains: Sequence[str], items: Sequence[Scored], bits: Sequence[NDArray[np.float64]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Bits per byte of each domain, and its bytes; both empty where no example names one."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for domain, item, own in zip(domains, items, bits, strict=True):
        if domain and item.n_bytes:
            totals[domain][0] += float(own.sum())
            totals[domain][1] += item.n_bytes
    return {name: b / n for name, (b, n) in totals.items()}, {name: n for name, (_, n) in totals.items()}


def bits_by_class(
    student: Tokenizer,
    items: Sequence[Scored],
    bits: Sequence[NDArray[np.float64]],
    others: Sequence[tuple[Sequence[Scored], Sequence[NDArray[np.float64]]]] = (),
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Bits per byte of each class, for the student and for each of `others`, and the bytes of each class.

    items, bits  the student's, as `evaluate.token_bits` gives them; others  the same of the teacher (or of none)
    """
    from ctkd_core.distill.evaluation.group_classes import codes_of

    codes = codes_of(student)
    totals = np.zeros((1 + len(others), len(CLASSES)))
    n_bytes = np.zeros(len(CLASSES))
    for n, item in enumerate(items):
        sides = [(item, bits[n]), *((other[n], own[n]) for other, own in others)]
        cuts = common_cuts([side.spans for side, _ in sides])
        if len(cuts) < 2 or not all(len(side.spans) for side, _ in sides):
            continue
        kinds, filled = _stretch_classes(item, cuts, codes)
        n_bytes += np.bincount(kinds[filled], weights=np.diff(cuts)[filled], minlength=len(CLASSES))
        for k, (side, own) in enumerate(sides):
            place = stretch_of(side.spans, cuts)
            inside = (place >= 0) & (place < len(cuts) - 1)
            sums = np.bincount(place[inside], weights=own[inside], minlength=len(cuts) - 1)
            totals[k] += np.bincount(kinds[filled], weights=sums[filled], minlength=len(CLASSES))
    shown = [k for k in range(len(CLASSES)) if n_bytes[k]]
    tables = [{CLASSES[k]: float(row[k] / n_bytes[k]) for k in shown} for row in totals]
    return tables, {CLASSES[k]: float(n_bytes[k]) for k in shown}


def _stretch_classes(
    item: Scored, cuts: NDArray[np.int64], codes: object
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The class of each stretch, int64 [S], and whether a token of the student begins in it."""
    import torch

    from ctkd_core.distill.evaluation.group_classes import classes_of_groups

    place = stretch_of(item.spans, cuts)
    start, end = (np.searchsorted(place, np.arange(len(cuts) - 1), side) for side in ("left", "right"))
    filled = end > start
    kinds = np.zeros(len(cuts) - 1, dtype=np.int64)
    ids = torch.from_numpy(item.ids[item.start :].astype(np.int64))
    found = classes_of_groups(codes, ids, torch.from_numpy(start[filled]), torch.from_numpy(end[filled]))  # type: ignore[arg-type]
    kinds[filled] = found.numpy()
    return kinds, filled


def common_cuts(sides: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Bytes at which every side begins or ends a token and none has one across; sides int64 [k, 2] spans, in order."""
    cuts: NDArray[np.int64] | None = None
    for spans in sides:
        own = np.unique(spans)
        # A token that overlaps its neighbours (WordPiece may) has cuts inside of it.
        full = spans[spans[:, 1] > spans[:, 0]]
        starts, ends = np.sort(full[:, 0]), np.sort(full[:, 1])
        across = np.searchsorted(starts, own, "left") - np.searchsorted(ends, own, "right")
        own = own[across == 0]
        cuts = own if cuts is None else np.intersect1d(cuts, own)
    return np.zeros(0, dtype=np.int64) if cuts is None else cuts


def stretch_of(spans: NDArray[np.int64], cuts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The stretch between two cuts in which each token begins; -1 and len(cuts) - 1 for those outside."""
    return np.searchsorted(cuts, spans[:, 0], side="right") - 1
