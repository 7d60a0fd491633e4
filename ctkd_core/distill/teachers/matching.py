"""Whether a cache is one of this run's teacher, data and options, and has what its method reads. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ctkd_core import files, methods
from ctkd_core.distill.teachers.access import Access, check_probabilities
from ctkd_core.distill.teachers.manifest import (
    SERVER,
    CacheManifest,
    Merged,
    Whose,
    difference,
    read_manifest,
    text_of,
)
from ctkd_core.distill.teachers.store import problem
from ctkd_core.errors import RunError, short
from ctkd_core.losses.merge_rules import IN_WORDS, TEMPERED, MergeRule

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.methods.row import Method
    from ctkd_core.tokenizers.tokenizer import Tokenizer


def whose(tokenizer: Tokenizer, source: str, precision: str) -> Whose:
    """The teacher that a run names, as a cache notes it; its weights may be elsewhere."""
    from ctkd_core.distill.teachers.identity import weights_fingerprint

    return Whose(weights_fingerprint(source) or "", source, precision, tokenizer.fingerprint, tokenizer.name)


def check_cache(config: RunConfig, teacher: LiveTeacher, data: bool = True) -> CacheManifest:
    """The manifest of a teacher's cache, compared with what the run says; every file is there in its size.

    data  False: data that would have to be fetched first isn't compared

    Raises RunError that says what differs and what to do.
    """
    from ctkd_core.distill.data import data_file

    folder = files.expanded(teacher.access.cache, RunError)
    manifest, name = read_manifest(folder), short(teacher.access.cache)
    wanted = whose(teacher.tokenizer, teacher.source, teacher.access.precision)
    if manifest.whose.precision != SERVER:
        changed = difference(manifest.whose, wanted)
    else:  # its weights and precision aren't known, and its name is the server's
        changed = difference(manifest.whose, Whose("", manifest.whose.name, SERVER, wanted.tokenizer, ""))
    if data and not changed:
        changed = difference(manifest.text, text_of(config, data_file(config.data)))
    if changed:
        raise RunError(f"the cache {name} was made of something else: {changed}. Fill another for this run.")
    _check_method(manifest, teacher.method, teacher.variant, name)
    _check_merged(manifest, config, teacher, name)
    # Last: nobody should finish or mend a cache that the run can't have anyway.
    if not manifest.complete:
        raise RunError(f"the cache {name} isn't complete; run the same `ctkd cache-teacher` again, it goes on.")
    for number, part in manifest.parts.items():
        if why := problem(folder, part, thorough=False):
            raise RunError(f"part {number!r} of the cache {name} is damaged: {why}. Fill it again.")
    return manifest


def merged_for(config: RunConfig, teacher: LiveTeacher) -> Merged:
    """How a run merges this teacher's rows for its student. Raises RunError where that isn't all that it reads."""
    from ctkd_core.tokenizers.load import load_tokenizer

    row = methods.get(teacher.method, RunError)
    rule: MergeRule | str = "it reads more of the teacher than one merged row of each group"
    if not row.asks_teacher:
        rule = "it asks no teacher"
    elif row.merges:
        defaults = {option.name: option.default for option in row.loss_options_of(teacher.variant)}
        rule = methods.load(row.merges)(defaults | dict(teacher.options), teacher.variant)
    if config.teachers and config.teacher_mix != "static":
        rule = f"teacher_mix {config.teacher_mix!r} scores teachers by the rows of single tokens"
    if isinstance(rule, str):
        able = ", ".join(other.name for other in methods.training() if other.merges and other != row)
        raise RunError(
            f"method {teacher.method!r} ({teacher.variant}) can't be taught by merged rows: {rule}. Keep the rows of "
            f"tokens (--rows answer); merged rows are for {able}."
        )
    student = load_tokenizer(config.student)
    return Merged(student.fingerprint, student.name, _alignment(row, teacher), rule.rule, rule.temperature)


def _alignment(row: Method, teacher: LiveTeacher) -> str:
    """Whose groups a method trains on, with every option, in words."""
    owner, variant = (methods.get(row.groups_of), "clean") if row.groups_of else (row, teacher.variant)
    given = {} if row.groups_of else teacher.align_options
    options = {option.name: option.default for option in owner.align_options_of(variant)} | dict(given)
    return " ".join([owner.name, f"({variant})", *(f"{name}={options[name]}" for name in sorted(options))])


def _check_merged(manifest: CacheManifest, config: RunConfig, teacher: LiveTeacher, name: str) -> None:
    """Raise RunError where rows were merged for another student, method or option."""
    made = manifest.kept.merged
    if made is None or not methods.get(teacher.method, RunError).asks_teacher:
        return
    try:
        wanted = merged_for(config, teacher)
    except RunError as fault:
        raise RunError(f"the cache {name} keeps merged rows alone, but {fault}") from None
    if changed := merged_otherwise(made, wanted):
        raise RunError(
            f"the cache {name} keeps merged rows of something else: {changed}. Fill another with this run's config and "
            "--rows merged, or one with the rows of tokens (--rows answer), which serves them all."
        )


def merged_in_words(made: Merged) -> str:
    """What a run must have to be taught by rows that were merged so."""
    factor = f" at teacher temperature {made.temperature:g}" if made.rule in TEMPERED else ""
    return (
        f"student tokenizer {short(made.student_name)}, groups of {short(made.alignment)}, and a loss that reads "
        f"{IN_WORDS[made.rule]}{factor}"
    )


def merged_otherwise(made: Merged, wanted: Merged) -> str:
    """What tells two ways of merging apart, in words; "" where nothing does."""
    if made.student != wanted.student:
        return (
            f"the student's tokenizer was {short(made.student_name)} ({made.student[:12]}) and is "
            f"{short(wanted.student_name)} ({wanted.student[:12]}) now"
        )
    if made.alignment != wanted.alignment:
        return f"the alignment was {short(made.alignment)} and is {short(wanted.alignment)} now"
    if made.rule != wanted.rule:
        return f"a group's row was {IN_WORDS[made.rule]}, and the loss reads {IN_WORDS[wanted.rule]}"
    if made.temperature != wanted.temperature:
        return f"the teacher's temperature was {made.temperature:g} and is {wanted.temperature:g} now"
    return ""


def _check_method(manifest: CacheManifest, method: str, variant: str, name: str) -> None:
    row = methods.get(method)
    if not row.asks_teacher:
        return
    if "prompt_rows" in row.reads_besides(variant) and manifest.kept.rows != "all":
        raise RunError(
            f"method {method!r} reads the teacher's rows of the prompt, too, which the cache {name} doesn't keep; fill "
            "one with --rows all."
        )
    if not manifest.kept.logits:
        check_probabilities(method, variant, f"the cache {name}, which a server filled,")


def fewer_than_read(access: Access, method: str, variant: str, options: Mapping[str, Any]) -> str:
    """A warning where a cache or server tells fewer tokens of a row than the method would read; "" where it doesn't.

    Raises RunError for a cache that can't be read.
    """
    row = methods.get(method, RunError)
    wanted = row.read_of(options, variant).get("top_k") or 0
    if not access.elsewhere or "top_k" not in row.uses:
        return ""
    if access.cache:
        kept = read_manifest(files.expanded(access.cache, RunError)).kept
        told, width, mend = kept.k, kept.width, f"fill a cache with --k {wanted}"
    else:
        told, width, mend = access.server_k, wanted, f"set teacher_server_k to {wanted}"
    if min(wanted, width) <= told:
        return ""
    return (
        f"method {method!r} reads the teacher's {wanted} most probable tokens of a row (top_k), but only {told} are "
        "told apart there; the rest counts as one mass, spread over all other tokens. For the method as it is meant, "
        f"{mend}; or set top_k to {told}."
    )
