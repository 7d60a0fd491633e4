"""What a page shows, as Python and as a command line: code that gives the same figures again.

Texts, names and options may be strangers'. In Python they stand as `repr` writes them. In a command they are quoted for
the shell (bash, zsh, ksh), and what a terminal would obey is written as an escape: a pasted line does what it says.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.sources.hub import PREFIX as HUB
from ctkd_core.lab.question import Choice
from ctkd_core.tokenizers.snapshots import SAVED

if TYPE_CHECKING:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.sweeps.definition import SweepDefinition

LONG = 2_000  # characters; a longer text is named by the id under which this machine keeps it
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}
_LONG = {"-s": "--student", "-t": "--teacher", "-m": "--method"}
_IMPORT = "import ctkd_core as ctkd"
_SAMPLING = (
    "from ctkd_core.pair.corpora.sample import draw",
    "from ctkd_core.pair.corpora.sources import read_texts",
)
_NUL = "A command line can't hold a NUL; write the text to a file and give --file."


@dataclass(frozen=True)
class Code:
    """Python that prints what the page shows, command lines that do ("" where there is no command), and a note."""

    python: str
    cli: str
    note: str = ""


@dataclass(frozen=True)
class NamedText:
    """A text, and what else names it: `sample` in `sample_texts.TEXTS`, `saved` in `snapshots`; "" where nothing."""

    text: str
    sample: str = ""
    saved: str = ""

    @property
    def by_id(self) -> bool:
        """Whether it is better named than written out: long, or with a NUL, which no command line can hold."""
        return bool(self.saved) and (len(self.text) > LONG or "\0" in self.text)

    def python(self, name: str = "text") -> list[str]:
        """Lines that give it a name."""
        if self.sample:
            return ["from ctkd_core.tokenizers.sample_texts import TEXTS", "", f"{name} = TEXTS[{self.sample!r}].text"]
        if self.by_id:
            return [
                "from ctkd_core.tokenizers.snapshots import load_text",
                "",
                f"{name} = load_text({self.saved!r})  # {len(self.text):,} characters",
            ]
        return [f"{name} = {self.text!r}"]

    def words(self) -> list[str] | None:
        """The words of a command line; None where it can't hold the text."""
        if self.sample:
            return flag("--sample", self.sample)
        if self.by_id:
            return flag("--file", f"{SAVED}{self.saved}")
        return None if "\0" in self.text else flag("--text", self.text)


def quoted(word: str) -> str:
    """One word for bash, zsh or ksh; with characters that aren't printable as $'...', bytes of UTF-8 as \\xNN."""
    if word.isprintable():
        return shlex.quote(word)
    shown = (
        _ESCAPES.get(c) or (c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "replace")))
        for c in word
    )
    return f"$'{''.join(shown)}'"


def line(*words: str) -> str:
    """A command line of these words."""
    return " ".join(map(quoted, words))


def flag(name: str, value: Any) -> list[str]:
    """A flag with its value; one that begins like a flag is joined to it, which only long names can be."""
    word = str(value)
    return [f"{_LONG.get(name, name)}={word}"] if word.startswith("-") else [name, word]


def pair_code(student: str, teacher: str, method: str = "sedi") -> Code:
    """The report on a pair of tokenizers."""
    python = [
        _IMPORT,
        "from ctkd_core.pair.report import pair_report",
        "",
        *_load(student, teacher),
        f"report = pair_report(student, teacher, method={method!r})",
        "print(report.advice.method, report.advice.verdict)",
        'print(*report.advice.because, sep="\\n")',
    ]
    return Code(_block(python), line("ctkd", "pair", *_pair(student, teacher), *flag("-m", method)))


