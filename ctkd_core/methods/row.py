"""What a row of the table of methods holds, and how the functions it names are loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ctkd_core.errors import CtkdError, unknown
from ctkd_core.methods.options import Option, only_read, options_of, resolve

VARIANTS = ("clean", "released")
# The order of `needs`, which sums up four fields of a row in one list.
_NEEDS = (
    *("logits", "entropy", "space_probability", "top_k", "hidden_states", "projection", "pairs", "groups"),
    "same_tokenizer",
)
_CACHED = {
    "no": "no: it reads hidden states",
    "exact": "exact",
    "approximate": "close, and exact where the cache keeps every token",
}
AlsoRead = Literal["prompt_rows", "last_row", "padding_rows", "raw_logits"]
# "package.module:function", loaded on first use, so that reading the table imports nothing heavy.
FunctionPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class Method(BaseModel):
    """One row of the table.

    What it is
      title            "SHORT: what the letters stand for"; lists show the short part (`label`)
      idea             one sentence; cannot_see: what the method is blind to, one or two sentences
      formula          LaTeX

    What it computes with
      aligner          function of (student: Encoding, teacher: Encoding, *, variant, **align_options) -> Alignment
      alignment_of     the row whose alignment this one uses too; lists of alignments name it once
      loss             function of (student_logits, teacher_logits, batch, *, variant, chunk_rows, **loss_options) and,
                       where the method has a `state`, state -> LossOutput
      state            function of (student_vocab, *, context, **loss_options) -> torch module, learns with the student
      Aligner and loss may be None: a baseline has no aligner, a method that only aligns has no loss.

    What these read
      outputs          what the trainer fetches of both models for the loss; empty: the teacher isn't asked
      hidden_states_if the loss option that must be above 0 for hidden states to be read; "": they always are
      compares         what of a row of the teacher's logits the loss compares: "text" is the probability of the text's
                       own tokens, of its end and of a new word, which a cache of top tokens keeps exactly
      also_reads       by variant, what it reads of the teacher besides the rows that predict the answer's tokens: other
                       rows (the last row is the one behind the answer), or logits that no shift may change
      merges           where the loss reads of the teacher one merged row of each group: function of (loss options,
                       variant) -> MergeRule, or a reason why not with these; None: it never does
      aligner_inputs   what the aligner takes of the models besides both encodings, where it is given
      uses             parts of the alignment and of the vocabulary map that the method works with
      same_tokenizer   whether both sides must have one tokenizer
      groups_of        the row on whose groups, at their defaults, the loss trains; "": on those of its own aligner
      own_mean         variants whose public program keeps its mean, whatever the tokens of an accumulated batch are

    Where else it trains
      exports          by the trainer that has the method too (see `distill.exports.folder`), function of (loss options,
                       variant) -> that trainer's settings of the loss, and sentences about what is different there;
                       raises RunError for an option that it hasn't

    How it is shown
      view             function of (case: Case) -> targets, see `ctkd_core.losses.views`: what the teacher's prediction
                       becomes before it is compared; "": page Losses has no such picture
      view_entries     in words, what a target holds; view_lost: which of the teacher's probability it doesn't hold
      cost_of          the case of `benchmarks/losses.py` that stands for this loss; "": its own
      picture          which picture `docs/pictures.py` draws for the method's page; "": none

    Raises ValueError for unknown fields (with the nearest ones) and for fields that don't go together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    paper: str
    url: str
    idea: str
    formula: str
    cannot_see: str

    aligner: FunctionPath | None = None
    alignment_of: str = ""
    loss: FunctionPath | None = None
    state: FunctionPath | None = None
    align_options: tuple[Option, ...] = ()
    loss_options: tuple[Option, ...] = ()
    variants: tuple[Literal["clean", "released"], ...] = ("clean",)
    variant_note: str = ""  # how paper and released code differ

    outputs: tuple[Literal["logits", "hidden_states"], ...] = ()
    hidden_states_if: str = ""
    compares: Literal["distribution", "text"] = "distribution"
    also_reads: Mapping[Literal["clean", "released"], tuple[AlsoRead, ...]] = Field(default_factory=dict)
    merges: FunctionPath | None = None
    aligner_inputs: tuple[Literal["entropy", "space_probability"], ...] = ()
    uses: tuple[Literal["top_k", "projection", "pairs", "groups"], ...] = ()
    same_tokenizer: bool = False
    groups_of: str = ""
    own_mean: tuple[Literal["clean", "released"], ...] = ()

    exports: Mapping[Literal["trl", "nemo-rl"], FunctionPath] = Field(default_factory=dict)

    view: FunctionPath | Literal[""] = ""
    view_entries: str = ""
    view_lost: str = ""
    cost_of: str = ""
    picture: Literal["", "groups", "collapse", "identical", "path", "target", "states"] = ""

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, data: Any) -> Any:
        for name in data if isinstance(data, Mapping) else ():
            if name not in cls.model_fields:
                raise unknown("field of a method", name, cls.model_fields)
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> Method:
        options = (*self.align_options, *self.loss_options)
        for wrong, sentence in (
            (not self.aligner and not self.loss, "has neither aligner nor loss"),
            (
                bool(self.loss) and not self.aligner and not self.groups_of,
                "has a loss but no aligner, so it must name the row whose groups it trains on: groups_of='sedi' are "
                "byte spans",
            ),
            (not self.loss and bool(self.outputs or self.groups_of or self.view), "has no loss that reads anything"),
            (not self.loss and bool(self.exports), "has no loss that another trainer could have"),
            (
                bool(self.hidden_states_if)
                and (
                    "hidden_states" not in self.outputs
                    or self.hidden_states_if not in {option.name for option in self.loss_options}
                ),
                "reads hidden states by an option that it doesn't have, or not at all",
            ),
            (
                not self.outputs and bool(self.also_reads or self.merges or self.compares == "text"),
                "asks no teacher, so it reads nothing of one",
            ),
            (not set(self.also_reads) <= set(self.variants), "says what a variant reads that it doesn't have"),
            (bool(self.aligner_inputs) and not self.aligner, "has no aligner that takes anything"),
            (
                not bool(self.view) == bool(self.view_entries) == bool(self.view_lost),
                "must have view, view_entries and view_lost, or none of them",
            ),
            (
                any(not set(option.variants) <= set(self.variants) for option in options),
                "has an option that a variant reads which the method doesn't have",
            ),
            (
                any(option.released is not None for option in options) and "released" not in self.variants,
                "has an option with a default for the variant 'released', which the method doesn't have",
            ),
            (
                not all(_refers(group) for group in (self.align_options, self.loss_options)),
                "has an option with a condition on one that isn't there, or on a value that it can't have",
            ),
        ):
            if wrong:
                raise ValueError(f"method {self.name!r} {sentence}.")
        return self

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def label(self) -> str:
        """The short name that lists and headings show: "SeDi", "X-Token P-KL"."""
        return self.title.partition(":")[0].partition(" (")[0]

    @property
    def can_align(self) -> bool:
        """Whether the method has an alignment."""
        return self.aligner is not None

    @property
    def can_train(self) -> bool:
        """Whether the method has a loss."""
        return self.loss is not None

    @property
    def asks_teacher(self) -> bool:
        """Whether training asks the teacher at every step (SFT doesn't)."""
        return bool(self.outputs)

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs, aligner inputs, parts in use and the demand for one tokenizer, in one list."""
        named = {*self.outputs, *self.aligner_inputs, *self.uses} | (
            {"same_tokenizer"} if self.same_tokenizer else set()
        )
        return tuple(name for name in _NEEDS if name in named)

    @property
    def groups_note(self) -> str:
        """A sentence about a loss whose groups aren't its own aligner's; "" for any other."""
        if not self.groups_of:
            return ""
        why = "not on those of its own aligner" if self.aligner else "since it has no aligner"
        return (
            f"Trains on the groups of {self.groups_of!r} at their defaults, {why}; it takes no alignment options there."
        )

    def reads_hidden_states(self, options: Mapping[str, Any], error: type[CtkdError] = CtkdError) -> bool:
        """Whether the loss reads hidden states of both models with these loss options."""
        if "hidden_states" not in self.outputs or not self.hidden_states_if:
            return "hidden_states" in self.outputs
        owner = f"method {self.name!r} (loss)"
        return bool(resolve(self.loss_options, options, owner, error)[self.hidden_states_if])

    def not_from_cache(self, options: Mapping[str, Any], variant: str) -> str:
        """Why a teacher's rows, kept as their most probable tokens, can't train this method; "" where they can."""
        if self.reads_hidden_states(options):
            by = f" ({self.hidden_states_if} is above 0)" if self.hidden_states_if else ""
            return f"method {self.name!r} reads the teacher's hidden states{by}, of which nothing is kept"
        if "padding_rows" in self.reads_besides(variant):
            return f"variant {variant!r} of method {self.name!r} reads the teacher's rows of padding, too"
        return ""

    def reads_besides(self, variant: str) -> tuple[AlsoRead, ...]:
        """`also_reads` of one variant."""
        return self.also_reads.get(variant, ())  # type: ignore[call-overload, no-any-return]

    @property
    def cached_teacher(self) -> str:
        """What a cache of the teacher's top tokens gives: "no", "exact" or "approximate" (exact with all tokens)."""
        if not self.asks_teacher or ("hidden_states" in self.outputs and not self.hidden_states_if):
            return "no"
        return "exact" if self.compares == "text" else "approximate"

    def requirements(self) -> dict[str, str]:
        """What the method asks for and works on, in words, for a reader: {"teacher": "asked for logits", ...}."""
        words = {"hidden_states": "hidden states", "space_probability": "probability of a space", "top_k": "top K"}
        found = {}
        if self.can_train:
            asked = " and ".join(words.get(name, name) for name in self.outputs)
            if self.hidden_states_if:
                asked += f" (these with {self.hidden_states_if} above 0)"
            found["teacher"] = f"asked for {asked}" if asked else "not asked"
        if self.asks_teacher:
            found["cached teacher"] = _CACHED[self.cached_teacher]
        if self.same_tokenizer:
            found["tokenizers"] = "the same on both sides"
        if self.aligner_inputs:
            found["aligner"] = f"takes {' and '.join(words.get(n, n) for n in self.aligner_inputs)}, where it is given"
        if self.uses:
            found["works with"] = ", ".join(words.get(name, name) for name in self.uses)
        if self.can_train:
            found["trains on"] = self.groups_note.removeprefix("Trains on ") or "its own groups"
        return found

    def align_options_of(self, variant: str) -> tuple[Option, ...]:
        """The alignment options that a variant reads, with its defaults."""
        return options_of(self.align_options, variant)

    def loss_options_of(self, variant: str) -> tuple[Option, ...]:
        """The loss options that a variant reads, with its defaults."""
        return options_of(self.loss_options, variant)

    def resolve_align(
        self, given: Mapping[str, Any], error: type[CtkdError] = CtkdError, variant: str = "clean"
    ) -> dict[str, Any]:
        """All alignment options that a variant reads, with given or default values, checked.

        Raises `error` for unknown options, for options that the variant doesn't read or that another option leaves
        without effect (`Option.read_if`), and for values out of range.
        """
        self._check_read(self.align_options, given, error, variant)
        return resolve(self.align_options_of(variant), given, f"method {self.name!r} (alignment)", error, variant)

    def resolve_groups(
        self, given: Mapping[str, Any], error: type[CtkdError] = CtkdError, variant: str = "clean"
    ) -> dict[str, Any]:
        """The alignment options of a training run, as `resolve_align`.

        A method that trains on another's groups takes none: raises `error` rather than leave them without effect.
        """
        if not self.groups_of:
            return self.resolve_align(given, error, variant)
        if given:
            names = ", ".join(repr(name) for name in given)
            raise error(
                f"method {self.name!r} trains on the groups of {self.groups_of!r} at their defaults, so alignment "
                f"options would have no effect; leave out {names}."
            )
        return {}

    def resolve_loss(
        self, given: Mapping[str, Any], error: type[CtkdError] = CtkdError, variant: str = "clean"
    ) -> dict[str, Any]:
        """All loss options that a variant reads, with given or default values, checked; errors as `resolve_align`."""
        self._check_read(self.loss_options, given, error, variant)
        return resolve(self.loss_options_of(variant), given, f"method {self.name!r} (loss)", error, variant)

    def loss_table(
        self, given: Mapping[str, Any], error: type[CtkdError] = CtkdError, variant: str = "clean"
    ) -> dict[str, Any]:
        """As `resolve_loss`, and with it the options that the variant doesn't read, at their defaults.

        Such an option may be given at its default too: a run's config lists them all.
        """
        return self._table(self.loss_options, given, error, variant, self.resolve_loss)

    def groups_table(
        self, given: Mapping[str, Any], error: type[CtkdError] = CtkdError, variant: str = "clean"
    ) -> dict[str, Any]:
        """As `resolve_groups`, and with it the options that the variant doesn't read, as `loss_table`."""
        options = () if self.groups_of else self.align_options
        return self._table(options, given, error, variant, self.resolve_groups)

    def recorded(
        self, align: bool, given: Mapping[str, Any], error: type[CtkdError] = CtkdError, variant: str = "clean"
    ) -> dict[str, Any]:
        """The alignment or loss options that a run of an earlier version kept: all of them, checked one by one.

        What has no effect stays as it was written: such a run was possible then. Raises `error` for unknown names and
        values out of range.
        """
        options = self.align_options if align else self.loss_options
        table = {option.name: option.of(variant) if option.read_by(variant) else option for option in options}
        for name in given:
            if name not in table:
                raise unknown(f"option of method {self.name!r}", name, table, error)
        parsed = {name: table[name].parse(value, error) for name, value in given.items()}
        defaults = {} if align and self.groups_of else {name: option.default for name, option in table.items()}
        return defaults | parsed

    def read_of(self, options: Mapping[str, Any], variant: str) -> dict[str, Any]:
        """Of a table of options, those that the variant reads."""
        known = {option.name: option for option in (*self.align_options, *self.loss_options)}
        return {name: value for name, value in options.items() if name not in known or known[name].read_by(variant)}

    def _table(
        self,
        options: Iterable[Option],
        given: Mapping[str, Any],
        error: type[CtkdError],
        variant: str,
        resolve_read: Callable[[Mapping[str, Any], type[CtkdError], str], dict[str, Any]],
    ) -> dict[str, Any]:
        idle = {option.name: option for option in options if not option.read_by(variant)}
        effective = {
            name: value
            for name, value in given.items()
            if name not in idle or idle[name].parse(value, error) != idle[name].default
        }
        read = resolve_read(effective, error, variant)
        return {option.name: read.get(option.name, option.default) for option in options}

    def _check_read(
        self, options: Iterable[Option], given: Mapping[str, Any], error: type[CtkdError], variant: str
    ) -> None:
        """Raise `error` for an option without effect: it would look as if it had one."""
        for option in options:
            if option.name in given and not option.read_by(variant):
                able = " or ".join(repr(name) for name in option.variants)
                raise error(
                    f"variant {variant!r} of method {self.name!r} doesn't read option {option.name!r}, so it would "
                    f"have no effect; leave it out, or choose variant {able}."
                )

    def check_variant(self, variant: str, error: type[CtkdError] = CtkdError) -> str:
        """`variant` itself when this method has it, else an error that lists what it has."""
        if variant not in self.variants:
            raise unknown(f"variant of {self.name!r}", variant, self.variants, error)
        return variant

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data, options as JSON schema."""
        return {
            "name": self.name,
            "title": self.title,
            "paper": self.paper,
            "url": self.url,
            "idea": self.idea,
            "formula": self.formula,
            "cannot_see": self.cannot_see,
            "needs": list(self.needs),
            "asks_teacher": self.asks_teacher,
            "outputs": list(self.outputs),
            "cached_teacher": self.cached_teacher,
            "aligner_inputs": list(self.aligner_inputs),
            "uses": list(self.uses),
            "same_tokenizer": self.same_tokenizer,
            "groups_of": self.groups_of,
            "aligns": self.can_align,
            "trains": self.can_train,
            "variants": list(self.variants),
            "variant_note": self.variant_note,
            "align_options": {o.name: o.schema() for o in self.align_options},
            "loss_options": {o.name: o.schema() for o in self.loss_options},
        }


def without_data(
    row: Method,
    options: Mapping[str, Any],
    variant: str = "clean",
    off: Iterable[str] = ("ce_weight", "fallback_weight"),
) -> dict[str, Any]:
    """Loss options for text that isn't data: the weights `off` at 0, nothing scaled to cross-entropy.

    What has no effect any more goes back to its default.
    """
    known = row.loss_options_of(variant)
    names = {option.name for option in known}
    changed = dict(options) | {name: 0.0 for name in off if name in names}
    if "scaling" in names:
        changed["scaling"] = "fixed"
    read, defaults = only_read(known, changed, variant), {option.name: option.default for option in known}
    return {name: value if name in read else defaults[name] for name, value in changed.items()}


def _refers(options: tuple[Option, ...]) -> bool:
    """Whether every condition is on another option of the table and on values that it can have."""
    table = {option.name: option for option in options}
    for option in options:
        for condition in (c for one in option.conditions for c in one):
            other = table.get(condition.option)
            if other is None or other is option or not condition.values:
                return False
            if other.kind == "choice" and not set(condition.values) <= set(other.choices):
                return False
    return True


def load(path: str) -> Callable[..., Any]:
    """The function that a row names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
