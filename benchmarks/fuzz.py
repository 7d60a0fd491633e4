"""Changed and random inputs by the hundred thousand: what is read is accepted or refused in a sentence.

    python benchmarks/fuzz.py --target config --count 100000 --seed 1

Targets: loader (tokenizer.json), spans (texts under tokenizers of all kinds), store (damaged run folders), config and
data. One process; inputs follow from the seed, so a failure is made again with the same seed and a count up to its
number. Failures are counted by the line where they arose, the first of each with its traceback; the results of several
targets are kept side by side in one file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["RUST_BACKTRACE"] = "0"  # panics of the tokenizers library are caught, and many

from _record import environment  # noqa: E402

SHOWN = 20  # failures of different lines that are kept with their traceback


def run(target: str, count: int, seed: int, seconds: float) -> dict[str, Any]:
    """Try `count` inputs, or as many as `seconds` allow (0: no limit)."""
    from tests.fuzzing import TARGETS

    outcomes: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    first: dict[str, dict[str, Any]] = {}
    used = resource.getrusage(resource.RUSAGE_SELF)
    begun, said = time.monotonic(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ctkd-fuzz-") as folder:
        os.environ["CTKD_HOME"] = str(Path(folder) / "home")
        one = TARGETS[target](Path(folder))
        done = 0
        for number in range(count):
            try:
                outcomes[one(random.Random(f"{seed}:{target}:{number}"))] += 1
            except KeyboardInterrupt:
                break
            except BaseException as fault:
                where = traceback.extract_tb(fault.__traceback__)[-1]
                key = f"{type(fault).__name__} at {Path(where.filename).name}:{where.lineno}"
                failures[key] += 1
                if len(first) < SHOWN:
                    first.setdefault(key, {"input": number, "traceback": _portable(traceback.format_exc(limit=-12))})
            done += 1
            if time.monotonic() - said > 60:
                said = time.monotonic()
                failed = sum(failures.values())
                print(f"{target}: {done:,} of {count:,}, {failed} failures", file=sys.stderr, flush=True)
            if seconds and time.monotonic() - begun > seconds:
                break
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "target": target,
        "count": done,
        "seed": seed,
        "outcomes": dict(sorted(outcomes.items())),
        "failures": dict(failures),
        "first_failures": first,
        "cpu_seconds": round(after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, 1),
        "wall_seconds": round(time.monotonic() - begun, 1),
        "peak_memory_mib": round(after.ru_maxrss / 1024),
    }


def _portable(text: str) -> str:
    """A traceback without the folders of this machine."""
    return re.sub(r'File "[^"]*/(?=(site-packages|ctkd_core|tests|benchmarks)/)', 'File "', text)


def main() -> int:
    """Run one target and write the record; exit code 1 where something failed."""
    parser = argparse.ArgumentParser(description="Give one reader many changed and random inputs.")
    parser.add_argument("--target", required=True, choices=["loader", "spans", "store", "config", "data"])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0, help="stop after so long; 0: never")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "fuzz.json")
    chosen = parser.parse_args()
    row = run(chosen.target, chosen.count, chosen.seed, chosen.seconds)
    record = json.loads(chosen.json.read_text()) if chosen.json.is_file() else {"rows": []}
    asked = f"--target {chosen.target} --count {chosen.count} --seed {chosen.seed} --seconds {chosen.seconds:g}"
    machine = environment() | {"command": f"python benchmarks/fuzz.py {asked}"}
    kept = [other for other in record["rows"] if other["target"] != chosen.target]
    rows = sorted([*kept, row | {"environment": machine}], key=lambda r: r["target"])
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(json.dumps({k: v for k, v in row.items() if k != "first_failures"}))
    return 1 if row["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
