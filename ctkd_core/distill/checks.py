"""Pre-flight: what can be known before a run starts, each as one line that a page ticks off. Loads no torch."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core import methods
from ctkd_core.distill.config import STUDENT_MODELS, RunConfig
from ctkd_core.distill.consistency import check_name
from ctkd_core.distill.devices import (
    asking_memory,
    gpu_memory,
    guess_device,
    ignored_precision,
    missing_device,
    told_memory,
)
from ctkd_core.distill.teachers.access import Access
from ctkd_core.distill.teachers.loading import missing_for
from ctkd_core.errors import CtkdError, PreflightError, RunError, short
from ctkd_core.files import home
from ctkd_core.markup.quantities import about, between
from ctkd_core.markup.visible import counted, one_line

if TYPE_CHECKING:
    from ctkd_core.distill.further import FurtherTeacher
    from ctkd_core.distill.preparation import Look
    from ctkd_core.tokenizers.tokenizer import Tokenizer

OTHER_PRECISION = "Set precision to fp32 or bf16."
OTHER_SAMPLES = (
    "Leave it out of evaluations, or measure on other or more samples (eval_data, eval_samples, eval_completions)."
)
OTHER_FOLDER = "Choose another folder with --runs-dir."
OTHER_HOME = "Set the environment variable CTKD_HOME to a folder that can be written."
FREE_BYTES = 500_000_000  # what a run, and each of its checkpoints, must leave on the disk


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it's fine, what was seen, and how to mend it.

    `fatal` False: a warning that doesn't keep the run from starting.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    fatal: bool = True


class Pending(Check):
    """A check by what is known so far: whoever looks again in a few seconds is told more."""


def preflight(
    config: RunConfig, runs_dir: str | Path | None = None, looks: list[Look] | None = None, wait: bool = True
) -> list[Check]:
    """Everything that can go wrong and be seen early, cheapest first. Reads tokenizers and data, runs nothing.

    looks  gets what was seen of the data
    wait   False: what takes seconds to be told (the free memory of a GPU) isn't waited for; its check is `Pending`
    """
    checks = [*_name(config), _method(config)]
    pair: dict[str, Tokenizer] = {}
    for side in ("student", "teacher"):
        checks.append(_tokenizer(side, getattr(config, side), pair))
    further, others = _further(config, pair.get("student"))
    tokenizers = list(dict.fromkeys((*pair.values(), *others.values())))
    found = [] if looks is None else looks
    checks.append(_data(config, tokenizers, found))
    checks += [check for look in found for check in (*_lengths(config, look), *_held_out(config, look))]
    checks += _teachers(config)
    if config.student_path:
        checks.append(_student(config))
    checks += _made_student(config)
    checks += _models(config, pair, others, found[0] if found else None)
    if len(pair) == 2:
        checks.append(_special_tokens(pair["student"], pair["teacher"]))
        checks += _vocabularies(config.method, "teacher", pair["student"], pair["teacher"])
        checks.append(_disk(config, pair["student"].n_ids, runs_dir))
        sizes = pair["student"].n_ids, pair["teacher"].n_ids
        checks.append(_memory(sized(config, found), *sizes, runs_dir, wait))
    checks += further
    if config.on_policy_share:
        checks.append(_on_policy(config, pair.get("student")))
    if config.trainer:
        checks.append(_trainer(config))
    if said := ignored_precision(config.precision, config.trainer, guess_device(config.device)):
        checks.append(Check("precision", False, said, OTHER_PRECISION))
    checks.append(_device(sized(config, found)))
    return checks


def sized(config: RunConfig, found: Sequence[Look]) -> RunConfig:
    """The config by which time and memory are estimated: with a max_length that the data reaches."""
    from ctkd_core.distill.preparation import as_long_as_data

    return as_long_as_data(config, found[0] if found else None)


def require(config: RunConfig, runs_dir: str | Path | None = None) -> list[Check]:
    """`preflight`; raises PreflightError with every fatal finding."""
    checks = preflight(config, runs_dir)
    bad = [c for c in checks if c.fatal and not c.ok]
    if bad:
        raise PreflightError(" ".join(f"{c.name}: {c.detail} {c.fix}".strip() for c in bad))
    return checks


def _guarded(name: str, fix: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except (CtkdError, OSError) as fault:
        return Check(name, False, str(fault).removeprefix(f"{name}: "), fix)


def _name(config: RunConfig) -> list[Check]:
    try:
        check_name(config.name)
    except RunError as fault:
        return [Check("name", False, str(fault).removeprefix("name "))]
    return []


def _method(config: RunConfig) -> Check:
    row = methods.get(config.method)
    asks = "asks the teacher at every step" if config.needs_teacher else "learns from the data alone"
    return Check("method", row.can_train, f"{row.title} {asks}.")


def _tokenizer(side: str, source: str, pair: dict[str, Tokenizer]) -> Check:
    def look() -> str:
        from ctkd_core.tokenizers.load import load_tokenizer

        pair[side] = load_tokenizer(source)
        return f"{pair[side].name}: {pair[side].vocab_size:,} tokens, {pair[side].kind}."

    fix = f"{source!r} is a kind of student model: set student_model (--student-model) to it."
    return _guarded(f"{side} tokenizer", fix if side == "student" and source in STUDENT_MODELS else "", look)


def _special_tokens(student: Tokenizer, teacher: Tokenizer) -> Check:
    lacking = [side for side, t in (("student", student), ("teacher", teacher)) if t.eos_id is None]
    if lacking:
        return Check(
            "special tokens",
            False,
            f"the {' and the '.join(lacking)} tokenizer has no end-of-text token: the student can't learn to stop.",
            "Use a tokenizer folder whose tokenizer_config.json names eos_token.",
            fatal=False,
        )
    bos = {side: t.begins_with_bos for side, t in (("student", student), ("teacher", teacher))}
    uneven = "" if len(set(bos.values())) == 1 else " Only one side begins with BOS; no group touches it."
    ends = f"{student.token(student.eos_id or 0)} and {teacher.token(teacher.eos_id or 0)}"
    return Check("special tokens", True, f"Responses end in {ends}, which face each other.{uneven}")


def _vocabularies(method: str, who: str, student: Tokenizer, teacher: Tokenizer) -> list[Check]:
    """For a method that wants one tokenizer on both sides: whether it has that."""
    if not methods.get(method).same_tokenizer:
        return []
    from ctkd_core.tokenizers.same_vocabulary import vocabulary_difference

    fault = vocabulary_difference(student, teacher)
    if fault:
        return [Check(f"one tokenizer ({who})", False, f"method {method!r} needs one: {fault}")]
    return [Check(f"one tokenizer ({who})", True, "Both sides give every id to the same token.")]


def _further(config: RunConfig, student: Tokenizer | None) -> tuple[list[Check], dict[str, Tokenizer]]:
    """The tokenizers and weights of further teachers, and the tokenizers by who they belong to."""
    from ctkd_core.distill.further import further_teachers

    checks: list[Check] = []
    found: dict[str, Tokenizer] = {}
    for number, entry in enumerate(further_teachers(config.teachers), start=2):
        who = f"teacher {number}"
        checks.append(_tokenizer(who, entry.teacher, found))
        if student is not None and who in found:
            checks += _vocabularies(entry.method, who, student, found[who])
    return checks, found


def _on_policy(config: RunConfig, student: Tokenizer | None) -> Check:
    share = f"The student writes {config.on_policy_share:.0%} of the batches"
    if student is not None and student.eos_id is None:
        return Check("on-policy", False, f"{share}, but its tokenizer has no end-of-text token.", fatal=False)
    if config.student_model == "scratch":
        detail = f"{share}, but from random weights it writes noise at first."
        return Check("on-policy", False, detail, "Train without on_policy_share first.", fatal=False)
    # Nobody is asked from here: a page looks at this list with every change.
    asked = f" {short(config.on_policy_server)} writes them, and will be asked when the run starts."
    detail = f"{share}, up to {config.on_policy_max_new_tokens} tokens each.{asked if config.on_policy_server else ''}"
    return Check("on-policy", True, detail)


def _trainer(config: RunConfig) -> Check:
    """Whether transformers takes the `trainer` table (this alone loads it), and whether what it names is there."""

    def look() -> str:
        from ctkd_core.distill.training.arguments import check_table, missing_reporters

        if lacking := missing_reporters(config.trainer):
            raise RunError(f"report_to names {', '.join(lacking)}, and no such package is installed here; install it.")
        check_table(config.trainer, config.learning_rate)
        return f"transformers takes {', '.join(sorted(config.trainer))}."

    return _guarded("trainer", "", look)


def _data(config: RunConfig, tokenizers: list[Tokenizer], found: list[Look]) -> Check:
    """Whether every record can be used; what is known of the data is put into `found`. Nothing is fetched for it."""
    from ctkd_core.distill.sources.hub import not_fetched

    try:
        remote = [source for source in (config.data, config.eval_data) if not_fetched(source)]
    except CtkdError as fault:
        return Check("data", False, str(fault))
    if remote:
        names = " and ".join(map(short, remote))
        return Check("data", True, f"{names} will be fetched from the hub when the run starts.", fatal=False)

    def look() -> str:
        from ctkd_core.distill.preparation import looked_at

        found.append(looked_at(config, tokenizers))
        train, held_out = found[0].counts
        return f"{train:,} examples to learn from, {held_out:,} held out."

    return _guarded("data", "", look)


def _lengths(config: RunConfig, look: Look) -> list[Check]:
    """What max_length, records that are left out and missing chat templates do to the data."""
    from ctkd_core.distill import preparation
    from ctkd_core.distill.data import named

    checks = []
    total = len(look.split.train)
    part = "" if look.whole else f" Looked at: the first {total:,}."
    if look.cut:
        said = preparation.about_cut(config, [e.where for e in look.cut], total)
        checks.append(Check("length", False, said + part, fatal=look.whole and len(look.cut) == total))
    elif look.cut_held_out:
        held_out = look.split.held_out
        where = [e.where for e in look.cut_held_out]
        said = preparation.about_cut(config, where, len(held_out), preparation.HELD_OUT)
        checks.append(Check("length", False, said, fatal=False))
    else:
        said = f"max_length {config.max_length} leaves an answer in every sample."
        if look.longest > config.max_length:
            longer = f"Those of more tokens (the longest has {look.longest:,})"
            said += f" {preparation.about_shortened(config, longer)}"
        checks.append(Check("length", True, said + part))
    if look.split.skipped:
        checks.append(Check("records left out", False, named(look.split.skipped), fatal=False))
    checks += [Check("field not read", False, note, fatal=False) for note in look.split.notes]
    if look.missed:
        said = preparation.template_missed(look.missed)
        checks.append(Check("chat template", False, said, fatal=False))
    return checks


def _held_out(config: RunConfig, look: Look) -> list[Check]:
    """Whether what is measured stands on enough held-out samples, and each evaluation that is asked for on any."""
    from ctkd_core.distill.evaluation import samples

    examples = look.split.held_out
    if not examples:
        return []
    few, number = len(examples) < samples.FEW, counted(len(examples), "held-out sample")
    told = f"Figures are measured on {number}{'; of so few they say little' if few else ''}."
    if look.counts[1] > len(examples):
        more = "Raise eval_samples."
    elif config.eval_data:
        more = "Give eval_data more records."
    else:
        share = min(0.5, math.ceil(100 * samples.FEW / sum(look.counts)) / 100)
        more = f"Name eval_data, or raise eval_share (to {share:g})."
    checks = [Check("held-out samples", not few, told, more if few else "", fatal=False)]
    for name, sentence in samples.without_samples(config, examples).items():
        checks.append(
            Check(f"evaluation {name}", False, sentence.removeprefix(f"{name}: "), OTHER_SAMPLES, fatal=False)
        )
    return checks


def _models(
    config: RunConfig, pair: dict[str, Tokenizer], others: dict[str, Tokenizer], look: Look | None
) -> list[Check]:
    """Whether each model is the one of its tokenizer, and long enough."""
    from ctkd_core.distill.further import further_teachers
    from ctkd_core.distill.models import teachers as teacher

    sources = {"teacher": (pair.get("teacher"), teacher.teacher_source(config))}
    if config.student_path:
        sources["student"] = (pair.get("student"), teacher.student_source(config))
    for number, entry in enumerate(further_teachers(config.teachers), start=2):
        who = f"teacher {number}"
        sources[who] = (others.get(who), teacher.weights_source(entry.teacher, entry.teacher_path))
    checks = []
    for who, (tokenizer, source) in sources.items():
        if tokenizer is not None:
            checks.append(_belongs(who, tokenizer, source, look))
        checks += _positions(config, who, source)
    return checks


NAME_ITS_OWN = "Name the tokenizer that lies with the weights, {}."


def _belongs(who: str, tokenizer: Tokenizer, source: str, look: Look | None) -> Check:
    """Whether a tokenizer is the model's own, and whether the model has a row for every id that the data has."""
    from ctkd_core.distill.models.facts import compared, facts_of, name_of, of_another_model, own_tokenizer
    from ctkd_core.distill.preparation import highest_id

    name = f"{who}'s tokenizer"
    advice = NAME_ITS_OWN.format(short(name_of(source)))
    own, rows = own_tokenizer(source), facts_of(source).rows
    beyond = rows is not None and rows < tokenizer.n_ids
    wide = (
        f"the model has {rows} embedding rows but its tokenizer {tokenizer.name!r} has ids up to {tokenizer.n_ids - 1}"
    )
    found = None if own is None else compared(tokenizer, own)
    if found is not None and (said := of_another_model(tokenizer, source, found)):
        return Check(name, False, f"{said} Besides, {wide}." if beyond else said, advice)
    if beyond and look is not None and rows is not None:
        highest = highest_id(tokenizer, look.split.examples)
        if highest >= rows:
            return Check(name, False, f"{wide}, and the data has id {highest} ({tokenizer.token(highest)!r}).", advice)
    if found is None:
        said = f"{short(name_of(source))} has no tokenizer.json to compare with; whether {tokenizer.name!r} is its own "
        said += "isn't known."
        return Check(name, False, said, fatal=False)
    if found.share:
        said = (
            f"{tokenizer.name!r} gives id {found.first} to {short(found.given)}, the model's own to {short(found.own)}."
        )
        return Check(name, False, said, fatal=False)
    unused = f" The ids from {rows} on have no row in the model; the data has none of them." if beyond else ""
    return Check(name, True, f"{tokenizer.name} is the model's own.{unused}")


