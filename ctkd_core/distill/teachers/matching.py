"""Whether a cache is one of this run's teacher, data and options, and has what its method reads. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import methods
from ctkd_core.distill.teachers.access import Access, check_probabilities
from ctkd_core.distill.teachers.manifest import SERVER, CacheManifest, Whose, difference, read_manifest, text_of
from ctkd_core.distill.teachers.store import problem
from ctkd_core.errors import RunError, short

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.tokenizers.tokenizer import Tokenizer


def whose(tokenizer: Tokenizer, source: str, precision: str) -> Whose:
    """The teacher that a run names, as a cache notes it; its weights may be elsewhere."""
    from ctkd_core.distill.teachers.identity import weights_fingerprint

    return Whose(weights_fingerprint(source) or "", source, precision, tokenizer.fingerprint, tokenizer.name)


def check_cache(config: RunConfig, teacher: LiveTeacher) -> CacheManifest:
    """The manifest of a teacher's cache, compared with what the run says; every file is there in its size.

    Raises RunError that says what differs and what to do.
    """
    from ctkd_core.distill.data import data_file

    folder = Path(teacher.access.cache).expanduser()
    manifest, name = read_manifest(folder), short(teacher.access.cache)
    if not manifest.complete:
        raise RunError(f"the cache {name} isn't complete; run the same `ctkd cache-teacher` again, it goes on.")
    wanted = whose(teacher.tokenizer, teacher.source, teacher.access.precision)
    if manifest.whose.precision != SERVER:
        changed = difference(manifest.whose, wanted)
    else:  # its weights and precision aren't known, and its name is the server's
        changed = difference(manifest.whose, Whose("", manifest.whose.name, SERVER, wanted.tokenizer, ""))
    changed = changed or difference(manifest.text, text_of(config, data_file(config.data)))
    if changed:
        raise RunError(f"the cache {name} was made of something else: {changed}. Fill another for this run.")
    for number, part in manifest.parts.items():
        if why := problem(folder, part, thorough=False):
            raise RunError(f"part {number!r} of the cache {name} is damaged: {why}. Fill it again.")
    _check_method(manifest, teacher.method, teacher.variant, name)
    return manifest


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
        kept = read_manifest(Path(access.cache).expanduser()).kept
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
