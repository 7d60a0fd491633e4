"""Conversations by each side's own chat template: what each model reads, and a run that learns from them."""

from __future__ import annotations

import json

import pytest

import ctkd_core
from ctkd_core.distill import checks
from ctkd_core.distill.data import load_split
from ctkd_core.distill.models.teachers import planned_teachers
from ctkd_core.distill.preparation import prepared
from ctkd_core.distill.rendering import rendered, without_template
from ctkd_core.errors import PreflightError, RunError
from ctkd_core.losses.batch import align_sample
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama, save_tokenizer
from tests.tiny import tiny_byte_level
from tests.tokenizers.test_chat_prompts import BLANK
from tests.tokenizers.test_chat_templates import CHATML

SYSTEM = {"role": "system", "content": "Be short."}


def chat_folder(folder, tokenizer, template, *markers):
    """A folder with a tokenizer that has a chat template, and a model of its size."""
    from tokenizers import Tokenizer as Backend

    from ctkd_core.tokenizers.tokenizer import Tokenizer

    backend = Backend.from_str(tokenizer.backend.to_str())
    backend.add_special_tokens(list(markers))
    save_tokenizer(Tokenizer.from_backend(backend, folder.name), folder)
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": template}))
    return str(folder)


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """A student that writes <turn>..<end>, a teacher that writes a blank and <eos>; the teacher has weights."""
    folder = tmp_path_factory.mktemp("chat")
    student = chat_folder(folder / "student", tiny_byte_level(400, 3), CHATML, "<turn>", "<end>")
    teacher = chat_folder(folder / "teacher", tiny_byte_level(340, 1), BLANK, "<turn>", "<end>")
    llama(load_tokenizer(teacher).n_ids, seed=1).save_pretrained(folder / "teacher")
    return student, teacher


