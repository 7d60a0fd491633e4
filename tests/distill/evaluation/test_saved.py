"""A finished run's student, evaluated afterwards: by the function and by the command; what is kept in the folder."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import ctkd_core
from ctkd_core.cli import evaluate as command
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.data import Example
from ctkd_core.distill.evaluation import saved
from ctkd_core.distill.evaluation.saved import (
    CHANGED_DATA,
    FILE,
    UNKNOWN_CHANGED,
    Ask,
    _about_changed_data,
    _examples,
    asked_config,
    closed,
    evaluate_run,
    expected_costs,
    kept,
    samples_sha256,
)
from ctkd_core.distill.further import as_recorded
from ctkd_core.distill.run_inputs import RunInput
from ctkd_core.distill.runs import RunStore, run_at
from ctkd_core.distill.working_folder import note
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.chat_prompts import ChatPrompt, Turn
from ctkd_core.tokenizers.load import load_tokenizer
from tests import anything
from tests.cli.test_main import Ctkd


@pytest.fixture(scope="module")
def runs(pair, tmp_path_factory):
    """A finished run of SFT and one of ULD from the same start."""
    store = RunStore(tmp_path_factory.mktemp("evaluated"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTKD_HOME", str(store.root / "home"))
        made = {m: ctkd_core.distill(pair.config(method=m, steps=3), store) for m in ("sft", "uld")}
    return store, made["sft"], made["uld"]


def test_the_saved_student_has_the_figures_of_the_last_evaluation(runs, pair):
    _, _, run = runs
    said: list[str] = []
    found = evaluate_run(run, Ask("classes,agreement"), said.append)
    last = [row for row in run.metric_rows() if row["kind"] == "eval"][-1]
    for key in ("bits_per_byte", "teacher_bits_per_byte", "held_out"):
        assert found[key] == pytest.approx(last[key], rel=1e-5)
    assert found["bits_by_class"] == pytest.approx(last["bits_by_class"], rel=1e-5)
    assert found["evaluations"] == ["classes", "agreement"] and found["step"] == 3 and found["seconds"] > 0
    assert any("3 held-out samples" in sentence for sentence in said)
    again = kept(run)
    assert again["agreement"] == pytest.approx(found["agreement"])
    assert again["data"] == str(pair.data)
    more = evaluate_run(run, Ask("none", data=str(pair.data)), said.append)
    assert more["held_out"] == 48 and "bits_by_class" not in more
    far: list[str] = []
    assert evaluate_run(run, Ask("none", samples=2), said.append, far.append)["held_out"] == 2
    assert far[0] == "2 of 2 samples read by the student"


def test_the_expected_cost_is_that_of_the_files_own_samples(runs, pair, tmp_path):
    _, _, run = runs
    three = tmp_path / "three.jsonl"
    three.write_text("".join(line + "\n" for line in pair.data.read_text().splitlines()[:3]))
    costs = [expected_costs(run, Ask("agreement", data=str(data)))["agreement"].each for data in (three, pair.data)]
    assert costs[1] == pytest.approx(costs[0] * 48 / 3)
    assert expected_costs(run, Ask("agreement", data=str(three), samples=2))["agreement"].each < costs[0]
    scored = [expected_costs(run, Ask("none", data=str(data)))["bits per byte"].each for data in (three, pair.data)]
    assert 0 < scored[1] == pytest.approx(scored[0] * 48 / 3)
    # exposure takes more texts than there are, and none of them is an exercise
    assert set(expected_costs(run, Ask("all", data=str(three)))) == {
        *("bits per byte", "classes", "agreement", "completions")
    }


def test_what_is_asked_is_read_from_the_current_folder_wherever_the_run_was_made(runs, tmp_path, capsys, monkeypatch):
    store, _, run = runs
    record = json.dumps({"prompt": "What is 90 + 1?", "completion": "91 cats"}) + "\n"
    (tmp_path / "own.jsonl").write_text(record)
    (tmp_path / "bundled").mkdir()  # the name of a set means the set
    made_in = tmp_path / "made in"
    made_in.mkdir()
    (made_in / "another.jsonl").write_text(record)
    monkeypatch.chdir(tmp_path)
    note(run.dir, str(made_in))
    words = ["evaluate", run.id, "-e", "none", "--runs-dir", str(store.root), "--data"]
    found = Ctkd(capsys).json(*words, "own.jsonl")
    assert (found["held_out"], found["data"]) == (1, "own.jsonl")
    assert Ctkd(capsys).json(*words, "bundled", "--samples", "2")["held_out"] == 2
    assert "another.jsonl" in Ctkd(capsys).error(*words, "another.jsonl")
    seen = []
    monkeypatch.setattr(saved, "_tasks", lambda ask: seen.append(Path.cwd()))  # data of task files may be relative, too
    Ctkd(capsys).json(*words, "own.jsonl")
    assert seen == [tmp_path]


def test_figures_that_cannot_be_kept_are_given_back(runs, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    _, _, run = runs
    said: list[str] = []
    monkeypatch.setattr("ctkd_core.files.write_atomic", full)
    found = evaluate_run(run, Ask("none", samples=2), said.append)
    assert found["held_out"] == 2
    assert "can't be kept" in said[-1] and found["notes"][-1] == said[-1]


def test_a_long_measurement_says_now_and_then_that_it_goes_on(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 2.0, 17.0, 18.0, 40.0, 41.0, 60.0])
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    news = command._News()
    for done, sentence in enumerate(("Measuring 9,000 samples.", "", "", "", "", "Measuring task a.", "")):
        if 2 <= done <= 4:
            news.progress(f"{done * 8} of 9,000 samples read by the student")
        news(sentence)
    assert capsys.readouterr().err.splitlines() == [
        "Measuring 9,000 samples.",
        "still measuring, 16 s so far: 16 of 9,000 samples read by the student",
        "still measuring, 39 s so far: 32 of 9,000 samples read by the student",
        "Measuring task a.",
        "still measuring, 19 s so far",
    ]


def test_what_was_kept_is_read_with_care(runs):
    _, run, _ = runs
    assert kept(run) == {}
    for content in ("[1]", "{", '{"bits_per_byte": "<b>", "agreement": {"top1": "x", "byte_kl": 1}, "data": 3}'):
        (run.dir / FILE).write_text(content)
        assert kept(run) in ({}, {"agreement": {"byte_kl": 1.0}})
    (run.dir / FILE).unlink()


def test_figures_of_another_type_are_left_out_and_the_rest_stays(tmp_path):
    run = RunStore(tmp_path).create(RunConfig())
    whole = {"run_id": run.id, "step": 3, "evaluations": ["agreement"], "data": "bundled", "bits_per_byte": 2.5}
    whole |= {"held_out": 48, "agreement": {"byte_kl": 1.0}, "bits_by_domain": {"a": 1.0}, "seconds": 2.0}
    for content in anything.contents(whole):
        (run.dir / FILE).write_bytes(content)
        found = kept(run)
        assert {type(found.get(key, 0.0)) for key in ("bits_per_byte", "held_out", "step", "seconds")} == {float}
        for table in ("agreement", "bits_by_domain"):
            assert all(isinstance(value, float) for value in found.get(table, {}).values()), content[:200]
        assert isinstance(found.get("data", ""), str)
        if content.startswith(b'{"run_id"'):
            assert len(found) >= 6, "what is sound stays"


def test_figures_of_the_same_samples_stay_beside_those_that_are_measured_again(tmp_path):
    run = RunStore(tmp_path).create(RunConfig())
    whole = {"step": 3, "data": "bundled", "held_out": 4, "samples_sha256": "ab", "bits_per_byte": 2.5, "seconds": 1.0}
    saved.keep(run, whole | {"evaluations": ["agreement"], "agreement": {"byte_kl": 1.0}, "tasks": {"a": {"acc": 0.5}}})
    saved.keep(run, whole | {"evaluations": ["classes"], "bits_per_byte": 1.5, "tasks": {"b": {"acc": 1.0}}})
    found = kept(run)
    assert (found["bits_per_byte"], found["agreement"]) == (1.5, {"byte_kl": 1.0})
    assert found["tasks"] == {"a": {"acc": 0.5}, "b": {"acc": 1.0}}
    assert json.loads((run.dir / FILE).read_text())["evaluations"] == ["classes", "agreement"]
    saved.keep(run, whole | {"data": "elsewhere"})
    assert "agreement" in kept(run) and kept(run)["data"] == "elsewhere", "of the same samples, wherever they lie"
    saved.keep(run, whole | {"samples_sha256": "cd"})
    assert "agreement" not in kept(run) and set(kept(run)["tasks"]) == {"a", "b"}, "tasks are of no samples"
    saved.keep(run, whole | {"step": 4})
    assert "tasks" not in kept(run), "the student has learnt on"


def test_notes_about_training_data_do_not_contradict_each_other(tmp_path):
    run = RunStore(tmp_path).create(RunConfig())
    whole = {"step": 3, "samples_sha256": "ab", "bits_per_byte": 2.5}
    counted = f"2 of the 4 samples {saved.TRAINED}"
    other = "agreement: nothing found."
    saved.keep(run, whole | {"notes": [saved.UNKNOWN_TRAINED, other]})
    saved.keep(run, whole | {"notes": [], "trained_on": 0})
    assert kept(run)["notes"] == [other], "now it is known"
    saved.keep(run, whole | {"notes": [f"1 of the 4 samples {saved.TRAINED}"], "trained_on": 1})
    saved.keep(run, whole | {"notes": [counted], "trained_on": 2})
    assert kept(run)["notes"] == [other, counted]
    saved.keep(run, whole | {"notes": [saved.UNKNOWN_TRAINED]})
    assert (kept(run)["notes"], kept(run)["trained_on"]) == ([other, counted], 2), "it was known before"


def test_figures_of_an_earlier_version_which_does_not_say_of_what_are_not_kept(tmp_path):
    run = RunStore(tmp_path).create(RunConfig())
    whole = {"step": 3, "data": "bundled", "held_out": 4, "bits_per_byte": 2.5, "evaluations": ["agreement"]}
    for now in ({}, {"samples_sha256": "ab"}):
        (run.dir / FILE).write_text(json.dumps(whole | {"agreement": {"byte_kl": 1.0}, "tasks": {"a": {"acc": 0.5}}}))
        saved.keep(run, whole | now | {"evaluations": []})
        assert "agreement" not in kept(run) and kept(run)["tasks"] == {"a": {"acc": 0.5}}
        assert json.loads((run.dir / FILE).read_text())["evaluations"] == []


def test_figures_of_other_samples_are_not_kept_beside_those_of_a_later_evaluation(pair, store, tmp_path):
    run = ctkd_core.distill(pair.config(method="sft", steps=1, eval_samples=4), store)

    def measured(evaluations: str, data: str = "", samples: int | None = 4) -> tuple[object, object, bool]:
        found = evaluate_run(run, Ask(evaluations, data=data, samples=samples), lambda _: None)
        stands = json.loads((run.dir / FILE).read_text())
        assert stands["samples_sha256"] == found["samples_sha256"] and "samples_sha256" not in kept(run)
        return found["data"], found["held_out"], "agreement" in stands

    held_out = measured("agreement")
    assert measured("none") == held_out, "the same samples"
    assert measured("none", str(pair.data)) == (*held_out[:2], False), "equally many of the same file, but others"
    own = tmp_path / "own.jsonl"
    for end, stays in (("cats", True), ("flags", False)):
        own.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": f"{n} cats"}) + "\n" for n in range(3)))
        of_own = measured("agreement", str(own), None)
        own.write_text("".join(json.dumps({"prompt": f"{n}?", "completion": f"{n} {end}"}) + "\n" for n in range(3)))
        assert measured("none", str(own), None) == (*of_own[:2], stays), "a file that has changed"


def test_the_hash_of_samples_is_of_all_that_models_and_evaluations_read():
    first = Example("What is 1 + 1?", "2", kind="sums", question="1 + 1", where="a")
    assert samples_sha256([first]) == samples_sha256([replace(first, where="b")]), "where it lies is no matter"
    turn = Turn((), {"content": "2", "tool_calls": [{}]})
    others: list[list[Example]] = [
        [],
        [first, first],
        [replace(first, prompt="What is 1 + 1", completion="?2")],
        [replace(first, completion="3")],
        [replace(first, kind="words")],
        [replace(first, question="1 + 2")],
        [replace(first, lead=" ")],
        [replace(first, turn=turn)],
        [replace(first, prompts={"ab": ChatPrompt("<s>", " ", 1, "2")})],
        [replace(first, prompts={"ab": ChatPrompt("<s>", " ", 2, "2")})],
        [replace(first, prompts={"cd": ChatPrompt("<s>", " ", 2, "2")})],
    ]
    assert len({samples_sha256(examples) for examples in [[first], *others]}) == len(others) + 1
    two = {"ab": ChatPrompt("a"), "cd": ChatPrompt("c", "\ud800")}
    turned = dict(reversed(two.items()))
    assert samples_sha256([replace(first, prompts=two)]) == samples_sha256([replace(first, prompts=turned)])


def test_a_run_without_a_student_says_why(pair, store):
    run = ctkd_core.distill(pair.config(method="sft", steps=1, save_student=False), store)
    with pytest.raises(RunError, match="save_student"):
        evaluate_run(run)
    queued = store.create(pair.config())
    with pytest.raises(RunError, match="is queued"):
        evaluate_run(queued)


def test_the_gap_that_is_closed_by_parts():
    found = {"bits_per_byte": 1.5, "teacher_bits_per_byte": 1.0, "bits_by_class": {"letters": 2.0}}
    found |= {"teacher_bits_by_class": {"letters": 1.0}}
    sft = {"bits_per_byte": 2.0, "bits_by_class": {"letters": 2.5}}
    assert closed(found, sft) == {"overall": 0.5, "by_class": {"letters": pytest.approx(1 / 3)}}


def test_the_command_prints_figures_and_the_gap(runs, capsys):
    store, sft, run = runs
    ctkd = Ctkd(capsys)
    words = ["evaluate", run.id, "-e", "classes", "--against", sft.id, "--runs-dir", str(store.root)]
    found = ctkd.json(*words)
    assert found["run_id"] == run.id and found["kind"] == "eval"
    assert set(found["gap_closed"]) == {"overall", "by_class", "against"} and found["gap_closed"]["against"] == sft.id
    assert "did you mean 'agreement'" in ctkd.error(*words[:3], "agrement", *words[4:])


def test_what_is_measured_is_what_the_run_held_out(pair, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"prompt": "What is 90 + 1?", "completion": "91 cats"}) + "\n")
    sides = [load_tokenizer(str(folder)) for folder in (pair.student, pair.teacher)]
    found = _examples(pair.config(eval_data=str(own)), False, sides)
    assert [example.question for example in found] == ["What is 90 + 1?"]
    assert len(_examples(pair.config(eval_share=0.5, eval_samples=100), False, sides)) == 24
    # another file is measured whole, whatever the run held out
    assert len(_examples(pair.config(eval_data=str(own), eval_samples=100), True, sides)) == 48
    assert len(_examples(pair.config(data=str(own)), True, sides)) == 1  # nothing is to be left over to learn from


def test_a_run_that_kept_an_option_without_effect_can_be_evaluated(pair, store):
    with as_recorded():
        older = pair.config(method="uld", variant="released", method_options={"pairing": "groups", "temperature": 1.5})
    run = store.create(older)
    config = asked_config(run, Ask("none", samples=2))
    assert (config.eval_samples, config.method_options["temperature"]) == (2, 1.5)


def test_a_run_is_read_with_whole_paths_where_it_was_made_in_another_folder(pair, store, tmp_path, monkeypatch):
    made_in = tmp_path / "made in"
    made_in.mkdir()
    (made_in / "data.jsonl").write_text(pair.data.read_text())
    run = store.create(pair.config(data="data.jsonl"))
    note(run.dir, str(made_in))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": "another"}) + "\n")
    sides = [load_tokenizer(str(folder)) for folder in (pair.student, pair.teacher)]
    config = asked_config(run, Ask("none"))
    assert config.data == str(made_in / "data.jsonl")
    assert _examples(config, False, sides)


def test_a_teacher_that_is_elsewhere_is_not_loaded_for_it(runs, monkeypatch):
    _, _, run = runs

    def gone(*_):
        raise RunError("no such model.")

    monkeypatch.setattr("ctkd_core.distill.models.teachers.load_teacher", gone)
    with pytest.raises(RunError, match="no such model"):
        evaluate_run(run, Ask("none"))
    for changes, words in (
        ({"teacher_server": "http://localhost:9/v1", "teacher_server_model": "tiny"}, "behind a server"),
        ({"teacher_cache": "nowhere"}, "only its cache is here: no such model"),
    ):
        said: list[str] = []
        monkeypatch.setattr(saved, "asked_config", lambda run, ask, changes=changes: run.config.replace(**changes))
        found = evaluate_run(run, Ask("none"), said.append)
        assert found["bits_per_byte"] > 0
        assert "teacher_bits_per_byte" not in found
        assert any(words in sentence for sentence in said)


def test_what_the_cache_tells_of_the_teacher_is_not_measured_again(pair, store, tmp_path, monkeypatch):
    from tests.distill.kit import cache_teacher

    config = pair.config(method="alm", steps=1, save_student=True, eval_samples=3, sample_prompts=3, eval_completions=2)
    cache_teacher(config, tmp_path / "cache", k=8, dtype="float32")
    run = ctkd_core.distill(config.replace(teacher_cache=str(tmp_path / "cache")), store)
    live = evaluate_run(run, Ask("completions,classes"))
    assert "teacher_bits_by_class" in live, "whoever asks for more than the cache tells gets the model"

    def gone(*_):
        raise RunError("no such model.")

    monkeypatch.setattr("ctkd_core.distill.models.teachers.load_teacher", gone)
    said: list[str] = []
    found = evaluate_run(run, Ask("completions"), said.append)
    assert not any("no such model" in sentence or "Loading" in sentence for sentence in said)
    assert any("those of its cache" in sentence for sentence in said)
    assert found["teacher_bits_per_byte"] == pytest.approx(live["teacher_bits_per_byte"], rel=1e-5)
    assert found["teacher_completions"] == live["teacher_completions"]
    fewer = evaluate_run(run, Ask("none", samples=2))
    assert fewer["teacher_bits_per_byte"] != found["teacher_bits_per_byte"] and fewer["held_out"] == 2
    assert "teacher_bits_by_class" not in evaluate_run(run, Ask("classes"))
    for ask in (Ask("none", samples=40), Ask("none", data=str(pair.data))):  # other samples
        assert "teacher_bits_per_byte" not in evaluate_run(run, ask)


def test_evaluations_that_found_nothing_are_told(runs, capsys):
    store, _, run = runs
    words = ["evaluate", run.id, "-e", "arithmetic,exposure", "--samples", "2", "--runs-dir", str(store.root)]
    told = [
        "arithmetic: none of the 2 held-out samples is an exercise.",
        "exposure: only 2 held-out samples with a prompt can be answered; a figure takes 4.",
    ]
    assert Ctkd(capsys).json(*words)["notes"] == told == kept(run)["notes"]
    code, out, _ = Ctkd(capsys)(*words)
    assert code == 0 and all(f"note: {sentence}" in out for sentence in told)


def test_samples_that_the_run_was_trained_on_are_told(runs, pair, tmp_path, capsys):
    store, _, run = runs
    own = tmp_path / "own.jsonl"
    new = "".join(json.dumps({"prompt": f"What is 9{n} + 1?", "completion": "cats"}) + "\n" for n in range(2))
    own.write_text(pair.data.read_text() + new)
    told = "44 of the 50 samples are in the training data of this run, not held out."
    said: list[str] = []
    found = evaluate_run(run, Ask("none", data=str(own)), said.append)
    assert found["trained_on"] == 44 and found["notes"] == [told] == kept(run)["notes"]
    assert not any("held-out" in sentence for sentence in said)
    words = ["evaluate", run.id, "-e", "none", "--data", str(own), "--runs-dir", str(store.root)]
    assert f"note: {told}" in Ctkd(capsys)(*words)[1]
    assert kept(run)["notes"] == [told], "once"
    own.write_text(new)
    other = evaluate_run(run, Ask("none", data=str(own)), said.append)
    assert (other["trained_on"], other["notes"]) == (0, [])
    assert "trained_on" not in evaluate_run(run, Ask("none"), said.append)


def test_what_changed_since_the_run_is_told(runs, pair, tmp_path):
    _, _, run = runs
    folder = shutil.copytree(run.dir, tmp_path / "runs" / run.id)
    environment = json.loads((folder / "env.json").read_text())

    def notes(ask: Ask, **changes: str) -> list[str]:
        told = environment | {name: environment[name] | {"fingerprint": "0" * 64} for name in changes}
        if "weights" in changes:
            told["weights"] = {"teacher": {"fingerprint": "0" * 64}}
        (folder / "env.json").write_text(json.dumps(told))
        return evaluate_run(run_at(folder), ask, lambda _: None)["notes"]

    assert notes(Ask("none")) == []
    learnt = "samples that are held out now may be among those that the run learnt from: its data has changed since it "
    there = "figures are of what lies there now: the run's teacher's weights have changed since it began."
    assert notes(Ask("none"), data="", weights="") == [f"{learnt}began.", there]
    other = evaluate_run(run_at(folder), Ask("none", data=str(pair.data)), lambda _: None)
    unknown = "whether the run was trained on these samples isn't known: its data has changed since it began."
    assert other["notes"] == [unknown, there] and "trained_on" not in other
    assert notes(Ask("none", data=str(pair.data)))[0].startswith("44 of the 48 samples"), "it is the same again"
    assert len(kept(run_at(folder))["notes"]) == 1


def test_held_out_samples_of_a_file_of_their_own_were_not_learnt_whatever_becomes_of_the_data(tmp_path):
    own = str(tmp_path / "own.jsonl")
    data, held_out = RunInput("data", "data", "bundled"), RunInput("data", "eval_data", own)
    apart = RunConfig(data="bundled", eval_data=own)
    assert [_about_changed_data(RunConfig(data="bundled"), [data], other) for other in (False, True)] == [
        *(CHANGED_DATA, UNKNOWN_CHANGED)
    ]
    assert [_about_changed_data(apart, [data], other) for other in (False, True)] == ["", UNKNOWN_CHANGED]
    assert [_about_changed_data(apart, [held_out], other) for other in (False, True)] == [CHANGED_DATA, UNKNOWN_CHANGED]


def test_where_the_runs_data_is_gone_nobody_knows_what_it_was_trained_on(runs, pair, monkeypatch):
    def gone(_):
        raise RunError("data isn't there.")

    _, _, run = runs
    monkeypatch.setattr("ctkd_core.distill.preparation.split_of", gone)
    said: list[str] = []
    found = evaluate_run(run, Ask("none", data=str(pair.data)), said.append)
    assert found["notes"] == ["whether the run was trained on these samples isn't known: its data can't be read."]
    assert "data isn't there." in said
    assert "trained_on" not in found


def test_notes_about_what_is_not_measured_again_stay(tmp_path):
    run = RunStore(tmp_path).create(RunConfig())
    whole = {"step": 3, "data": "bundled", "held_out": 4, "samples_sha256": "ab", "bits_per_byte": 2.5}
    saved.keep(run, whole | {"evaluations": ["arithmetic", "exposure"], "notes": ["arithmetic: no.", "exposure: no."]})
    saved.keep(run, whole | {"evaluations": ["exposure"], "notes": []})
    assert kept(run)["notes"] == ["arithmetic: no."]
    (run.dir / FILE).write_text(json.dumps(whole | {"notes": [3, "a"]}))
    assert kept(run)["notes"] == ["a"]


def test_figures_have_words_and_the_name_to_type(capsys):
    from rich.console import Console

    from ctkd_core.cli.evaluate import _view

    found = {"run_id": "r", "step": 3, "held_out": 2, "data": "d", "held_out_bytes": 9, "bits_per_byte": 2.0}
    found |= {"agreement": {"top1": 0.5}, "completions": {"rouge_l": 0.25}}
    for part in _view(found):
        Console(width=200).print(part)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["same", "first", "choice", "of", "token", "agreement.top1", "0.5"] in [line[:7] for line in lines]
    assert ["ROUGE-L", "completions.rouge_l", "0.25"] in [line[:3] for line in lines]
