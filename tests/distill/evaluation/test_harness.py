"""Tasks of lm-evaluation-harness on a run's student: made-up local ones, what is kept of them, and every refusal."""

from __future__ import annotations

import ast
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path

import pytest

import ctkd_core
from ctkd_core.distill.evaluation import harness, saved
from ctkd_core.distill.evaluation.saved import Ask, evaluate_run, kept
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.errors import RunError
from tests import anything
from tests.cli.test_main import Ctkd

needs_lm_eval = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs the package lm_eval (extra harness)"
)
CHOICE = """
task: made_up_sums
tag: made_up
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: multiple_choice
doc_to_text: "What is {{{{a}}}} + {{{{b}}}}?"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
PERPLEXITY = """
task: made_up_text
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{a}}}} and {{{{b}}}} are {{{{choices[0]}}}}"
metric_list:
  - metric: bits_per_byte
    aggregation: bits_per_byte
    higher_is_better: false
"""
WRITTEN = """
task: made_up_answers
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: generate_until
doc_to_text: "What is {{{{a}}}} + {{{{b}}}}?"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 4
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
filter_list:
  - name: first-word
    filter:
      - function: regex
        regex_pattern: "(\\\\w+)"
      - function: take_first
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks whose data are six lines of JSON beside them."""
    made = tmp_path_factory.mktemp("tasks")
    words = [("cats", "flags"), ("flags", "cats")]
    items = [
        {"a": a, "b": a + 1, "choices": [f" {2 * a + 1} {w}" for w in words[a in (0, 1, 3)]], "answer": a % 2}
        for a in range(6)
    ]
    data = made / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in items))
    (made / "sums.yaml").write_text(CHOICE.format(data=data))
    (made / "text.yaml").write_text(PERPLEXITY.format(data=data))
    (made / "answers.yaml").write_text(WRITTEN.format(data=data))
    return made


@pytest.fixture(scope="module")
def run(pair, tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = RunStore(tmp_path_factory.mktemp("harness"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTKD_HOME", str(store.root / "home"))
        return ctkd_core.distill(pair.config(method="sft", steps=2), store)


def asked(folder: Path, names: str = "made_up_sums", **more: object) -> Ask:
    return Ask("none", tasks=names, task_folder=str(folder), **more)  # type: ignore[arg-type]


def changed(folder: Path, tmp_path: Path, old: str, new: str) -> Path:
    """A folder with the first task alone, changed."""
    text = (folder / "sums.yaml").read_text()
    assert old in text
    (tmp_path / "sums.yaml").write_text(text.replace(old, new))
    return tmp_path


def with_function(folder: Path, tmp_path: Path, code: str) -> Path:
    """The same, its examples given by the function `f` of this code."""
    made = tmp_path / "own"
    made.mkdir(parents=True)
    (made / "own.py").write_text(code + "\n")
    return changed(folder, made, "doc_to_text:", "process_docs: !function own.f\ndoc_to_text:")


def with_metrics(folder: Path, tmp_path: Path, **figures: str) -> Path:
    """The same with metrics of these names, each figure the value of an expression."""
    made = tmp_path / "own"
    made.mkdir(parents=True)
    code = [f"def {name}(values):\n    return {value}" for name, value in figures.items()]
    each = ", ".join(f"{name!r}: 1" for name in figures)
    code += [f"def results(record, found):\n    return {{{each}}}"]
    (made / "own.py").write_text("import numpy as np\n\n" + "\n\n".join(code) + "\n")
    metrics = [f"  - metric: {m}\n    aggregation: !function own.{m}\n    higher_is_better: true\n" for m in figures]
    text = (folder / "sums.yaml").read_text().partition("metric_list:")[0]
    (made / "sums.yaml").write_text(text + "process_results: !function own.results\nmetric_list:\n" + "".join(metrics))
    return made


def expected_accuracy(run: Run, data: Path) -> float:
    """The share of items whose right choice the student finds more probable, reckoned without the harness."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = saved.student_folder(run)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
    right = []
    for item in map(json.loads, data.read_text().splitlines()):
        prompt = tokenizer(f"What is {item['a']} + {item['b']}?")["input_ids"]
        sums = []
        for choice in item["choices"]:
            whole = tokenizer(f"What is {item['a']} + {item['b']}?{choice}")["input_ids"]
            with torch.no_grad():
                logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            sums.append(sum(float(logs[k - 1, whole[k]]) for k in range(len(prompt), len(whole))))
        right.append(sums.index(max(sums)) == item["answer"])
    return sum(right) / len(right)


