"""Claim: span groups of 100,000 tokens cost at most 1 % of tokenizing the text. Run: python benchmarks/spans.py."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from _record import arguments, median_ms, save
from _texts import real_text

from ctkd_core import load_tokenizer
from ctkd_core.alignment.spans import component_ranges, sedi

PAIR = ("smollm2", "deepseek")
CHARACTERS = 400_000


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
        "scipy csgraph on overlap pairs": (lambda: with_scipy(s, t), 5),
        "networkx on overlap pairs": (lambda: with_networkx(s, t), 3),
        "tokenizing the text once (tokenizers)": (lambda: tokenize(text, add_special_tokens=False), 5),
    }
    if find_spec("spacy_alignments"):
        from spacy_alignments import get_alignments

        calls["spacy-alignments (character diff)"] = (lambda: get_alignments(a.tokens, b.tokens), 3)
    times = {name: median_ms(call, repeats) for name, (call, repeats) in calls.items()}
    base = next(iter(times.values()))
    save(
        args.out,
        [{"what": name, "median_ms": ms, "times the sweep": ms / base} for name, ms in times.items()],
        tokens=[len(a), len(b)],
        pair=PAIR,
        groups=count,
        share_of_tokenizing=base / times["tokenizing the text once (tokenizers)"],
    )
    share = 100 * base / times["tokenizing the text once (tokenizers)"]
    print(f"{len(a):,} x {len(b):,} tokens, {count:,} groups: the sweep takes {share:.2f} % of tokenizing (aim: 1 %)")


if __name__ == "__main__":
    main()
