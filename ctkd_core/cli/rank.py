"""`ctkd rank`: which teacher suits a student, which student a teacher, or all pairs of several tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import SOURCE, File, Output, Sample, Text, UsageError, one_of, read_text, whole
from ctkd_core.cli.display import table, visible
from ctkd_core.cli.progress import Bar
from ctkd_core.methods.options import option_words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.pair.corpus import Corpus

_COLUMNS = (
    ("common boundaries", "boundaries"),
    ("equal tokens", "equal_tokens"),
    ("whole for the student", "teacher_whole"),
    ("shared", "canonical"),
    ("tokens", "tokens"),
    ("numbers", "numbers"),
)


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TOKENIZER]...",
            help=f"The tokenizers to rank, each a {SOURCE}; none: all that work offline here.",
            autocompletion=complete.tokenizers,
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "-s", "--student", metavar="S", help="Rank teachers for this student.", autocompletion=complete.tokenizers
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "-t", "--teacher", metavar="T", help="Rank students for this teacher.", autocompletion=complete.tokenizers
        ),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus",
            metavar="F",
            help="What to measure on instead of the bundled samples, as in `ctkd pair`: a file, a folder, a set of the "
            "hub (hf:owner/name); may be repeated. Of more than 1 MB a sample is measured.",
        ),
    ] = None,
    documents: Annotated[
        int | None,
        typer.Option(
            "--documents",
            metavar="N",
            parser=whole,
            help="How many documents of --corpus are measured, at most (default: 500, or all of at most 1 MB).",
        ),
    ] = None,
    text: Text = None,
    file: File = None,
    sample: Sample = None,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="FIGURE",
            help="Order by: boundaries (default), canonical, equal_tokens, teacher_whole or tokens.",
        ),
    ] = "boundaries",
) -> Output:
    """Measure the pairs; the document is {by, skipped, sample, pairs: [RankedPair.to_dict, ...]}, best first.

    They are measured on the bundled samples, on a sample of --corpus, or on one text.
    skipped  {reason: texts that weren't measured}, the most of any pair
    sample   {documents, bytes, of_bytes, all}: what of --corpus was measured; null without it
    """
    from ctkd_core.pair.corpora.sample import draw
    from ctkd_core.pair.ranking import ORDERS, pairs_of, rank_pairs
    from ctkd_core.tokenizers.load import load_tokenizer

    one_of("figure to order pairs by", ORDERS)(by)
    if student is not None and teacher is not None:
        raise UsageError("--student and --teacher fix both sides; `ctkd pair` compares one pair.")
    for flag, value in (
        ("--student", student),
        ("--teacher", teacher),
        *(("a tokenizer", name) for name in names or ()),
    ):
        if value is not None and not value.strip():
            raise UsageError(f"{flag} is empty; give a {SOURCE}, or leave it out.")
    one = (text, file, sample) if any(given is not None for given in (text, file, sample)) else None
    if one and corpus:
        raise UsageError("--corpus and --text, --file or --sample contradict each other; give one of them.")
    if documents is not None and not corpus:
        raise UsageError("--documents bounds what is measured of --corpus; name one.")
    drawn = None
    if corpus:
        with Bar(1) as bar:
            drawn = draw(_corpora(corpus), documents, progress=bar.update)
    texts = drawn.texts if drawn else [read_text(*one)] if one else None
    sources = list(dict.fromkeys(names or _offline()))
    with Bar(1) as bar:
        loaded = {
            source: load_tokenizer(source) for source in dict.fromkeys([*sources, *filter(None, (student, teacher))])
        }
        asked = [loaded[source] for source in sources], loaded.get(student or ""), loaded.get(teacher or "")
        bar.total = len(pairs_of(*asked))
        rows = rank_pairs(*asked, texts, by, bar.update)
    reasons = dict.fromkeys(reason for row in rows for reason in row.skipped)
    skipped = {reason: max(row.skipped.get(reason, 0) for row in rows) for reason in reasons}
    sample_of = drawn.to_dict() if drawn else None
    data = {"by": by, "skipped": skipped, "sample": sample_of, "pairs": [row.to_dict() for row in rows]}
    return Output(lambda: data, lambda: [*_view(data), *([drawn.sentence] if drawn else [])])


def _offline() -> list[str]:
    """Names of the catalog's tokenizers that are here."""
    from ctkd_core.tokenizers.assets import is_installed, is_prepared
    from ctkd_core.tokenizers.catalog import TOKENIZERS

    return [row.name for row in TOKENIZERS.values() if (is_prepared(row) if row.on_request else is_installed(row))]


def _corpora(names: list[str]) -> list[Corpus]:
    from ctkd_core.cli.pair import corpus_of, sources_by_domain

    return [corpus_of(path) for name in names for path in sources_by_domain([name]).values()]


def _view(data: dict[str, Any]) -> list[RenderableType]:
    titles = ["student", "teacher", *(title for title, _ in _COLUMNS), "train with", "evidence"]
    rows = []
    for row in data["pairs"]:
        figures = (row[key] for _, key in _COLUMNS)
        rows.append(
            [visible(row["student"]), visible(row["teacher"]), *figures, _advised(row), row["confidence"] or None]
        )
    parts: list[RenderableType] = [table(titles, rows)]
    if data["skipped"]:
        listed = "; ".join(f"{count} x {reason}" for reason, count in data["skipped"].items())
        parts.append(f"skipped texts (the most of any pair): {listed}")
    return parts


def _advised(row: dict[str, Any]) -> str:
    return " ".join([row["method"], *option_words(row["options"], "=")])
