"""Time and memory of the vocabulary maps exact, pieces and nearest, Llama 3 x Qwen3 where their files are at hand.

    python benchmarks/maps.py [--student S] [--teacher T] [--sample N]

The alternative for the nearest map is rapidfuzz comparing every pair of a sample of tokens, scaled to all of them and
said so. The contextual map answers 256 rows of 100 candidates, what training asks for at each step. Memory is the
growth of the peak over what the process holds with both vocabularies read (Linux only). Every map has a process of its
own; its kernels are compiled before the clock starts.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from _record import arguments, save  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared" / "tokenizers"
PAIR = (str(SHARED / "llama3"), str(SHARED / "qwen3")) if SHARED.is_dir() else ("deepseek", "qwen")
MAPS = ("exact", "exact, canonical", "pieces", "pieces, released", "nearest", "nearest, teacher")
CASES = (*MAPS, "contextual", "rapidfuzz")


def measure(case: str, pair: tuple[str, str], sample: int) -> dict[str, float | str]:
    """Seconds and extra MiB of one map in this process."""
    from ctkd_core import load_tokenizer
    from ctkd_core.vocabulary.nearest import nearest

    student, teacher = (load_tokenizer(source) for source in pair)
    nearest([b"ab"], [b"abc"])
    if case == "contextual":
        action = _contextual(student, teacher)
    elif case == "rapidfuzz":
        action = partial(_brute, student, teacher, sample)
    else:
        action = partial(_build, case, student, teacher)
    sizes = {"student tokens": len(student.all_token_bytes()), "teacher tokens": len(teacher.all_token_bytes())}
    Path("/proc/self/clear_refs").write_text("5")
    before, start, cpu = _peak_mib(), time.perf_counter(), time.process_time()
    facts = action()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    measured = {"seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "extra_mib": round(_peak_mib() - before)}
    return measured | facts | sizes


def _build(case: str, student, teacher) -> dict[str, float | str]:
    from ctkd_core.vocabulary import project

    name, _, how = case.partition(", ")
    options = {"canonical": {"match": "canonical"}, "teacher": {"direction": "teacher"}}.get(how, {})
    variant = "released" if how == "released" else "clean"
    return project(student, teacher, method=name, variant=variant, **options).rows()


def _contextual(student, teacher) -> Callable[[], dict[str, float | str]]:
    from ctkd_core.vocabulary.contextual import contextual_map, sides

    draw, both = np.random.default_rng(0), sides(student, teacher)
    top = [np.stack([draw.permutation(side.n_ids)[:100] for _ in range(256)]) for side in (student, teacher)]
    contextual_map(top[0][:1], top[1][:1], *both)
    return lambda: {"match_rate": round(contextual_map(*top, *both).match_rate, 3)}


def _brute(student, teacher, sample: int) -> dict[str, float | str]:
    """Every pair for some of the unmatched tokens, on all cores; `*_scaled` is what all of them would take."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    from ctkd_core.vocabulary import project

    table = student.all_token_bytes()
    rest = [i for i in np.flatnonzero(project(student, teacher, method="exact").fan_out() == 0) if table[i]]
    chosen = np.random.default_rng(0).choice(rest, min(sample, len(rest)), replace=False)
    queries = [table[i].decode("latin-1") for i in chosen]
    targets = [b.decode("latin-1") for b in teacher.all_token_bytes()]
    start, cpu = time.perf_counter(), time.process_time()
    for k in range(0, len(queries), 64):  # a block at a time, or the matrix would fill the memory
        cdist(queries[k : k + 64], targets, scorer=Levenshtein.distance, dtype=np.uint8, workers=-1).argmin(axis=1)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "sampled": len(chosen),
        "sample_seconds": round(seconds, 2),
        "seconds_scaled": round(seconds * len(rest) / len(chosen), 1),
        "cpu_seconds_scaled": round(cpu * len(rest) / len(chosen), 1),
    }


def _peak_mib() -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]


def main() -> None:
    """Run every case in a process of its own and save the table."""
    parser = arguments(__doc__ or "", "maps.json")
    parser.add_argument("--student", default=PAIR[0])
    parser.add_argument("--teacher", default=PAIR[1])
    parser.add_argument("--sample", type=int, default=256, help="tokens that rapidfuzz searches for")
    parser.add_argument("--one", metavar="CASE", help="measure one case in this process")
    given = parser.parse_args()
    pair = (given.student, given.teacher)
    if given.one:
        print(json.dumps(measure(given.one, pair, given.sample)))
        return
    names = [Path(source).name for source in pair]
    if pair == PAIR and not SHARED.is_dir():
        print("Llama 3 and Qwen3 aren't at hand; measuring two tokenizers of the catalog instead.", file=sys.stderr)
    print(f"{names[0]} x {names[1]}", file=sys.stderr)
    rows = []
    for case in CASES:
        command = [sys.executable, __file__, "--one", case, "--sample", str(given.sample)]
        command += ["--student", pair[0], "--teacher", pair[1]]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"pair": f"{names[0]} x {names[1]}", "case": case} | json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], file=sys.stderr)
    near, brute = (next(r for r in rows if r["case"] == case) for case in ("nearest", "rapidfuzz"))
    ratios = {name: round(brute[f"{name}_scaled"] / near[name], 1) for name in ("seconds", "cpu_seconds")}
    print(f"rapidfuzz (scaled from {brute['sampled']} tokens) / nearest: {ratios}", file=sys.stderr)
    save(given.out, rows, rapidfuzz_scaled_over_nearest=ratios)


if __name__ == "__main__":
    main()
