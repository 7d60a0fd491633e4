"""Converted targets on tiny tokenizers: what each method makes of a candidate, by hand and by re-encoding."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ctkd_core.alignment import align
from ctkd_core.vocabulary.exact import exact_matches
from experiments.analyses import migrated_targets as pilot
from experiments.analyses import readme, targets
from experiments.analyses.predictions import TextPredictions
from experiments.analyses.records import ROOT
from tests.tiny import tiny_byte_level, tiny_metaspace

MANY, FEW = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
TEXT = "In 2024 we sold 1234567 units."


def sure(tokenizer, text):
    return targets.own_next(tokenizer.encode(text, special_tokens=False).ids)


def test_a_sure_model_repeats_the_text_and_its_last_token():
    assert targets.own_next(np.array([5, 6, 7], dtype=np.int32)).tolist() == [[6], [7], [7]]


@pytest.mark.parametrize(("student", "teacher"), [(MANY, FEW), (FEW, MANY), (MANY, tiny_metaspace())])
def test_migration_of_a_sure_teacher_is_the_text_itself(student, teacher):
    a = align(TEXT, student=student, teacher=teacher)
    made = targets.migrated(a, sure(teacher, TEXT), student, teacher)
    filled = made >= 0
    first = a.groups[0]  # nothing predicts its teacher token when that is the first of all
    assert filled[first[1] :].all()
    assert not filled[: 1 if first[3] > 1 else first[1]].any()
    assert (made == a.student.ids)[filled].all()


def test_a_number_that_the_teacher_splits_is_wrong_at_its_first_digit_without_migration():
    student, teacher = MANY, FEW
    a = align("a 201", student=student, teacher=teacher, method="gold")
    spelled = [student.token_bytes(int(i)) for i in a.student.ids]
    at = spelled.index(b"201")
    made = targets.matched(a, sure(teacher, "a 201"), student, teacher)
    assert student.token_bytes(int(made[at])) == b"2"  # the teacher's next token, which the student has as well
    whole = targets.migrated(align("a 201", student=student, teacher=teacher), sure(teacher, "a 201"), student, teacher)
    assert whole[at] == a.student.ids[at]


def test_the_nearest_spelling_stands_in_where_no_token_is_equal():
    student, teacher = FEW, MANY  # the teacher's " llamas" or "student" have no equal there
    text = "The student reads the text of the teacher"
    a = align(text, student=student, teacher=teacher, method="cdm")
    top_t, top_s = sure(teacher, text), sure(student, text)
    exact = targets.matched(a, top_t, student, teacher)
    near = targets.contextual(a, top_t, top_s, student, teacher)
    assert ((near >= 0) >= (exact >= 0)).all()
    assert (near[exact >= 0] == exact[exact >= 0]).all()


def test_mined_copies_only_accepted_pairs():
    a = align(TEXT, student=MANY, teacher=FEW, method="mined")
    table = exact_matches(FEW, MANY)[0]
    made = targets.copied(a, sure(FEW, TEXT), table)
    from ctkd_core.alignment.mined import usable_rows

    accepted = usable_rows(a, "soft", table) >= 0
    assert (made[1:] >= 0).sum() <= accepted[:-1].sum()
    assert not (made[1:][~accepted[:-1]] >= 0).any()


def test_one_tokenizer_on_both_sides_is_always_right():
    e = MANY.encode(TEXT, special_tokens=False)
    n, top = len(e), targets.own_next(e.ids)
    record = pilot.count(e, e, top, top, MANY, MANY, exact_matches(MANY, MANY)[0])
    assert record["rows"] == n - 1
    for method in ("sedi", "cdm", "mined", "gold"):
        assert record[method] == [n - 1, n - 1], method
    assert record["common"] == [n - 1] * 4


def test_masses_and_collisions_of_a_text():
    e = MANY.encode(TEXT, special_tokens=False)
    n = len(e)
    ids = np.tile(np.arange(3, 23, dtype=np.int32), (n, 1))
    said = TextPredictions(ids, np.full((n, 20), -3.5, dtype=np.float32), np.zeros(n, dtype=np.float32))
    found = pilot.migration(e, e, said, MANY, MANY)
    assert found["matched_mass"] == pytest.approx(found["mass"])
    assert found["collided"] == 0
    assert found["written"] + found["dropped"] == found["candidates"] == 20 * (n - 1)


@pytest.mark.parametrize(("student", "teacher"), [(MANY, FEW), (FEW, MANY), (tiny_metaspace(), MANY)])
def test_looking_up_some_ids_is_the_whole_map_at_these(student, teacher):
    from ctkd_core.losses.mined import heaviest_rows
    from ctkd_core.vocabulary.nearest import project_nearest

    whole = heaviest_rows(project_nearest(student, teacher, direction="teacher", ties="first"))
    wanted = np.arange(0, teacher.n_ids, 3)
    found = targets.near_ids(student, teacher, wanted)
    assert (found[wanted] == whole[wanted]).all()
    assert (np.delete(found, wanted) == -1).all()


def test_repair_leaves_only_a_wrong_last_row():
    gold = np.array([4, 5, 6, 7])
    made = {name: np.array([-1, 5, 9, 9]) for name in pilot.METHODS}
    found = pilot.rights(made, gold)
    assert found["sedi"] == [3, 1]
    assert found["common"] == [3, 1, 1, 1]
    assert found["repaired"] == 2
    made["sedi"] = np.array([-1, 9, 9, 7])
    assert pilot.rights(made, gold)["repaired"] == 3


def record(language, **of_sedi):
    counts = {"cdm": [10, 8], "mined": [10, 6], "sedi": [10, 10]} | of_sedi
    return {name: counts.get(name, [10, 5]) for name in pilot.METHODS} | {
        "common": [5, 3, 4, 5], "repaired": 10, "language": language, "rows": 12, "teacher_tokens": 6,
        "candidates": 100, "dropped": 5, "written": 90, "collided": 60 if language == "ru" else 9,
        "mass": 1.0, "matched_mass": 0.5,
    }  # fmt: skip


def test_tables_and_claims_follow_from_the_records():
    pair = (pilot.GEMMA, "smollm2")
    texts = [record(language) for language in ("ru", "ru", "en", "en")]
    records = {pair: {"conversion": texts, "prediction": texts}}
    tables = pilot.tables_of(records)
    assert all(len(row) == len(t["columns"]) for t in tables for row in t["rows"])
    assert tables[0]["rows"][0][:5] == ["English", *pair, "60.0 (60.0 to 60.0)", "50.0 (50.0 to 50.0)"]
    assert {c["verdict"] for c in pilot.claims_of(records)} == {"reproduced"}
    worse = [record(language, sedi=[10, 3]) for language in ("ru", "en")]
    records = {pair: {"conversion": texts, "prediction": worse}}
    found = {c["claim"]: c["verdict"] for c in pilot.claims_of(records)}
    where = "(of the rows that it fills; prediction, English)"
    assert found[f"SeDi makes more right targets than CDM {where}."] == "contradicted"
    assert found[f"CDM makes more right targets than MinED {where}."] == "reproduced"


def test_rows_that_a_method_leaves_out_count_as_wrong_of_all_rows():
    texts = [record("en", mined=[4, 4], cdm=[10, 8])]
    assert pilot.gap(texts, "cdm", "mined").value == pytest.approx(-0.2)
    assert pilot.gap(texts, "cdm", "mined", of_all=True).value == pytest.approx(4 / 12)


def test_the_readme_repeats_the_results(tmp_path):
    found = {
        "claims": [{"claim": "a | b", "source": "s", "ours": "o", "verdict": "undecided"}],
        "tables": [{"title": "T", "columns": ["x", "y"], "rows": [[1, "2"]], "note": "n"}],
    }
    path = tmp_path / "README.md"
    readme.write(path, found)
    assert not path.exists()
    path.write_text(f"# A\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.write(path, found)
    text = path.read_text()
    assert "old" not in text and text.endswith(f"{readme.END}\nafter\n")
    assert "| a / b | s | o | undecided |" in text and "| 1 | 2 |" in text
    readme.write(path, found)
    assert path.read_text() == text


@pytest.mark.parametrize("name", ["migrated-targets", "alignment-error"])
def test_what_is_written_of_an_experiment_is_what_it_found(name):
    folder = ROOT / name
    path = folder / "results.json"
    if not path.exists():
        pytest.skip("not run yet")
    assert readme.rendered(json.loads(path.read_text(encoding="utf-8"))) in (folder / "README.md").read_text(
        encoding="utf-8"
    )
