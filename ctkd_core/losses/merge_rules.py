"""Which losses read one merged row of each group and nothing else of the teacher, and by which rule it is made.

A method's row in the table names its function here; what it gives depends on the loss's options. Such a row can be made
before the loss is computed and kept instead of a row for each token: see `teacher_merges.py`. Loads no torch, because
the checks before a run ask.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Rule = Literal["predicting", "bayesian", "observed", "mean", "last", "log_mean"]

IN_WORDS: Mapping[Rule, str] = {
    "predicting": "the row that predicts a group's last token",
    "bayesian": "the row that predicts a group's last token times the chance of its earlier tokens",
    "observed": "the row at a group's first token times the chance of its later tokens",
    "mean": "the mean of the logits at a group's tokens",
    "last": "the row at a group's last token",
    "log_mean": "the mean of the log-probabilities that predict a group's tokens",
}
TEMPERED: Collection[Rule] = ("bayesian", "observed", "log_mean")  # for which the teacher's temperature matters


@dataclass(frozen=True)
class MergeRule:
    """How a group's rows become one; `temperature` divides logits before a soft-max, 1 where there is none."""

    rule: Rule
    temperature: float = 1.0


def sedi(options: Mapping[str, Any], variant: str) -> MergeRule | str:  # noqa: ARG001 - it has one rule
    """The rule of SeDi."""
    return MergeRule("predicting")


def uld(options: Mapping[str, Any], variant: str) -> MergeRule | str:
    """The rule of ULD, which has groups with `pairing` "groups" alone; else a reason why there is none."""
    if variant != "clean" or options["pairing"] != "groups":
        return "it compares rows by their index, not by groups (pairing=groups does)"
    return MergeRule("predicting")


def hkl(options: Mapping[str, Any], variant: str) -> MergeRule | str:  # noqa: ARG001 - both merge alike
    """The rule of H-KL, at its temperature."""
    return MergeRule("log_mean", float(options["temperature"]))


def gold(options: Mapping[str, Any], variant: str) -> MergeRule | str:  # noqa: ARG001 - both merge alike
    """The rule of GOLD: either merge, at the teacher's temperature."""
    return MergeRule(options["merge"], float(options["teacher_temperature"] or options["temperature"]))


def cdm(options: Mapping[str, Any], variant: str) -> MergeRule | str:
    """The rule of CDM, or a reason why there is none."""
    if variant != "clean":
        return f"its variant {variant!r} merges by slips of the released program"
    if options["realign"]:
        return "it aligns anew at every step (realign)"
    return MergeRule(options["merge"])