@needs_lm_eval
def test_tasks_are_measured_and_kept_beside_the_other_figures(run, folder):
    said: list[str] = []
    found = evaluate_run(run, asked(folder, "made_up_sums, made_up_text,made_up_answers"), said.append)
    sums = found["tasks"]["made_up_sums"]
    assert set(sums) == {"acc", "acc_stderr", "examples"} and sums["examples"] == 6
    assert sums["acc"] == pytest.approx(expected_accuracy(run, folder / "items.jsonl"))
    text = found["tasks"]["made_up_text"]
    assert text["bits_per_byte"] > 0 and set(text) <= {"bits_per_byte", "bits_per_byte_stderr", "examples"}
    answers = found["tasks"]["made_up_answers"]
    assert set(answers) == {"exact_match,first-word", "exact_match,first-word_stderr", "examples"}
    assert found["bits_per_byte"] > 0
    assert [s for s in said if s.startswith("Measuring task")] == [f"Measuring task {name}." for name in found["tasks"]]
    assert kept(run)["tasks"] == found["tasks"]
    assert "DISABLE_MULTIPROC" not in os.environ and logging.getLogger("lm_eval").level == logging.NOTSET


@needs_lm_eval
def test_what_is_not_measured_again_stays(run, folder):
    evaluate_run(run, Ask("classes,agreement"), print)
    evaluate_run(run, asked(folder, limit=2), print)
    both = kept(run)
    assert "agreement" in both and "bits_by_class" in both and both["tasks"]["made_up_sums"]["examples"] == 2
    assert json.loads((run.dir / saved.FILE).read_text())["evaluations"] == ["classes", "agreement"]
    assert "tasks" not in evaluate_run(run, Ask("none", samples=2), print)
    fewer = kept(run)  # of other samples, so the figures of those are gone; tasks don't depend on them
    assert "agreement" not in fewer and fewer["tasks"] == both["tasks"]


@needs_lm_eval
def test_a_task_that_fails_loses_nothing_before_it(run, folder, tmp_path):
    text = (folder / "text.yaml").read_text().replace("{{choices[0]}}", "{{12 // (a - 3)}}")
    (tmp_path / "text.yaml").write_text(text)
    (tmp_path / "sums.yaml").write_text((folder / "sums.yaml").read_text())
    (run.dir / saved.FILE).unlink(missing_ok=True)
    with pytest.raises(RunError, match=r"task 'made_up_text' failed .*is kept"):
        evaluate_run(run, asked(tmp_path, "made_up_sums,made_up_text"), print)
    assert set(kept(run)["tasks"]) == {"made_up_sums"} and kept(run)["bits_per_byte"] > 0

    def stop(sentence: str) -> None:
        if sentence.startswith("Measuring task"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run, asked(folder), stop)


@needs_lm_eval
def test_resampling_starts_no_processes(run, folder, tmp_path, monkeypatch, capsys):
    def no_pool(*_: object) -> None:
        raise AssertionError("a pool of processes")

    monkeypatch.setattr("multiprocessing.Pool", no_pool)
    f1 = "metric: acc\n    aggregation: mean\n    higher_is_better: true\n  - metric: f1\n    aggregation: f1"
    own = changed(folder, tmp_path, "metric: acc\n    aggregation: mean", f1)
    capsys.readouterr()
    sums = evaluate_run(run, asked(own), lambda _: None)["tasks"]["made_up_sums"]
    assert "f1" in sums and sums["f1_stderr"] >= 0
    assert capsys.readouterr().out == ""


@pytest.fixture
def few_own_tasks(tmp_path_factory, monkeypatch):
    """lm_eval without its 14,000 tasks, which take seconds to read."""
    from lm_eval.tasks import manager

    monkeypatch.setattr(manager, "__file__", str(tmp_path_factory.mktemp("own") / "manager.py"))
    monkeypatch.setattr(harness, "_own_tasks", manager.TaskManager)