def rank_code(
    names: Sequence[str],
    by: str,
    student: str | None = None,
    teacher: str | None = None,
    text: NamedText | None = None,
    corpus: str = "",
    note: str = "",
) -> Code:
    """Pairs of tokenizers, best first: teachers for `student`, students for `teacher`, or all pairs of `names`.

    They are measured on `text`, on a sample of the file or folder `corpus`, or on the bundled samples.
    """
    fixed = {side: name for side, name in (("student", student), ("teacher", teacher)) if name is not None}
    lines = text.python() if text else []
    python = [
        _IMPORT,
        "from ctkd_core.pair.ranking import rank_pairs",
        *(each for each in lines if each.startswith("from ")),
        *(_SAMPLING if corpus else []),
        "",
        *(each for each in lines if each and not each.startswith("from ")),
        *([f"texts = draw([read_texts({corpus!r})]).texts"] if corpus else []),
        f"tokenizers = [ctkd.load_tokenizer(name) for name in {list(names)!r}]",
        *(f"{side} = ctkd.load_tokenizer({name!r})" for side, name in fixed.items()),
        f"for row in rank_pairs(tokenizers{''.join(f', {side}={side}' for side in fixed)}"
        f"{', texts=[text]' if text else ', texts=texts' if corpus else ''}, by={by!r}):",
        f"    print(row.student, row.teacher, row.{by}, row.method)",
    ]
    words = [word for side, name in fixed.items() for word in flag(f"--{side}", name)]
    asked = text.words() if text else []
    if asked is None:
        return Code(_block(python), "", _NUL)
    words += flag("--corpus", corpus) if corpus else []
    words += [*asked, *flag("--by", by), *(["--"] if any(name.startswith("-") for name in names) else []), *names]
    return Code(_block(python), line("ctkd", "rank", *words), note)


def align_code(
    student: str,
    teacher: str,
    text: NamedText,
    choices: Sequence[Choice],
    asked: bool = False,
    group: int | None = None,
) -> Code:
    """A text under one method or two. `asked`: whether the models' answer weighs; `group`: the pinned one."""
    names = [f"{chr(ord('a') + k)}" for k in range(len(choices))]
    python = [_IMPORT]
    python += ["from ctkd_core.alignment.metrics import agreement"] if len(choices) > 1 else []
    python += ["from ctkd_core.lab.evidence import evidence"] if asked else []
    python += _with_text(text, student, teacher)
    inputs = ""
    if asked:
        python.append("found = evidence(text, student, teacher)  # waits for the models")
        inputs = (
            ", student_entropy=found.student_entropy, teacher_entropy=found.teacher_entropy, "
            "teacher_space_probability=found.teacher_space_probability"
        )
    for name, choice in zip(names, choices):
        python.append(f"{name} = ctkd.align(text, student=student, teacher=teacher{_method(choice)}{inputs})")
        python.append(f"print({name}.label, {name}.metrics())")
    if group is not None:
        python.append(f"print(a.student_bytes({group}), a.teacher_bytes({group}))  # the pinned group")
    if len(choices) > 1:
        python.append("print(agreement(a, b).differing)")
    words, note = text.words(), ""
    if words is None:
        return Code(_block(python), "", _NUL)
    if asked:
        note = "The command aligns without the models' answer."
    sides = _pair(student, teacher)
    by_name = {choice.method: choice for choice in choices}
    if len(choices) > 1 and len(by_name) == len(choices) and all(c.variant == "clean" for c in choices):
        chosen = [word for name in by_name for word in flag("-m", name)]
        return Code(_block(python), line("ctkd", "compare", *sides, *chosen, *_options(choices, True), *words), note)
    lines = [
        line("ctkd", "align", *sides, *flag("-m", c.method), *_variant(c), *_options([c], False), *words)
        for c in choices
    ]
    return Code(_block(python), "\n".join(lines), note)


