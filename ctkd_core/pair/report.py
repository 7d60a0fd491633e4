"""The report on a pair of tokenizers: what their vocabularies share, how they cut texts, what to train with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

import numpy as np
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from ctkd_core.background.progress import Progress
from ctkd_core.files import cache_dir, documents
from ctkd_core.pair.advice import Advice, advise
from ctkd_core.pair.corpus import CorpusMetrics, Text, measure_domains
from ctkd_core.pair.evidence import kind_of
from ctkd_core.tokenizers.load import as_pair
from ctkd_core.vocabulary.classes import CLASSES, audit, token_classes
from ctkd_core.vocabulary.overlap import WAYS, Overlap, overlap

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

UNMATCHED_SHOWN = 12  # tokens of a class that are named


class ClassCount(TypedDict):
    """Tokens of one class, and those that the other side has too."""

    total: NonNegativeInt
    matched: NonNegativeInt


class Shares(TypedDict):
    """A count as a share of either vocabulary, and of the smaller one."""

    student: float
    teacher: float
    smaller: float


class Doubles(TypedDict):
    """Ids that no method matches, because another id of the same tokenizer has their bytes and is what it writes.

    count     how many; examples: some of them, each with the id that counts, as vocabulary strings
    """

    count: NonNegativeInt
    examples: list[list[str]]


class VocabularyFacts(TypedDict):
    """What two vocabularies share; `vocabulary_facts` says what is counted how."""

    __pydantic_config__ = documents.PRINTED  # type: ignore[misc]

    student_size: NonNegativeInt
    teacher_size: NonNegativeInt
    student_ids: NonNegativeInt
    teacher_ids: NonNegativeInt
    student_empty_ids: NonNegativeInt
    teacher_empty_ids: NonNegativeInt
    exact: NonNegativeInt
    canonical: NonNegativeInt
    bytes: NonNegativeInt
    shares: dict[str, Shares]
    classes: dict[str, ClassCount]
    teacher_classes: dict[str, ClassCount]
    unmatched: dict[str, list[str]]
    doubles: dict[str, Doubles]
    same_tokenizer: NotRequired[bool]


class SpecialToken(TypedDict):
    """One role, see `special_tokens.compare`."""

    __pydantic_config__ = documents.PRINTED  # type: ignore[misc]

    role: str
    student_id: int | None
    student: str | None
    teacher_id: int | None
    teacher: str | None
    note: str


@dataclass(frozen=True)
class PairReport:
    """Everything `ctkd pair` says; all fields are plain data but `advice`, and of the shapes named.

    vocabulary      sizes, overlap counted three ways, class audits of both sides, examples of what isn't shared
    corpus          metrics by domain, see `corpus.measure`
    special_tokens  one dict a role, see `special_tokens.compare`
    """

    student: str
    teacher: str
    method: str
    vocabulary: Annotated[dict[str, Any], documents.Shape(VocabularyFacts)]
    corpus: Annotated[dict[str, dict[str, Any]], documents.Shape(dict[str, CorpusMetrics])]
    special_tokens: Annotated[list[dict[str, Any]], documents.Shape(list[SpecialToken])]
    advice: Advice

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the shape of `ctkd pair --json`."""
        return {
            "student": self.student,
            "teacher": self.teacher,
            "method": self.method,
            "vocabulary": self.vocabulary,
            "corpus": self.corpus,
            "special_tokens": self.special_tokens,
            "advice": self.advice.to_dict(),
        }


def pair_report(
    student: Tokenizer,
    teacher: Tokenizer,
    corpus: Mapping[str, Iterable[Text]] | None = None,
    workers: int | None = 1,
    progress: Progress | None = None,
    method: str = "sedi",
    *,
    by: Sequence[str] = (),
    engine: str = "processes",
    keep: bool = False,
) -> PairReport:
    """Compare two tokenizers: vocabularies, special tokens, and every domain of `corpus` (default: bundled samples).

    `method` aligns the texts; `workers`, `progress`, `by` and `engine` as in `corpus.measure_domains`; with `keep` what
    is measured of files is kept in the cache. Raises what that raises.
    """
    student, teacher = as_pair(student, teacher)
    from ctkd_core.tokenizers.special_tokens import compare

    shared = overlap(student, teacher)
    records = cache_dir() / "corpora" if keep else None
    domains = measure_domains(
        student, teacher, corpus, method, workers, progress, by=by, engine=engine, records=records
    )
    special = compare(student, teacher)
    vocabulary = vocabulary_facts(student, teacher, shared)
    facts = facts_of(student, teacher, shared, domains)
    vocabulary["same_tokenizer"] = facts["same_tokenizer"]
    return PairReport(student.name, teacher.name, method, vocabulary, domains, special, advise(facts))


