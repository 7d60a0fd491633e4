"""Claims: CDM's path of 2,048 x 2,300 tokens within 30 ms; every string aligner linear to 100,000 tokens.

Against the released CDM algorithm written plainly and against rapidfuzz + tslearn. Run: python benchmarks/dtw.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from _record import arguments, median_ms, save
from _released_cdm import released_cdm
from _texts import real_text

from ctkd_core import load_tokenizer
from ctkd_core.alignment import Alignment
from ctkd_core.alignment.cheapest_path import dtw
from ctkd_core.alignment.costs import content_strings, token_costs, weights
from ctkd_core.alignment.dtw import cdm
from ctkd_core.alignment.dynamic import xtoken
from ctkd_core.alignment.exact_history import exact_tokens
from ctkd_core.alignment.mined import mined
from ctkd_core.alignment.spellings import Spellings, span_pairs
from ctkd_core.tokenizers.encoding import Encoding
from ctkd_core.tokenizers.tokenizer import Tokenizer

PAIR = ("deepseek", "smollm2")
SIZES = (2048, 2300)
SMALL = (256, 288)  # for the plain loops; scaled by cells
LENGTHS = (1_000, 3_000, 10_000, 30_000, 100_000)  # student tokens of the growth table
AIM_MS = 30.0
Aligner = Callable[..., Alignment]


def head(encoding: Encoding, count: int, text: str) -> Encoding:
    """The first tokens of an encoding, as if the text were `text`."""
    names = ("ids", "tokens", "token_bytes", "spans", "char_spans", "special")
    return replace(encoding, text=text, **{name: getattr(encoding, name)[:count] for name in names})


def with_libraries(s: list[str], t: list[str], ws: np.ndarray, wt: np.ndarray) -> float:
    """Cost matrix by rapidfuzz, path by tslearn."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist
    from tslearn.metrics import dtw_path_from_metric

    matrix = cdist(s, t, scorer=Levenshtein.distance, dtype=np.int32) * ws[:, None] * wt
    return float(dtw_path_from_metric(matrix, metric="precomputed")[1])


def fixed_size(a: Encoding, b: Encoding) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Times of one size: CDM against its alternatives, the other aligners beside it."""
    n, m = len(a), len(b)
    rng = np.random.default_rng(0)
    h_s, h_t = rng.gamma(2.0, 0.7, n), rng.gamma(2.0, 0.7, m)
    s, t, ws, wt = content_strings(a), content_strings(b), weights(h_s), weights(h_t)
    given = token_costs(s, t, ws, wt)
    k, q = SMALL
    small = (s[:k], t[:q], h_s[:k].tolist(), h_t[:q].tolist())
    check(given, small, with_libraries(s, t, ws, wt))
    spellings = Spellings.of(a.token_bytes), Spellings.of(b.token_bytes)
    entropies = {"student_entropy": h_s, "teacher_entropy": h_t}
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "cdm(): strings, weights, distances, path, groups": (lambda: cdm(a, b, **entropies), 21),
        "dtw(): distances of distinct strings, path": (lambda: dtw(given), 21),
        "cdm() with real-valued weights (float64)": (lambda: cdm(a, b, **entropies, integer_weights=False), 15),
        "rapidfuzz matrix + tslearn path": (lambda: with_libraries(s, t, ws, wt), 7),
        "mined(): plain edit distance": (lambda: mined(a, b), 21),
        "xtoken(): anchors, spans, repair, flags": (lambda: xtoken(a, b), 21),
        "xtoken search alone, whole text at once": (lambda: span_pairs(*spellings, anchors=False), 7),
        "dskd-eta: equal tokens, equal history": (lambda: exact_tokens(a, b), 21),
    }
    times = {name: median_ms(call, repeats) for name, (call, repeats) in calls.items()}
    plain = f"released CDM algorithm in plain Python, {k} x {q} scaled by cells"
    times[plain] = median_ms(lambda: released_cdm(*small), 1, warm_up=0) * n * m / (k * q)
    base = next(iter(times.values()))
    rows = [{"what": name, "median_ms": ms, "times cdm()": ms / base} for name, ms in times.items()]
    return rows, {"distinct_strings": [len(given.student_strings), len(given.teacher_strings)]}


def check(given: Any, small: Any, by_libraries: float) -> None:
    """The alternatives must agree before they are timed."""
    assert dtw(given)[0][-1].after == by_libraries
    s, t, h_s, h_t = small
    blocks, pairs = dtw(token_costs(s, t, weights(h_s), weights(h_t)))
    cost, path, _ = released_cdm(*small)
    assert blocks[-1].after == cost
    assert [tuple(x) for x in pairs.tolist()] == path


def growth(student: Tokenizer, teacher: Tokenizer) -> list[dict[str, Any]]:
    """Milliseconds of each aligner for texts of 1,000 to 100,000 student tokens, and how close to linear that is."""
    aligners: dict[str, Aligner] = {"cdm": cdm, "mined": mined, "xtoken": xtoken, "dskd-eta": exact_tokens}
    whole = real_text(4 * LENGTHS[-1])
    rows = []
    for length in LENGTHS:
        text = whole[: int(4 * length * 0.9)]
        a, b = student.encode(text), teacher.encode(text)
        row: dict[str, Any] = {"student tokens": len(a), "teacher tokens": len(b)}
        for name, align in aligners.items():
            row[f"{name} ms"] = median_ms(partial(align, a, b), 3)
        rows.append(row)
    for name in aligners:
        first, last = rows[1], rows[-1]
        exponent = np.log(last[f"{name} ms"] / first[f"{name} ms"]) / np.log(
            last["student tokens"] / first["student tokens"]
        )
        print(f"{name}: time grows with length to the power {exponent:.2f}")
    return rows


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", "dtw.json").parse_args()
    student, teacher = (load_tokenizer(name) for name in PAIR)
    text = real_text(20_000)
    n, m = SIZES
    rows, facts = fixed_size(head(student.encode(text), n, text), head(teacher.encode(text), m, text))
    by_length = growth(student, teacher)
    save(args.out, rows, tokens=SIZES, pair=PAIR, growth=by_length, **facts)
    columns = list(by_length[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in by_length:
        print(
            "| " + " | ".join(f"{row[c]:,.4g}" if isinstance(row[c], float) else f"{row[c]:,}" for c in columns) + " |"
        )
    print(f"{n:,} x {m:,} tokens, CDM path included: {rows[0]['median_ms']:.1f} ms (aim: {AIM_MS:g} ms)")


if __name__ == "__main__":
    main()
