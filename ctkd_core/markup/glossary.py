"""The terms of art, each with its meaning: docs/glossary.md is made of them, and pages explain a term where it stands.

A name that begins with a small letter is found in any case and in the plural; another one (P-KL, SFT) as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class GlossaryEntry:
    """One entry. `names` head it, `also` are words that mean it in a text; `meaning` is Markdown on one line.

    `everyday` words stand in nearly every sentence: they are explained where they are asked for, not marked.
    """

    names: tuple[str, ...]
    meaning: str
    also: tuple[str, ...] = ()
    everyday: bool = False

    @property
    def plain(self) -> str:
        """The meaning without marks of Markdown."""
        return re.sub(r"[*`]", "", self.meaning)


TERMS = (
    GlossaryEntry(
        ("teacher", "student"),
        "The model that is learnt from, and the one that learns. Each reads the text with its own tokenizer",
        everyday=True,
    ),
    GlossaryEntry(
        ("token",),
        "A piece of text with a number (*id*). Its *bytes* are those of the text that it was made of",
        everyday=True,
    ),
    GlossaryEntry(
        ("row",),
        "What a model says behind one token: a probability for each token of its vocabulary. Row *i* predicts token "
        "*i + 1*. The row of a vocabulary map: the teacher tokens that stand for one student token",
    ),
    GlossaryEntry(("logits",), "A row before the soft-max", also=("logit",)),
    GlossaryEntry(("alignment",), "Which tokens of the two sides face each other, as a list of groups", everyday=True),
    GlossaryEntry(
        ("group",),
        "A stretch of student tokens that faces a stretch of teacher tokens. *1 student : n teacher* has one token on "
        "the student's side. The least groups that spell equal bytes are the *span components*",
    ),
    GlossaryEntry(
        ("super-group",),
        "A group of more than 16 tokens on a side: its inside isn't aligned at all",
    ),
    GlossaryEntry(
        ("boundary",),
        "A place in the text at which a token ends. A *common boundary* is one of both tokenizers",
        also=("boundaries",),
    ),
    GlossaryEntry(
        ("boundary F1",),
        "How far the inner boundaries of a method's groups agree with those of the span components; 1 is exact",
    ),
    GlossaryEntry(
        ("drift",),
        "What a method does that lost its place: from one difference on, its groups face another place of the text",
    ),
    GlossaryEntry(
        ("cost",),
        "What it takes to let two tokens face each other: the edits between them, times both weights. The "
        "*accumulated* cost of a cell is that of the cheapest way to it",
    ),
    GlossaryEntry(
        ("path",),
        "The cheapest way through the costs, from the first tokens of both sides to the last; its runs without a "
        "diagonal step are the groups. Each cell has three *candidates*: both sides go on, the teacher alone, the "
        "student alone",
    ),
    GlossaryEntry(
        ("vocabulary map", "projection"),
        "A sparse matrix that says which teacher tokens stand for a student token, and with which weight",
    ),
    GlossaryEntry(
        ("density",),
        "A vocabulary map too large to draw, counted into rectangles of neighbouring tokens. Such a rectangle is "
        "called a bin, too",
    ),
    GlossaryEntry(
        ("canonical form",),
        "A token's spelling without what only its tokenizer means by it: marks of spaces and lines, `<0x41>`, names of "
        "special tokens",
        also=("canonical",),
    ),
    GlossaryEntry(
        ("common", "uncommon tokens"),
        "Tokens that the map pairs one to one, and the others",
        also=("common tokens",),
        everyday=True,
    ),
    GlossaryEntry(
        ("H-KL", "P-KL"),
        "X-Token's two losses: compare common tokens by name and the others by rank (*hybrid*), or project every "
        "student token",
    ),
    GlossaryEntry(("omega",), "SeDi's weight of the rows inside a group; learnt if wanted"),
    GlossaryEntry(
        ("migration",),
        "SeDi: the teacher's likeliest tokens are spelled anew in student tokens. Two that land on one student token "
        "*collide*",
        also=("collision",),
    ),
    GlossaryEntry(
        ("bin",),
        "ALM: one of the ways in which the probability of a chunk of text is compared. Of a density: a rectangle of "
        "neighbouring tokens that are counted together",
    ),
    GlossaryEntry(
        ("SFT",),
        "Fine-tuning on the text alone, without a teacher: what every method is compared with",
    ),
    GlossaryEntry(("cross-entropy (CE) weight",), "The share of fine-tuning in a method's loss", also=("ce weight",)),
    GlossaryEntry(
        ("temperature",),
        "Logits are divided by it before the soft-max; above 1 the unlikely counts more",
    ),
    GlossaryEntry(
        ("bits per byte",),
        "Bits that a model needs for a text, by its bytes: comparable between tokenizers, unlike loss a token",
        also=("bits/byte",),
    ),
    GlossaryEntry(
        ("gap closed",),
        "(SFT - run) / (SFT - teacher) in bits per byte: 0 is fine-tuning, 1 the teacher",
    ),
    GlossaryEntry(
        ("transplant",),
        "A student made of the teacher's body, with embeddings for its own tokenizer built from the teacher's",
    ),
    GlossaryEntry(("on-policy",), "The student writes the text that it learns from, and the teacher judges it"),
    GlossaryEntry(
        ("exposure bias",),
        "What a model loses by reading its own words where it was trained on other people's",
    ),
    GlossaryEntry(
        ("preset", "kind of run"),
        "A config that comes along; runs that differ in the seed alone",
        everyday=True,
    ),
    GlossaryEntry(
        ("pre-flight",),
        "What is checked before a run starts, so that it doesn't fail an hour later",
    ),
)


@lru_cache(maxsize=1)
def _words() -> tuple[dict[str, GlossaryEntry], re.Pattern[str]]:
    """Every name with its term, and what finds them in a text, the longest first."""
    known = {_key(name): entry for entry in TERMS for name in (*entry.names, *entry.also)}
    # "a": else ı would match i and ſ would match s, and `term` knows no such word
    parts = [
        f"(?ai:{re.escape(name)}s?)" if name[0].islower() else re.escape(name)
        for name in sorted(known, key=len, reverse=True)
    ]
    return known, re.compile(rf"(?<![\w-])(?:{'|'.join(parts)})(?![\w-])")


def _key(name: str) -> str:
    """A name as it is looked up: any case will do where it begins with a small letter."""
    return name.lower() if name[0].islower() else name


def term(word: str) -> GlossaryEntry:
    """The term that `word` names. Raises KeyError with the word: who asks is a program, not a person."""
    known, _ = _words()
    for form in (word, word.lower(), word.lower().removesuffix("s")):
        if form in known:
            return known[form]
    raise KeyError(word)


def found(text: str) -> Iterator[tuple[int, int, GlossaryEntry]]:
    """Where a text names terms of art, each at its first place only: start, end, term. No everyday words."""
    seen: set[GlossaryEntry] = set()
    for match in _words()[1].finditer(text):
        entry = term(match[0])
        if entry not in seen and not entry.everyday:
            seen.add(entry)
            yield match.start(), match.end(), entry


def explained(*words: str) -> str:
    """The meanings of these terms as Markdown, a line each: for the help of a heading, a field or a column."""
    entries = dict.fromkeys(term(word) for word in words)
    return "  \n".join(f"**{', '.join(entry.names)}**: {entry.meaning}." for entry in entries)


def explained_in(text: str) -> str:
    """`explained` for the terms that a text names; "" where it names none."""
    return explained(*(entry.names[0] for _, _, entry in found(text)))
