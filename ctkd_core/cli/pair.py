"""`ctkd pair`: what two vocabularies share, how they cut texts of several domains, and which method to train with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import Output, Student, Teacher, UsageError, inform, load_pair, names_of, one_of, whole
from ctkd_core.cli.display import facts, table, visible
from ctkd_core.cli.progress import Bar
from ctkd_core.markup.numbers import decimals
from ctkd_core.markup.visible import one_line
from ctkd_core.methods.options import option_words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ctkd_core.pair.corpus import Corpus

# Columns of the table of domains; --json holds every metric.
_COLUMNS = (
    ("texts", "texts"),
    ("student tokens/word", "student_fertility"),
    ("teacher", "teacher_fertility"),
    ("student bytes/token", "student_bytes_per_token"),
    ("teacher", "teacher_bytes_per_token"),
    ("1-1 of student tokens", "student_tokens_1_1"),
    ("largest group", "largest_group"),
)
# Rates that are told with their intervals; --json has those of all.
_RATES = (
    ("1-1 of student tokens", "student_tokens_1_1"),
    ("whole for the student", "teacher_whole"),
    ("student bytes/token", "student_bytes_per_token"),
    ("teacher", "teacher_bytes_per_token"),
)
# The same of the tokens of one side, by class.
_CLASS_RATES = (
    ("bytes/token", "{}_bytes_per_token"),
    ("1-1", "{}_tokens_1_1"),
    ("whole for the other side", "{}_whole"),
)
LEAST_TIMED = 100_000  # bytes; with fewer, starting and stopping the clock weighs more than the work
MOST_VALUES = 12  # rows of scripts, or of a field's values
_WAYS = (("raw strings", "exact"), ("canonical forms", "canonical"), ("bytes", "bytes"))


def run(
    student: Student = None,
    teacher: Teacher = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus",
            metavar="F...",
            help="What to measure instead of the bundled samples, one domain each: files in .txt, .md (paragraphs), "
            ".jsonl, .json or .parquet (text, prompt/completion or messages), packed as .gz, too; folders of such "
            "files; sets of the hub (hf:owner/name); NAME=F names the domain.",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="FIELD",
            help="A field of records (language, say) by whose values figures are told apart, too; may be repeated.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            help="Aligns the texts.",
            autocompletion=complete.aligning_methods,
        ),
    ] = "sedi",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", parser=whole, help="Processes that measure (default: the cores, for large files)."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Who measures: processes of this machine, or ray: the cluster that RAY_ADDRESS names (extra ray).",
            autocompletion=names_of(("processes", "ray")),
        ),
    ] = "processes",
    speed: Annotated[
        bool,
        typer.Option("--speed", help="Time it, too, beside tokenizers' encode_batch alone on the same texts."),
    ] = False,
) -> Output:
    """Measure the pair; the document is `PairReport.to_dict`, with --speed its `speed` as `corpora.speed.Speed`.

    What is measured of files is kept piece by piece: interrupted, the same command goes on.
    """
    from ctkd_core import methods
    from ctkd_core.errors import AlignmentError
    from ctkd_core.pair.corpora.engines import ENGINES
    from ctkd_core.pair.corpus import MAX_WORKERS, check_fields
    from ctkd_core.pair.report import pair_report

    # Cheap mistakes are told before two tokenizers are loaded.
    one_of("engine", ENGINES)(engine)
    check_fields(by or ())
    if speed and not corpus:
        raise UsageError("--speed times files; name some with --corpus.")
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise UsageError(f"--workers takes a whole number from 1 to {MAX_WORKERS}; got {workers}.")
    methods.aligner(method, AlignmentError)
    domains = domains_of(corpus) if corpus else None
    ours, theirs = load_pair(student, teacher)
    timed: dict[str, Any] = {}
    if domains is None:
        if by:
            inform("--by tells records of files apart; without --corpus there are none.")
        report = pair_report(ours, theirs, workers=workers, method=method)
    else:
        with Bar(len(domains), tells_left=False) as bar, kept_if_stopped():
            report = pair_report(
                ours, theirs, domains, workers, bar.update, method, by=by or (), engine=engine, keep=True
            )
        if speed:
            timed = {"speed": _speed(ours, theirs, domains, method, workers)}
    data = report.to_dict() | timed
    return Output(lambda: data, lambda: _view(data, by or (), told_apart=bool(corpus)))


def _speed(student: Any, teacher: Any, domains: Mapping[str, Corpus], method: str, workers: int | None) -> Any:
    from ctkd_core.pair.corpora.counting import Counting
    from ctkd_core.pair.corpora.measuring import cores
    from ctkd_core.pair.corpora.speed import speed

    with Bar(1) as bar:
        return speed(Counting(student, teacher, method), domains, workers or cores(), bar.update)


@contextmanager
def kept_if_stopped(files: bool = True) -> Iterator[None]:
    """Say on an interruption that what was measured of files is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if files:
            inform("stopped; what was measured is kept, the same command goes on.")
        raise


