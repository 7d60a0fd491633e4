"""How long the first line of a session takes: `import ctkd_core`, the first command, and what each import costs.

Each figure is the median of fresh processes, with the bare interpreter's own start subtracted.
"""

from __future__ import annotations

import subprocess
import sys

from _record import arguments, median_ms, save

SNIPPETS = {
    "interpreter alone": "pass",
    "import ctkd_core": "import ctkd_core",
    "read the table of methods": "import ctkd_core; ctkd_core.METHODS",
    "load a tokenizer (converted before)": "import ctkd_core; ctkd_core.load_tokenizer('deepseek')",
    "align one sentence, sedi": (
        "import ctkd_core as c; s, t = map(c.load_tokenizer, ('deepseek', 'smollm2'));"
        "c.align('A llama costs 1234.', student=s, teacher=t)"
    ),
    "import torch, for scale": "import torch",
}


def main() -> None:
    """Measure every snippet and write the table."""
    parser = arguments(__doc__ or "", "startup.json")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rows = []
    for name, code in SNIPPETS.items():
        ms = median_ms(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True), args.repeats)
        rows.append({"work": name, "ms": ms, "ms without interpreter": ms - (rows[0]["ms"] if rows else ms)})
    save(args.out, rows)


if __name__ == "__main__":
    main()
