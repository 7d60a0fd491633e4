"""Does the CPU preset teach? Loss and held-out bits per byte before and after, by method and seed.

Every row is one complete run of the preset in this process, as `ctkd distill --preset quick` does it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from _record import arguments, save


def main() -> None:
    """Run the preset for each method and seed; print one row a run and the mean over seeds."""
    parser = arguments(__doc__ or "", "quick_preset.json")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--method", action="append", help="default: sft, uld, sedi")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()

    import ctkd_core
    from ctkd_core.distill.config import PRESETS
    from ctkd_core.distill.runs import RunStore

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        for method in args.method or ["sft", "uld", "sedi"]:
            for seed in range(args.seeds):
                config = PRESETS[args.preset].replace(method=method, seed=seed)
                start = time.perf_counter()
                run = ctkd_core.distill(config, store=store)
                metrics = run.summary()["metrics"]
                seconds = time.perf_counter() - start
                rows.append({"method": method, "seed": seed, "seconds": seconds, **metrics})
                print(rows[-1], flush=True)
    save(args.out, rows, summary=_summary(rows), preset=args.preset)


def _summary(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over seeds of what a reader compares."""
    keys = ("bits_per_byte_before", "bits_per_byte_after", "loss_first", "loss_last", "seconds")
    out: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        out[method] = {f"{key} mean": statistics.mean(row[key] for row in mine) for key in keys}
        if len(mine) > 1:
            out[method]["bits_per_byte_after sd"] = statistics.stdev(row["bits_per_byte_after"] for row in mine)
    return out


if __name__ == "__main__":
    main()
