"""What a cache of a teacher's rows says of itself: whose rows, of which data, how much of each, every file's hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ctkd_core import files
from ctkd_core.background.status import RECORD, reason
from ctkd_core.errors import RunError, short
from ctkd_core.files import file_sha256
from ctkd_core.files.documents import FileDigest
from ctkd_core.losses.merge_rules import MergeRule, Rule
from ctkd_core.markup.visible import one_line

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig

MANIFEST = "manifest.json"
VERSION = 1
DIGEST = "sha256"  # in the file: of all else in it. Caches of earlier versions have none.
MOST_BYTES = 100_000_000
SERVER = "server"  # the precision of a teacher behind a server, which doesn't tell it

MOST = 10**12  # samples, rows, tokens of a row: far more than there can be
Count = Annotated[int, Field(ge=0, le=MOST)]


@dataclass(frozen=True, config=RECORD)
class Whose:
    """The teacher: hash of its weights ("" behind a server), what it was called, how it was computed, its tokenizer."""

    weights: str
    name: str
    precision: str
    tokenizer: str
    tokenizer_name: str


@dataclass(frozen=True, config=RECORD)
class DataRead:
    """The data and how it is read: hash of the file, and the options of a run by their names."""

    sha256: str
    template: str
    chat_template: str
    learnt_turns: str
    skip_bad_records: bool
    max_length: int
    truncation_side: str


@dataclass(frozen=True, config=RECORD)
class Merged:
    """For whom the rows of a group became one, and how.

    student, student_name  fingerprint and name of the student's tokenizer
    alignment              in words, whose groups these are: the method, its variant, its options
    rule, temperature      as in `losses.merge_rules.MergeRule`
    """

    student: str
    student_name: str = field(compare=False)
    alignment: str
    rule: Rule
    temperature: float

    @property
    def how(self) -> MergeRule:
        """Rule and temperature."""
        return MergeRule(self.rule, self.temperature)


@dataclass(frozen=True, config=RECORD)
class Kept:
    """How much is kept of a row, and of which rows.

    k, width, dtype  as in `rows.RowLayout`
    rows    "answer": those that predict the answer's tokens and the one behind them; "all": the prompt's, too;
            "merged": one for each group of the answer's tokens
    logits  whether the logits before the soft-max can be had again; a server doesn't tell them
    merged  how rows were merged, where they were
    """

    k: Annotated[int, Field(ge=1, le=MOST)]
    width: Annotated[int, Field(ge=1, le=MOST)]
    dtype: Literal["float16", "float32"]
    rows: Literal["answer", "all", "merged"]
    logits: bool
    merged: Merged | None = None

    def __post_init__(self) -> None:
        if self.k > self.width:
            raise ValueError(f"k is {self.k:,}, more than the {self.width:,} tokens of a row")
        if (self.rows == "merged") != (self.merged is not None):
            raise ValueError("rows are merged where the manifest says how, and nowhere else")


@dataclass(frozen=True, config=RECORD)
class Shard:
    """Some samples with their rows, in two files: an index and the rows."""

    samples: Count
    rows: Count
    files: dict[str, FileDigest]


@dataclass(frozen=True, config=RECORD)
class TeacherFigures:
    """What a run tells of its teacher besides the loss, so that it needn't be loaded for that.

    scored   of each held-out example, in their order: bits of its answer, and the bytes that these are about
    answers  completions of the first held-out prompts, of up to `answer_tokens` tokens
    of       what was held out, as `held_out_of` says it
    """

    scored: tuple[tuple[float, int], ...] = ()
    answers: tuple[str, ...] = ()
    answer_tokens: int = 0
    of: str = ""

    def bits_per_byte(self, examples: int) -> float | None:
        """Over the first so many held-out examples; None where not all of them were scored."""
        chosen = self.scored[:examples]
        total = sum(n_bytes for _, n_bytes in chosen)
        return sum(bits for bits, _ in chosen) / total if len(chosen) == examples and total else None


@dataclass(frozen=True, config=RECORD)
class CacheManifest:
    """The whole of it; `wanted` samples when it is complete."""

    version: int
    whose: Whose
    text: DataRead
    kept: Kept
    parts: dict[str, Shard] = Field(default_factory=dict)
    complete: bool = False
    figures: TeacherFigures = TeacherFigures()

    @property
    def samples(self) -> int:
        """Samples in all parts."""
        return sum(part.samples for part in self.parts.values())

    @property
    def rows(self) -> int:
        """Rows in all parts."""
        return sum(part.rows for part in self.parts.values())

    @property
    def bytes(self) -> int:
        """Bytes of all parts on the disk."""
        return sum(entry.bytes for part in self.parts.values() for entry in part.files.values())


_ADAPTER = TypeAdapter(CacheManifest)


def read_manifest(folder: Path) -> CacheManifest:
    """The manifest of a cache. Raises RunError that says what is wrong with the folder."""
    name = short(str(folder))
    try:
        data = files.read_regular(folder / MANIFEST, MOST_BYTES)
        found = _ADAPTER.validate_json(data)
    except FileNotFoundError:
        raise RunError(
            f"there's no cache of a teacher at {name}; `ctkd cache-teacher CONFIG --to ...` makes one."
        ) from None
    except (OSError, RuntimeError) as fault:
        raise RunError(f"the cache {name} can't be read: {one_line(reason(fault))}.") from None
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise RunError(f"the manifest of the cache {name} isn't one ({one_line(said)}); fill it anew.") from None
    if found.version != VERSION:
        raise RunError(f"the cache {name} has format version {found.version}; this program reads {VERSION}.")
    document = json.loads(data)
    if DIGEST in document and document[DIGEST] != _digest(document):
        raise RunError(
            f"the manifest of the cache {name} isn't the one that was written: its SHA-256 differs. Restore it, or "
            "delete the folder and fill it again."
        )
    return found


def write_manifest(folder: Path, manifest: CacheManifest) -> None:
    """Put the manifest on the disk in one move. Raises OSError."""
    document = json.loads(_ADAPTER.dump_json(manifest))
    text = json.dumps(document | {DIGEST: _digest(document)}, indent=1, ensure_ascii=False)
    files.write_atomic(folder / MANIFEST, text, sync=True)


def _digest(document: dict[str, Any]) -> str:
    """SHA-256 of what a manifest says besides it, whatever order or spaces it is written with."""
    told = {key: value for key, value in document.items() if key != DIGEST}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def text_of(config: object, data: Path) -> DataRead:
    """How a run reads its data file."""
    names = ("template", "chat_template", "learnt_turns", "skip_bad_records", "max_length", "truncation_side")
    return DataRead(file_sha256(data), **{name: getattr(config, name) for name in names})


def held_out_of(config: RunConfig) -> str:
    """SHA-256 of the file that a run holds out (eval_data); "" where it holds out a share of its data.

    Held-out examples are in the order of their hashes, so every share of a file begins with the same ones.
    """
    from ctkd_core.distill.data import data_file

    return file_sha256(data_file(config.eval_data)) if config.eval_data else ""


def difference(made: Whose | DataRead, wanted: Whose | DataRead) -> str:
    """What tells two of a kind apart, in words; "" where nothing does.

    Unknown weights and names tell nothing, but for the name of a teacher whose weights weren't known to the first.
    """
    renamed: dict[str, str] = {}
    if isinstance(made, Whose) and isinstance(wanted, Whose):
        if not made.weights and made.name != wanted.name:
            return f"the teacher was {short(made.name)} and is {short(wanted.name)} now"
        renamed["weights"] = _renamed(made.name, wanted.name)
        renamed["tokenizer"] = _renamed(made.tokenizer_name, wanted.tokenizer_name)
    words = {"weights": "the teacher's weights", "sha256": "the data file", "tokenizer": "the teacher's tokenizer"}
    for key in made.__dataclass_fields__:
        one, other = getattr(made, key), getattr(wanted, key)
        if one == other or key in ("name", "tokenizer_name") or (key == "weights" and not (one and other)):
            continue
        if key in words:
            return f"{words[key]} changed{renamed.get(key, '')} (SHA-256 {one[:12]} there, {other[:12]} here)"
        named = "teacher_precision" if key == "precision" else key
        return f"{named} was {one!r} and is {other!r} now"
    return ""


def _renamed(there: str, here: str) -> str:
    return f" from {short(there)} to {short(here)}" if there != here else ""
