"""Which method for this pair of tokenizers: a rule over plain facts, with the figures it rests on.

The heart is X-Token's audit (arXiv 2605.21699): count how many of the student's tokens of a critical class the teacher
has too. If they are missing, a loss that parts the vocabulary into common and uncommon tokens (H-KL, GOLD) pushes them
down, and every student token must be projected instead (P-KL). The paper's numbers are quoted in the answers and in
docs/pair.md. What is ours is said to be ours. Where the kind of the pair is known, what experiments found on such pairs
stands beside the rule, and takes its place where it decides (`judging.favoured`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, field, replace
from typing import Any

from pydantic.dataclasses import dataclass

from ctkd_core import methods
from ctkd_core.errors import CtkdError
from ctkd_core.methods.evidence import Digest, load
from ctkd_core.pair import evidence as experiments
from ctkd_core.pair import judging
from ctkd_core.pair.evidence import CRITICAL_SHARE, LEAST_OVERLAP, Finding

# Classes whose loss the paper measured: numbers (GSM8k 2.56 where they are missing, 15.54 when all are projected).
CRITICAL = ("digits_1", "digits_2", "digits_3")
MOST_OVERLAP = 0.848  # the largest one there: Llama 3.2 with Qwen3
# Below this share of student tokens in 1-1 groups, pairing by position compares unrelated places. Ours.
MANY_ALONE = 0.9
# A domain below this share of 1-1 tokens, or with this ratio of tokens, is named in a warning. Ours.
FEW_ALONE, TOKEN_RATIO = 0.5, 2.0

_TITLES = {"digits_1": "1-digit numbers", "digits_2": "2-digit numbers", "digits_3": "3-digit numbers"}
# Methods in order of preference for each finding; the first in the table that can train is taken.
_SAME = ("kd", "xtoken-hkl", "gold", "sedi")
_PROJECT = ("xtoken-pkl", "sedi", "alm")
_HYBRID = ("xtoken-hkl", "gold", "sedi")
_GROUPS = ("alm", "sedi")
_LAST = ("dskd", "cdm", "uld", "sft")


# What a loss does that goes by a verdict.
VERDICTS = {
    "P-KL": "project every student token into the teacher's vocabulary",
    "H-KL": "match the common tokens, compare the rest by rank",
}


@dataclass(frozen=True)
class Advice:
    """What to use and why.

    method    name of a row of the table of methods that can be trained here
    family    the method that the published figures favour; where it differs from `method`, `because` says so
    verdict   "P-KL" or "H-KL" (VERDICTS)
    because   sentences with the figures that decided; warnings: what to look out for
    kind      the kind of the pair, "" where it isn't known
    evidence  what experiments on this pair, then those on others of its kind, found: one finding a setting
    confidence  how near they came: "tried on this pair", "tried on such a pair" (the two with "of tokenizers, with a
              transplanted student" behind, see `evidence.confidence`), "never tried on such a pair"; "" where the kind
              isn't known
    options   run options, with dotted names, that the experiments advise with `method`
    counter   settings of those that find `method` decidedly worse than the baseline
    """

    method: str
    family: str
    verdict: str
    because: tuple[str, ...]
    warnings: tuple[str, ...]
    kind: str = ""
    evidence: tuple[Finding, ...] = ()
    confidence: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    counter: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        listed = {"evidence": self.evidence, "counter": self.counter}
        return plain | {name: [finding.to_dict() for finding in each] for name, each in listed.items()}


def advise(facts: Mapping[str, Any], trainable: Collection[str] | None = None, digest: Digest | None = None) -> Advice:
    """The rule, and the experiments where `kind` is given. `classes` is required; what isn't known isn't spoken of.

    classes          audit of the student's vocabulary: {class: {"total", "matched"}} by canonical form
    teacher_classes  the same for the teacher's
    overlap          {"canonical": share of the smaller vocabulary, ...}
    same_tokenizer   whether both sides cut every text alike
    domains          metrics by domain, as `corpus.measure_domains` gives them
    special_tokens   sentences about special tokens that need care
    kind             the kind of the pair (`evidence.kind_of`); student, teacher: the names of both sides
    trainable        names of methods that can train (default: those of the table)
    digest           what experiments found (default: what comes with the package)

    Raises CtkdError when `classes` is missing.
    """
    classes = facts.get("classes")
    if not isinstance(classes, Mapping):
        raise CtkdError("advice needs the class audit of the student's vocabulary; give facts['classes'].")
    able = {m.name for m in methods.training()} if trainable is None else set(trainable)
    missing = [name for name in CRITICAL if _share(classes, name) < CRITICAL_SHARE]
    verdict = "P-KL" if missing else "H-KL"
    if facts.get("same_tokenizer"):
        verdict, because = "H-KL", _same_tokenizer()
        order: tuple[str, ...] = _SAME
    elif (overlap := (facts.get("overlap") or {}).get("canonical")) is not None and overlap < LEAST_OVERLAP:
        order, because = _GROUPS, [*_audit(classes, missing), *_little_overlap(overlap)]
    else:
        order = _PROJECT if missing else _HYBRID
        because = [*_audit(classes, missing), *_evidence(missing), *_enough_overlap(facts)]
    family = order[0]
    method = next((name for name in (*order, *_LAST) if name in able), "sft")
    because += _availability(family, method, bool(facts.get("same_tokenizer")))
    found = Advice(method, family, verdict, tuple(because), tuple(_warnings(facts)))
    return _tried(found, facts, able, digest) if facts.get("kind") else found


def _tried(found: Advice, facts: Mapping[str, Any], able: Collection[str], digest: Digest | None) -> Advice:
    """The advice with what experiments say; they change the method only where they decide."""
    kind, student, teacher = facts["kind"], facts.get("student", ""), facts.get("teacher", "")
    try:
        there = experiments.settings(digest or load(), kind, student, teacher)
    except CtkdError as fault:
        return replace(found, kind=kind, confidence=experiments.NEVER, warnings=(*found.warnings, str(fault)))
    judged = judging.favoured(there, found.method, able, (student, teacher))
    best = judged.best
    if best is not None:
        found = replace(found, method=best.method, options=dict(best.options))
    known = experiments.findings(there, student, teacher)
    counter = judging.against(there, found.method, found.options, (student, teacher))
    because = judging.because(judged, there, found.method, counter, kind)
    if best is None:
        because.append(f"The advice rests on the rule, that is on {_rests_on(found, facts)}.")
    return replace(
        found,
        kind=kind,
        evidence=known,
        confidence=experiments.confidence(known, kind),
        counter=counter,
        because=(*found.because, " ".join(because)),
    )


def _rests_on(found: Advice, facts: Mapping[str, Any]) -> str:
    """The published claim behind the rule's method."""
    if facts.get("same_tokenizer"):
        return "plain distillation position by position (X-Token's row for one tokenizer)"
    if found.family in _GROUPS:
        return "ALM's transfer to bytes (arXiv 2503.20083)"
    return f"X-Token's figures for {found.verdict} (arXiv 2605.21699)"


def _share(classes: Mapping[str, Mapping[str, int]], name: str) -> float:
    """Matched share of a class; 1 for a class that the student doesn't have: nothing of it can be lost."""
    row = classes.get(name, {"total": 0, "matched": 0})
    return row["matched"] / row["total"] if row["total"] else 1.0


def _audit(classes: Mapping[str, Mapping[str, int]], missing: list[str]) -> list[str]:
    """The counts of every critical class that the student has, missing ones first."""
    named = [*missing, *(name for name in CRITICAL if name not in missing)]
    held = [name for name in named if classes.get(name, {}).get("total")]
    counts = [f"{_TITLES[n]} {classes[n]['matched']:,} of {classes[n]['total']:,}" for n in held]
    sentences = [f"Student tokens that the teacher has too: {', '.join(counts)}."] if counts else []
    if not any(name in held for name in ("digits_2", "digits_3")):
        sentences.append("The student has no tokens of several digits, so no number is lost to the match.")
    return sentences


def _evidence(missing: list[str]) -> list[str]:
    if missing:
        return [
            "A critical class is missing from the common tokens: a hybrid loss presses its tokens down. X-Token "
            "measured this with Llama-3.2-1B taught by Qwen3-4B: H-KL 35.30 on average against P-KL 38.85, and GSM8k "
            "2.56 under GOLD against 15.54 under P-KL (untrained: 5.69)."
        ]
    return [
        "All critical classes are among the common tokens, where a hybrid loss compares like with like. X-Token "
        "measured this with Llama-3.2-1B taught by Phi-4-mini: H-KL 39.18 on average, GOLD 38.66, P-KL 37.50."
    ]


def _enough_overlap(facts: Mapping[str, Any]) -> list[str]:
    overlap = (facts.get("overlap") or {}).get("canonical")
    if overlap is None:
        return []
    return [
        f"The vocabularies share {_percent(overlap)} of the smaller one by canonical form; the pairs in "
        f"NeMo-RL's guide to X-Token have {_percent(LEAST_OVERLAP)} to {_percent(MOST_OVERLAP)}."
    ]


def _little_overlap(overlap: float) -> list[str]:
    return [
        f"The vocabularies share only {_percent(overlap)} of the smaller one by canonical form; for methods that rest "
        f"on a vocabulary map nothing is published below {_percent(LEAST_OVERLAP)}.",
        "Methods that compare groups of tokens need no such map. The far end of that road is a student that reads "
        "bytes: there ALM with SFT reports 51.3 (Gemma 2 2B, mean of 7 tasks), MinED 47.1 and SFT alone 46.5.",
    ]


def _same_tokenizer() -> list[str]:
    return [
        "Both sides cut every text alike, so no alignment and no map are needed: compare the distributions "
        "position by position (plain forward KL). Every token is common, and H-KL is just that.",
        "X-Token's row for this case: Llama-3.2-1B taught by Llama-3.2-3B, 38.40 on average (untrained: 33.96).",
    ]


def _availability(family: str, method: str, same: bool) -> list[str]:
    """Why `method` is named although the evidence favours `family`; nothing when they are one."""
    if family == method:
        return []
    if same and method == "sedi":
        return [
            "Of the methods that can be trained here SeDi comes closest: between equal tokenizers every group is 1-1, "
            "and it compares the teacher's K best candidates at the same position."
        ]
    sentence = f"The evidence favours {methods.get(family).title}, which can't be trained here yet; "
    if method == "sedi":
        return [
            sentence + "SeDi can, and it needs no common vocabulary either: it writes the teacher's candidates in the "
            "student's tokens, group by group (in its paper the teacher's best candidate is the text's own token in 95 "
            "to 98 % of places, 62 to 85 % with MinED)."
        ]
    return [sentence + f"{methods.get(method).title} is the nearest that can."]


def _warnings(facts: Mapping[str, Any]) -> list[str]:
    if facts.get("same_tokenizer"):
        return list(facts.get("special_tokens", ()))
    return [*_teacher_numbers(facts), *_domain_warnings(facts.get("domains", {})), *facts.get("special_tokens", ())]


def _teacher_numbers(facts: Mapping[str, Any]) -> list[str]:
    teacher = facts.get("teacher_classes", {})
    lost = [n for n in ("digits_2", "digits_3") if teacher and _share(teacher, n) < CRITICAL_SHARE]
    if not lost:
        return []
    total = sum(teacher[n]["total"] for n in lost)
    return [
        f"The teacher has {total:,} multi-digit tokens that the student spells in pieces; X-Token's paper has no such "
        "pair. In P-KL no student token reaches them unless the map is built with the reverse pass."
    ]


def _domain_warnings(domains: Mapping[str, Mapping[str, Any]]) -> list[str]:
    measured = {name: row for name, row in domains.items() if row.get("student_tokens") and row.get("teacher_tokens")}
    if not measured:
        return []
    found = []
    tokens = sum(row["student_tokens"] for row in measured.values())
    alone = sum(row["student_tokens_1_1"] * row["student_tokens"] for row in measured.values()) / tokens
    if alone < MANY_ALONE:
        found.append(
            f"Don't pair by position (plain ULD): {_percent(alone)} of the student's tokens face one teacher token."
        )
    few = {n: r["student_tokens_1_1"] for n, r in measured.items() if r["student_tokens_1_1"] < FEW_ALONE}
    if few:
        listed = ", ".join(f"{n} {_percent(share)}" for n, share in sorted(few.items(), key=lambda item: item[1]))
        found.append(f"Few student tokens face one teacher token in: {listed}. Expect coarse groups there.")
    ratios = {n: row["teacher_tokens"] / row["student_tokens"] for n, row in measured.items()}
    far = {n: r for n, r in ratios.items() if not 1 / TOKEN_RATIO <= r <= TOKEN_RATIO}
    if far:
        listed = ", ".join(f"{n} {r:.2g}" for n, r in sorted(far.items(), key=lambda item: -item[1]))
        found.append(f"Teacher tokens per student token are far from 1 in: {listed}. Watch sequence lengths.")
    differing = {n: 1 - r["text_match_rate"] for n, r in measured.items() if r["n_groups"] and r["text_match_rate"] < 1}
    if differing:
        listed = ", ".join(f"{n} {_percent(share)}" for n, share in differing.items())
        found.append(f"Some groups say different texts on their two sides (a normaliser, unknown tokens): {listed}.")
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