@needs_lm_eval
def test_groups_and_tags(run, folder, tmp_path, few_own_tasks):
    for name in ("sums", "answers"):
        (tmp_path / f"{name}.yaml").write_text((folder / f"{name}.yaml").read_text())
    (tmp_path / "group.yaml").write_text(
        "group: made_up_all\ntask: [made_up_sums]\naggregate_metric_list:\n  - metric: acc\n    weight_by_size: true\n"
    )
    found = evaluate_run(run, asked(tmp_path, "made_up_all,made_up_answers,made_up", limit=3), print)["tasks"]
    assert list(found) == ["made_up_sums", "made_up_all", "made_up_answers"], "a tag gives its tasks alone"
    assert found["made_up_all"]["acc"] == found["made_up_sums"]["acc"] and found["made_up_sums"]["examples"] == 3


@needs_lm_eval
def test_the_command_measures_both_runs(run, folder, pair, store, capsys):
    other = ctkd_core.distill(pair.config(method="sft", steps=1), store)
    words = ["evaluate", run.id, "--against", str(other.dir), "-e", "none", "--runs-dir", str(run.dir.parent)]
    words += ["--tasks", "made_up_sums", "--tasks", "made_up_text", "--task-folder", str(folder), "--limit", "4"]
    ctkd = Ctkd(capsys)
    found = ctkd.json(*words)
    assert set(found["tasks"]) == set(found["against_tasks"]) == {"made_up_sums", "made_up_text"}
    assert kept(other)["tasks"] == found["against_tasks"]
    code, out, _ = ctkd(*words)
    assert code == 0 and "made_up_sums" in out and "against" in out and "acc" in out


@needs_lm_eval
@pytest.mark.slow
def test_an_unknown_task_names_the_nearest(run, folder):
    with pytest.raises(RunError, match="unknown task 'made_up_sum'; did you mean 'made_up_sums'"):
        evaluate_run(run, asked(folder, "made_up_sum"))


@needs_lm_eval
def test_data_that_are_not_here(run, folder, tmp_path, capsys):
    with pytest.raises(RunError, match=r"data of task 'arc_easy' aren't here: .* Give a task folder .*HF_HUB_OFFLINE"):
        harness.load_tasks(["arc_easy"])
    gone = changed(folder, tmp_path, "items.jsonl", "gone.jsonl")
    words = ["evaluate", run.id, "--tasks", "made_up_sums", "--task-folder", str(gone)]
    error = Ctkd(capsys).error(*words, "--runs-dir", str(run.dir.parent))
    assert "aren't here: " in error and "gone.jsonl" in error


@needs_lm_eval
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("metric: acc", "metric: made_up_metric", "code from the hub, which is never run"),
        ("metric: acc", "metric: acc\n    hf_evaluate: true", "code from the hub, which is never run"),
        ("test_split: train", "test_split: train\nunsafe_code: true", "code that a model writes"),
        (
            "metric: acc",
            "name: acc",
            r"can't be set up \(ValueError\): 'metric' key not provided for an entry in 'metric_list', ",
        ),
        (
            "doc_to_text:",
            "process_docs: !function no_such_file.f\ndoc_to_text:",
            r"task 'made_up_sums' names the function no_such_file\.f, but '\S+/no_such_file\.py' isn't there, nor is a "
            r"package of that name; put the file there, or correct the name\.$",
        ),
        (
            "doc_to_text:",
            "process_docs: !function sub.no_such_file.f\ndoc_to_text:",
            r"names the function sub\.no_such_file\.f, but '\S+/sub/no_such_file\.py' isn't there",
        ),
    ],
)
def test_tasks_that_are_refused(folder, tmp_path, old, new, words):
    with pytest.raises(RunError, match=words):
        harness.load_tasks(["made_up_sums"], str(changed(folder, tmp_path, old, new)))


