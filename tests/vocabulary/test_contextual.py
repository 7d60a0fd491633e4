"""The contextual map of CDM, clean: equal to a plain loop, rules worked by hand, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary.contextual import Rule, Side, contextual_map, sides
from tests.tiny import tiny_byte_level, tiny_metaspace
from tests.vocabulary.test_matches import ALPHABET, byte_level
from tests.work import lines_run

STRINGS = st.none() | st.text(alphabet="ab", max_size=5)


def slow_pass(source_top, target_top, source, target, rule):
    """One pass, slot by slot and candidate by candidate."""
    taken = {int(v) for v in source.static if v >= 0} if rule.ban_taken else set()
    out = []
    for mine, theirs in zip(source_top, target_top):
        row = []
        for u in mine:
            if u >= len(source.static):
                row.append(-1)
            elif source.static[u] >= 0:
                row.append(int(source.static[u]))
            else:
                chosen, least = -1, rule.threshold
                for v in theirs:
                    if source.strings[u] is None or v >= len(target.strings) or target.strings[v] is None or v in taken:
                        continue
                    a, b = source.strings[u], target.strings[v]
                    distance = Levenshtein.distance(a, b) / (len(a) + len(b)) if a or b else 0.0
                    if distance < least:
                        chosen, least = int(v), distance
                row.append(chosen)
        out.append(row)
    return out


@st.composite
def problems(draw):
    v_s, v_t, rows = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.integers(0, 4))

    def side(own, other):
        return Side(
            draw(st.lists(STRINGS, min_size=own, max_size=own)),
            np.array(draw(st.lists(st.integers(-1, other - 1), min_size=own, max_size=own)), dtype=np.int64),
        )

    def top(width):  # the model's head may be one wider than the tokenizer
        k = draw(st.integers(1, width))
        lists = [draw(st.permutations(range(width + 1)))[:k] for _ in range(rows)]
        return np.array(lists, dtype=np.int32).reshape(rows, k)

    rule = Rule(draw(st.sampled_from([0.0, 0.2, 0.3, 1.0])), draw(st.booleans()))
    return top(v_s), top(v_t), side(v_s, v_t), side(v_t, v_s), rule


@given(problems())
def test_equal_to_a_plain_loop(problem):
    student_top, teacher_top, student, teacher, rule = problem
    found = contextual_map(student_top, teacher_top, student, teacher, rule)
    forward = slow_pass(teacher_top, student_top, teacher, student, rule)
    backward = slow_pass(student_top, teacher_top, student, teacher, rule)
    assert found.forward.target.tolist() == forward
    assert found.backward.target.tolist() == backward
    for slots in (found.forward, found.backward):
        assert not (slots.dynamic & ~slots.mapped).any()
        assert (slots.distance[slots.dynamic] < rule.threshold).all()
        assert (slots.distance[~slots.dynamic] == 0).all()


def side(words, static):
    return Side(words, np.array(static, dtype=np.int64))


def test_the_nearest_of_the_same_row_and_of_equals_the_likelier():
    student, teacher = side(["cat", "cot", "dog", "cats"], [-1] * 4), side(["cuts", "dogs"], [-1, -1])
    found = contextual_map(np.array([[1, 0, 2], [0, 1, 2], [2, 3, 1]]), np.array([[0, 1]] * 3), student, teacher)
    # "cuts" is 2 edits of 7 symbols from "cat" and "cot", 1 of 8 from "cats"
    assert found.forward.target.tolist() == [[1, 2], [0, 2], [3, 2]]
    assert found.forward.distance[2, 0] == 1 / 8
    # what one row finds is no other row's partner, and id 0 is a token like any other
    assert found.backward.target.tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0]]


def test_the_threshold_itself_is_too_far():
    student, teacher = side(["abcdefg"], [-1]), side(["abc"], [-1])
    tops = np.array([[0]]), np.array([[0]])
    assert contextual_map(*tops, student, teacher, Rule(threshold=0.4)).match_rate == 0
    assert contextual_map(*tops, student, teacher, Rule(threshold=0.41)).match_rate == 1
    assert contextual_map(*tops, side(["a"], [-1]), side(["a"], [-1]), Rule(threshold=0)).match_rate == 0


def test_tokens_that_the_static_map_gave_away_are_not_found():
    student = side(["cats", "catz"], [-1, -1])
    teacher = side(["cats!", "catty", "cats"], [-1, -1, 0])
    tops = np.array([[0, 1]]), np.array([[0, 2]])
    taken = contextual_map(*tops, student, teacher)
    assert taken.forward.target.tolist() == [[1, 0]]
    assert taken.forward.dynamic.tolist() == [[True, False]]
    assert (taken.forward.static_match_rate, taken.forward.match_rate) == (0.5, 1.0)
    free = contextual_map(*tops, student, teacher, Rule(ban_taken=False))
    assert free.forward.target.tolist() == [[0, 0]]


def test_a_real_kind_of_pair():
    student, teacher = tiny_byte_level(400, 3), tiny_metaspace()
    own, other = sides(student, teacher)
    assert sides(student, teacher)[0] is own
    assert own.static[student.eos_id] == teacher.eos_id
    assert all(own.strings[i] is None for i in student.special_ids)
    the = next(i for i in range(student.n_ids) if student.token(i) == "Ġthe")
    assert teacher.token_bytes(int(own.static[the])) == b" the"
    # a piece of a character that only one vocabulary can spell finds nothing that isn't that byte
    everything = np.arange(student.n_ids)[None], np.arange(teacher.n_ids)[None]
    found = contextual_map(*everything, own, other)
    for slots, mine, theirs in ((found.forward, other, own), (found.backward, own, other)):
        for u, v in zip(slots.source[slots.dynamic], slots.target[slots.dynamic]):
            a, b = mine.strings[u], theirs.strings[v]
            assert Levenshtein.distance(a, b) < 0.3 * (len(a) + len(b)) or a == b == ""
    identity = contextual_map(everything[0], everything[0], *sides(student, student))
    written = [i for i, b in enumerate(student.all_token_bytes()) if b]
    assert np.flatnonzero(identity.forward.target[0] == everything[0][0]).tolist() == written
    assert not identity.forward.dynamic.any()


def test_rates_weighted_by_probability():
    student = side(["cats", "catz", "dog"], [-1, -1, -1])
    teacher = side(["cats!", "horse", "cats"], [-1, -1, 0])
    found = contextual_map(np.array([[0, 1]] * 2), np.array([[0, 2], [1, 2]]), student, teacher).forward
    assert found.mapped.tolist() == [[True, True], [False, True]]
    p = np.array([[0.5, 0.25], [0.125, 0.125]])
    assert found.weighted_match_rate(p) == (0.5 + 0.25 + 0.125) / 1.0
    assert found.weighted_match_rate(p, static=True) == 0.25 + 0.125
    assert found.weighted_match_rate(np.ones((2, 2))) == found.match_rate
    assert found.weighted_match_rate(np.zeros((2, 2))) == 0
    with pytest.raises(ProjectionError, match=r"probabilities are \[2\], their candidates \[2, 2\]"):
        found.weighted_match_rate(p[0])


def test_holes_duplicates_half_characters_and_padding():
    """Ids 258 to 299 don't exist; "ab" is spelled twice by the teacher; 400 is a padded column."""
    ab, cd = ("a", "b"), ("c", "d")
    student = byte_level(["ab"], [ab], {"<eos>": 300})
    teacher = byte_level(["ab", "cd"], [ab, cd], {"ab ": 258}, special=False)
    own, other = sides(student, teacher)
    assert all(own.strings[i] is None and own.static[i] == -1 for i in range(257, 300))
    assert other.strings[256] == other.strings[258] == "ab", "blanks are deleted"
    half = ALPHABET.index("\u00c3")
    found = contextual_map(np.array([[256, half, 257, 400]]), np.array([[258, half, 256, 400]]), own, other)
    # the student's "ab" is the image of the teacher's first "ab", so that the second one finds nothing
    assert found.forward.target.tolist() == [[-1, half, 256, -1]]
    assert found.backward.target.tolist() == [[256, half, -1, -1]]
    free = contextual_map(np.array([[256, half]]), np.array([[258, half]]), own, other, Rule(ban_taken=False))
    assert free.forward.target.tolist() == [[256, half]]
    assert free.forward.dynamic.tolist() == [[True, False]]


