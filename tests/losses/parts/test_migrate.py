"""Migration tables: teacher tokens in student tokens, whole and behind a prefix."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers

from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import migration, migration_store
from ctkd_core.vocabulary.migration import migration_table
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece
from tests.vocabulary.test_matches import byte_level

STUDENT, TEACHER = tiny_byte_level(400, 3), tiny_byte_level(300, 1)


@pytest.mark.parametrize(
    "student, teacher", [(STUDENT, TEACHER), (tiny_metaspace(), TEACHER), (STUDENT, tiny_metaspace())]
)
def test_pieces_spell_the_token(student, teacher):
    table = migration_table(student, teacher)
    for token, data in enumerate(teacher.all_token_bytes()):
        pieces = table.whole[token]
        if token == teacher.eos_id:
            assert pieces == ([] if student.eos_id is None else [student.eos_id])
        elif token in teacher.special_ids:
            assert pieces == []
        else:
            assert b"".join(student.token_bytes(i) for i in pieces) == data


def test_equal_tokenizers_map_to_themselves():
    table = migration_table(STUDENT, STUDENT)
    own = [i for i in range(STUDENT.n_ids) if i not in STUDENT.special_ids]
    single = [i for i in own if table.whole[i] == [i]]
    assert len(single) > 0.95 * len(own)  # a few tokens aren't what their own text encodes to
    assert table.whole[STUDENT.eos_id] == [STUDENT.eos_id]


def test_built_once():
    assert migration_table(STUDENT, TEACHER) is migration_table(STUDENT, TEACHER)


def test_a_large_table_is_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setattr(migration, "FEWEST_ON_DISK", 0)
    student, teacher = tiny_byte_level(350, 4), tiny_byte_level(310, 2)
    built = migration.migration_table.__wrapped__(student, teacher).whole
    path = migration_store.place(student, teacher)
    good = path.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(migration, "_write", None)  # nothing is written anew
        again = migration.migration_table.__wrapped__(student, teacher).whole
        for part in ("flat", "start", "length"):
            np.testing.assert_array_equal(getattr(again, part), getattr(built, part))
    assert migration_store.place(student, student) != path != migration_store.place(teacher, student)
    for damaged in (good[:-8], good[:-1] + bytes([good[-1] ^ 1]), b"{}", b""):
        path.write_bytes(damaged)
        assert migration_store.read(path, student.n_ids, teacher.n_ids) is None
        again = migration.migration_table.__wrapped__(student, teacher).whole
        np.testing.assert_array_equal(again.flat, built.flat)
        assert path.read_bytes() == good
    assert migration_store.read(path, int(built.flat.max()), teacher.n_ids) is None
    assert migration_store.read(path, student.n_ids, teacher.n_ids + 1) is None


def test_a_table_that_cannot_be_kept_is_built(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setattr(migration, "FEWEST_ON_DISK", 0)
    student, teacher = tiny_byte_level(350, 4), tiny_byte_level(310, 2)
    assert len(migration.migration_table.__wrapped__(student, teacher).whole.length) == teacher.n_ids


def test_prefixed_candidates():
    table = migration_table(STUDENT, TEACHER)
    digits = [TEACHER.id_of(d) for d in "4567"]
    candidates = np.array([[*digits, TEACHER.eos_id, TEACHER.bos_id, TEACHER.n_ids + 7]] * 2)
    pieces = table.prefixed([b"20", b"\xf0\x9f\xa6"], candidates)
    assert pieces.length.shape == (2, 7)
    for k, digit in enumerate("4567"):
        assert pieces[0, k] == STUDENT.encode_pieces([f"20{digit}"])[0]
    assert pieces[0, 4] == [*STUDENT.encode_pieces(["20"])[0], STUDENT.eos_id]
    assert pieces[0, 5] == pieces[0, 6] == []
    # Half an emoji and a digit: no text, but bytes that the student can spell.
    assert b"".join(STUDENT.token_bytes(i) for i in pieces[1, 0]) == b"\xf0\x9f\xa64"
    again = table.prefixed([b"20", b"\xf0\x9f\xa6"], candidates)
    assert (again.flat == pieces.flat).all()


def test_a_prefix_completes_a_character():
    table = migration_table(STUDENT, TEACHER)
    last = next(i for i, b in enumerate(TEACHER.all_token_bytes()) if b == b"\x99")
    pieces = table.prefixed(["🦙".encode()[:3]], np.array([[last]]))
    assert pieces[0, 0] == STUDENT.encode_pieces(["🦙"])[0]


def test_a_normalising_student_keeps_whole_characters_only():
    table = migration_table(tiny_wordpiece(), TEACHER)
    capital = TEACHER.id_of("T")
    assert table.whole[capital] == tiny_wordpiece().encode_pieces(["t"])[0]  # lower-cased, still the letter
    half = next(i for i, b in enumerate(TEACHER.all_token_bytes()) if b == b"\xf0")
    assert table.whole[half] == []
    assert (table.whole.length == 0).any()


def test_a_student_without_bytes_writes_no_part_of_a_broken_character():
    few = Tokenizer.from_backend(Backend(models.BPE({"a": 0, "b": 1, "é": 2}, [])), "few", source="tests")
    teacher = byte_level(["a\u00c3"], [("a", "\u00c3")])  # "a" and the first half of "é"
    table = migration_table(few, teacher)
    assert table.whole[256] == []  # not "a"
    first, second, letter = (teacher.id_of(x) for x in ("\u00c3", "\u00a9", "a"))
    pieces = table.prefixed([b"a", b"\xc3"], np.array([[first, second, letter, 256]] * 2))
    assert [[pieces[i, k] for k in range(4)] for i in range(2)] == [[[], [], [0, 0], []], [[], [2], [], []]]


def test_a_student_that_drops_what_it_doesnt_know_writes_no_text_without_it():
    few = Backend(models.BPE({"a": 0, "b": 1, "e": 2, " ": 3}, []))
    few.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    student = Tokenizer.from_backend(few, "few", source="tests")
    teacher = byte_level(["aX", "AB", "eé", "a\u010a"], [("a", "X"), ("A", "B"), ("a", "\u010a")])
    table = migration_table(student, teacher)
    whole = {name: table.whole[teacher.id_of(name)] for name in ("aX", "AB", "X", "B", "a")}
    assert whole == {"aX": [], "AB": [0, 1], "X": [], "B": [1], "a": [0]}  # not "a" for "aX"
    assert table.whole[teacher.id_of("a\u010a")] == []  # nor for "a" and a line break
    second = next(i for i, b in enumerate(teacher.all_token_bytes()) if b == b"\xa9")
    letters = np.array([[teacher.id_of("X"), teacher.id_of("B"), second]] * 2)
    pieces = table.prefixed([b"a", b"\xc3"], letters)
    assert [[pieces[i, k] for k in range(3)] for i in range(2)] == [[[], [0, 1], []], [[], [], [2]]]
