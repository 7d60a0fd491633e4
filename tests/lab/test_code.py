"""Code of views: what is shown runs and gives the same, and a pasted line can't do more than it says."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

import ctkd_core as ctkd
from ctkd_core.cli.command import load as load_command
from ctkd_core.cli.distill import build_config
from ctkd_core.cli.main import main
from ctkd_core.distill.config import PRESETS, RunConfig
from ctkd_core.distill.runs import RunStore
from ctkd_core.distill.sweeps import queue
from ctkd_core.distill.sweeps import sweep as sweeps
from ctkd_core.distill.sweeps.definition import SweepDefinition
from ctkd_core.lab import code
from ctkd_core.lab.code import NamedText
from ctkd_core.lab.question import DEFAULT_METHODS, EXAMPLES, Choice
from ctkd_core.methods.evidence import load
from ctkd_core.tokenizers import snapshots
from ctkd_core.tokenizers.sample_texts import TEXTS
from tests.distill.comparison.make import made
from tests.tiny import saved, tiny_byte_level, tiny_metaspace

NASTY = '\'; touch /tmp/owned; $(id) `id` \\ "!!" \x15\x03\x1b[2J\n\t\u202eabc\u00a0 #~*? é 🦙 -m'


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[str, str]:
    """Sources of two tiny tokenizers, in folders whose names need quoting."""
    found = []
    for name, tokenizer in (("a student's", tiny_byte_level()), ("the teacher", tiny_metaspace())):
        found.append(str(saved(tokenizer, tmp_path_factory.mktemp("t") / name).parent))
    return found[0], found[1]


def printed(python: str, capsys) -> str:
    """What a block of Python prints."""
    capsys.readouterr()
    exec(compile(python, "<shown code>", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out


def words_of(lines: str) -> list[list[str]]:
    """The words of command lines, as bash reads them: one process for all."""
    script = "\n".join(f"printf '%s\\0' {each}; printf 'END OF A LINE\\0'" for each in lines.split("\n"))
    run = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, check=True)
    found: list[list[str]] = [[]]
    for word in run.stdout.decode().split("\0")[:-1]:
        if word == "END OF A LINE":
            found.append([])
        else:
            found[-1].append(word)
    return found[:-1]


def answers(lines: str, capsys) -> list[dict]:
    """The documents that the command lines print."""
    documents = []
    for ctkd_word, *words in words_of(lines):
        assert ctkd_word == "ctkd"
        capsys.readouterr()
        assert main([*words, "--json"]) == 0, capsys.readouterr().err
        documents.append(json.loads(capsys.readouterr().out))
    return documents


def test_quoted_words_are_what_bash_reads_and_hold_nothing_that_a_terminal_obeys():
    draw = random.Random(7)
    alphabet = "'\"\\$`!*? \t\n\r\x01\x1b\x7f\u202e\u2028é東🦙\u0301abc0-=#~&;|<>(){}[]"
    words = ["".join(draw.choices(alphabet, k=draw.randrange(1, 12))) for _ in range(300)] + [NASTY, "x"]
    line = " ".join(map(code.quoted, words))
    assert line.isprintable()
    assert words_of(line) == [words]


@pytest.mark.parametrize("text", [NASTY, "It cost 12345 in 2024.", "--json"])
def test_align_gives_the_same_in_python_and_on_the_command_line(pair, text, capsys):
    choices = [Choice("sedi", "clean", (("unit", "char"),)), Choice("cdm")]
    shown = code.align_code(*pair, NamedText(text), choices, group=0)
    student, teacher = map(ctkd.load_tokenizer, pair)
    wanted = {
        c.method: ctkd.align(text, student=student, teacher=teacher, method=c.method, **dict(c.options)).metrics()
        for c in choices
    }
    out = printed(shown.python, capsys)
    assert str(wanted["cdm"]) in out and str(wanted["sedi"]) in out
    (found,) = answers(shown.cli, capsys)
    assert found["methods"]["sedi"] == pytest.approx(wanted["sedi"])
    assert found["methods"]["cdm"] == pytest.approx(wanted["cdm"])


def test_two_variants_of_one_method_are_two_commands(pair, capsys):
    choices = [Choice("gold"), Choice("gold", "released")]
    shown = code.align_code(pair[0], pair[0], NamedText("in 2024"), choices)
    found = answers(shown.cli, capsys)
    assert [document["variant"] for document in found] == ["clean", "released"]
    assert "variant='released'" in shown.python
    printed(shown.python, capsys)


def test_samples_are_named_and_long_texts_are_named_by_their_id(pair, capsys, tmp_path, monkeypatch):
    sample = code.align_code(*pair, NamedText(TEXTS["numbers"].text, "numbers"), [Choice("sedi")])
    assert "--sample numbers" in sample.cli
    printed(sample.python, capsys)
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    text = "naïve 2024 " * 400
    shown = code.align_code(*pair, NamedText(text, saved=snapshots.save_text(text)), [Choice("sedi")])
    assert len(shown.cli) < 400 and len(shown.python) < 800
    (found,) = answers(shown.cli, capsys)
    assert found["student"]["spans"][-1][1] == len(text.encode())
    assert "boundary_f1" in printed(shown.python, capsys)


def test_a_nul_is_no_word_of_a_command(pair, capsys):
    shown = code.align_code(*pair, NamedText("a\0b"), [Choice("sedi")])
    assert shown.cli == "" and "NUL" in shown.note
    printed(shown.python, capsys)


def test_with_the_models_answer_python_asks_them_and_the_command_says_it_does_not(pair):
    shown = code.align_code(*pair, NamedText("in 2024"), [Choice("cdm")], asked=True)
    assert "student_entropy=found.student_entropy" in shown.python
    assert "without the models' answer" in shown.note


def test_pair_and_map(pair, capsys):
    shown = code.pair_code(*pair)
    assert printed(shown.python, capsys).split()[0] == answers(shown.cli, capsys)[0]["advice"]["method"]
    shown = code.vocabulary_code(*pair, "exact", "clean", {"match": "canonical"}, 40)
    out = printed(shown.python, capsys)
    (found,) = answers(shown.cli, capsys)
    assert str(found["rows"]) in out
    assert found["token"]["id"] == 40 and found["options"]["match"] == "canonical"


@pytest.mark.real
def test_losses(capsys):
    example = EXAMPLES["number"]
    choices = [Choice(name) for name in DEFAULT_METHODS]
    shown = code.losses_code("deepseek", "smollm2", example.context, example.text, choices)
    out = printed(shown.python, capsys)  # answered by what comes along
    (found,) = answers(shown.cli, capsys)
    assert list(found["methods"]) == list(DEFAULT_METHODS)
    for name, row in found["methods"].items():
        assert f"{name} {row['loss']}" in out


def test_options_and_variants_of_losses_reach_the_command():
    choices = [Choice("gold", "released"), Choice("xtoken-pkl", "clean", (("temperature", 2.0),))]
    shown = code.losses_code("deepseek", "smollm2", "-c", "-t", choices, (643,))
    (words,) = words_of(shown.cli)
    params = load_command("losses").make_context("ctkd losses", words[2:]).params
    from ctkd_core.cli.losses import _choices

    assert _choices(params["method"], params["variant"], params["option"]) == choices
    assert (params["context"], params["text"], params["token"]) == ("-c", "-t", ["#643"])
    compile(shown.python, "shown", "exec")


def test_runs_and_comparisons(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    runs = [made(RunStore(), 2.0 + k, seed=k, method=m) for k in range(2) for m in ("sft", "uld")]
    shown = code.run_code(runs[0].id)
    assert "bits_per_byte" in printed(shown.python, capsys)
    assert answers(shown.cli, capsys)[0]["run_id"] == runs[0].id
    shown = code.comparison_code({"": [run.id for run in runs]}, "bits_per_byte", "sft")
    assert "ULD" in printed(shown.python, capsys)
    assert answers(shown.cli, capsys)[0]["statistics"]["baseline"] == "SFT"
    other = made(RunStore(tmp_path / "other"), 1.0, method="gold")
    folders = {"": [run.id for run in runs], str(tmp_path / "other"): [other.id]}
    shown = code.comparison_code(folders, "bits_per_byte", None)
    said = printed(shown.python, capsys)
    assert "GOLD" in said and "ULD" in said and shown.note == ""
    assert {row["run_id"] for row in answers(shown.cli, capsys)[0]["runs"]} == {other.id, *(run.id for run in runs)}
    shown = code.runs_code()
    assert runs[0].id in printed(shown.python, capsys)
    assert len(answers(shown.cli, capsys)[0]) == 4


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_flags_of_a_run_describe_it(name):
    config = PRESETS[name].replace(seed=3, name="mine & 'yours'")
    assert RunConfig.from_dict(code.changed_options(config)) == config
    shown = code.config_code(config)
    (words,) = words_of(shown.cli)
    params = load_command("distill").make_context("ctkd distill", words[2:]).params
    flags = {key: value for key, value in params.items() if key.startswith("run_")}
    found = build_config(params["config"], params["preset"], params["option"], flags, params["trainer"])
    assert found == config
    compile(shown.python, "shown", "exec")


def test_a_sweep_is_queued_by_both(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(queue, "start_waiting", lambda root, besides=None: [])
    monkeypatch.setattr("ctkd_core.distill.checks.require", lambda config, root: [])
    definition = SweepDefinition(
        name="mine & 'yours'",
        base={"preset": "quick", "student": "qwen", "teacher": "-t it's"},
        methods=["sedi", "xtoken-pkl"],
        seeds=[0, 1, 2],
        grid={"learning_rate": ["1e-4", "2e-4"], "xtoken-pkl.temperature": ["1", "2"]},
        baseline="sedi",
        reuse=True,
    )
    shown = code.sweep_code(definition)
    found = []
    for name in ("python", "cli"):
        monkeypatch.setenv("CTKD_HOME", str(tmp_path / name))
        if name == "python":
            assert "'total': 18" in printed(shown.python, capsys)  # (1 + 2) kinds x 2 rates x 3 seeds
        else:
            (document,) = answers(shown.cli, capsys)
            assert document["total"] == 18
        (made_of,) = sweeps.sweeps(RunStore())
        found.append((made_of.definition, [run.config for run in queue.waiting(RunStore().root)]))
    assert found[0] == found[1]
    assert found[0][0] == definition


def test_a_sweep_of_one_run_has_no_command(capsys):
    definition = SweepDefinition(base={"preset": "quick", "student": "qwen", "teacher": "smollm2"})
    shown = code.sweep_code(definition)
    assert shown.cli == "" and "methods, seeds or values" in shown.note


def test_claims_and_experiments(capsys):
    found = load()
    shown = code.answers_code()
    out = printed(shown.python, capsys)
    (document,) = answers(shown.cli, capsys)
    assert [row["experiment"] for row in document["answers"]] == [each.name for each in found.experiments]
    assert all(row["answer"] in out for row in document["answers"])
    for verdict in ("", "contradicted"):
        shown = code.claims_code(verdict)
        wanted = [claim for _, claim in found.claims if verdict in ("", claim.verdict)]
        out = printed(shown.python, capsys)
        assert all(claim.claim in out for claim in wanted) and out.count("\n") >= len(wanted)
        (document,) = answers(shown.cli, capsys)
        assert [row["claim"] for row in document["claims"]] == [claim.claim for claim in wanted]
    assert found.conditions[0][1].title in printed(code.tried_code().python, capsys)
    (document,) = answers(code.tried_code().cli, capsys)
    assert [row["condition"] for row in document["settings"]] == [condition.name for _, condition in found.conditions]
    experiment = next(each for each in found.experiments if each.tables)
    shown = code.experiments_code([experiment.name], tables=True)
    out = printed(shown.python, capsys)
    assert experiment.reproduce in out and experiment.tables[0].title in out
    (document,) = answers(shown.cli, capsys)
    assert experiment.tables[0].title in {row["title"] for row in document["analyses"]}
    (document,) = answers(code.experiments_code([experiment.name]).cli, capsys)
    assert experiment.reproduce in {row["reproduce"] for row in document["experiments"]}


def test_methods_at_a_glance(capsys):
    shown = code.glance_code()
    (document,) = answers(shown.cli, capsys)
    rows = [line.split(" | ")[2:4] for line in printed(shown.python, capsys).splitlines()]
    assert rows == [[row["title"], str(row["settings"])] for row in document["glance"]]


def test_a_setting_of_the_evidence(capsys):
    experiment, condition = load().conditions[0]
    shown = code.evidence_code(experiment.name, condition.name)
    out = printed(shown.python, capsys)
    (document,) = answers(shown.cli, capsys)
    (setting,) = document["settings"]
    assert setting["found"] in out
    assert [row["title"] for row in setting["methods"]] == [tried.title for tried in condition.done]
    assert all(repr(row["title"]) in out for row in setting["methods"])


def test_a_report(pair, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [NamedText(TEXTS["numbers"].text, "numbers"), NamedText("<b>2024</b>")]
    run = made(RunStore(tmp_path / "my runs"), 2.0)
    made(RunStore(tmp_path / "my runs"), 3.0)
    shown = code.report_code(*pair, ["sedi", "uld"], texts, "exact", [run.id], str(tmp_path / "my runs"))
    printed(shown.python, capsys)
    written = Path("report.html")
    html = written.read_text(encoding="utf-8")
    assert "&lt;b&gt;2024" in html and run.id in html
    written.unlink()
    (found,) = answers(shown.cli, capsys)
    assert [row["characters"] for row in found["texts"]] == [len(text.text) for text in texts]
    assert (found["map"]["method"], found["runs"]) == ("exact", [run.id])
    written.unlink()
    (found,) = answers(code.report_code(*pair, ["sedi"], texts, "exact").cli, capsys)
    assert found["runs"] == [], "--no-runs"


def test_a_report_on_a_corpus_opens_it_again(pair, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = {"a": "a.txt", NASTY.replace("\0", ""): str(tmp_path / "<b>=c.md")}
    for path in corpus.values():
        Path(path).write_text("In 2024 we sold 201.\n", encoding="utf-8")
    shown = code.report_code(*pair, ["sedi"], [NamedText("x")], "exact", corpus=corpus)
    printed(shown.python, capsys)
    written = Path("report.html")
    html = written.read_text(encoding="utf-8")
    assert "In 2024" not in html and "<th>a</th>" in html, "the domains stand in the table"
    written.unlink()
    (found,) = answers(shown.cli, capsys)
    assert {row["texts"] for row in found["corpus"].values()} == {1}
    assert len(found["corpus"]) == 2 and "a" in found["corpus"]


def test_a_set_of_the_hub_is_named_in_both():
    shown = code.report_code("a", "b", ["sedi"], [], "exact", corpus={"o/n": "hf:o/n", "chat": "hf:o/n/chat@test"})
    compile(shown.python, "shown", "exec")
    assert "'o/n': read_texts(fetched(hub_set('hf:o/n'), most=None))," in shown.python
    assert "--corpus hf:o/n --corpus chat=hf:o/n/chat@test" in shown.cli


def test_pairs_are_ranked_on_a_corpus(tmp_path):
    (tmp_path / "a b.txt").write_text("Some words.")
    shown = code.rank_code(["x", "y"], "tokens", corpus=str(tmp_path / "a b.txt"), note="mind")
    assert "texts=texts, by='tokens'" in shown.python and shown.note == "mind"
    (words,) = words_of(shown.cli)
    assert words[words.index("--corpus") + 1] == str(tmp_path / "a b.txt")
    found: dict[str, object] = {}
    exec("\n".join(part for part in shown.python.split("\n") if "import" in part or part.startswith("texts")), found)
    assert found["texts"] == ("Some words.",)


def test_names_that_begin_like_a_flag_reach_every_command():
    sides, choices = ("-x", "-y"), [Choice("sedi"), Choice("-cdm")]
    text = NamedText("a")
    shown = [
        code.pair_code(*sides, "-m"),
        code.rank_code(["-a", "-b"], "tokens", student="-x"),
        code.align_code(*sides, text, choices),
        code.align_code(*sides, text, [choices[1]]),
        code.vocabulary_code(*sides, "exact", "clean", {}),
        code.losses_code(*sides, "", "b", choices),
        code.config_code(PRESETS["quick"].replace(student="-x", teacher="-y")),
        code.report_code(*sides, ["sedi"], [text], "exact"),
    ]
    for words in words_of("\n".join(each.cli for each in shown)):
        params = load_command(words[1]).make_context(f"ctkd {words[1]}", words[2:]).params
        student = params["run_student" if words[1] == "distill" else "student"]
        assert student == "-x", words
        assert not [word for word in words if word[1:2] != "-" and word[2:3] == "="], "not every parser takes -s=-x"
        if words[1] == "rank":
            assert (params["names"], params["by"]) == (["-a", "-b"], "tokens")
        elif words[1] != "distill":
            assert params["teacher"] == "-y"
        if words[1] == "compare":
            assert params["method"] == ["sedi", "-cdm"]