def domains_of(names: list[str]) -> dict[str, Corpus]:
    """Texts by domain, see `sources_by_domain`; every file is checked now, and a set of the hub fetched."""
    return {label: corpus_of(path) for label, path in sources_by_domain(names).items()}


def corpus_of(path: str) -> Corpus:
    """The texts of a file, a folder, or a set of the hub, which is fetched."""
    from ctkd_core.distill.sources.hub import fetched, hub_set, not_fetched
    from ctkd_core.pair.corpus import read_texts

    remote = hub_set(path)
    if not_fetched(path):
        inform(f"fetching {path}; how large it is, and how long measuring it takes, is known when it is here.")
    return read_texts(path if remote is None else fetched(remote, most=None))


def sources_by_domain(names: list[str]) -> dict[str, str]:
    """What --corpus names by domain: the name before "=", else the file's name without its ending."""
    from ctkd_core.distill.sources.hub import PREFIX

    found: dict[str, str] = {}
    for given in names:
        label, equals, path = given.partition("=")
        if not equals or Path(given).exists():  # a file name may hold "="
            label, path = Path(given).absolute().stem, given
            if given.startswith(PREFIX):
                label = given.removeprefix(PREFIX)
        if label in found:
            raise UsageError(f"--corpus names the domain {label!r} twice; tell them apart with NAME={path}.")
        found[label] = path
    return found


def _view(data: dict[str, Any], asked: Sequence[str] = (), told_apart: bool = True) -> list[RenderableType]:
    vocabulary, advice = data["vocabulary"], data["advice"]
    shares = vocabulary["shares"]
    parts: list[RenderableType] = [
        f"student {data['student']} ({vocabulary['student_size']:,} tokens), "
        f"teacher {data['teacher']} ({vocabulary['teacher_size']:,} tokens)",
        table(
            ["shared by", "count", "of student", "of teacher", "of the smaller"],
            [
                [title, vocabulary[way], shares[way]["student"], shares[way]["teacher"], shares[way]["smaller"]]
                for title, way in _WAYS
            ],
        ),
        table(
            ["class of student tokens", "total", "shared", "share", "not shared, for example"],
            [_class_row(name, row, vocabulary["unmatched"]) for name, row in vocabulary["classes"].items()],
        ),
        table(
            ["domain", *(title for title, _ in _COLUMNS)],
            [[domain, *(row[key] for _, key in _COLUMNS)] for domain, row in data["corpus"].items()],
        ),
        *(_slices(data["corpus"], asked) if told_apart else ()),
    ]
    from ctkd_core.pair.report import doubles_notes

    if doubles := doubles_notes(vocabulary):
        parts.append(facts([("doubles:", visible(note)) for note in doubles]))
    parts += _special(data["special_tokens"])
    if timed := data.get("speed"):
        parts.append(_timed(timed))
    skipped = [f"{d}: {n} x {reason}" for d, row in data["corpus"].items() for reason, n in row["skipped"].items()]
    if skipped:
        parts.append(f"skipped texts: {'; '.join(skipped)}")
    because = [("  because:", text) for text in advice["because"]]
    warnings = [("  warning:", text) for text in advice["warnings"]]
    advised = (
        "advice:",
        " ".join([advice["method"], *option_words(advice["options"], "="), f"(verdict {advice['verdict']})"]),
    )
    tried = [("  tried:", _tried(finding)) for finding in advice["evidence"]]
    against = [("  against:", _tried(finding)) for finding in advice["counter"]]
    near = [("  confidence:", f"{advice['confidence']} (kind: {advice['kind']})")]
    return [*parts, facts([advised, *because, *near, *tried, *against, *warnings])]