def _positions(config: RunConfig, who: str, source: str) -> list[Check]:
    """Whether a model reads texts as long as max_length."""
    from ctkd_core.distill.models.facts import facts_of, name_of

    most = facts_of(source).positions
    if most is None or config.max_length <= most:
        return []
    said = f"max_length is {config.max_length:,}, but {short(name_of(source))} reads texts of up to {most:,} tokens."
    return [Check(f"{who}'s positions", False, said, f"Set max_length to {most} or less.")]


def _teachers(config: RunConfig) -> list[Check]:
    """The weights, caches and servers of all teachers."""
    from ctkd_core.distill.further import further_teachers
    from ctkd_core.distill.models.teachers import weights_source

    checks = []
    entries: list[RunConfig | FurtherTeacher] = [config, *further_teachers(config.teachers)]
    for number, entry in enumerate(entries, start=1):
        who = "teacher" if number == 1 else f"teacher {number}"
        access, source = Access.of(entry), weights_source(entry.teacher, entry.teacher_path)
        if access.cache:
            checks.append(_cache(config, number, who))
        elif access.server:  # nobody is asked from here: a page looks at this list with every change
            checks.append(Check(f"{who}'s server", True, f"{short(access.server)} will be asked when the run starts."))
        elif said := missing_for(access.precision, access.loading):
            checks.append(Check(f"{who}'s precision", False, said))
        checks += _top_tokens(entry, who)
        copied = number == 1 and config.copies_teacher
        if not access.elsewhere or copied:
            checks.append(_weights(who, source) if source != "bundled" else _bundled(who))
    return checks