def facts_of(
    student: Tokenizer, teacher: Tokenizer, shared: Overlap, domains: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What `advice.advise` decides by; `domains`: metrics by domain, as `corpus.measure_domains` gives them."""
    facts: dict[str, Any] = {
        "student": student.name,
        "teacher": teacher.name,
        "classes": audit(student, shared.student_matched["canonical"]),
        "teacher_classes": audit(teacher, shared.teacher_matched["canonical"]),
        "overlap": {way: shared.shares[way].smaller for way in WAYS},
        "same_tokenizer": _same_tokenizer(student, teacher, domains),
        "domains": domains,
        "special_tokens": special_token_warnings(student, teacher),
    }
    return facts | {"kind": kind_of(facts)}


def vocabulary_facts(student: Tokenizer, teacher: Tokenizer, shared: Overlap | None = None) -> dict[str, Any]:
    """Sizes, overlap and class audits of two vocabularies as plain data.

    exact is the number of shared raw strings; a class is matched by canonical form. `student_ids` counts ids up to the
    largest, `student_empty_ids` those among them without a token; a model's logits may be wider still.
    """
    student, teacher = as_pair(student, teacher)
    shared = shared or overlap(student, teacher)
    return {
        "student_size": shared.student_size,
        "teacher_size": shared.teacher_size,
        "student_ids": student.n_ids,
        "teacher_ids": teacher.n_ids,
        "student_empty_ids": student.n_ids - shared.student_size,
        "teacher_empty_ids": teacher.n_ids - shared.teacher_size,
        "exact": shared.raw,
        "canonical": shared.canonical,
        "bytes": shared.bytes,
        "shares": {
            {"raw": "exact"}.get(way, way): {
                "student": shared.shares[way].student,
                "teacher": shared.shares[way].teacher,
                "smaller": shared.shares[way].smaller,
            }
            for way in WAYS
        },
        "classes": audit(student, shared.student_matched["canonical"]),
        "teacher_classes": audit(teacher, shared.teacher_matched["canonical"]),
        "unmatched": unmatched_examples(student, shared),
        "doubles": {"student": doubles_of(student), "teacher": doubles_of(teacher)},
    }


def doubles_of(tokenizer: Tokenizer) -> Doubles:
    """How many ids of a vocabulary only double another one (see `Tokenizer.doubles`), and the first of them."""
    doubles = tokenizer.doubles.items()
    named = [[str(tokenizer.token(double)), str(tokenizer.token(counts))] for double, counts in doubles]
    examples = sorted(named, key=lambda pair: not pair[1].isprintable())[:UNMATCHED_SHOWN]  # letters before controls
    return {"count": len(tokenizer.doubles), "examples": examples}


def doubles_notes(vocabulary: Mapping[str, Any]) -> list[str]:
    """A sentence for each side of `vocabulary_facts` that has doubles."""
    found = []
    for side in ("student", "teacher"):
        given = vocabulary.get("doubles", {}).get(side)
        if given and given["count"]:
            named = ", ".join(f"{double} for {counts}" for double, counts in given["examples"][:3])
            found.append(
                f"{given['count']:,} ids of the {side} have the bytes of another id that its tokenizer writes instead "
                f"({named}, ...); they are never matched."
            )
    return found


def unmatched_examples(student: Tokenizer, shared: Overlap, shown: int = UNMATCHED_SHOWN) -> dict[str, list[str]]:
    """For every class with student tokens that the teacher lacks, the first `shown` of them by id, as text."""
    codes, lost = token_classes(student), ~shared.student_matched["canonical"]
    table = student.all_token_bytes()
    found = {}
    for code, name in enumerate(CLASSES):
        ids = np.flatnonzero((codes == code) & lost)[:shown]
        if len(ids):
            found[name] = [table[i].decode("utf-8", "backslashreplace") for i in ids.tolist()]
    return found


def special_token_warnings(student: Tokenizer, teacher: Tokenizer) -> list[str]:
    """Sentences about roles that one side lacks and about BOS that only one side puts before a text."""
    names = {"bos_id": "a BOS", "eos_id": "an EOS"}
    found = []
    for attribute, name in names.items():
        has = [getattr(side, attribute) is not None for side in (student, teacher)]
        if has[0] != has[1]:
            sides = _titles(student, teacher)
            with_role, without = sides if has[0] else sides[::-1]
            found.append(f"{with_role} has {name} token and {without} has none; leave it out of what is compared.")
    if student.begins_with_bos != teacher.begins_with_bos:
        first = _titles(student, teacher)[0 if student.begins_with_bos else 1]
        found.append(f"Only {first} puts BOS before a text: rows of logits are shifted by one against the other side.")
    return found


def _titles(student: Tokenizer, teacher: Tokenizer) -> tuple[str, str]:
    """Names of both sides; told apart where they are the same."""
    if student.name != teacher.name:
        return student.name, teacher.name
    return f"the student's {student.name}", f"the teacher's {teacher.name}"


def _same_tokenizer(student: Tokenizer, teacher: Tokenizer, domains: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether both are one tokenizer: equal files, or equal ids for equal tokens and equal cuts of every text seen."""
    if student is teacher:
        return True
    if student.n_ids != teacher.n_ids or any(student.token(i) != teacher.token(i) for i in range(student.n_ids)):
        return False
    if student.fingerprint == teacher.fingerprint:
        return True
    tokens = [
        (row["student_tokens_1_1"], row["teacher_tokens_1_1"]) for row in domains.values() if row["student_tokens"]
    ]
    return bool(tokens) and all(a == b == 1 for a, b in tokens)
