"""Measuring a pair on a corpus, beside what `tokenizers.encode_batch` alone takes for both sides.

What `ctkd pair --corpus --speed` does, several times over on the same text: by turns measuring with so many
processes, from file to sums, and encoding with as many threads of the library, from texts in memory with the results
thrown away. A row is one call; its share is the median of its rounds. `load` says what else the machine had to do.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from _record import arguments, save
from _texts import real_text


def main() -> None:
    """Time all calls and write the table."""
    parser = arguments(__doc__ or "", "corpora.json")
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--characters", type=int, default=3_800_000)
    args = parser.parse_args()

    import ctkd_core
    from ctkd_core.pair.corpora.counting import Counting
    from ctkd_core.pair.corpora.sources import read_texts
    from ctkd_core.pair.corpora.speed import speed

    student, teacher = ctkd_core.load_tokenizer("deepseek"), ctkd_core.load_tokenizer("smollm2")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        path.write_text(real_text(args.characters), encoding="utf-8")
        corpora = {"text": read_texts(path)}
        found = [
            speed(Counting(student, teacher, "sedi"), corpora, args.workers, rounds=args.rounds)
            for _ in range(args.calls)
        ]
    rows = [
        {
            "processes": each["workers"],
            "MB": each["bytes"] / 1e6,
            "MB/s": each["bytes_per_second"] / 1e6,
            "encode_batch alone, MB/s": each["encode_batch"]["bytes_per_second"] / 1e6,
            "share by the clock": each["share"],
            "share by processor seconds": each["cpu_share"],
        }
        for each in found
    ]
    shares = {key: statistics.median(row[key] for row in rows) for key in rows[0] if key.startswith("share")}
    save(args.out, rows, median=shares, rounds=args.rounds)


if __name__ == "__main__":
    main()