def test_a_batch_of_rows_is_every_row_for_itself():
    """256 rows of 100 candidates, 15 % of them without an equal token: the size that training asks for each step."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 9))) for _ in range(4000)]
    lists = [np.stack([rng.permutation(4000)[:100] for _ in range(256)]) for _ in range(2)]
    own, other = (side(words, np.where(rng.random(4000) < 0.85, rng.permutation(4000), -1)) for _ in range(2))
    whole = contextual_map(lists[0], lists[1], own, other)
    assert 0.13 < 1 - whole.forward.static_match_rate < 0.17
    for row in range(0, 256, 32):
        alone = contextual_map(lists[0][row : row + 1], lists[1][row : row + 1], own, other)
        for one, all_of_them in ((alone.forward, whole.forward), (alone.backward, whole.backward)):
            np.testing.assert_array_equal(one.target[0], all_of_them.target[row])
            np.testing.assert_array_equal(one.distance[0], all_of_them.distance[row])
    work = [lines_run(lambda n=n: contextual_map(lists[0][:n], lists[1][:n], own, other)) for n in (64, 256)]
    assert work[1] < 4.2 * work[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"student_top": np.array([[0.5]])}, "student's candidates are float64"),
        ({"teacher_top": np.array([0])}, r"teacher's candidates are int64 \[1\]"),
        ({"teacher_top": np.array([[0], [0]])}, "1 student rows face 2 teacher rows"),
        ({"student_top": np.array([[-1]])}, "hold id -1"),
        ({"student": side(["a"], [7])}, "student's static map points at id 7"),
        ({"rule": Rule(threshold=1.5)}, "threshold is 1.5"),
    ],
)
def test_refusals(change, sentence):
    given = {
        "student_top": np.array([[0]]),
        "teacher_top": np.array([[0]]),
        "student": side(["a"], [-1]),
        "teacher": side(["a"], [-1]),
    }
    with pytest.raises(ProjectionError, match=sentence):
        contextual_map(**given | change)
    with pytest.raises(ProjectionError, match="2 strings has a static map of 1"):
        side(["a", "b"], [0])


def test_no_rows():
    none = np.zeros((0, 3), dtype=np.int64)
    found = contextual_map(none, none, side(["a"], [-1]), side(["a"], [-1]))
    assert (found.match_rate, found.forward.static_match_rate) == (0, 0)
    assert found.forward.used.shape == (0,)
