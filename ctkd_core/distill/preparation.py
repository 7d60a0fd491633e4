"""The data of a run before any model is loaded: rendered, aligned, cut, and what people should know of it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ctkd_core.distill.aligned import cache
from ctkd_core.distill.aligned.work import AlignmentSetup, align_examples
from ctkd_core.distill.data import Example, Reading, Split, data_file, named, split_by
from ctkd_core.distill.devices import cpu_count
from ctkd_core.distill.evaluation.samples import without_samples
from ctkd_core.distill.on_policy import TrainingExample
from ctkd_core.distill.rendering import rendered, without_template
from ctkd_core.errors import RunError
from ctkd_core.files.sized_cache import MIB, SizedCache
from ctkd_core.losses.batch import answer_of, end_of, prompt_ids
from ctkd_core.markup.visible import counted, one_line

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.tokenizers.tokenizer import Tokenizer

LOOKED_AT = 20_000  # examples that are looked at before a run starts
CONVERSATIONS_LOOKED_AT = 1_000  # of those, answers that chat templates have to write the prompts of
ENCODED = 16  # examples that are encoded to learn how long they are
LEAST_LENGTH = 8  # the least max_length that a config takes
KEPT_FROM = 200  # training samples: fewer are aligned anew in a moment
TRAINING, HELD_OUT = "training samples", "held-out samples"


@dataclass(frozen=True)
class Look:
    """What is known of the data before a run starts.

    split    the first examples, rendered; `whole` says whether these are all
    counts   examples to learn from and held out, of the whole data
    cut      of the looked-at training examples, those that max_length leaves nothing of; cut_held_out likewise
    missed   tokenizers without a chat template, where one is wanted
    longest  tokens of the longest looked-at example under any of the tokenizers
    """

    split: Split
    whole: bool
    counts: tuple[int, int]
    cut: tuple[Example, ...]
    cut_held_out: tuple[Example, ...]
    missed: tuple[str, ...]
    longest: int


_OF_THE_DATA = (
    *("data", "template", "chat_template", "learnt_turns", "skip_bad_records"),
    *("max_length", "truncation_side", "eval_samples", "eval_data", "eval_share"),
)
_looks = SizedCache(64 * MIB)  # what was seen of data files


def looked_at(config: RunConfig, tokenizers: Sequence[Tokenizer]) -> Look:
    """The data of a run as far as it can be looked at in a moment. Raises RunError for data that can't be used.

    What was seen is kept while the file stays as it was: a page asks again with every change of an option.
    """
    found = [data_file(source).stat() for source in (config.data, config.eval_data) if source]
    options = tuple(getattr(config, name) for name in _OF_THE_DATA)
    stamps = tuple((file.st_size, file.st_mtime_ns) for file in found)
    key = (*options, stamps, *(t.template_key for t in tokenizers))
    return _looks.get(key, lambda: _look(config, tokenizers))


def _look(config: RunConfig, tokenizers: Sequence[Tokenizer]) -> Look:
    split = split_of(config)
    counts = len(split.train), len(split.held_out)
    missed = tuple(without_template(config, split, tokenizers))
    spoken = config.chat_template == "own" and any(e.turn for e in split.examples)
    most = CONVERSATIONS_LOOKED_AT if spoken else LOOKED_AT
    part = Split(split.train[:most], split.held_out[: config.eval_samples], split.skipped, split.notes)
    part = rendered(config, part, tokenizers)
    cut = without_answer(config, part.train, tokenizers)
    cut_held_out = without_answer(config, part.held_out, tokenizers)
    longest = max((_longest(tokenizer, part.examples) for tokenizer in tokenizers), default=0)
    return Look(part, len(split.train) <= most, counts, cut, cut_held_out, missed, longest)


def as_long_as_data(config: RunConfig, look: Look | None) -> RunConfig:
    """The config with a max_length that its samples reach: batches are as long as their longest sample."""
    if look is None or not look.whole or config.on_policy_share:
        return config
    return config.replace(max_length=max(LEAST_LENGTH, min(config.max_length, look.longest)))


def _longest(tokenizer: Tokenizer, examples: Sequence[Example]) -> int:
    """Tokens of the longest example: of those with most characters, which alone are encoded."""
    found = 0
    for example in heapq.nlargest(ENCODED, examples, key=lambda e: len(e.prompt) + len(e.completion)):
        prompt = example.prompt_for(tokenizer)
        answer = answer_of(prompt, example.completion, tokenizer)
        found = max(found, len(prompt_ids(prompt, tokenizer)) + len(answer.ids) + 1)
    return found


def split_of(config: RunConfig) -> Split:
    """The examples of a run before chat templates write them. Raises RunError for data that can't be used."""
    reading = Reading(config.template, config.learnt_turns, config.skip_bad_records)
    return split_by(config.data, reading, config.eval_data, config.eval_share)


def without_answer(
    config: RunConfig, examples: Sequence[Example], tokenizers: Sequence[Tokenizer]
) -> tuple[Example, ...]:
    """The examples whose prompt alone fills max_length on some side; cut on the left, a prompt makes room."""
    if config.truncation_side == "left":
        return ()

    def fills(example: Example, tokenizer: Tokenizer) -> bool:
        prompt = example.prompt_for(tokenizer)
        text = prompt if isinstance(prompt, str) else prompt.text
        # No token is shorter than a byte, and BOS may stand before them.
        return len(text.encode()) + 1 >= config.max_length <= len(prompt_ids(prompt, tokenizer))

    return tuple(e for e in examples if any(fills(e, tokenizer) for tokenizer in tokenizers))


