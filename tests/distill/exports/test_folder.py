"""Which methods another trainer has is what their rows say."""

from __future__ import annotations

from typing import get_args

import pytest

from ctkd_core.distill.exports import folder, trl
from ctkd_core.distill.exports.folder import TARGETS, check, write
from ctkd_core.distill.exports.teacher import place_of, teacher_of, writes_student
from ctkd_core.errors import RunError
from ctkd_core.methods import METHODS, Method
from ctkd_core.tokenizers.catalog import GEMMA, TOKENIZERS
from ctkd_core.tokenizers.load import load_tokenizer


def test_rows_name_the_targets_that_there_are():
    named, _ = get_args(Method.model_fields["exports"].annotation)
    assert set(get_args(named)) == set(TARGETS), "a target stands in folder.TARGETS and in the type of Method.exports"
    assert TARGETS["trl"].methods == ("uld", "gold")
    assert TARGETS["nemo-rl"].methods == ("xtoken-pkl", "xtoken-hkl")


def test_a_row_is_all_that_makes_a_method_exportable(pair, monkeypatch):
    config = pair.config(method="kd", teacher=str(pair.student))
    with pytest.raises(RunError, match=r"no method 'kd', only uld and gold"):
        check(config, "trl")
    told = {"beta": 0.0}
    monkeypatch.setattr(trl, "told", lambda options, variant: (told, ["as here"]), raising=False)
    row = METHODS["kd"].model_copy(update={"exports": {"trl": f"{trl.__name__}:told"}})
    monkeypatch.setitem(METHODS, "kd", row)
    check(config, "trl")
    options, notes = trl.settings(config)
    assert options["beta"] == 0.0
    assert "as here" in notes


def test_an_unknown_target_is_refused(pair, tmp_path):
    with pytest.raises(RunError, match="did you mean 'trl'"):
        write(pair.config(method="uld"), "trx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_student_with_a_name_of_ours_goes_along(pair, tmp_path):
    ours = pair.config(method="gold", student_model="pretrained", student_path="smollm2")
    assert writes_student(ours) and writes_student(pair.config(method="gold"))
    theirs = pair.config(method="gold", student_model="pretrained", student_path="somebody/small")
    assert not writes_student(theirs)
    written = write(ours, "trl", tmp_path / "out", student=False)
    assert "STUDENT = 'student'" in (tmp_path / "out" / "train_trl.py").read_text()
    assert any("The student isn't here" in note for note in written.notes)
    write(theirs, "trl", tmp_path / "theirs", student=False)
    assert "STUDENT = 'somebody/small'" in (tmp_path / "theirs" / "train_trl.py").read_text()


@pytest.mark.parametrize("there", [True, False])
def test_what_breaks_off_leaves_nothing_in_the_way(pair, tmp_path, monkeypatch, there):
    """What safetensors says of a full disk was taken for a fault of this program, and half an export stayed."""

    def full(*_):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    place = tmp_path / "out"
    if there:
        place.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(folder, "_write_student", full)
        with pytest.raises(RunError, match=r"out' can't be written \(No space left on device\); choose another folder"):
            write(pair.config(method="gold"), "trl", place)
    assert (not list(place.iterdir())) if there else not place.exists()
    write(pair.config(method="gold"), "trl", place)


def test_what_breaks_off_takes_nothing_of_others_along(pair, tmp_path, monkeypatch):
    def full(*_):
        (tmp_path / "out" / "notes.txt").write_text("mine")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "_write_student", full)
    with pytest.raises(RunError, match=r"out' can't be written \(No space left on device\)"):
        write(pair.config(method="gold"), "trl", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_export_is_replaced_and_other_files_stay(pair, tmp_path):
    out = tmp_path / "out"
    written = pair.config(method="gold", teacher="smollm2", student_model="scratch")
    write(written, "trl", out)
    (out / "student" / "model-00001-of-00002.safetensors").write_bytes(b"")
    (out / "student" / "mine.txt").write_text("mine")
    (out / "out").mkdir()
    (out / "out" / "trained.txt").write_text("trained")
    assert (out / "teacher-tokenizer" / "chat_template.jinja").exists()
    other = pair.config(method="uld", student_model="scratch", seed=5)
    with pytest.raises(RunError, match="isn't an empty folder; choose another one, or add --force"):
        write(other, "trl", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="no-such-data"):
        write(other.replace(data=str(tmp_path / "no-such-data.jsonl")), "trl", out, force=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    with pytest.raises(RunError, match="student of an earlier export"):
        write(other, "trl", out, student=False, force=True)
    found = write(other, "trl", out, force=True)
    assert found.folder == out and not list(out.glob(".*"))
    write(other, "trl", tmp_path / "new")
    new = {path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*")}
    there = {path.relative_to(out) for path in out.rglob("*")}
    assert {str(path) for path in there - new} == {"out", "out/trained.txt", "student/mine.txt"}
    for name in (path for path in new if (tmp_path / "new" / path).is_file()):
        assert (out / name).read_bytes() == (tmp_path / "new" / name).read_bytes()


def test_a_folder_that_is_no_export_is_not_replaced(pair, tmp_path):
    config = pair.config(method="gold", student_model="scratch")
    (tmp_path / "README.md").write_text("my project")
    with pytest.raises(RunError, match=r"has no README\.md of an export"):
        write(config, "trl", tmp_path, student=False, force=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.jsonl").write_text("mine")
    with pytest.raises(RunError, match=r"has no README\.md of an export"):
        write(config, "trl", tmp_path / "other", student=False, force=True)
    write(config.replace(method="xtoken-pkl"), "nemo-rl", tmp_path / "nemo", student=False)
    with pytest.raises(RunError, match="holds an export for another trainer"):
        write(config, "trl", tmp_path / "nemo", student=False, force=True)
    assert (tmp_path / "README.md").read_text() == "my project"
    with pytest.raises(RunError, match="isn't a folder"):
        write(config, "trl", tmp_path / "README.md", force=True)


def test_models_of_this_machine_are_told(pair, tmp_path):
    config = pair.config(method="gold", teacher="smollm2", teacher_path="", student_model="scratch")
    notes = write(config, "trl", tmp_path / "out", student=False).notes
    assert any("`ctkd prepare` made on this machine" in note for note in notes)
    named, said = teacher_of(config.replace(teacher_path=GEMMA))
    assert named.endswith(TOKENIZERS[GEMMA].prepared)
    assert said == [
        "The teacher is the folder that `ctkd prepare gemma` made on this machine; Gemma Terms of Use (to be accepted)."
    ]


def test_tokenizers_keep_special_tokens_and_template(pair, tmp_path):
    from transformers import AutoTokenizer

    config = pair.config(method="gold", teacher="smollm2", student_model="scratch")
    write(config, "trl", tmp_path / "out", student=False)
    found = AutoTokenizer.from_pretrained(tmp_path / "out" / "teacher-tokenizer")
    ours = load_tokenizer("smollm2")
    assert set(found.all_special_ids) == set(ours.special_ids) and len(ours.special_ids) > 10
    assert found.chat_template == ours.chat_template
    for text in ("The flag 🇫🇷 of 1,024\n", "<|im_start|>user"):
        assert found(text)["input_ids"] == ours.encode(text, special_tokens=True).ids.tolist()


def test_a_teacher_in_no_home_folder_is_refused():
    with pytest.raises(RunError, match="no home folder for '~nosuchuser9/x'"):
        place_of("~nosuchuser9/x", "teacher")
    assert place_of("x" * 5000, "teacher") == ("x" * 5000, [])