def vocabulary_code(
    student: str, teacher: str, method: str, variant: str, options: Mapping[str, Any], token: int | None = None
) -> Code:
    """A vocabulary map, and the row of a token. `options`: those that aren't at their default."""
    choice = Choice(method, variant, tuple(sorted(options.items())))
    python = [_IMPORT, "", *_load(student, teacher)]
    python += [f"projection = ctkd.project(student, teacher{_method(choice)})", "print(projection.rows())"]
    python += [f"print(projection.explain({token}))"] if token is not None else []
    row = flag("--token", f"#{token}") if token is not None else []
    words = [*_pair(student, teacher), *flag("-m", method), *_variant(choice), *_options([choice], False), *row]
    return Code(_block(python), line("ctkd", "project", *words))


def losses_code(
    student: str, teacher: str, context: str, text: str, choices: Sequence[Choice], named: Sequence[int] = ()
) -> Code:
    """What losses make of a text, group by group."""
    asked = ", ".join(_choice(choice) for choice in choices)
    python = [
        _IMPORT,
        "from ctkd_core.lab.question import Choice, Question, answered",
        "",
        *_load(student, teacher),
        f"question = Question(student, teacher, {context!r}, {text!r}, {tuple(named)!r})",
        f"answer = answered(question, [{asked}])  # waits for a process of its own",
        "for choice, view in answer.views.items():",
        "    print(choice.method, view.loss, view.terms, view.distil)",
    ]
    if "\0" in context + text:
        return Code(_block(python), "", "A command line can't hold a NUL.")
    words = [word for choice in choices for word in flag("-m", choice.method)]
    words += [f"--variant={c.method}={c.variant}" for c in choices if c.variant != "clean"]
    words += [*_options(choices, True), *(word for i in named for word in flag("--token", f"#{i}"))]
    words += [*(flag("--context", context) if context else []), *flag("--text", text)]
    return Code(_block(python), line("ctkd", "losses", *_pair(student, teacher), *words))


def runs_code() -> Code:
    """The runs that are kept here, newest first."""
    python = [_IMPORT, "", "for run in ctkd.RunStore().list():", "    print(run.id, run.status().state)"]
    return Code(_block(python), line("ctkd", "runs", "ls"))


def run_code(run_id: str, runs_dir: str = "") -> Code:
    """One run: its figures, and the same again. `runs_dir`: the folder of runs, "" for the usual one."""
    python = [
        _IMPORT,
        "",
        f"run = ctkd.RunStore({_folder(runs_dir)}).get({run_id!r})",
        "print(run.metrics())",
        "# the same again, in this process: ctkd.distill(run.config)",
    ]
    return Code(_block(python), line("ctkd", "runs", "show", run_id, *_runs_dir(runs_dir)))


def comparison_code(folders: Mapping[str, Sequence[str]], figure: str, baseline: str | None) -> Code:
    """Several runs compared by a figure: their ids by the folder that they lie in, "" for the usual one."""
    stores = [f"ctkd.RunStore({_folder(folder)}).get_all({list(ids)!r})" for folder, ids in folders.items()]
    together = [f"runs = {stores[0]}"] if len(stores) == 1 else ["runs = [", *(f"    *{each}," for each in stores), "]"]
    python = [
        _IMPORT,
        "from ctkd_core.distill.comparison.table import compare",
        "",
        *together,
        f"found = compare(runs, {figure!r}, {baseline!r})",
        "for row in found.rows:",
        "    print(row.rank, row.kind.label, row.figures.get(found.figure), row.difference)",
    ]
    words = [*flag("--figure", figure), *(flag("--baseline", baseline) if baseline else [])]
    if len(stores) > 1:  # those of the usual folder by their ids, the others by where they lie
        ids = [str(Path(folder) / name) if folder else name for folder, own in folders.items() for name in own]
        return Code(_block(python), line("ctkd", "runs", "compare", *ids, *words))
    ((folder, own),) = folders.items()
    return Code(_block(python), line("ctkd", "runs", "compare", *own, *words, *_runs_dir(folder)))