def about_cut(config: RunConfig, cut: Sequence[str], total: int, what: str = TRAINING) -> str:
    """A sentence about samples that max_length leaves nothing of; `cut` says where they stand."""
    first, *others = dict.fromkeys(where for where in cut if where) or [""]
    records = [first, *(where.rpartition(", ")[2] for where in others)]
    some = f" ({', '.join(records[:3])}{' ...' if others[2:] else ''})" if first else ""
    if len(cut) == total and what == TRAINING:
        return f"max_length {config.max_length} cuts every sample before its response{some}; {_advice(config)}."
    verb = "is" if len(cut) == 1 else "are"
    lost = ", so no bits per byte can be measured" if len(cut) == total else ""
    return f"{len(cut):,} of {total:,} {what} {verb} cut before their response{some}{lost}; {_advice(config)}."


def about_shortened(config: RunConfig, which: str) -> str:
    """A sentence about samples of which a part is left; `which` they are, as its beginning."""
    end = "beginning" if config.truncation_side == "left" else "end"
    return f"{which} lose their {end} at max_length {config.max_length}; raise it to keep them whole."


def _advice(config: RunConfig) -> str:
    return "raise it" if config.truncation_side == "left" else "raise max_length, or set truncation_side=left"


@dataclass(frozen=True)
class Prepared:
    """The examples of a run, aligned, and sentences that people should read about them.

    highest  the highest id that the data has for each tokenizer, by template_key
    """

    split: Split
    examples: list[TrainingExample]
    warnings: tuple[str, ...]
    highest: dict[str, int]


def prepared(
    config: RunConfig, student: Tokenizer, teachers: Sequence[LiveTeacher], report: Callable[[str], None]
) -> Prepared:
    """Every example as each model will read it, aligned once; `report` gets sentences and may raise to stop.

    Raises RunError for data that can't be used, and when max_length leaves nothing of any sample.
    """
    tokenizers = [student, *(teacher.tokenizer for teacher in teachers)]
    split = split_of(config)
    split = rendered(config, split, tokenizers, lambda: report("Writing conversations by their chat templates."))
    warnings = [named(split.skipped)] if split.skipped else []
    warnings += split.notes
    warnings += [template_missed(missed)] if (missed := without_template(config, split, tokenizers)) else []
    examples, cut = _aligned(config, split.train, student, teachers, report)
    if cut:
        said = about_cut(config, cut, len(split.train))
        if not examples:
            raise RunError(said)
        warnings.append(said)
    if shortened := sum(any(s.truncated for s in example.samples) for example in examples):
        report(about_shortened(config, f"{shortened:,} of {counted(len(split.train), 'training sample')}"))
    held_out = split.held_out[: config.eval_samples]
    if lost := without_answer(config, held_out, [student, teachers[0].tokenizer]):
        warnings.append(about_cut(config, [e.where for e in lost], len(held_out), HELD_OUT))
    warnings += without_samples(config, held_out).values()
    highest = {t.template_key: highest_id(t, split.held_out) for t in tokenizers}
    for example in examples:
        for teacher, sample in zip(teachers, example.samples):
            for tokenizer, ids in ((student, sample.student_ids), (teacher.tokenizer, sample.teacher_ids)):
                key = tokenizer.template_key
                highest[key] = max(highest[key], int(ids.max(initial=-1)))
    return Prepared(split, examples, tuple(warnings), highest)


def template_missed(names: Sequence[str]) -> str:
    """A sentence about tokenizers without a chat template."""
    has, reads = ("has", "it reads") if len(names) == 1 else ("have", "they read")
    who = " and ".join(one_line(name) for name in names)
    return f"{who} {has} no chat template: {reads} conversations as 'Question: ... Answer:'."


def highest_id(tokenizer: Tokenizer, examples: Sequence[Example]) -> int:
    """The highest id that the tokenizer writes for these examples, ends of answers and padding included; -1: none."""
    highest = next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), -1)
    for example in examples:
        prompt = example.prompt_for(tokenizer)
        answer, end = answer_of(prompt, example.completion, tokenizer), end_of(prompt, tokenizer)
        before = max(prompt_ids(prompt, tokenizer), default=-1)
        highest = max(highest, before, int(answer.ids.max(initial=-1)), -1 if end is None else end)
    return highest


def _aligned(
    config: RunConfig,
    train: Sequence[Example],
    student: Tokenizer,
    teachers: Sequence[LiveTeacher],
    report: Callable[[str], None],
) -> tuple[list[TrainingExample], list[str]]:
    """Every training example under all tokenizers, and where those stand that nothing is left of."""
    job = AlignmentSetup(student, tuple(teachers), config.max_length, config.truncation_side)
    key = cache.key_of(job, train) if len(train) >= KEPT_FROM else ""
    samples = cache.read(key, job) if key else None
    if samples is None:
        samples = align_examples(job, train, report, config.threads or cpu_count())
        if key:
            cache.write(key, samples)
    else:
        report(f"{len(train)} samples were aligned before.")
    aligned: list[TrainingExample] = []
    cut: list[str] = []
    for example, found in zip(train, samples, strict=True):
        if found is None:
            cut.append(example.where)
            continue
        end = end_of(example.prompt_for(student), student)
        prompt = example.without_leads if example.prompts else example.prompt
        aligned.append(TrainingExample(prompt, found, () if end in (None, student.eos_id) else (end,)))
    return aligned, cut