def _slices(corpus: Mapping[str, Any], asked: Iterable[str] = ()) -> Iterator[RenderableType]:
    """The measured files by script, by fields that were `asked` for and by class of token; intervals if there are."""
    from ctkd_core.pair.corpora.counting import NOT_GIVEN
    from ctkd_core.pair.corpora.counts import CLASS_RATES, LEAST_TEXTS

    files = {domain: row for domain, row in corpus.items() if row["slices"]}
    rows, classes, few = [], [], []
    for domain, row in files.items():
        rows.append([domain, "all", row["bytes"], *_with_interval(row, _RATES)])
        few += [] if row["intervals"] else [domain]
        for by, values in row["slices"].items():
            shown = list(values.items())[:MOST_VALUES]
            if by in CLASS_RATES:
                side = by.removesuffix("_class")
                classes += [
                    [domain, f"{side} {name}", one[f"{side}_tokens"], *_of_class(one, side)] for name, one in shown
                ]
            else:
                rows += [
                    [domain, one_line(f"{by} {name}"), one["bytes"], *_with_interval(one, _RATES)]
                    for name, one in shown
                ]
    if rows:
        yield table(["domain", "of", "bytes", *(title for title, _ in _RATES)], rows)
        yield table(["domain", "class of tokens", "tokens", *(title for title, _ in _CLASS_RATES)], classes)
    if len(few) < len(files):
        yield "In brackets: 95 % intervals over texts."
    if few:
        yield f"No intervals with fewer than {LEAST_TEXTS} texts: {', '.join(map(visible, few))}."
    for by in asked:
        given = {name for row in files.values() for name in row["slices"].get(by, {})}
        if files and given <= {NOT_GIVEN}:
            yield f"No record has the field {visible(repr(by))}, so nothing is told apart by it."


def _of_class(row: Mapping[str, Any], side: str) -> list[str]:
    return _with_interval(row, [(title, name.format(side)) for title, name in _CLASS_RATES])


def _with_interval(row: Mapping[str, Any], rates: Iterable[tuple[str, str]]) -> list[str]:
    cells = []
    for _, key in rates:
        low_high = row["intervals"].get(key)
        said = f" ({decimals(low_high[0])} to {decimals(low_high[1])})" if low_high else ""
        cells.append(f"{decimals(row[key])}{said}")
    return cells


def _timed(speed: Mapping[str, Any]) -> RenderableType:
    alone = speed["encode_batch"]
    rows = [
        ("measured:", f"{speed['bytes_per_second'] / 1e6:.2f} MB/s with {speed['workers']} processes"),
        ("encode_batch alone:", f"{alone['bytes_per_second'] / 1e6:.2f} MB/s with as many threads, both sides"),
        ("share:", f"{speed['share']:.0%} by the clock, {speed['cpu_share']:.0%} by processor seconds"),
    ]
    if speed["bytes"] < LEAST_TIMED:
        few = f"only {speed['bytes']:,} bytes were timed, too few to tell a speed; give {LEAST_TIMED:,} or more."
        rows.append(("warning:", few))
    return facts(rows)


def _tried(finding: dict[str, Any]) -> str:
    from ctkd_core.pair.evidence import Finding

    return Finding(**finding).sentence


def _class_row(name: str, row: dict[str, int], unmatched: dict[str, list[str]]) -> list[Any]:
    share = row["matched"] / row["total"] if row["total"] else None
    examples = " ".join(_short(visible(token)) for token in unmatched.get(name, [])[:4])
    return [name, row["total"], row["matched"], share, examples]


def _special(rows: list[dict[str, Any]]) -> list[RenderableType]:
    """Special tokens by role, and what to look out for."""
    sides = ("student_id", "student", "teacher_id", "teacher")
    cells = [[row["role"], *(row[side] for side in sides)] for row in rows]
    notes = list(dict.fromkeys((f"  {row['role']}:", row["note"]) for row in rows if row["note"]))
    found = table(["special tokens", "student id", "student", "teacher id", "teacher"], cells)
    return [found, *([facts(notes)] if notes else [])]


def _short(shown: str, limit: int = 16) -> str:
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