def config_code(config: RunConfig) -> Code:
    """A run that a form describes; running the code trains it."""
    changed = changed_options(config)
    python = [_IMPORT, "", f"config = ctkd.RunConfig.from_dict({changed!r})", "run = ctkd.distill(config)"]
    python.append("print(run.metrics())")
    words, note = _run_flags(changed), ""
    if words is None:
        note = (
            "The command line has no flags for further teachers: save the options as YAML and give `ctkd distill` it."
        )
    return Code(_block(python), "" if words is None else line("ctkd", "distill", *words), note)


def sweep_code(definition: SweepDefinition) -> Code:
    """A sweep that a form describes (base: preset and pair); running the code queues its runs, which then train."""
    from ctkd_core.distill.sweeps.definition import SweepDefinition

    plain = SweepDefinition().to_dict()
    given = {k: v for k, v in definition.to_dict().items() if v != plain[k]}
    python = [
        _IMPORT,
        "from ctkd_core.distill.sweeps.definition import SweepDefinition",
        "from ctkd_core.distill.sweeps.sweep import start",
        "",
        "definition = SweepDefinition(",
        *(f"    {name}={value!r}," for name, value in given.items()),
        ")",
        "sweep = start(ctkd.RunStore(), definition)  # they train in the background, one after another",
        "print(sweep.summary())",
    ]
    base = definition.base
    words = [
        *flag("--preset", base["preset"]),
        *_pair(base["student"], base["teacher"], "--student-tokenizer"),
        *(flag("--methods", ",".join(definition.methods)) if definition.methods else []),
        *(flag("--seeds", ",".join(map(str, definition.seeds))) if definition.seeds else []),
        *(
            word
            for name, values in definition.grid.items()
            for word in flag("--set", f"{name}={','.join(map(str, values))}")
        ),
        *(flag("--name", definition.name) if definition.name else []),
        *(flag("--baseline", definition.baseline) if "baseline" in given else []),
        *(["--reuse"] if definition.reuse else []),
    ]
    if not (definition.methods or definition.seeds or definition.grid):
        return Code(_block(python), "", "On the command line a sweep names methods, seeds or values.")
    return Code(_block(python), line("ctkd", "sweep", *words))


def changed_options(config: RunConfig) -> dict[str, Any]:
    """The options of a run that aren't at the defaults of a plain `RunConfig`; pair and method always."""
    from ctkd_core.distill.config import RunConfig

    plain, given = RunConfig(method=config.method, variant=config.variant).to_dict(), config.to_dict()
    always = ("student", "teacher", "method")
    return {k: v for k, v in given.items() if k != "version" and (k in always or plain.get(k) != v)}


def _run_flags(changed: Mapping[str, Any]) -> list[str] | None:
    """`changed_options` as flags of `ctkd distill`, which begins with `quick`; None where they can't say it."""
    from ctkd_core.distill.config import PRESETS, RUN_OPTIONS, RunConfig

    short = {"student": "-s", "teacher": "-t", "method": "-m"}
    if str(changed.get("student", "")).startswith("-"):
        short["student"] = "--student-tokenizer"
    table = {option.name: option for option in RUN_OPTIONS}
    if set(changed) - {*table, "method_options", "align_options", "trainer"}:
        return None
    # what the preset changes and this run doesn't is said, too
    preset, plain = PRESETS["quick"].to_dict(), RunConfig().to_dict()
    wanted = {
        **{k: plain.get(k, table[k].default) for k in preset if k in table and preset[k] != plain.get(k)},
        **changed,
    }
    words: list[str] = []
    for name, value in wanted.items():
        if name in table:
            words += flag(short.get(name, f"--{name.replace('_', '-')}"), _word(value))
        elif name == "trainer":
            words += [word for k, v in value.items() for word in flag("--trainer", f"{k}={_word(v)}")]
        else:
            words += [word for k, v in value.items() for word in flag("-o", f"{k}={_word(v)}")]
    return words


