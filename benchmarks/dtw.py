"""Claim: entropy-weighted DTW of 2,048 x 2,300 tokens, path included, within 40 ms. Run: python benchmarks/dtw.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from _record import arguments, median_ms, save
from _texts import real_text

from ctkd_core import load_tokenizer
from ctkd_core.alignment.costs import content_strings, token_costs, weights
from ctkd_core.alignment.dtw import cdm, dtw
from ctkd_core.alignment.reference import dtw_plain, levenshtein
from ctkd_core.encoding import Encoding

PAIR = ("deepseek", "smollm2")
SIZES = (2048, 2300)
SMALL = (256, 288)  # for the plain loops; scaled by cells


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


def with_plain_loops(s: list[str], t: list[str], ws: np.ndarray, wt: np.ndarray) -> float:
    """Distance and recurrence written out in Python, as the released program does."""
    matrix = np.array([[levenshtein(a, b) for b in t] for a in s]) * ws[:, None] * wt
    return float(dtw_plain(matrix)[0][-1, -1])


def main() -> None:
    """Measure and print."""
    args = arguments(__doc__ or "", "dtw.json").parse_args()
    student, teacher = (load_tokenizer(name) for name in PAIR)
    text = real_text(20_000)
    n, m = SIZES
    a, b = head(student.encode(text), n, text), head(teacher.encode(text), m, text)
    rng = np.random.default_rng(0)
    h_s, h_t = rng.gamma(2.0, 0.7, n), rng.gamma(2.0, 0.7, m)
    s, t, ws, wt = content_strings(a), content_strings(b), weights(h_s), weights(h_t)
    given = token_costs(s, t, ws, wt)
    k, q = SMALL
    small = (s[:k], t[:q], ws[:k], wt[:q])
    assert dtw(given)[0][-1].after == with_libraries(s, t, ws, wt), "the alternatives must agree before they are timed"
    assert dtw(token_costs(*small))[0][-1].after == with_plain_loops(*small)
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "cdm(): strings, weights, distances, path, groups": (
            lambda: cdm(a, b, student_entropy=h_s, teacher_entropy=h_t),
            21,
        ),
        "dtw(): distances of distinct strings, path": (lambda: dtw(given), 21),
        "cdm() with real-valued weights (float64)": (
            lambda: cdm(a, b, student_entropy=h_s, teacher_entropy=h_t, integer_weights=False),
            15,
        ),
        "rapidfuzz matrix + tslearn path": (lambda: with_libraries(s, t, ws, wt), 7),
    }
    times = {name: median_ms(call, repeats) for name, (call, repeats) in calls.items()}
    scaled = f"plain Python loops, {k} x {q} scaled by cells"
    times[scaled] = median_ms(lambda: with_plain_loops(*small), 1, warm_up=0) * n * m / (k * q)
    base = next(iter(times.values()))
    save(
        args.out,
        [{"what": name, "median_ms": ms, "times cdm()": ms / base} for name, ms in times.items()],
        tokens=SIZES,
        pair=PAIR,
        distinct_strings=[len(given.student_strings), len(given.teacher_strings)],
    )
    print(f"{n:,} x {m:,} tokens, path included: {base:.1f} ms (aim: 40 ms)")


if __name__ == "__main__":
    main()