@needs_lm_eval
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import made_up_package", r"needs a package that isn't installed: No module named 'made_up_package'\.$"),
        ("import made_up_other", r"needs a package that isn't installed: No module named 'made_up_package'\.$"),
        (
            "import json\njson.made_up",
            r"can't be set up \(AttributeError\): module 'json' has no attribute 'made_up'\.$",
        ),
        ("", r"can't be set up \(AttributeError\): Module '\S+/own\.py' has no function 'f' "),
        ("def f(records):\n    raise KeyError('cities')", r"can't be set up \(KeyError\): 'cities'\.$"),
    ],
)
def test_what_is_wrong_with_functions_of_ones_own(folder, tmp_path, monkeypatch, code, words):
    own = with_function(folder, tmp_path, code)
    (tmp_path / "made_up_other.py").write_text("import made_up_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RunError, match=words):
        harness.load_tasks(["made_up_sums"], str(own))


@needs_lm_eval
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a":', r"task 'made_up_sums' can't be set up \(ArrowInvalid\): JSON parse error: Invalid value"),
        ("", r"can't be set up \(CastError\): Couldn't cast other: .* because column names don't match\.$"),
    ],
)
def test_data_that_cannot_be_read_are_told_by_their_fault(folder, tmp_path, line, words):
    (tmp_path / "items.jsonl").write_text((folder / "items.jsonl").read_text() + line)
    (tmp_path / "more.jsonl").write_text('{"other": {"b": 1}}\n')
    files = [str(tmp_path / name) for name in ("items.jsonl", "more.jsonl")[: 1 if line else 2]]
    own = changed(folder, tmp_path, str(folder / "items.jsonl"), json.dumps(files))
    with pytest.raises(RunError, match=words):
        harness.load_tasks(["made_up_sums"], str(own))


@needs_lm_eval
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("test_split: train", "test_split: [train", r"did not find expected ',' or ']' in \"\S+sums\.yaml\", line 8"),
        ("test_split: train", "test_split: !own train", r"could not determine a constructor for the tag '!own' in "),
        ("test_split: train", "include: gone.yaml", r"No such file or directory: '\S+gone\.yaml'"),
        ("task: made_up_sums", "- made_up_sums", r"sums\.yaml"),
    ],
)
def test_a_damaged_task_file_is_named(folder, tmp_path, old, new, words):
    own = changed(folder, tmp_path, old, new)
    (own / "text.yaml").write_text((folder / "text.yaml").read_text())
    with pytest.raises(
        RunError, match=rf"^task 'made_up_sums' stands in '\S+/sums\.yaml', which can't be read: .*{words}"
    ):
        harness.load_tasks(["made_up_sums"], str(own))
    assert list(harness.load_tasks(["made_up_text"], str(own)).parts) == ["made_up_text"], "others don't suffer"
    with pytest.raises(RunError, match=r"unknown task 'made_up_txt'; did you mean .* Not read: '\S+/sums\.yaml' \("):
        harness.load_tasks(["made_up_txt"], str(own))


@needs_lm_eval
def test_a_damaged_task_file_gives_way_to_no_task_of_the_same_name(folder, tmp_path):
    own = changed(folder, tmp_path, "task: made_up_sums", "task: arc_easy\nbroken: [")
    with pytest.raises(RunError, match=r"task 'arc_easy' stands in '\S+/sums\.yaml', which can't be read"):
        harness.load_tasks(["arc_easy"], str(own))
    (own / "answers.yaml").write_text((folder / "answers.yaml").read_text() + "tag: made_up\n")
    with pytest.raises(RunError, match=r"task 'made_up' stands in '\S+/sums\.yaml', which can't be read"):
        harness.load_tasks(["made_up"], str(own))


@needs_lm_eval
def test_a_task_file_without_a_task(folder, tmp_path):
    own = changed(folder, tmp_path, "task: made_up_sums", "taks: made_up_sums")
    with pytest.raises(
        RunError, match=r"unknown task 'made_up_sums'; .* Not read: .*sums\.yaml' \(Unknown config shape"
    ):
        harness.load_tasks(["made_up_sums"], str(own))
    # Files that others include have no task, either.
    (own / "base.yaml").write_text((own / "sums.yaml").read_text().replace("taks: made_up_sums", "higher: true"))
    (own / "sums.yaml").write_text("task: made_up_sums\ninclude: base.yaml\nhigher: null\n")
    with pytest.raises(RunError) as told:
        harness.load_tasks(["made_up_sum"], str(own))
    assert "Not read" not in str(told.value) and "did you mean 'made_up_sums'" in str(told.value)


