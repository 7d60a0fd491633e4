"""Claim: span groups of 100,000 tokens cost at most 1 % of tokenizing the text, and grow linearly with its length.

Beside them: GOLD's and ALM's byte walks, networkx and scipy components, and spacy-alignments' character diff.
Run: python benchmarks/spans.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from _record import arguments, median_ms, save
from _texts import real_text

from ctkd_core import Tokenizer, load_tokenizer
from ctkd_core.alignment.alm import alm
from ctkd_core.alignment.components import component_ranges
from ctkd_core.alignment.gold import gold
from ctkd_core.alignment.greedy import gold_greedy
from ctkd_core.alignment.spans import sedi

PAIR = ("smollm2", "deepseek")
CHARACTERS = 400_000
LENGTHS = (1_000, 3_000, 10_000, 30_000, 100_000)
ALIGNERS = {"sedi": sedi, "gold": gold, "gold-greedy": gold_greedy, "alm": alm}


def overlaps(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """All overlapping pairs of two tilings, vectorised: the input of the graph libraries."""
    first = np.searchsorted(t[:, 1], s[:, 0], side="right")
    count = np.searchsorted(t[:, 0], s[:, 1], side="left") - first
    i = np.repeat(np.arange(len(s)), count)
    inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.stack([i, first[i] + inside], axis=1)


def with_networkx(s: np.ndarray, t: np.ndarray) -> int:
    """Number of components found by networkx."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(len(s) + len(t)))
    pairs = overlaps(s, t)
    graph.add_edges_from(zip(pairs[:, 0].tolist(), (pairs[:, 1] + len(s)).tolist()))
    return sum(1 for _ in nx.connected_components(graph))


def with_scipy(s: np.ndarray, t: np.ndarray) -> int:
    """Number of components found by scipy."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs, size = overlaps(s, t), len(s) + len(t)
    ones = np.ones(len(pairs), dtype=np.int8)
    return connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1] + len(s))), shape=(size, size)), False)[0]


def growth(student: Tokenizer, teacher: Tokenizer) -> list[dict[str, Any]]:
    """Milliseconds of each aligner on texts of about 1,000 to 100,000 student tokens, and the exponent of growth."""
    # special tokens that the text spells would cost the longer texts a path of their own
    whole = real_text(CHARACTERS).replace("<|", "< |")
    per_token = len(whole) / len(student.encode(whole))
    rows: list[dict[str, Any]] = []
    for tokens in LENGTHS:
        text = whole[: int(tokens * per_token)]
        a, b = student.encode(text), teacher.encode(text)
        spans = np.ascontiguousarray(a.spans), np.ascontiguousarray(b.spans)
        row: dict[str, Any] = {"student tokens": len(a), "sweep": median_ms(partial(component_ranges, *spans), 51)}
        rows.append(row | {name: median_ms(partial(aligner, a, b), 15) for name, aligner in ALIGNERS.items()})
    sizes = np.log([row["student tokens"] for row in rows])
    names = ["sweep", *ALIGNERS]
    slopes = {name: float(np.polyfit(sizes, np.log([row[name] for row in rows]), 1)[0]) for name in names}
    return [*rows, {"student tokens": "exponent", **slopes}]


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", "spans.json").parse_args()
    student, teacher = (load_tokenizer(name) for name in PAIR)
    text = real_text(CHARACTERS)
    a, b = student.encode(text), teacher.encode(text)
    s, t = np.ascontiguousarray(a.spans), np.ascontiguousarray(b.spans)
    count = len(component_ranges(s, t))
    assert count == with_networkx(s, t) == with_scipy(s, t), "the alternatives must agree before they are timed"
    tokenize = student.backend.encode
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "sweep (numba), spans given": (lambda: component_ranges(s, t), 51),
        "sedi(): sweep, checks, notes": (lambda: sedi(a, b), 15),
        "sedi(unit='char'): union-find over open spans": (lambda: sedi(a, b, unit="char"), 15),
        "gold(): walk over common ends, flags": (lambda: gold(a, b), 15),
        "gold-greedy: buffers of bytes": (lambda: gold_greedy(a, b), 15),
        "alm(): the same walk, strings compared": (lambda: alm(a, b), 15),
        "alm(chunking='space')": (lambda: alm(a, b, chunking="space"), 15),
        "gold-greedy as released, decoded in one pass": (lambda: gold_greedy(a, b, variant="released"), 3),
        "scipy csgraph on overlap pairs": (lambda: with_scipy(s, t), 5),
        "networkx on overlap pairs": (lambda: with_networkx(s, t), 3),
        "tokenizing the text once (tokenizers)": (lambda: tokenize(text, add_special_tokens=False), 5),
    }
    if find_spec("spacy_alignments"):
        from spacy_alignments import get_alignments

        calls["spacy-alignments (character diff)"] = (lambda: get_alignments(a.tokens, b.tokens), 3)
    else:
        print("spacy-alignments isn't installed (pip install -e '.[dev]'): left out of the comparison")
    times = {name: median_ms(call, repeats) for name, (call, repeats) in calls.items()}
    base = next(iter(times.values()))
    grown = growth(student, teacher)
    save(
        args.out,
        [{"what": name, "median_ms": ms, "times the sweep": ms / base} for name, ms in times.items()],
        tokens=[len(a), len(b)],
        pair=PAIR,
        groups=count,
        share_of_tokenizing=base / times["tokenizing the text once (tokenizers)"],
        growth=grown,
    )
    share = 100 * base / times["tokenizing the text once (tokenizers)"]
    print(f"{len(a):,} x {len(b):,} tokens, {count:,} groups: the sweep takes {share:.2f} % of tokenizing (aim: 1 %)")
    slopes = ", ".join(f"{name} {value:.2f}" for name, value in grown[-1].items() if name != "student tokens")
    print(
        f"from {LENGTHS[0]:,} to {LENGTHS[-1]:,} tokens time grows with this power of the length: {slopes} (linear: 1)"
    )


if __name__ == "__main__":
    main()
