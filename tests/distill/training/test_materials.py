"""What a student was made of, and the terms that go with it."""

from __future__ import annotations

import pytest

from ctkd_core.distill.config import preset
from ctkd_core.distill.training.card import card
from ctkd_core.distill.training.export import save_student
from ctkd_core.distill.training.materials import base_models, licence_tag, materials, terms_of
from ctkd_core.tokenizers.assets import prepared_folder
from ctkd_core.tokenizers.catalog import GEMMA, TOKENIZERS
from tests.tiny import tiny_byte_level

SIDES = dict.fromkeys(("student", "teacher"), tiny_byte_level(400, 3))
GEMMA_TERMS = "Gemma Terms of Use (to be accepted)"


@pytest.fixture
def gemma(tmp_path, monkeypatch):
    """Where Gemma would be, with its terms alone."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    folder = prepared_folder(TOKENIZERS[GEMMA])
    folder.mkdir(parents=True)
    (folder / "GEMMA_TERMS.txt").write_text("you agree to be bound")
    (folder / "config.json").write_text("{}")
    return folder


def test_a_student_of_gemma_takes_gemmas_terms_along(gemma):
    found = materials(preset("cross-family"), SIDES)
    assert [each.role for each in found] == ["student tokenizer", "student's weights", "teacher", "data"]
    assert [each.licence for each in found[1:3]] == ["Apache-2.0", GEMMA_TERMS]
    assert licence_tag(found) == "gemma", "what Gemma taught is covered by its terms"
    assert base_models(found) == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert terms_of(found) == {"GEMMA_TERMS.txt": b"you agree to be bound"}
    assert licence_tag(materials(preset("cross-family-reverse"), SIDES)) == "gemma"


def test_fine_tuning_alone_has_nothing_of_the_teachers(gemma):
    found = materials(preset("cross-family").replace(method="sft"), SIDES)
    assert "teacher" not in [each.role for each in found]
    assert (licence_tag(found), terms_of(found)) == ("apache-2.0", {})


def test_a_transplant_begins_with_the_teachers_weights(pair):
    found = materials(pair.config(method="sft", student_model="transplant", teacher_path="somebody/big"), SIDES)
    assert base_models(found) == ["somebody/big"]
    assert licence_tag(found) == ""


def test_a_folder_that_says_its_licence_is_taken_at_its_word(tmp_path, pair):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    (folder / "LICENSE").write_text("MIT License")
    (folder / "notice.txt").write_text("made by us")
    (folder / "licensed_words.json").write_text("[]")
    found = materials(pair.config(student_model="pretrained", student_path=str(folder)), SIDES)
    assert licence_tag(found) == "mit"
    assert sorted(terms_of(found)) == ["LICENSE", "notice.txt"]
    assert base_models(found) == []


@pytest.mark.parametrize(
    "front",
    [
        "license: [a, b]",
        "license: '<b>'",
        "- a",
        'license: "',
        "license: &a [*a]",
        "date: 2024-02-30",
        "x: !!int a",
        "a: " + "[" * 5000,
    ],
)
def test_a_front_matter_that_says_none_gives_none(tmp_path, pair, front):
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")
    found = materials(pair.config(student_model="pretrained", student_path=str(tmp_path)), SIDES)
    assert licence_tag(found) == ""


def test_terms_of_equal_names_stay_apart(gemma, tmp_path, pair):
    own = tmp_path / "own"
    own.mkdir()
    (own / "GEMMA_TERMS.txt").write_text("others")
    config = preset("cross-family").replace(student_path=str(own))
    found = terms_of(materials(config, SIDES))
    assert found == {"GEMMA_TERMS.txt": b"others", "teacher-GEMMA_TERMS.txt": b"you agree to be bound"}


def test_a_link_brings_no_file_from_elsewhere(tmp_path, pair):
    own, blobs = tmp_path / "models--a--b" / "snapshots" / "1", tmp_path / "models--a--b" / "blobs"
    own.mkdir(parents=True)
    blobs.mkdir()
    (tmp_path / "secret").write_text("mine")
    (blobs / "ab12").write_text("MIT License")
    (own / "NOTICE").symlink_to(tmp_path / "secret")
    (own / "LICENSE").symlink_to(blobs / "ab12")
    (own / "COPYING").symlink_to(tmp_path / "nowhere")
    found = materials(pair.config(student_model="pretrained", student_path=str(own)), SIDES)
    assert terms_of(found) == {"LICENSE": b"MIT License"}


def test_the_card_and_the_folder_say_it(gemma, tmp_path):
    from ctkd_core.distill.models.students import scratch

    config = preset("cross-family")
    text = card(config, SIDES, {}, {})
    front = text.split("---")[1]
    assert "license: gemma" in front and "base_model" in front
    assert "- student's weights: smollm2, Apache-2.0\n" in text
    model = scratch(SIDES["student"], 16, 1, 64, 0)
    save_student(model, SIDES["student"], tmp_path / "student", text, terms=terms_of(materials(config, SIDES)))
    assert (tmp_path / "student" / "GEMMA_TERMS.txt").read_text() == "you agree to be bound"
