"""On-policy batches: what of sampled ids is text, alignment on the fly, seeds, resuming, and whole runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import ctkd_core
from ctkd_core import methods
from ctkd_core.background import attempt
from ctkd_core.distill import on_policy as module
from ctkd_core.distill import worker
from ctkd_core.distill.models.teachers import LiveTeacher, align_all
from ctkd_core.distill.on_policy import Sampling, TrainingExample, generate, on_policy, readable, without_data
from ctkd_core.errors import AlignmentError, RunError
from ctkd_core.losses.batch import collate
from tests.distill.kit import llama
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

STUDENT, TEACHER = tiny_byte_level(400, 3), tiny_byte_level(340, 1)
SETTINGS = Sampling(share=0.5, temperature=1.0, top_p=1.0, max_new_tokens=6, max_length=64, seed=3)


def ids_of(text: str, tokenizer=STUDENT) -> list[int]:
    return tokenizer.encode_pieces([text])[0]


def teachers(method="gold", tokenizer=TEACHER):
    return [LiveTeacher(tokenizer, None, method)]


def aligner(method="gold", tokenizer=TEACHER):
    def align(prompt, completion, response, ended):
        return align_all(teachers(method, tokenizer), STUDENT, prompt, completion, 64, response, ended)

    return align


def examples(method="gold", prompts=("What is 1 + 2?", "The flag")):
    return [TrainingExample(p, align_all(teachers(method), STUDENT, p, " 3 cats", 64)) for p in prompts]


def written(monkeypatch, *texts):
    """The student "writes" these ids."""
    monkeypatch.setattr(module, "generate", lambda *_: [list(ids) for ids in texts])


class TestReadable:
    def test_a_whole_completion(self):
        ids = ids_of(" 12 cats")
        assert readable([*ids, STUDENT.eos_id], STUDENT) == module.Completion(tuple(ids), " 12 cats", True)
        assert readable(ids, STUDENT) == module.Completion(tuple(ids), " 12 cats", False)

    def test_nothing_and_an_end_at_once(self):
        assert readable([], STUDENT) == module.Completion((), "", False)
        assert readable([STUDENT.eos_id], STUDENT) == module.Completion((), "", True)

    def test_a_character_that_is_cut_goes_with_all_its_tokens(self):
        letter = [STUDENT.encode_pieces([bytes([b])])[0][0] for b in "🦙".encode()]
        before = ids_of(" a")
        whole = readable([*before, *letter], STUDENT)
        assert (whole.text, len(whole.ids)) == (" a🦙", len(before) + 4)
        for n in (1, 2, 3):
            assert readable([*before, *letter[:n]], STUDENT) == module.Completion(tuple(before), " a", False)
            ended = readable([*before, *letter[:n], STUDENT.eos_id], STUDENT)
            assert (ended.text, ended.ended) == (" a", False)

    def test_broken_bytes_end_the_text(self):
        (bad,) = STUDENT.encode_pieces([b"\xff"])[0]
        assert readable([*ids_of(" a"), bad, *ids_of(" b")], STUDENT).text == " a"
        assert readable([bad], STUDENT).text == ""

    def test_special_and_unknown_ids_end_the_text(self):
        for strange in (STUDENT.bos_id, STUDENT.pad_id, STUDENT.n_ids + 5):
            assert readable([*ids_of(" a"), strange, *ids_of(" b"), STUDENT.eos_id], STUDENT) == module.Completion(
                tuple(ids_of(" a")), " a", False
            )

    def test_other_kinds_of_tokenizer(self):
        pieces = tiny_metaspace()
        ids = ids_of(" the cat", pieces)
        assert readable([*ids, pieces.eos_id], pieces).text == " the cat"
        words = tiny_wordpiece()
        found = readable(words.encode("the cats").ids.tolist(), words)
        assert found.text == words.decode(found.ids)


class TestExamples:
    def test_the_teacher_reads_the_students_text(self, monkeypatch):
        answers = ids_of(" 1234567 units"), ids_of(" naïve café")
        written(monkeypatch, [*answers[0], STUDENT.eos_id], answers[1])
        made, facts = on_policy(None, STUDENT, examples(), SETTINGS, 0, aligner())
        for example, ids, ended, text in zip(made, answers, (True, False), (" 1234567 units", " naïve café")):
            (sample,) = example.samples
            end = [STUDENT.eos_id] if ended else []
            assert sample.student_ids[sample.student_response_start :].tolist() == [*ids, *end]
            theirs = sample.teacher_ids[sample.teacher_response_start :].tolist()
            assert theirs == [*ids_of(text, TEACHER), *([TEACHER.eos_id] if ended else [])]
            for s0, s1, t0, t1 in sample.groups.tolist():
                mine = b"".join(STUDENT.token_bytes(i) for i in sample.student_ids[s0:s1])
                other = b"".join(TEACHER.token_bytes(i) for i in sample.teacher_ids[t0:t1])
                assert mine == other or (mine, other) == (b"<eos>", b"<eos>")
        assert facts == {
            "on_policy": 1.0,
            "on_policy_kept": 1.0,
            "on_policy_tokens": np.mean([len(a) for a in answers]),
            "on_policy_ended": 0.5,
        }

    def test_the_students_own_cut_of_the_text_is_kept(self, monkeypatch):
        letters = [STUDENT.encode_pieces([x])[0][0] for x in " cats"]  # not how the tokenizer would cut it
        assert letters != ids_of(" cats")
        written(monkeypatch, letters, letters)
        made, _ = on_policy(None, STUDENT, examples(), SETTINGS, 0, aligner())
        sample = made[0].samples[0]
        assert sample.student_ids[sample.student_response_start :].tolist() == letters
        assert sample.teacher_ids[sample.teacher_response_start :].tolist() == ids_of(" cats", TEACHER)
        same, _ = on_policy(None, STUDENT, examples(), SETTINGS, 0, aligner(), own_ids=False)
        sample = same[0].samples[0]
        assert sample.student_ids[sample.student_response_start :].tolist() == ids_of(" cats")

    def test_what_says_nothing_leaves_the_data(self, monkeypatch):
        (bad,) = STUDENT.encode_pieces([b"\xff"])[0]
        before = examples()
        written(monkeypatch, [bad], [*ids_of(" ok"), STUDENT.eos_id])
        made, facts = on_policy(None, STUDENT, before, SETTINGS, 0, aligner())
        assert made[0] is before[0]
        assert made[1] is not before[1]
        assert facts["on_policy_kept"] == 0.5
        written(monkeypatch, [bad], [])
        made, facts = on_policy(None, STUDENT, before, SETTINGS, 0, aligner())
        assert made == before
        assert facts["on_policy"] == 0.0

    def test_an_empty_answer_that_ended_teaches_its_end(self, monkeypatch):
        written(monkeypatch, [STUDENT.eos_id], [STUDENT.eos_id])
        made, facts = on_policy(None, STUDENT, examples(), SETTINGS, 0, aligner())
        sample = made[0].samples[0]
        assert sample.student_ids[sample.student_response_start :].tolist() == [STUDENT.eos_id]
        assert len(sample.groups) == 1
        assert facts["on_policy_tokens"] == 0

    @pytest.mark.parametrize("method", [m.name for m in methods.training() if m.asks_teacher])
    def test_every_method_takes_empty_and_odd_answers(self, monkeypatch, method):
        other = STUDENT if methods.get(method).same_tokenizer else TEACHER
        texts = ([STUDENT.eos_id], ids_of(" 201 🦙\n\n"))
        written(monkeypatch, *texts)
        made, facts = on_policy(None, STUDENT, examples(method), SETTINGS, 0, aligner(method, other), other is TEACHER)
        assert facts["on_policy_kept"] > 0
        collate([x.samples[0] for x in made], STUDENT, other)

    def test_an_alignment_that_fails_leaves_the_data(self, monkeypatch):
        def refuse(*_):
            raise AlignmentError("no")

        written(monkeypatch, ids_of(" a"), ids_of(" b"))
        before = examples()
        assert on_policy(None, STUDENT, before, SETTINGS, 0, refuse)[0] == before

    def test_a_prompt_without_a_token_leaves_the_data(self, monkeypatch):
        asked = []
        monkeypatch.setattr(module, "generate", lambda *given: asked.append(given[2]) or [])
        sample = replace(examples()[0].samples[0], student_response_start=0)
        before = [TrainingExample("", (sample,))]
        assert on_policy(None, STUDENT, before, SETTINGS, 0, aligner())[0] == before
        assert asked == [[]]


class TestGenerate:
    prompts = (ids_of("The flag"), ids_of("What is 1 + 2? Say it in words:"))

    def test_the_same_seed_writes_the_same_and_the_global_state_stays(self):
        model = llama(STUDENT.n_ids).train()
        torch.manual_seed(11)
        before = torch.get_rng_state()
        one, two, three = (generate(model, STUDENT, self.prompts, SETTINGS, seed) for seed in (5, 5, 6))
        assert one == two != three
        assert torch.equal(before, torch.get_rng_state())
        assert model.training
        assert all(0 < len(ids) <= 6 for ids in one)

    def test_padding_before_a_prompt_changes_no_distribution(self):
        model, cold = llama(STUDENT.n_ids), replace(SETTINGS, temperature=0.05, top_p=0.01)  # as good as greedy
        together = generate(model, STUDENT, self.prompts, cold, 0)
        assert together == [generate(model, STUDENT, [p], cold, 0)[0] for p in self.prompts]

    def test_what_stands_behind_the_end_is_left_out(self):
        assert module._until_end([7, 1, 2, 2], 1) == [7, 1]
        assert module._until_end([7, 8], 1) == [7, 8]
        assert module._until_end([7, 8], None) == [7, 8]

    def test_no_longer_than_a_sample_may_be(self):
        short = replace(SETTINGS, max_new_tokens=100, max_length=len(self.prompts[0]) + 3)
        assert max(len(x) for x in generate(llama(STUDENT.n_ids), STUDENT, self.prompts[:1], short, 0)) <= 3


def test_which_batches_follows_from_the_seed():
    chosen = [SETTINGS.chosen(step, part) for step in range(500) for part in range(2)]
    assert 0.45 < np.mean(chosen) < 0.55
    assert chosen == [SETTINGS.chosen(step, part) for step in range(500) for part in range(2)]
    assert chosen != [replace(SETTINGS, seed=4).chosen(step, part) for step in range(500) for part in range(2)]
    assert not any(replace(SETTINGS, share=0.0).chosen(step, 0) for step in range(50))
    assert all(replace(SETTINGS, share=1.0).chosen(step, 0) for step in range(50))
    assert len({SETTINGS.seed_of(step, part, rank) for step in range(5) for part in (0, 1) for rank in (0, 1)}) == 20


def test_the_students_own_words_are_no_data():
    for row in methods.training():
        options = without_data(row, row.resolve_loss({}))
        assert options.get("ce_weight", 0.0) == 0.0
        assert options.get("scaling", "fixed") == "fixed"
        assert options.get("fallback_weight", 0.0) == 0.0
        assert options.keys() == row.resolve_loss({}).keys()


@pytest.mark.parametrize("method", ["sedi", "xtoken-pkl", "kd"])
def test_a_run_learns_from_its_own_words(pair, store, method):
    same = {"student": str(pair.teacher)} if method == "kd" else {}
    config = pair.config(
        method=method, steps=6, on_policy_share=0.5, on_policy_max_new_tokens=5, accumulation=2, **same
    )
    run = ctkd_core.distill(config, store)
    shares = [r["diagnostics"]["on_policy"] for r in run.metric_rows() if r["kind"] == "train"]
    assert {0.0, 0.5, 1.0} >= set(shares)
    assert 0 < sum(shares) < 6
    again = ctkd_core.distill(config, store)
    assert again.metrics().loss.dropna().tolist() == run.metrics().loss.dropna().tolist()


@pytest.mark.parametrize("accumulation", [1, 4])
def test_going_on_from_a_checkpoint_writes_the_same_words(pair, store, accumulation):
    config = pair.config(
        method="gold",
        steps=8,
        save_every=4,
        accumulation=accumulation,
        on_policy_share=0.6,
        on_policy_max_new_tokens=5,
    )
    whole = ctkd_core.distill(config, store)
    parted = store.create(config)
    stop = lambda: any(r.get("step") == 4 for r in parted.metric_rows())  # noqa: E731
    assert worker.execute(parted, stop) == attempt.CANCELLED
    again = replace(parted.status(), state="queued", attempt=2, pid=None)
    (parted.dir / "status.json").write_text(json.dumps(again.to_dict()))
    assert worker.execute(parted, lambda: False) == attempt.FINISHED
    rows = [[r for r in run.metric_rows() if r["kind"] == "train"] for run in (whole, parted)]
    assert [r["loss"] for r in rows[1]] == pytest.approx([r["loss"] for r in rows[0]], rel=1e-5)
    tokens = [[r["diagnostics"].get("on_policy_tokens") for r in part] for part in rows]
    assert tokens[0] == tokens[1]


def test_refusals(pair):
    with pytest.raises(RunError, match="'sft' asks no teacher, so it can't learn from text that"):
        pair.config(method="sft", on_policy_share=0.5)
    with pytest.raises(RunError, match=r"on_policy_share.* from 0 to 1"):
        pair.config(on_policy_share=1.5)
