"""What a run reads of this machine: data, tokenizers and weights; and whether that is still what the run began with.

A config names them by a path or an id, behind which something else may lie later, so env.json keeps a hash of each.
Tokenizers and models that come along with this program have none: nobody edits them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ctkd_core.distill.data import data_file, fingerprint
from ctkd_core.distill.models.facts import BUNDLED, own_tokenizer
from ctkd_core.distill.models.teachers import loads_teacher, student_source, teacher_source, weights_source
from ctkd_core.distill.sources.hub import names_set, not_fetched
from ctkd_core.distill.teachers.access import Access
from ctkd_core.distill.teachers.identity import weights_fingerprint
from ctkd_core.errors import CtkdError, RunError, short
from ctkd_core.files import file_sha256
from ctkd_core.tokenizers.assets import entry_in
from ctkd_core.tokenizers.catalog import TOKENIZERS
from ctkd_core.tokenizers.uploads import PREFIX

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig

Kind = Literal["data", "tokenizer", "weights"]


@dataclass(frozen=True)
class RunInput:
    """One of them.

    kind    "data", "tokenizer" or "weights"
    whose   the option that names data; else the side, "student", "teacher", "teacher 2" and so on
    source  as the config has it: a path or an id
    """

    kind: Kind
    whose: str
    source: str

    @property
    def named(self) -> str:
        """In a sentence."""
        return self.kind if self.kind == "data" else f"{self.whose}'s {self.kind}"

    def before(self, environment: Mapping[str, Any]) -> str | None:
        """The hash that env.json keeps of it; None where it keeps none, as older versions didn't."""
        found: Any = environment
        for key in (self.whose,) if self.kind == "data" else (_TABLES[self.kind], self.whose):
            found = found.get(key) if isinstance(found, Mapping) else None
        found = found.get(_HASHES[self.kind]) if isinstance(found, Mapping) else None
        return found if isinstance(found, str) else None

    def now(self) -> str | None:
        """Its hash as it is; None for weights that can't be told. Raises CtkdError or OSError where it isn't there."""
        if self.kind == "data":
            return fingerprint(self.source)
        return tokenizer_content(self.source) if self.kind == "tokenizer" else weights_fingerprint(self.source)

    def now_here(self) -> str | None:
        """As `now`, from what is known of files that didn't change; None, too, where it would have to be fetched."""
        with suppress(CtkdError, OSError):
            if self.kind == "data":
                return None if not_fetched(self.source) else file_sha256(data_file(self.source))
            if self.kind == "tokenizer" and not _is_here(self.source):
                return None
            return self.now()
        return None


_TABLES = {"tokenizer": "tokenizers", "weights": "weights"}
_HASHES = {"data": "fingerprint", "tokenizer": "content", "weights": "fingerprint"}


def inputs_of(config: RunConfig) -> Iterator[RunInput]:
    """All that a run reads, without what comes along with this program (but for its data) and without servers."""
    for option in ("data", "eval_data"):
        if source := getattr(config, option):
            yield RunInput("data", option, source)
    # As they are recorded: those of an earlier version may have options that are refused today.
    further = {f"teacher {number}": entry for number, entry in enumerate(config.teachers, start=2)}
    sides = {"student": config.student, "teacher": config.teacher}
    sides |= {side: entry["teacher"] for side, entry in further.items()}
    yield from (RunInput("tokenizer", side, source) for side, source in sides.items() if source not in TOKENIZERS)
    models = {"student": student_source(config)} if config.student_path else {}
    models |= {"teacher": teacher_source(config)} if loads_teacher(config) else {}
    models |= {
        side: weights_source(entry["teacher"], entry["teacher_path"])
        for side, entry in further.items()
        if not Access.of(entry).elsewhere
    }
    for side, source in models.items():
        if source != BUNDLED and entry_in(source) is None:
            yield RunInput("weights", side, source)


def noted(config: RunConfig) -> dict[str, Any]:
    """The entries of env.json with their hashes: data, eval_data, and by side tokenizers and weights.

    Raises CtkdError or OSError.
    """
    found: dict[str, Any] = {}
    for one in inputs_of(config):
        if (digest := one.now()) is not None:
            place = found if one.kind == "data" else found.setdefault(_TABLES[one.kind], {})
            place[one.whose] = {"source": one.source, _HASHES[one.kind]: digest}
    return found


def tokenizer_content(source: str) -> str:
    """A hash of a tokenizer.json as it lies there, with one of what the files beside it say.

    Not the tokenizer's own fingerprint, which is of what the library writes: a newer one may write it otherwise. Raises
    TokenizerError or OSError.
    """
    from ctkd_core.tokenizers.load import load_tokenizer
    from ctkd_core.tokenizers.sources import json_of

    configuration = load_tokenizer(source).template_key.rpartition(" ")[2]
    return f"{file_sha256(json_of(source)[0])} {configuration}"


def changed_input(
    before: Mapping[str, Any], config: RunConfig, now: Callable[[RunInput], str | None] = RunInput.now
) -> RunInput | None:
    """The first of a run's inputs that isn't what the run began with; None where none is known to differ.

    before, now  as in `changed_inputs`
    """
    return next(changed_inputs(before, config, now), None)


def changed_inputs(
    before: Mapping[str, Any], config: RunConfig, now: Callable[[RunInput], str | None] = RunInput.now
) -> Iterator[RunInput]:
    """The inputs of a run that are known not to be what the run began with.

    before  what env.json told
    now     the hash that an input has now; None where it can't be told
    """
    for one in inputs_of(config):
        began = one.before(before)
        if began is not None and now(one) not in (began, None):
            yield one


def refuse_changed_inputs(before: Mapping[str, Any], config: RunConfig) -> None:
    """Raise RunError where a run would go on with other data, tokenizers or weights than it began with.

    before  what env.json told
    """
    if one := changed_input(before, config):
        # A set that comes along, or one of the hub that was fetched anew, isn't a file that can be brought back.
        mend = f"bring the {'files' if one.kind == 'weights' else 'file'} back and resume the run, or start a new one"
        isnt, it_was = ("aren't", "they were") if one.kind == "weights" else ("isn't", "it was")
        raise RunError(
            f"{one.whose if one.kind == 'data' else f'the {one.named}'} {short(one.source)} {isnt} what {it_was} when "
            "the run began, and its last checkpoint is of that; "
            f"{'start a new run' if one.kind == 'data' and names_set(one.source) else mend}."
        )


def _is_here(tokenizer: str) -> bool:
    """Whether a tokenizer can be read without fetching it."""
    if tokenizer.startswith(PREFIX) or own_tokenizer(tokenizer) is not None:
        return True
    with suppress(OSError, ValueError, RuntimeError):
        return Path(tokenizer).expanduser().exists()
    return False