def _cache(config: RunConfig, number: int, who: str) -> Check:
    def look() -> str:
        from ctkd_core.distill.models.teachers import planned_teachers
        from ctkd_core.distill.sources.hub import not_fetched
        from ctkd_core.distill.teachers.matching import check_cache
        from ctkd_core.tokenizers.load import load_tokenizer

        there = not not_fetched(config.data)  # a page looks at this list with every change; no page fetches
        manifest = check_cache(config, planned_teachers(config, load_tokenizer(config.teacher))[number - 1], data=there)
        if not there:
            return "Its data will be compared when the run starts, which fetches it."
        return (
            f"{manifest.samples:,} samples, {manifest.kept.k:,} of {manifest.kept.width:,} tokens of each row; the "
            "teacher's model isn't needed in training."
        )

    return _guarded(f"{who}'s cache", "", look)


def _top_tokens(entry: RunConfig | FurtherTeacher, who: str) -> list[Check]:
    """A warning where a cache or server tells fewer tokens of a row than the method reads."""
    from ctkd_core.distill.teachers.matching import fewer_than_read

    try:
        said = fewer_than_read(Access.of(entry), entry.method, entry.variant, entry.method_options)
    except RunError:  # the check of the cache says it
        return []
    return [Check(f"{who}'s top tokens", False, said, fatal=False)] if said else []


