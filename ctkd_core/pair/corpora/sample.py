"""Some documents from all over corpora of any size, for what measures many pairs and can't count all of it for each.

The sample depends on the files, the bound and the seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ctkd_core.background.progress import Progress, silent, within
from ctkd_core.errors import CtkdError
from ctkd_core.markup.quantities import in_bytes
from ctkd_core.pair.corpora.counting import Skipped, Text
from ctkd_core.pair.corpora.sources import Corpus, Piece

DOCUMENTS = 500  # at most
WHOLE = 1_000_000  # bytes of files together that are measured whole where no number of documents is asked for
MOST_DOCUMENTS = 1_000_000
CHARACTERS = 2_000  # of a document, from its beginning
PLACES = 32  # of a corpus that are read, at most
READ = 2_000_000  # characters that are read at each of them, about
EVERY = 1_000  # documents between two reports
READING = "Reading documents from all over the corpus"


@dataclass(frozen=True)
class Sample:
    """What was drawn.

    texts   documents, each from its beginning, and what is none; in the order of the corpora
    size    bytes of their UTF-8; total: bytes of the files that they were drawn from
    is_all  whether no document, and no part of one, was left out
    """

    texts: tuple[Text, ...]
    size: int
    total: int
    is_all: bool

    @property
    def sentence(self) -> str:
        """What was measured, for people."""
        count = f"{len(self.texts):,} document{'' if len(self.texts) == 1 else 's'}"
        if self.is_all:
            return f"Measured on all {count} of the corpus ({in_bytes(self.size)})."
        return (
            f"Measured on a sample: {count} ({in_bytes(self.size)}) from all over {in_bytes(self.total)} of files, "
            f"each at most to its first {CHARACTERS:,} characters."
        )

    def to_dict(self) -> dict[str, int | bool]:
        """Plain data, `sample` of `ctkd rank --json`."""
        return {"documents": len(self.texts), "bytes": self.size, "of_bytes": self.total, "all": self.is_all}


def draw(corpora: Sequence[Corpus], documents: int | None = None, seed: int = 0, progress: Progress = silent) -> Sample:
    """At most so many documents, as many of each corpus where it has them.

    None: every document, whole, where the files have at most WHOLE bytes together, else DOCUMENTS of them.
    They are drawn at random from up to PLACES pieces that lie evenly over a corpus, of each from its first READ
    characters; a long one is cut at CHARACTERS. `progress` gets the share done and a sentence, and may raise to cancel.

    Raises CtkdError for a number of documents that can't be, and what reading raises.
    """
    total = sum(corpus.size for corpus in corpora)
    if documents is None and total <= WHOLE and sum(corpus.unpacked(WHOLE) for corpus in corpora) <= WHOLE:
        pieces = [piece for corpus in corpora for piece in corpus.pieces()]
        reports = [partial(progress, number / len(pieces), "Reading the corpus") for number in range(len(pieces))]
        texts = tuple(text for piece, report in zip(pieces, reports) for text in _read(piece, report))
        return Sample(texts, _size(texts), total, True)
    documents = DOCUMENTS if documents is None else documents
    if isinstance(documents, bool) or not isinstance(documents, int) or not 1 <= documents <= MOST_DOCUMENTS:
        raise CtkdError(f"a sample has 1 to {MOST_DOCUMENTS:,} documents; got {documents!r}.")
    chance = random.Random(seed)
    drawn = _Drawn([], True)
    for number, corpus in enumerate(corpora):
        most = -(-(documents - len(drawn.texts)) // (len(corpora) - number))
        part = within(progress, number / len(corpora), (number + 1) / len(corpora))
        drawn.add(_of_corpus(corpus, most, chance, part))
    return Sample(tuple(drawn.texts), _size(drawn.texts), total, drawn.is_all)


def _size(texts: Sequence[Text]) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts if isinstance(text, str))


@dataclass
class _Drawn:
    texts: list[Text]
    is_all: bool

    def add(self, other: _Drawn) -> None:
        self.texts += other.texts
        self.is_all &= other.is_all


def _read(piece: Piece, report: Callable[[], None]) -> Iterator[Text]:
    """The documents of a piece; `report` is called before the first and after each EVERY of them."""
    report()
    for number, (text, _) in enumerate(piece.documents(), start=1):
        if number % EVERY == 0:
            report()
        yield text


def _of_corpus(corpus: Corpus, most: int, chance: random.Random, progress: Progress) -> _Drawn:
    pieces = corpus.pieces()
    count = min(PLACES, most, len(pieces))
    chosen = [pieces[n * len(pieces) // count] for n in range(count)]
    drawn = _Drawn([], len(chosen) == len(pieces))
    for number, piece in enumerate(chosen):
        report = partial(progress, number / count, f"{READING} (place {number + 1} of {count})")
        drawn.add(_of_piece(piece, -(-(most - len(drawn.texts)) // (count - number)), chance, report))
    return drawn


def _of_piece(piece: Piece, most: int, chance: random.Random, report: Callable[[], None]) -> _Drawn:
    """Each document that is read is as likely as any other to be among those that are drawn."""
    kept: dict[int, Text] = {}  # by their place in the piece
    places: list[int] = []
    read, is_all = 0, True
    for seen, text in enumerate(_read(piece, report)):
        if read >= READ:
            is_all = False
            break
        whole = len(text) if isinstance(text, str) else 0
        read += whole
        is_all &= seen < most and whole <= CHARACTERS
        if seen < most:
            places.append(seen)
        elif (place := chance.randrange(seen + 1)) < most:
            del kept[places[place]]
            places[place] = seen
        else:
            continue
        kept[seen] = _begin(text)
    return _Drawn([kept[place] for place in sorted(kept)], is_all)


def _begin(text: Text) -> Text:
    """The beginning of a document, cut at white space where there is some."""
    if isinstance(text, Skipped) or len(text) <= CHARACTERS:
        return text
    cut = max(text.rfind(" ", 1, CHARACTERS), text.rfind("\n", 1, CHARACTERS))
    return text[: cut if cut > CHARACTERS // 2 else CHARACTERS]
