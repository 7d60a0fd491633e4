"""The tables that README.md and benchmarks/README.md show of results/peers.json, between two comments each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
BEGIN, END = "<!-- made by benchmarks/peers.py -->", "<!-- end of what benchmarks/peers.py made -->"


def summary(results: Mapping[str, Any]) -> str:
    """One row a comparison, at the largest size that was measured; ratios only."""
    last: dict[tuple[str, str], Any] = {(row["what"], row["peer"]): row for row in results["rows"]}
    rows = [
        [row["what"], row["peer"], row["size"], _ratio(row["ratio"]), _memory(row), _same(row)] for row in last.values()
    ]
    head = ["what", "by", "size", "times our time", "times our memory", "same answer"]
    return table(head, rows)


def full(results: Mapping[str, Any]) -> str:
    """One row a comparison and size, with the seconds of both, and what isn't compared."""
    rows = [
        [
            row["what"], row["peer"], row["size"], seconds(row["ours_seconds"]), seconds(row["peer_seconds"]),
            _ratio(row["ratio"]), str(row["ratio"]["pairs"]), _times(row["cpu_ratio"]["median"]),
            _mib(row, "ours"), _mib(row, "peer"), _same(row),
        ]
        for row in results["rows"]
    ]  # fmt: skip
    head = [
        "what", "by", "size", "our time", "its time", "times ours (interval)", "pairs", "times ours, processor",
        "our MiB", "its MiB", "same answer",
    ]  # fmt: skip
    notes = {row["note"]: f"{row['what']}, {row['peer']}: {row['note']}." for row in results["rows"] if row["note"]}
    left_out = [f"{name}: {why}" for name, why in {**results["missing"], **results["left_out"]}.items()]
    lines = [_conditions(results), "", table(head, rows), "", *(f"- {line}" for line in [*notes.values(), *left_out])]
    return "\n".join(lines)


def write(results: Path = RESULTS) -> None:
    """Put both tables into their files."""
    for path, text in pages(json.loads(results.read_text(encoding="utf-8"))).items():
        path.write_text(placed(path.read_text(encoding="utf-8"), text), encoding="utf-8")


def pages(results: Mapping[str, Any]) -> dict[Path, str]:
    """What each file shows."""
    return {ROOT / "README.md": summary(results), ROOT / "benchmarks" / "README.md": full(results)}


def placed(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with `text` between the comments. Raises SystemExit where they aren't there once each."""
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended or begin in after:
        raise SystemExit(f"the page should hold {begin!r} and, behind it, {end!r} once each.")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _conditions(results: Mapping[str, Any]) -> str:
    where = results["environment"]
    peers = ", ".join(f"{name} {version}" for name, version in results["peers"].items())
    loads = [row["load"][0] for row in results["rows"] if row["load"]]
    load = f", load average {min(loads):.1f} to {max(loads):.1f}" if loads else ""
    return (
        f"{where['device']}, {results['threads']} thread{'s' * (results['threads'] > 1)}{load}; torch "
        f"{where['versions']['torch']}, {peers}; commit {where['revision']}."
    )


def _ratio(ratio: Mapping[str, Any]) -> str:
    return f"{_times(ratio['median'])} ({_times(ratio['low'])} to {_times(ratio['high'])})"


def _memory(row: Mapping[str, Any]) -> str:
    if not row.get("ours_mib"):
        return ""
    return _times(row["peer_mib"] / row["ours_mib"])


def _mib(row: Mapping[str, Any], side: str) -> str:
    # 0: all that a side took was there already, freed by what ran before, so nothing is known of it.
    return f"{row[f'{side}_mib']:,}" if row.get("ours_mib") and f"{side}_mib" in row else ""


def _same(row: Mapping[str, Any]) -> str:
    if row["agrees"]:
        return "yes"
    return "no: " + ", ".join(f"{name} {value:.2g}" for name, value in row["differences"].items())


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def seconds(value: float) -> str:
    """Seconds in a table's cell."""
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"


def mib(value: float) -> str:
    """MiB in a table's cell."""
    return f"{value:,.0f} MiB"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
