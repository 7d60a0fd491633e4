"""The pairs of tokenizers and the texts that the analyses measure; all of them anyone can fetch.

A teacher has weights. A student that has none of its own reads with its teacher's body, whose embeddings are moved to
its tokenizer, before any training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from experiments import texts

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

GEMMA = "gemma3-270m"
WITH_WEIGHTS = ("smollm2", GEMMA)
# Catalog names, teacher first.
PAIRS = (
    ("smollm2", "deepseek"),
    ("smollm2", "qwen"),
    ("smollm2", "mistral-v1"),
    ("smollm2", "mistral-tekken"),
    ("smollm2", GEMMA),
    (GEMMA, "smollm2"),
    (GEMMA, "deepseek"),
    (GEMMA, "mistral-v1"),
)
LANGUAGES = texts.LANGUAGES
DOMAIN = "system"


@dataclass(frozen=True)
class Text:
    """A text and the language that it is in."""

    text: str
    language: str


def chosen_texts(count: int, languages: Sequence[str] = LANGUAGES, longest: int = texts.LONGEST) -> list[Text]:
    """The first `count` held-out texts of Debian's manuals in each language, which were shuffled when fetched.

    Raises TextsError where they can't be fetched.
    """
    found = []
    for language in languages:
        _, held = texts.fetch(language, DOMAIN, longest)
        lines = held.read_text(encoding="utf-8").splitlines()[:count]
        found += [Text(json.loads(line)["text"], language) for line in lines]
    return found


@cache
def tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a catalog name. Raises TokenizerError with the package to install."""
    from ctkd_core.tokenizers.load import load_tokenizer

    return load_tokenizer(name)


def fingerprints(pair: Sequence[str]) -> list[str]:
    """The fingerprints of a pair's tokenizers, on which all that is measured of it depends."""
    return [tokenizer(name).fingerprint for name in pair]