@needs_lm_eval
def test_what_tasks_print_goes_to_stderr(run, folder, tmp_path, monkeypatch, capsys):
    from lm_eval.models.huggingface import HFLM

    own = with_function(
        folder, tmp_path, "print('imported')\n\ndef f(records):\n    print('changed')\n    return records"
    )
    made = HFLM.__init__

    def loud(self: object, *args: object, **more: object) -> None:
        print("made")
        made(self, *args, **more)

    monkeypatch.setattr(HFLM, "__init__", loud)
    capsys.readouterr()
    evaluate_run(run, asked(own), lambda _: None)
    out, error = capsys.readouterr()
    assert out == "" and {"imported", "changed", "made"} <= set(error.splitlines())
    own = with_function(folder, tmp_path / "again", "print('again')\n\ndef f(records):\n    return records")
    words = ["evaluate", run.id, "-e", "none", "--runs-dir", str(run.dir.parent), "--tasks", "made_up_sums"]
    found = Ctkd(capsys).json(*words, "--task-folder", str(own))
    assert found["tasks"]["made_up_sums"]["examples"] == 6


@needs_lm_eval
def test_figures_that_are_numbers_of_numpy(run, folder, tmp_path):
    own = with_metrics(folder, tmp_path, small="np.float32(0.5)", whole="np.int64(3)", one="np.array([2.0])")
    assert evaluate_run(run, asked(own), lambda _: None)["tasks"]["made_up_sums"] == {
        "small": 0.5,
        "whole": 3.0,
        "one": 2.0,
        "examples": 6.0,
    }


@needs_lm_eval
def test_a_task_without_a_figure_is_told(run, folder, tmp_path):
    said: list[str] = []
    own = with_metrics(folder, tmp_path, words="'many'", several="np.array([1.0, 2.0])", none="float('nan')")
    (own / "text.yaml").write_text((folder / "text.yaml").read_text())
    found = evaluate_run(run, asked(own, "made_up_sums,made_up_text"), said.append)
    assert list(found["tasks"]) == ["made_up_text"]
    assert [sentence for sentence in said if "made_up" in sentence] == [
        "Measuring task made_up_sums.",
        "Task made_up_sums gave no figure: none of words, several and none is a finite number.",
        "Measuring task made_up_text.",
    ]


@needs_lm_eval
def test_random_numbers_of_the_caller_stay(run, folder, tmp_path):
    import random

    import numpy as np
    import torch

    code = (
        "import random\nimport numpy as np\nimport torch\n\ndef f(records):\n    random.seed(5)\n    np.random.seed(5)"
    )
    own = with_function(folder, tmp_path, code + "\n    torch.manual_seed(5)\n    return records")

    def states() -> list[object]:
        arrays = np.random.get_state(legacy=False)["state"]
        return [random.getstate(), arrays["key"].tolist(), arrays["pos"], torch.get_rng_state().tolist()]

    before = states()
    evaluate_run(run, asked(own), lambda _: None)
    assert states() == before


@needs_lm_eval
def test_a_task_that_shuffles_asks_the_same_each_time(run, folder, tmp_path):
    import random

    import numpy as np
    import torch

    code = """
import pathlib
import random
import numpy as np
import torch

def f(records):
    drawn = [random.random(), np.random.random(), float(torch.rand(()))]
    with pathlib.Path(__file__).with_name("drawn.txt").open("a") as file:
        print(drawn, file=file)
    return records
"""
    own = with_function(folder, tmp_path, code)
    drawn = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        evaluate_run(run, asked(own, limit=1), lambda _: None)
        drawn.append((own / "drawn.txt").read_text())
        (own / "drawn.txt").unlink()
    assert drawn[0] == drawn[1] != ""


@needs_lm_eval
def test_older_versions_of_datasets_are_refused(folder, monkeypatch):
    monkeypatch.setattr("datasets.__version__", "3.6.0")
    words = (
        r"need the package datasets from version 4 on, .* \(here: 3\.6\.0\); run `pip install 'ctkd-lab\[harness\]'`\.$"
    )
    with pytest.raises(RunError, match=words):
        harness.load_tasks(["made_up_sums"], str(folder))