def _bundled(who: str) -> Check:
    from ctkd_core.distill.models import teachers as teacher

    if teacher.is_prepared():
        return Check(who, True, "SmolLM2-135M-Instruct is ready.")

    def look() -> str:
        from ctkd_core.tokenizers import assets

        assets.teacher_gguf()
        return "SmolLM2-135M-Instruct will be converted once (about 20 s)."

    return _guarded(who, "", look)


def _student(config: RunConfig) -> Check:
    from ctkd_core.distill.models import teachers as teacher

    source = teacher.student_source(config)
    return _weights("student", source) if source != "bundled" else _bundled("student")


def _made_student(config: RunConfig) -> list[Check]:
    """What of the student's making can be seen early: its layers, and LoRA's package."""
    from importlib.util import find_spec

    checks = []
    if config.student_model == "prune":
        from ctkd_core.distill.models.facts import layers_of
        from ctkd_core.distill.models.pruning import kept_layers

        total = layers_of(config.begins_with)
        wanted = config.student_layers
        if total is not None and wanted > total:
            said = f"student_layers is {wanted}, but {short(config.begins_with)} has {total} layers."
            checks.append(Check("layers", False, said, f"Give at most {total}."))
        elif total is not None:
            said = ", ".join(map(str, kept_layers(total, wanted)))
            checks.append(Check("layers", True, f"The student keeps the layers {said} of {total} (from 0)."))
    if config.lora_rank:
        there = find_spec("peft") is not None
        said = f"LoRA of rank {config.lora_rank}" + ("." if there else " needs the package peft.")
        checks.append(Check("LoRA", there, said, "" if there else "Install ctkd-lab[lora], or set lora_rank to 0."))
    return checks