def written(path, count=24, head=()):
    rows = [
        [*head, {"role": "user", "content": f"{n} + 1?"}, {"role": "assistant", "content": f"{n + 1} cats"},
         {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "the flag\n"}]
        for n in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return str(path)


def chat_config(pair, sides, path, **changes):
    student, teacher = sides
    given = {"student": student, "teacher": teacher, "teacher_path": teacher, "data": path, "max_length": 96}
    return pair.config(**given | changes)


def test_each_side_reads_its_own_template_and_both_spell_the_answer(pair, sides, tmp_path):
    student, teacher = map(load_tokenizer, sides)
    config = chat_config(pair, sides, written(tmp_path / "d.jsonl"))
    split = rendered(config, load_split(config.data), [student, teacher])
    example = next(e for e in split.examples if e.completion == "the flag\n")
    mine, theirs = example.prompt_for(student), example.prompt_for(teacher)
    assert mine.text.endswith("<turn>user\nSure?<end>\n<turn>assistant\n")
    assert theirs.text.endswith(" cats<eos><turn>Sure?<end>") and theirs.lead == " "
    sample = align_sample(mine, example.completion, student, teacher, teacher_prompt=theirs)
    assert student.token(int(sample.student_ids[-1])) == "<end>"
    assert teacher.token(int(sample.teacher_ids[-1])) == "<eos>"
    answer = b"".join(student.token_bytes(int(i)) for i in sample.student_ids[sample.student_response_start : -1])
    assert answer == b"the flag\n"


def test_two_templates_of_one_vocabulary_stay_apart(pair, tmp_path):
    both = [
        load_tokenizer(chat_folder(tmp_path / name, tiny_byte_level(400, 3), template, "<turn>", "<end>"))
        for name, template in (("student", CHATML), ("teacher", BLANK))
    ]
    student, teacher = both
    assert student.fingerprint == teacher.fingerprint
    config = chat_config(pair, (student.source, teacher.source), written(tmp_path / "d.jsonl"))
    split = rendered(config, load_split(config.data), both)
    example = next(e for e in split.examples if e.completion == "the flag\n")
    assert example.prompt_for(student).text.endswith("<turn>user\nSure?<end>\n<turn>assistant\n")
    assert example.prompt_for(teacher).text.endswith(" cats<eos><turn>Sure?<end>")
    alike = rendered(config, load_split(config.data), [student, student])
    assert [list(e.prompts) for e in alike.train[:1]] == [[student.fingerprint]]


def test_a_side_without_a_template_reads_none_of_the_other_with_its_vocabulary(pair, tmp_path):
    teacher = load_tokenizer(chat_folder(tmp_path / "teacher", tiny_byte_level(400, 3), CHATML, "<turn>", "<end>"))
    student = load_tokenizer(chat_folder(tmp_path / "student", tiny_byte_level(400, 3), None, "<turn>", "<end>"))
    assert student.fingerprint == teacher.fingerprint
    config = chat_config(pair, (student.source, teacher.source), written(tmp_path / "d.jsonl"))
    for both in ([student, teacher], [teacher, student]):
        example = next(e for e in rendered(config, load_split(config.data), both).examples if e.question == "0 + 1?")
        mine, theirs = example.prompt_for(student), example.prompt_for(teacher)
        assert (mine.text, mine.lead, mine.template) == ("Question: 0 + 1?\nAnswer:", " ", False)
        assert theirs.text == "<turn>user\n0 + 1?<end>\n<turn>assistant\n" and theirs.template


def test_what_one_template_writes_is_no_id_of_another_model(pair, tmp_path):
    """Models of one tokenizer.json may be of different widths: the one may lack what the other's template writes."""
    student, teacher = (
        load_tokenizer(chat_folder(tmp_path / name, tiny_byte_level(400, 3), template, "<turn>", "<end>", "<last>"))
        for name, template in (("student", CHATML), ("teacher", f"<last>{BLANK}"))
    )
    assert student.fingerprint == teacher.fingerprint
    config = chat_config(pair, (student.source, teacher.source), written(tmp_path / "d.jsonl"), method="kd")
    highest = prepared(config, student, planned_teachers(config, teacher), lambda _: None).highest
    assert highest[student.template_key] == student.id_of("<end>")
    assert highest[teacher.template_key] == teacher.id_of("<last>")


def test_shared_lines_and_a_side_without_a_template(pair, sides, tmp_path):
    student, plain = load_tokenizer(sides[0]), load_tokenizer(str(pair.teacher))
    config = chat_config(pair, sides, written(tmp_path / "d.jsonl"))
    split = load_split(config.data)
    assert rendered(config.replace(chat_template="shared"), split, [student, plain]) is split
    assert without_template(config, split, [student, plain]) == [plain.name]
    example = next(e for e in rendered(config, split, [student, plain]).examples if e.question == "0 + 1?")
    assert example.prompt_for(student).text == "<turn>user\n0 + 1?<end>\n<turn>assistant\n"
    there = example.prompt_for(plain)
    assert (there.text, there.lead, there.end) == ("Question: 0 + 1?\nAnswer:", " ", plain.eos_id)
    assert example.completion == "1 cats"


def test_a_conversation_that_a_template_refuses_is_named_or_left_out(pair, sides, tmp_path):
    refusing = chat_folder(
        tmp_path / "strict",
        tiny_byte_level(400, 3),
        "{% for m in messages %}{% if m.content == '5 + 1?' %}{{ raise_exception('no fives') }}{% endif %}{% endfor %}"
        + CHATML,
        "<turn>",
        "<end>",
    )
    config = chat_config(pair, (refusing, sides[1]), written(tmp_path / "d.jsonl"))
    with pytest.raises(PreflightError, match=r"d\.jsonl, record 6: strict: .*no fives.*skip_bad_records"):
        checks.require(config)
    split = load_split(config.data)
    skipping = rendered(config.replace(skip_bad_records=True), split, [load_tokenizer(refusing)])
    assert len(split.examples) - len(skipping.examples) == 2
    assert [said.split(": ")[0] for said in skipping.skipped] == ["d.jsonl, record 6"] * 2


@pytest.mark.parametrize("method", ["gold", "cdm"])
def test_a_run_learns_from_conversations(pair, sides, store, tmp_path, method):
    config = chat_config(pair, sides, written(tmp_path / "d.jsonl"), method=method, on_policy_share=0.5, steps=8)
    run = ctkd_core.distill(config, store)
    assert run.status().state == "finished"
    losses = [row["loss"] for row in run.metric_rows() if row["kind"] == "train"]
    assert len(losses) == 8 and losses[-1] < losses[0]
    assert run.summary()["metrics"]["bits_per_byte_after"] < run.summary()["metrics"]["bits_per_byte_before"]
    assert {s["reference"] for s in run.samples()} <= {"the flag", *(f"{n} cats" for n in range(1, 25))}


def test_nothing_left_is_an_error(pair, sides, tmp_path):
    config = chat_config(pair, sides, written(tmp_path / "d.jsonl", 3), skip_bad_records=True)
    refusing = chat_folder(tmp_path / "never", tiny_byte_level(400, 3), "{{ raise_exception('never') }}", "<turn>")
    with pytest.raises(RunError, match=r"no example to learn from is left: .*never"):
        rendered(config, load_split(config.data), [load_tokenizer(refusing)])