@needs_lm_eval
def test_the_example_of_the_documentation(run, tmp_path, monkeypatch):
    text = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text()
    task = text.partition("`my-tasks/capitals.yaml`:")[2].partition("```yaml\n")[2].partition("```")[0]
    data = text.partition("`/data/capitals.jsonl`, one record a line:")[2].partition("```json\n")[2].partition("```")[0]
    shown = ast.literal_eval(text.partition('print(found["tasks"]["capitals"])  # ')[2].partition("\n")[0])
    (tmp_path / "capitals.jsonl").write_text(data)
    (tmp_path / "capitals.yaml").write_text(task.replace("/data/", f"{tmp_path}/"))
    found = evaluate_run(run, asked(tmp_path, "capitals", limit=200), print)["tasks"]["capitals"]
    assert set(found) == set(shown) and found["examples"] == shown["examples"] == len(data.splitlines())
    for figures in (found, shown):  # the standard error of the mean of zeros and ones
        share, count = figures["acc"], figures["examples"]
        assert figures["acc_stderr"] == pytest.approx((share * (1 - share) / (count - 1)) ** 0.5)


@needs_lm_eval
def test_a_student_whose_tokenizer_transformers_cannot_read(tmp_path):
    with pytest.raises(RunError, match="lm_eval can't read the student of"):
        list(harness.task_figures(None, tmp_path, harness.LoadedTasks(None, {}), 1, None, print))  # type: ignore[arg-type]


def test_without_the_package_a_sentence_says_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    words = ["evaluate", run.id, "--tasks", "arc_easy", "--runs-dir", str(run.dir.parent)]
    assert Ctkd(capsys).error(*words) == harness.MISSING
    assert harness.MISSING.endswith("run `pip install 'ctkd-lab[harness]'`."), "which brings datasets as it must be"


def test_options_of_tasks_without_a_task(run, folder):
    for ask in (Ask(task_folder=str(folder)), Ask(limit=3), Ask(tasks=" , ", limit=3)):
        with pytest.raises(RunError, match="none is named"):
            evaluate_run(run, ask)
    with pytest.raises(RunError, match=r"at least 1; got 0"):
        evaluate_run(run, asked(folder, limit=0))


@needs_lm_eval
def test_a_task_folder_that_is_not_there(tmp_path):
    with pytest.raises(RunError, match="there is no task folder"):
        harness.load_tasks(["made_up_sums"], str(tmp_path / "nowhere"))


def test_names_of_tasks():
    assert harness.task_names(" arc_easy, piqa,arc_easy,") == ("arc_easy", "piqa")
    assert harness.task_names(["piqa", "arc_easy,boolq"]) == ("piqa", "arc_easy", "boolq")
    assert harness.task_names(()) == harness.task_names("") == ()
    for value in (3, [3], None):
        with pytest.raises(RunError, match="tasks are names"):
            harness.task_names(value)


def test_rows_of_figures():
    tasks = {
        "sums": {"acc": 0.5, "acc_stderr": 0.1, "examples": 6.0, "exact_match,a": 0.0, "exact_match,a_stderr": None},
        "text": {"lonely_stderr": 1.0},
    }
    assert harness.task_rows(tasks) == [
        ("sums", "acc", 0.5, 0.1, 6.0),
        ("sums", "exact_match,a", 0.0, None, 6.0),
        ("text", "lonely_stderr", 1.0, None, None),
    ]


def test_kept_tasks_of_another_type_are_left_out(tmp_path):
    run = RunStore(tmp_path).create(ctkd_core.RunConfig())
    whole = {"step": 3, "bits_per_byte": 2.5, "tasks": {"sums": {"acc": 0.5, "alias": "x"}, "<b>": 3, "none": {}}}
    (run.dir / saved.FILE).write_text(json.dumps(whole))
    assert kept(run)["tasks"] == {"sums": {"acc": 0.5}}
    for content in anything.contents(whole):
        (run.dir / saved.FILE).write_bytes(content)
        for table in kept(run).get("tasks", {}).values():
            assert all(isinstance(value, float) for value in table.values())
        saved.keep(run, {"step": 3, "bits_per_byte": 1.5, "evaluations": []})
        assert kept(run)["bits_per_byte"] == 1.5, content[:200]