def _weights(role: str, source: str) -> Check:
    from ctkd_core.tokenizers.assets import entry_in, is_prepared, not_prepared

    if (row := entry_in(source)) is not None:
        ready = is_prepared(row)
        return Check(role, ready, f"{row.title} is ready." if ready else not_prepared(row))
    try:
        folder = Path(source).expanduser()
        there = folder.is_dir()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a NUL byte, no home folder
        there = False
    if there:
        found = any(folder.glob("*.safetensors")) and (folder / "config.json").is_file()
        return Check(
            role,
            found,
            f"{one_line(source)} "
            f"{'has config.json and safetensors' if found else 'lacks config.json or *.safetensors'}.",
            "" if found else "Give a folder that save_pretrained wrote; pickled weights aren't read.",
        )
    looks_like_hub = "/" in source and not source.startswith((".", "/", "~"))
    if looks_like_hub:
        return Check(
            role, True, f"{short(source)} will be looked for on the model hub when the run starts.", fatal=False
        )
    return Check(
        role,
        False,
        f"there's no folder {short(source)}.",
        f"Set {role if ' ' not in role else 'its teacher'}_path to a folder or hub id of its weights.",
    )


def _existing(folder: Path) -> Path:
    """The folder, or the next one above it that is there."""
    return next(p for p in (folder, *folder.parents) if os.path.exists(p))  # noqa: PTH110 - or its name is too long


def _unwritable(place: Path) -> str:
    """Why no file can be made in a place; "" where one can."""
    if not place.is_dir():
        return f"{short(place)} isn't a folder"
    return "" if os.access(place, os.W_OK | os.X_OK) else f"{short(place)} can't be written"


