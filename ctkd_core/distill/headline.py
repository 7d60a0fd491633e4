"""The few figures of a run that lists show: the worker keeps them in the status, so no list reads metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from ctkd_core.background.status import RECORD
from ctkd_core.markup.visible import counted

COUNTS = {"held_out": "sample", "held_out_bytes": "byte"}  # of the text that bits per byte are measured on
FIGURES = (
    *("loss_first", "loss_last", "bits_per_byte_before", "bits_per_byte_after", "teacher_bits_per_byte"),
    *COUNTS,
)
MOST_POINTS = 80  # of the small curve


@dataclass(frozen=True, config=RECORD)
class Headline:
    """First and last loss and bits per byte, None for what wasn't measured (yet), and the losses thinned out.

    held_out, held_out_bytes  samples that bits per byte were last measured on, and bytes of their answers; None in runs
                              of before it was kept
    size    bytes of metrics.jsonl that these figures know, None where that isn't known
    damage  what in it is no row and was passed over, as a sentence; "" when nothing is
    """

    loss_first: float | None = None
    loss_last: float | None = None
    bits_per_byte_before: float | None = None
    bits_per_byte_after: float | None = None
    teacher_bits_per_byte: float | None = None
    held_out: float | None = None
    held_out_bytes: float | None = None
    curve: tuple[float, ...] = field(default_factory=tuple)
    size: int | None = None
    damage: str = ""

    def figures(self) -> dict[str, float | None]:
        """The figures by their names."""
        found = {name: getattr(self, name) for name in FIGURES}
        return found | {name: int(found[name]) for name in COUNTS if found[name] is not None}


NOTHING = Headline()


class HeadlineKeeper:
    """The headline of rows as they come; `damage` is what was passed over among the first of them."""

    def __init__(self, rows: Iterable[dict[str, Any]] = (), damage: str = "") -> None:
        self._damage = damage
        self._found: dict[str, float | None] = dict.fromkeys(FIGURES)
        self._curve: list[float] = []
        self._every, self._losses = 1, 0
        for row in rows:
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """One more row of metrics.jsonl; what isn't a finite number is passed over."""
        found, kind = self._found, row.get("kind")
        if kind == "train":
            loss = number(row.get("loss"))
            if self._losses == 0:
                found["loss_first"] = loss
            found["loss_last"] = loss
            if loss is not None and self._losses % self._every == 0:
                self._curve.append(loss)
                if len(self._curve) > MOST_POINTS:
                    self._curve, self._every = self._curve[::2], self._every * 2
            self._losses += 1
        elif kind == "eval":
            step, bits = number(row.get("step")), number(row.get("bits_per_byte"))
            if step == 0 and found["bits_per_byte_before"] is None:
                found["bits_per_byte_before"] = bits
            elif step is not None and step > 0:
                found["bits_per_byte_after"] = bits
            if found["teacher_bits_per_byte"] is None:
                found["teacher_bits_per_byte"] = number(row.get("teacher_bits_per_byte"))
            found |= {key: count for key in COUNTS if (count := number(row.get(key))) is not None}

    def headline(self, size: int | None = None) -> Headline:
        """What the rows so far come to."""
        return Headline(**self._found, curve=tuple(self._curve), size=size, damage=self._damage)


def headline(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """First and last loss and bits per byte of rows that count; None for what wasn't measured (yet)."""
    return HeadlineKeeper(rows).headline().figures()


def held_out_text(figures: Mapping[str, float | None]) -> str:
    """The text that bits per byte are measured on: "48 samples, 3,120 bytes"; "" where it isn't known."""
    known = {unit: count for key, unit in COUNTS.items() if (count := figures.get(key)) is not None}
    return ", ".join(counted(int(count), unit) for unit, count in known.items())


def number(value: object) -> float | None:
    """A finite number as a float, None for anything else (a file may hold whatever it likes)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
