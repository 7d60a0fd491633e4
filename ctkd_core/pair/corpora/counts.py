"""What is counted over texts: whole numbers that add up exactly, in any order, and the rates and intervals of the sums.

Texts are dealt into GROUPS groups at random (by a hash of their content, so that it is always the same group), and
each group keeps its own sums. The interval of a rate resamples the groups: a bootstrap over documents that costs
nothing while texts are counted, and whose sums are of one size however large the corpus.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import CtkdError, short

GROUPS = 64  # of texts; the standard error of an interval's half-width is 1 / sqrt(2 * 63), 9 %
FIELDS = (
    "texts",
    "bytes",
    "characters",
    "words",
    "student_tokens",
    "teacher_tokens",
    "groups",
    "1_1",
    "1_n",
    "n_1",
    "n_m",
    "covered_bytes",
    "matched_bytes",
    "orphan_student",
    "orphan_teacher",
    "largest_group",
    "grouped_tokens",
    "equal_groups",
    "equal_student_tokens",
    "boundaries",
    "common_boundaries",
    "student_whole",
    "teacher_whole",
)
AT = {name: place for place, name in enumerate(FIELDS)}
LARGEST = AT["largest_group"]  # the one that isn't added: the largest counts

# Rates: what is divided by what, and a factor. The names are those of docs/metrics.md.
RATES: dict[str, tuple[str, str, float]] = {
    "student_fertility": ("student_tokens", "words", 1.0),
    "teacher_fertility": ("teacher_tokens", "words", 1.0),
    "student_bytes_per_token": ("bytes", "student_tokens", 1.0),
    "teacher_bytes_per_token": ("bytes", "teacher_tokens", 1.0),
    "share_1_1": ("1_1", "groups", 1.0),
    "share_1_n": ("1_n", "groups", 1.0),
    "share_n_1": ("n_1", "groups", 1.0),
    "share_n_m": ("n_m", "groups", 1.0),
    "student_tokens_1_1": ("1_1", "student_tokens", 1.0),
    "teacher_tokens_1_1": ("1_1", "teacher_tokens", 1.0),
    "byte_coverage": ("covered_bytes", "bytes", 1.0),
    "byte_match_rate": ("matched_bytes", "bytes", 1.0),
    "mean_group_size": ("grouped_tokens", "groups", 0.5),
    "text_match_rate": ("equal_groups", "groups", 1.0),
    "student_text_match_rate": ("equal_student_tokens", "student_tokens", 1.0),
    "boundary_f1": ("common_boundaries", "boundaries", 2.0),
    "student_whole": ("student_whole", "student_tokens", 1.0),
    "teacher_whole": ("teacher_whole", "teacher_tokens", 1.0),
}
# What a group of tokens has of its own, so that it can be told by script; words and boundaries lie between groups.
SCRIPT_RATES = (
    "student_bytes_per_token",
    "teacher_bytes_per_token",
    "share_1_1",
    "share_1_n",
    "share_n_1",
    "share_n_m",
    "student_tokens_1_1",
    "teacher_tokens_1_1",
    "byte_match_rate",
    "mean_group_size",
    "text_match_rate",
    "student_text_match_rate",
    "student_whole",
    "teacher_whole",
)
CLASS_RATES = {  # of the tokens of one side
    "student_class": ("student_bytes_per_token", "student_tokens_1_1", "student_text_match_rate", "student_whole"),
    "teacher_class": ("teacher_bytes_per_token", "teacher_tokens_1_1", "teacher_whole"),
}
OWN_SLICES = ("script", *CLASS_RATES)  # that every text is told apart by; no field of records is called so
CLASS_COUNTS = {"student_class": ("bytes", "student_tokens"), "teacher_class": ("bytes", "teacher_tokens")}
SCRIPT_COUNTS = ("bytes", "student_tokens", "teacher_tokens")

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95
LEAST_TEXTS = 20  # with fewer there is no interval

MOST_VALUES = 1000  # of a field of records
MOST_BYTES = 200_000_000  # of a record that is read

ALL = ("", "")  # the slice with every text
Slice = tuple[str, str]  # what it is told by ("script", "student_class", a field of records), and the value
Table = NDArray[np.int64]  # [GROUPS, len(FIELDS)]


@dataclass
class Counts:
    """Sums over some texts: a table for each slice, and what was left out, {reason: texts}."""

    slices: dict[Slice, Table] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def table(self, part: Slice = ALL) -> Table:
        """The table of a slice, made where there is none."""
        found = self.slices.get(part)
        if found is None:
            found = self.slices[part] = np.zeros((GROUPS, len(FIELDS)), dtype=np.int64)
        return found

    def add(self, other: Counts) -> None:
        """Take in other texts; the order of additions changes nothing. Raises CtkdError for a field of no use."""
        for part, table in other.slices.items():
            own = self.table(part)
            largest = np.maximum(own[:, LARGEST], table[:, LARGEST])
            own += table
            own[:, LARGEST] = largest
        self.skipped.update(other.skipped)
        self.check()

    def check(self) -> None:
        """Raise CtkdError where a field of the records has more values than anybody reads."""
        if len(self.slices) <= MOST_VALUES:
            return
        for name, count in Counter(by for by, _ in self.slices).items():
            if count > MOST_VALUES:
                raise CtkdError(
                    f"the records' field {short(name)} has more than {MOST_VALUES:,} different values; tell texts "
                    "apart by a field with fewer (a language, say)."
                )

    def total(self, part: Slice = ALL) -> dict[str, int]:
        """The sums of one slice over all groups of texts."""
        return dict(zip(FIELDS, totals(self.table(part)).tolist()))

    @property
    def seen(self) -> int:
        """Texts that were counted or left out."""
        return int(self.table()[:, AT["texts"]].sum()) + self.skipped.total()

    def to_bytes(self) -> bytes:
        """As a record to be kept or sent."""
        names = json.dumps([[list(part) for part in self.slices], dict(self.skipped)])
        tables = np.array(list(self.slices.values()), dtype=np.int64).reshape(-1, GROUPS, len(FIELDS))
        small = tables.astype(np.int32)
        smallest = small if (small == tables).all() else tables
        file = io.BytesIO()
        np.savez(file, names=np.frombuffer(names.encode(), dtype=np.uint8), tables=smallest)
        return zlib.compress(file.getvalue(), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Counts:
        """What `to_bytes` made. Raises ValueError for anything else."""
        try:
            unpacked = zlib.decompressobj()
            plain = unpacked.decompress(data, MOST_BYTES)
            if not unpacked.eof:
                raise ValueError("it breaks off")
            with np.load(io.BytesIO(plain), allow_pickle=False) as file:
                parts, skipped = json.loads(file["names"].tobytes())
                tables = file["tables"].astype(np.int64)
            if tables.shape != (len(parts), GROUPS, len(FIELDS)):
                raise ValueError(f"tables of shape {tables.shape}")
            slices = {(str(by), str(value)): table for (by, value), table in zip(parts, tables)}
            return cls(slices, Counter({str(reason): int(count) for reason, count in skipped.items()}))
        except (zlib.error, zipfile.BadZipFile, OSError, KeyError, TypeError, AttributeError, EOFError) as fault:
            raise ValueError(str(fault)) from None


def totals(table: Table) -> NDArray[np.int64]:
    """int64 [len(FIELDS)]: all groups of texts together."""
    found: NDArray[np.int64] = table.sum(axis=0)
    found[LARGEST] = table[:, LARGEST].max(initial=0)
    return found


def figures(counts: Counts) -> dict[str, Any]:
    """`metrics` without intervals and slices."""
    total = dict(zip(FIELDS, totals(counts.table()).tolist()))
    plain = ("texts", "bytes", "characters", "words", "student_tokens", "teacher_tokens")
    return {
        **{name: total[name] for name in plain},
        "skipped": dict(sorted(counts.skipped.items())),
        "n_groups": total["groups"],
        **{name: total[name] for name in ("orphan_student", "orphan_teacher", "largest_group")},
        **{name: _rate(total, name) for name in RATES},
    }


def metrics(counts: Counts) -> dict[str, Any]:
    """The figures of all texts, with their intervals, and of the slices: an entry of `corpus` in `ctkd pair --json`.

    The quotient of nothing is 0 (of boundaries 1). `intervals` {rate: [low, high]} is empty with fewer than
    LEAST_TEXTS texts; `slices` {script, student_class, teacher_class, fields of records: {value: figures}}.
    """
    found = figures(counts)
    enough = found["texts"] >= LEAST_TEXTS
    found["intervals"] = intervals(counts.table(), tuple(RATES)) if enough else {}
    slices: dict[str, dict[str, Any]] = {}
    order = {
        part: -int(one[:, [AT["student_tokens"], AT["teacher_tokens"]]].sum()) for part, one in counts.slices.items()
    }
    for part in sorted(counts.slices, key=lambda part: (part[0], order[part], part[1])):
        if part != ALL:
            slices.setdefault(part[0], {})[part[1]] = _slice(part[0], counts.slices[part], enough)
    found["slices"] = slices
    return found


def _slice(by: str, table: Table, enough: bool) -> dict[str, Any]:
    total = dict(zip(FIELDS, totals(table).tolist()))
    plain: tuple[str, ...]
    rates: tuple[str, ...]
    if by == "script":
        plain, rates = (*SCRIPT_COUNTS, "largest_group"), SCRIPT_RATES
    elif by in CLASS_RATES:
        plain, rates = CLASS_COUNTS[by], CLASS_RATES[by]
    else:
        plain, rates = ("texts", "bytes", "words", "student_tokens", "teacher_tokens", "largest_group"), tuple(RATES)
        enough = total["texts"] >= LEAST_TEXTS
    return {
        **{name: total[name] for name in plain},
        **({} if by in CLASS_RATES else {"n_groups": total["groups"]}),
        **{name: _rate(total, name) for name in rates},
        "intervals": intervals(table, rates) if enough else {},
    }


def _rate(total: Mapping[str, int], name: str) -> float:
    part, whole, factor = RATES[name]
    if not total[whole]:
        return 1.0 if name == "boundary_f1" else 0.0
    return factor * total[part] / total[whole]


def intervals(table: Table, names: tuple[str, ...]) -> dict[str, list[float]]:
    """95 % intervals of rates by the percentiles of RESAMPLES resamplings of the groups of texts, always the same ones.

    A rate whose denominator is mostly 0 has none.
    """
    # In floats: sums of 2**53 and more lose their last digit, which no interval shows.
    sums = _resamplings() @ table.astype(np.float64)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    found = {}
    for name in names:
        part, whole, factor = RATES[name]
        there = sums[:, AT[whole]] > 0
        if there.mean() > 0.5:
            values = factor * sums[there, AT[part]] / sums[there, AT[whole]]
            found[name] = [float(v) for v in np.quantile(values, tails)]
    return found


@lru_cache(maxsize=1)
def _resamplings() -> NDArray[np.float64]:
    """float64 [RESAMPLES, GROUPS]: how often each group of texts is drawn."""
    drawn = np.random.default_rng(SEED).multinomial(GROUPS, np.full(GROUPS, 1 / GROUPS), size=RESAMPLES)
    return drawn.astype(np.float64)