def _disk(config: RunConfig, student_vocab: int, runs_dir: str | Path | None) -> Check:
    from ctkd_core.distill.estimate import checkpoint_bytes
    from ctkd_core.distill.runs import RunStore

    root, slots = RunStore(runs_dir).root, home() / "slots"
    if said := _unwritable(existing := _existing(root)):
        return Check("disk", False, f"runs can't be kept in {short(root)}: {said}.", OTHER_FOLDER)
    if said := _unwritable(_existing(slots)):
        return Check("disk", False, f"the lock of a device can't be kept in {short(slots)}: {said}.", OTHER_HOME)
    free = shutil.disk_usage(existing).free
    needed = checkpoint_bytes(config, student_vocab) + FREE_BYTES
    return Check(
        "disk",
        free >= needed,
        f"{free / 1e9:.1f} GB free, up to {needed / 1e9:.1f} GB needed with {FREE_BYTES / 1e6:.0f} MB to spare.",
        "" if free >= needed else "Free some space, set save_student=false, keep fewer checkpoints, or use --runs-dir.",
    )


def _memory(
    config: RunConfig, student_vocab: int, teacher_vocab: int, runs_dir: str | Path | None, wait: bool = True
) -> Check:
    import psutil

    from ctkd_core.distill.estimate import estimate_bytes
    from ctkd_core.distill.memory import active_runs, savings
    from ctkd_core.distill.runs import RunStore

    parts = estimate_bytes(config, student_vocab, teacher_vocab)
    positions = config.batch_size * config.max_length
    learns = "weights, and gradient and moments of what learns"
    detail = (
        f"about {_gb(parts['total'])}: student {_gb(parts['student'])} ({learns}), teacher {_gb(parts['teacher'])}, "
        f"logits {_gb(parts['logits'])} ({positions:,} positions x {student_vocab:,} tokens x 4 bytes, three times, "
        f"and those of teachers), other {_gb(parts['other'])}"
    )
    device = guess_device(config.device)
    elsewhere = ("teacher",) if device != "cpu" and config.teacher_loading == "offload" else ()
    needed = parts["total"] - sum(parts[name] for name in elsewhere)
    pending = not wait and asking_memory(config.device, needed)
    seen = Pending if pending else Check
    gpu = None if device == "cpu" else told_memory(device) if pending else gpu_memory(config.device, needed)
    if device != "cpu" and gpu is None:
        return seen("memory", True, f"{detail}; {f'asking what is free on {device}' if pending else 'on the device'}.")
    available = gpu[0] if gpu else psutil.virtual_memory().available
    detail += f"; {_gb(available)} are available{f' on {device}' if gpu else ''}."
    if elsewhere:
        detail += " The teacher isn't counted: what has no room there lies in the machine's memory, or on its disk."
    if needed <= available:
        return seen("memory", True, detail)
    for run in active_runs(RunStore(runs_dir).root, config):
        if gpu:
            if run.shares_device:  # how much of the device its process holds isn't known
                detail += f" Run {run.run_id} holds a part of it, which is free when it ends; this one waits for that."
                available = gpu[1]
            continue
        detail += f" Run {run.run_id} holds {_gb(run.bytes)}"
        detail += ", which are free when it ends; this one waits for that." if run.shares_device else "."
        available += run.bytes if run.shares_device else 0
    less = savings(config, student_vocab, teacher_vocab, available, elsewhere)
    saved = [f"{saving.words} ({_gb(saving.bytes)} less)" for saving in less]
    fix = f"What saves memory: {', '.join(saved)}." if saved else "Close other programs, or take a smaller student."
    fits = needed <= available
    # The estimate is rough: refuse what is hopeless, warn of the rest.
    return seen("memory", fits, detail, "" if fits else fix, fatal=needed > 2 * available)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _device(config: RunConfig) -> Check:
    from ctkd_core.distill.estimate import estimate

    if said := missing_device(config.device):
        return Check("device", False, said, "Set device to auto or cpu.")
    found = estimate(config)
    takes = f"the run takes {between(*found.between)} here, {about(found.preparation)} of it before the first step"
    return Check("device", True, f"{guess_device(config.device)}; {takes}.", fatal=False)