def evidence_code(experiment: str, condition: str) -> Code:
    """The ranking of one setting of an experiment."""
    python = [
        "from ctkd_core.figures.evidence import ranking_rows, ranking_sentence",
        "from ctkd_core.methods.evidence import load",
        "",
        f"wanted = ({experiment!r}, {condition!r})",
        "setting = next(c for e, c in load().conditions if (e.name, c.name) == wanted)",
        "print(ranking_sentence(setting))",
        "for row in ranking_rows(setting):",
        "    print(row)",
    ]
    words = [*flag("--experiment", experiment), *flag("--condition", condition)]
    return Code(_block(python), line("ctkd", "evidence", *words))


def tried_code() -> Code:
    """Which kinds of pairs were tried."""
    python = [
        "from ctkd_core.methods.evidence import load",
        "",
        "for experiment, condition in load().conditions:",
        "    print(condition.kind, condition.regime, experiment.name, condition.title)",
    ]
    return Code(_block(python), line("ctkd", "evidence", "--part", "settings"))


def glance_code() -> Code:
    """Each method by kind of pair and regime, beside fine-tuning."""
    python = [
        "from ctkd_core.figures.evidence import glance_rows",
        "from ctkd_core.methods.evidence import load",
        "",
        "for row in glance_rows(load()):",
        "    print(*row.values(), sep=' | ')",
    ]
    return Code(_block(python), line("ctkd", "evidence", "--part", "glance"))


def answers_code() -> Code:
    """Every question of the experiments with its answer."""
    python = [
        "from ctkd_core.methods.evidence import load",
        "",
        "for experiment in load().experiments:",
        '    print(experiment.title, experiment.answer, sep="\\n", end="\\n\\n")',
    ]
    return Code(_block(python), line("ctkd", "evidence", "--part", "answers"))


def claims_code(verdict: str = "") -> Code:
    """What papers and we say, beside what experiments found; `verdict`: the claims that have it, "" for all."""
    python = [
        "from ctkd_core.methods.evidence import load",
        "",
        "for experiment, claim in load().claims:",
        *([f"    if claim.verdict == {verdict!r}:"] if verdict else []),
        f"{'    ' if verdict else ''}    print(claim.verdict, claim.claim, claim.ours, experiment.name)",
    ]
    words = ["--part", "claims", *(flag("--verdict", verdict) if verdict else [])]
    return Code(_block(python), line("ctkd", "evidence", *words))


def experiments_code(names: Sequence[str], tables: bool = False) -> Code:
    """Experiments with the commands that run them again; with `tables` also what their analyses found."""
    python = [
        "from ctkd_core.methods.evidence import load",
        "",
        f"wanted = {list(names)!r}",
        "for experiment in load().experiments:",
        "    if experiment.name in wanted:",
        "        print(experiment.title, experiment.reproduce)",
    ]
    if tables:
        python += [
            "        for table in experiment.tables:",
            '            print(table.title, table.columns, *table.rows, sep="\\n")',
        ]
    return Code(_block(python), line("ctkd", "evidence", "--part", "analyses" if tables else "experiments"))


def report_code(
    student: str,
    teacher: str,
    names: Iterable[str],
    texts: Sequence[NamedText],
    vocabulary_map: str,
    runs: Sequence[str] = (),
    runs_dir: str = "",
    corpus: Mapping[str, str] | None = None,
) -> Code:
    """The report on a pair as an HTML file.

    runs: ids of those that it compares; runs_dir: their folder, "" for the usual one; corpus: what `ctkd report
    --corpus` was given (file, folder, set of the hub) by the name of its domain, None for the bundled samples.
    """
    chosen, given = list(names), dict(corpus or {})
    named = {text.sample or f"text {k}": text.text for k, text in enumerate(texts, start=1)}
    python = [
        _IMPORT,
        "from ctkd_core.figures.report_pair import pair_html",
        "from ctkd_core.pair.full_report import full_report",
        "",
        *_load(student, teacher),
        f"texts = {named!r}",
        *_corpus(given),
        f"found = full_report(student, teacher, texts, {chosen!r}{', corpus' if given else ''}, "
        f"vocabulary_map={vocabulary_map!r})",
        *([f"runs = ctkd.RunStore({_folder(runs_dir)}).get_all({list(runs)!r})"] if runs else []),
        'with open("report.html", "w", encoding="utf-8") as file:',
        f"    file.write(pair_html(found{', runs' if runs else ''}))",
    ]
    words = [flag("--methods", ",".join(chosen)), *(text.words() for text in texts), flag("--map", vocabulary_map)]
    words += [flag("--corpus", _named(name, source)) for name, source in given.items()]
    words += [flag("--run", name) for name in runs] if runs else [["--no-runs"]]
    words += [_runs_dir(runs_dir)] if runs else []
    if any(part is None for part in words):
        return Code(_block(python), "", _NUL)
    flags = [word for part in words for word in part or ()]
    command = line("ctkd", "report", *_pair(student, teacher), *flags, "--out", "report.html")
    return Code(_block(python), command)


