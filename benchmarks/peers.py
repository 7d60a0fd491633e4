"""Ours beside other programs: losses, alignments and transport, by turns in one process, on the same inputs.

    python benchmarks/peers.py [--what NAME] [--size SIZE] [--threads N] [--pairs N] [--seconds S] [--tables]

It installs nothing: for each program that is missing it says how to get it (`benchmarks/requirements.txt`) and goes on.
The comparisons with one program share a process, bound to as many processors as it may have threads, so that all have
the same. There both run once, their values and gradients (or groups and paths) are compared, and then they take turns:
the ratio is that of neighbours, so a busy machine slows both. One thread by default: with several, what waits for a
thread that another program keeps from running pays more than its share. Memory is the growth of the
process's peak over what it holds with its inputs, gradients included (Linux only).

Results: results/peers.json, and from it the tables in README.md and benchmarks/README.md; `--tables` only writes these.
With --what or --size the rows that are measured replace those of earlier results.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import _loss_pairs  # noqa: E402
import _tables  # noqa: E402
import _text_pairs  # noqa: E402
from _comparison import Comparison, agrees  # noqa: E402
from _installed import LEFT_OUT, PEERS  # noqa: E402
from _pairs import interleaved  # noqa: E402
from _record import arguments, load_average, revision, save  # noqa: E402
from losses import PASSIVE, peak_mib  # noqa: E402

COMPARISONS = (*_loss_pairs.COMPARISONS, *_text_pairs.COMPARISONS)
CLEAR = Path("/proc/self/clear_refs")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS")
QUIET = {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "JAX_PLATFORMS": "cpu", "TOKENIZERS_PARALLELISM": "0"}


def measure(one: Comparison, size: str, given: Any) -> dict[str, Any]:
    """Compare the answers of both in this process, then time them by turns, the first with their memory."""
    sides = one.make(size)
    apart = {k: float(f"{v:.2g}") for k, v in sides.differences(sides.ours(), sides.theirs()).items()}
    found: dict[str, Any] = {"agrees": agrees(apart), "differences": apart}
    ours, theirs = Peak(sides.ours, sides.clear), Peak(sides.theirs, sides.clear)
    found |= interleaved(ours, theirs, given.pairs, given.seconds)
    if size in one.memory and CLEAR.exists():
        found |= {"ours_mib": ours.extra_mib, "peer_mib": theirs.extra_mib}
    return found


class Peak:
    """A call that notes by how much the process's peak grew over what it held when it ran first."""

    def __init__(self, action: Callable[[], object], clear: Callable[[], None]):
        self.action, self.clear, self.extra_mib = action, clear, -1

    def __call__(self) -> object:
        """What the action returns."""
        if self.extra_mib >= 0 or not CLEAR.exists():
            return self.action()
        self.clear()
        CLEAR.write_text("5")  # the peak counts from here
        before = peak_mib()
        result = self.action()
        self.extra_mib = round(peak_mib() - before)
        return result


def bind(threads: int) -> None:
    """Let this process have `threads` threads, on as many processors."""
    import torch

    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-threads:]))


def group(number: int, given: Any) -> None:
    """In a child: print a row for each size of the comparisons of one group."""
    warnings.simplefilter("ignore")
    bind(given.threads)
    for one in groups(given)[number]:
        for size in wanted(one, given):
            named = {"what": one.name, "kind": one.kind, "peer": one.peer, "size": size, "note": one.note}
            print(json.dumps(named | {"load": load_average()} | measure(one, size, given)), flush=True)


def groups(given: Any) -> list[list[Comparison]]:
    """Comparisons that need the same program and settings: they share a process, since imports take long."""
    found: dict[Any, list[Comparison]] = {}
    for one in COMPARISONS:
        if wanted(one, given) and not (one.needs and PEERS[one.needs].missing):
            found.setdefault((one.needs, tuple(one.setting.items())), []).append(one)
    return list(found.values())


def wanted(one: Comparison, given: Any) -> list[str]:
    """The sizes of a comparison that were asked for."""
    if given.what and one.name not in given.what:
        return []
    return [size for size in one.sizes if not given.size or size in given.size]


def rows_of(number: int, some: list[Comparison], given: Any) -> Iterator[dict[str, Any]]:
    """The rows of a group as its process finds them. Raises SystemExit where it fails."""
    settings = {**os.environ, **PASSIVE, **QUIET, **dict.fromkeys(THREADS, str(given.threads)), **some[0].setting}
    command = [sys.executable, "-W", "ignore", *sys.argv, "--group", str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=settings) as child:
        for line in child.stdout or ():
            if line.startswith("{"):
                yield json.loads(line)
    if child.returncode:
        raise SystemExit(f"measuring {some[0].name} and {len(some) - 1} more by {some[0].peer} failed; see above.")


def merged(out: Path | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Earlier rows with new ones in their places, in the order of the comparisons."""
    kept = json.loads(out.read_text(encoding="utf-8"))["rows"] if out and out.is_file() else []
    found = {(r["what"], r["peer"], r["size"]): r for r in [*kept, *rows]}
    order = [(one.name, one.peer, size) for one in COMPARISONS for size in one.sizes]
    return [found[key] for key in order if key in found]


def keep(rows: list[dict[str, Any]], missing: dict[str, str], given: Any) -> None:
    """Save the rows, with what they were measured with, and write the tables."""
    about = {
        "seed": _loss_pairs.SEED,
        "threads": given.threads,
        "peers": {peer.title: peer.version for peer in PEERS.values() if not peer.missing},
        "missing": missing,
        "left_out": LEFT_OUT,
    }
    # Rows of before stay: a run that is stopped, or one without some peer, doesn't lose what others measured.
    fresh = [row | {"revision": revision()} for row in rows]
    save(given.out, merged(given.out, fresh), **about)
    if given.out.resolve() == _tables.RESULTS:
        _tables.write()


def main() -> None:
    """Measure every comparison whose program is here, save the rows and write the tables."""
    parser = arguments(__doc__ or "", "peers.json")
    parser.add_argument("--what", choices=sorted({one.name for one in COMPARISONS}), action="append")
    parser.add_argument("--size", choices=sorted({s for one in COMPARISONS for s in one.sizes}), action="append")
    parser.add_argument("--threads", type=int, default=1, help="of each program (default 1)")
    parser.add_argument("--pairs", type=int, default=15, help="turns of each comparison, at most (default 15)")
    parser.add_argument("--seconds", type=float, default=30, help="time for the turns of a comparison (default 30)")
    parser.add_argument("--tables", action="store_true", help="write the tables from the results, measure nothing")
    parser.add_argument("--group", type=int, help="measure some of them in this process (used by this program)")
    given = parser.parse_args()
    if given.group is not None:
        group(given.group, given)
        return
    if given.tables:
        _tables.write(given.out)
        return
    missing = {PEERS[name].title: PEERS[name].missing for name in PEERS if PEERS[name].missing}
    for title, why in missing.items():
        print(f"{title} is left out: {why}", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    try:
        for number, some in enumerate(groups(given)):
            for row in rows_of(number, some, given):
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    finally:
        if rows:
            keep(rows, missing, given)
    if unequal := [r for r in rows if not r["agrees"]]:
        raise SystemExit(
            f"not the same answer: {[(r['what'], r['peer'], r['size'], r['differences']) for r in unequal]}"
        )


if __name__ == "__main__":
    main()
