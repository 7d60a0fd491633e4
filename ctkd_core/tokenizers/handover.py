"""What another process is told to get the same tokenizer: where it comes from, and what it must be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic.dataclasses import dataclass

from ctkd_core.errors import CtkdError
from ctkd_core.tokenizers import catalog, uploads

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Handover:
    """Source and fingerprint of a tokenizer."""

    source: str
    fingerprint: str

    def load(self) -> Tokenizer:
        """The tokenizer. Raises TokenizerError without one, CtkdError when it isn't the one that was handed over."""
        from ctkd_core.tokenizers.load import load_tokenizer

        found = load_tokenizer(self.source)
        if found.fingerprint != self.fingerprint:
            raise CtkdError(f"tokenizer {found.name!r} has changed on disk since it was loaded; load it again.")
        return found


def hand_over(tokenizer: Tokenizer) -> Handover:
    """How another process gets this tokenizer. Raises CtkdError where it has no file that one could load."""
    return Handover(_source(tokenizer), tokenizer.fingerprint)


def _source(tokenizer: Tokenizer) -> str:
    for name, row in catalog.TOKENIZERS.items():
        if row.source == tokenizer.source:
            return name
    if tokenizer.source.startswith(uploads.PREFIX):
        return tokenizer.source
    source = tokenizer.source.removeprefix("hub: ")
    if source != tokenizer.source or (source and Path(source).exists()):
        return source
    raise CtkdError(f"tokenizer {tokenizer.name!r} has no file that another process could load; save it, then load it.")
