"""ALM chunks: where they may end, what is merged, what is flagged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctkd_core.alignment import align
from ctkd_core.alignment.alm import alm, boundary_tokens, log_space_probability, merged_chunks
from ctkd_core.alignment.spans import sedi
from ctkd_core.errors import AlignmentError
from tests.alignment.make import encoded_twice, encoding, of_spans
from tests.alignment.test_spans import assert_partition
from tests.golden.alm import chunk_of_tokens
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

CHUNKINGS = ["plain", "space", "bias"]


@st.composite
def with_probabilities(draw):
    pair = draw(encoded_twice())
    numbers = st.floats(0, 1, width=32)
    return *pair, np.array(draw(st.lists(numbers, min_size=len(pair[1]), max_size=len(pair[1]))))


def texts(alignment):
    return [alignment.student_bytes(g).decode("utf-8", "replace") for g in range(len(alignment))]


@pytest.mark.parametrize("chunking", CHUNKINGS)
@given(given=with_probabilities())
def test_every_token_is_in_one_chunk_in_order_and_both_sides_spell_it(chunking, given):
    s, t, p = given
    alignment = alm(s, t, chunking=chunking, teacher_space_probability=p)
    assert_partition(alignment.groups, len(s), len(t))
    mine = [alignment.student_bytes(g) for g in range(len(alignment))]
    assert b"".join(mine) == s.text.encode()
    assert mine == [alignment.teacher_bytes(g) for g in range(len(alignment))]
    assert alignment.flags.all()


@given(encoded_twice())
def test_plain_chunks_of_whole_texts_are_the_span_components_in_both_variants(pair):
    exact = sedi(*pair).groups.tolist()
    assert alm(*pair).groups.tolist() == exact
    assert alm(*pair, variant="released").groups.tolist() == exact


@pytest.mark.parametrize("chunking", ["plain", "space"])
@pytest.mark.parametrize("variant", ["clean", "released"])
@given(pair=encoded_twice())
@settings(max_examples=50)
def test_swapping_the_sides_swaps_the_chunks(chunking, variant, pair):
    there, back = (alm(*p, chunking=chunking, variant=variant) for p in (pair, pair[::-1]))
    assert there.swap().groups.tolist() == back.groups.tolist()


@given(encoded_twice())
@settings(max_examples=50)
def test_one_tokenizer_on_both_sides_gives_1_1_chunks_only(pair):
    one = pair[0]
    assert alm(one, one).groups.tolist() == [[k, k + 1, k, k + 1] for k in range(len(one))]


@given(encoded_twice())
def test_space_chunks_are_unions_of_plain_ones_and_begin_with_a_space(pair):
    plain, spaced = alm(*pair), alm(*pair, chunking="space")
    ends = {tuple(row) for row in plain.groups[:, [1, 3]].tolist()}
    assert {tuple(row) for row in spaced.groups[:, [1, 3]].tolist()} <= ends
    assert all(text.startswith(" ") for text in texts(spaced)[1:])
    kept = [k for k, text in enumerate(texts(plain)) if k and text.startswith(" ")]
    assert len(spaced) == (len(kept) + 1 if len(plain) else 0)
    assert alm(*pair, chunking="space", variant="released").groups.tolist() == spaced.groups.tolist()


@given(with_probabilities(), st.floats(0, 1))
def test_biased_chunks_end_exactly_where_the_teacher_expects_a_boundary(given, threshold):
    s, t, p = given
    plain = alm(s, t)
    merged = alm(s, t, chunking="bias", space_threshold=threshold, teacher_space_probability=p)
    wanted = [row[1] for row in plain.groups.tolist() if p[row[3] - 1] > threshold or row[1] == len(s)]
    assert merged.groups[:, 1].tolist() == wanted
    nothing = alm(s, t, chunking="bias", space_threshold=1.0, teacher_space_probability=p)
    assert len(nothing) == min(1, len(plain))


def test_words_by_spaces():
    s = encoding(["The", " qu", "ick", " fox", "es", "!"])
    t = encoding(["The", " quick", " f", "oxes", "!"])
    assert texts(alm(s, t)) == ["The", " quick", " foxes", "!"]
    assert texts(alm(s, t, chunking="space")) == ["The", " quick", " foxes!"]
    p = [0.9, 0.05, 0.9, 0.9, 0.9]
    merged = alm(s, t, chunking="bias", teacher_space_probability=p)
    assert texts(merged) == ["The", " quick foxes", "!"]


def test_without_probabilities_nothing_is_merged_and_a_note_says_so():
    s, t = encoding(["a", "b"]), encoding(["a", "b"])
    alignment = alm(s, t, chunking="bias")
    assert len(alignment) == 2
    assert "Nothing is merged" in alignment.notes[-1]
    assert not alm(s, t, chunking="bias", teacher_space_probability=[1, 1]).notes


def test_probabilities_pass_through_align():
    s, t = tiny_byte_level(400), tiny_byte_level(300, digits=1)
    text = "The cats sat in 2024."
    n = len(t.encode(text))
    one = align(text, student=s, teacher=t, method="alm", chunking="bias", teacher_space_probability=np.zeros(n))
    assert len(one) == 1
    with pytest.raises(AlignmentError, match=rf"one number for each of the {n} teacher tokens; its shape is \[3\]"):
        align(text, student=s, teacher=t, method="alm", chunking="bias", teacher_space_probability=np.zeros(3))


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.nan])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(AlignmentError, match=r"must lie between 0 and 1; token 1 has"):
        alm(encoding(["a", "b"]), encoding(["a", "b"]), teacher_space_probability=[0.5, wrong])


def test_unknown_chunking_and_two_texts_are_refused():
    with pytest.raises(AlignmentError, match="did you mean 'space'"):
        alm(encoding(["a"]), encoding(["a"]), chunking="spaces")
    with pytest.raises(AlignmentError, match="must encode one text"):
        alm(encoding(["a"]), encoding(["b"]))


def test_strings_that_differ_are_dropped_by_the_released_walk_and_flagged_by_the_clean_one():
    s, t = tiny_byte_level(400), tiny_wordpiece()
    text = "The cats sat"
    clean = align(text, student=s, teacher=t, method="alm")
    assert_partition(clean.groups, len(clean.student), len(clean.teacher))
    assert not clean.flags[0]  # "The" against "the"
    dropped = align(text, student=s, teacher=t, method="alm", variant="released")
    assert_partition(dropped.groups, len(dropped.student), len(dropped.teacher))
    assert "drops" in dropped.notes[-1]
    two_sided = (dropped.sizes > 0).all(axis=1)
    assert dropped.flags.tolist() == two_sided.tolist()


def test_a_blank_before_the_text_on_one_side_changes_nothing():
    s, t = tiny_byte_level(400), tiny_metaspace()
    for variant in ("clean", "released"):
        alignment = align("The cats sat", student=s, teacher=t, method="alm", variant=variant)
        assert alignment.flags.all()
        assert texts(alignment)[-1].endswith("t")
        assert not any("drops" in note for note in alignment.notes)


def test_what_follows_the_last_common_boundary_faces_nothing_when_released():
    s, t = of_spans([(0, 2), (2, 4)], 4), of_spans([(0, 2)], 4)
    assert alm(s, t, variant="released").groups.tolist() == [[0, 1, 0, 1], [1, 2, 1, 1]]
    assert alm(s, t).groups.tolist() == [[0, 1, 0, 1], [1, 2, 1, 1]]
    assert alm(s, t).flags.tolist() == [True, False]


def test_merging_takes_in_neither_lonely_nor_special_tokens():
    groups = np.array([[0, 1, 0, 1], [1, 2, 1, 1], [2, 3, 1, 2], [4, 5, 2, 3], [5, 6, 3, 4]], dtype=np.int32)
    never = np.zeros(5, dtype=bool)
    assert merged_chunks(groups, never).tolist() == [[0, 1, 0, 1], [1, 2, 1, 1], [2, 3, 1, 2], [4, 6, 2, 4]]
    assert merged_chunks(groups, ~never).tolist() == groups.tolist()
    assert merged_chunks(groups[:0], never[:0]).shape == (0, 4)
    s = encoding(["a", "b", "<x>", "c"], special=(2,))
    assert texts(alm(s, encoding(["a", "b", "c"]), chunking="space")) == ["ab", "c"]


def test_chunk_of_tokens_numbers_two_sided_chunks():
    groups = np.array([[1, 3, 0, 1], [3, 4, 1, 1], [4, 5, 1, 3]], dtype=np.int32)
    assert chunk_of_tokens(groups, 6).tolist() == [-1, 0, 0, -1, 1, -1]
    assert chunk_of_tokens(groups, 4, "teacher").tolist() == [0, 1, 1, -1]
    assert chunk_of_tokens(groups[:0], 2).tolist() == [-1, -1]


def test_boundary_tokens_begin_with_blanks_or_are_special():
    tokenizer = tiny_byte_level(400)
    table = boundary_tokens(tokenizer)
    assert table.shape == (tokenizer.n_ids,)
    for token_id in range(tokenizer.n_ids):
        blank = tokenizer.token_bytes(token_id)[:1] in (b" ", b"\n", b"\t")
        assert table[token_id] == (blank or token_id in tokenizer.special_ids)


def test_log_probability_of_a_boundary():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 7))
    mask = np.array([True, False, True, False, False])  # logits are padded to 7
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(log_space_probability(logits, mask), np.log(p[:, [0, 2]].sum(axis=1)), rtol=1e-12)
    assert (log_space_probability(logits, np.zeros(7, dtype=bool)) == -np.inf).all()
    assert np.isfinite(log_space_probability(logits * 1e4, mask)).all()
    assert log_space_probability(np.zeros((0, 7)), mask).shape == (0,)
    with pytest.raises(AlignmentError, match=r"got \(5, 7\) and \(9,\)"):
        log_space_probability(logits, np.zeros(9, dtype=bool))