def _folder(runs_dir: str) -> str:
    return repr(runs_dir) if runs_dir else ""


def _runs_dir(runs_dir: str) -> list[str]:
    return flag("--runs-dir", runs_dir) if runs_dir else []


def _corpus(given: Mapping[str, str]) -> list[str]:
    """Lines that open the sources of a corpus by domain; none without one."""
    if not given:
        return []
    hub = any(source.startswith(HUB) for source in given.values())
    opened = {
        name: f"fetched(hub_set({source!r}), most=None)" if source.startswith(HUB) else repr(source)
        for name, source in given.items()
    }
    return [
        *(["from ctkd_core.distill.sources.hub import fetched, hub_set"] if hub else []),
        "from ctkd_core.pair.corpus import read_texts",
        "",
        "corpus = {",
        *(f"    {name!r}: read_texts({source})," for name, source in opened.items()),
        "}",
    ]


def _named(name: str, source: str) -> str:
    """A source as `--corpus` takes it; without its name where it would get the same one, as "=" may be in that."""
    own = source.removeprefix(HUB) if source.startswith(HUB) else Path(source).absolute().stem
    return source if name == own else f"{name}={source}"


def _with_text(text: NamedText, student: str, teacher: str) -> list[str]:
    """Imports, the text and both tokenizers."""
    lines = text.python()
    imports = [each for each in lines if each.startswith("from ")]
    return [*imports, "", *(each for each in lines if each and each not in imports), *_load(student, teacher)]


def _load(student: str, teacher: str) -> list[str]:
    return [f"student = ctkd.load_tokenizer({student!r})", f"teacher = ctkd.load_tokenizer({teacher!r})"]


def _pair(student: str, teacher: str, long: str = "--student") -> list[str]:
    """Flags of both sides; `long`: the long form of -s, which differs where --student is a model."""
    return [*flag(long if student.startswith("-") else "-s", student), *flag("-t", teacher)]


def _method(choice: Choice) -> str:
    """The arguments that choose a method, as they stand in a call."""
    variant = "" if choice.variant == "clean" else f", variant={choice.variant!r}"
    return f", method={choice.method!r}{variant}" + "".join(f", {name}={value!r}" for name, value in choice.options)


def _choice(choice: Choice) -> str:
    more = [repr(choice.variant)] if choice.variant != "clean" or choice.options else []
    return f"Choice({', '.join([repr(choice.method), *more, *([repr(choice.options)] if choice.options else [])])})"


def _variant(choice: Choice) -> list[str]:
    return [] if choice.variant == "clean" else flag("--variant", choice.variant)


def _options(choices: Iterable[Choice], named: bool) -> list[str]:
    """Flags -o NAME=VALUE, or -o METHOD.NAME=VALUE where they are `named`."""
    return [
        word
        for choice in choices
        for name, value in choice.options
        for word in flag("-o", f"{f'{choice.method}.' if named else ''}{name}={_word(value)}")
    ]


def _word(value: Any) -> str:
    """A value as a command line takes it."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _block(lines: Iterable[str]) -> str:
    return "\n".join(lines)
