"""X-Token: the compiled dynamic program against its slow twin, anchors, cuts, repair, flags, released strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ctkd_core.alignment import cheapest_path, repair
from ctkd_core.alignment import spellings as sp
from ctkd_core.alignment.dynamic import xtoken
from ctkd_core.alignment.released import xtoken as released
from ctkd_core.alignment.spans import sedi
from ctkd_core.errors import AlignmentError
from tests.alignment.make import encoded_twice, encoding
from tests.alignment.reference import span_alignment_plain
from tests.alignment.test_spans import assert_partition

STRINGS = st.lists(st.binary(max_size=3).map(lambda b: bytes(97 + x % 2 for x in b)), max_size=12)


def score(pairs, s, t):
    """Score of groups under the published scores."""
    total = 0.0
    for s0, s1, t0, t1 in pairs:
        sizes = s1 - s0, t1 - t0
        if sizes == (1, 1):
            total += sp.EQUAL if s[s0] == t[t0] else -sp.EQUAL
        else:
            total += sp.GAP if 0 in sizes else sp.SPAN_TOKEN * max(sizes)
            assert 0 in sizes or b"".join(s[s0:s1]) == b"".join(t[t0:t1])
    return total


def search(s, t, max_span=4, anchors=False):
    return sp.span_pairs(sp.Spellings.of(s), sp.Spellings.of(t), max_span, anchors)[0].tolist()


@given(STRINGS, STRINGS, st.integers(1, 5))
def test_path_equals_the_slow_twin(s, t, max_span):
    best, groups = span_alignment_plain(s, t, max_span)
    found = search(s, t, max_span)
    assert found == [list(g) for g in groups]
    assert score(found, s, t) == best


@given(STRINGS, STRINGS)
def test_score_is_symmetric(s, t):
    """The path need not be: ties prefer a student token without partner to a teacher token."""
    assert score(search(s, t), s, t) == score(search(t, s), t, s)


@given(STRINGS)
def test_anchors_change_nothing_where_both_sides_are_equal(s):
    expected = [[k, k + 1, k, k + 1] for k in range(len(s))]
    assert search(s, s, anchors=True) == expected


@given(STRINGS, STRINGS, STRINGS)
def test_anchors_change_nothing_where_the_whole_search_passes_them(left, middle, right):
    s, t = [*left, *middle, *right], [*left, *middle[::-1], b"xy", *right]
    pins = sp._anchors(*sp._codes(sp.Spellings.of(s), sp.Spellings.of(t)), None)
    free, pinned = search(s, t), search(s, t, anchors=True)
    pairs = [[i + k, i + k + 1, j + k, j + k + 1] for i, j, length in pins.tolist() for k in range(length)]
    assert all(pair in pinned for pair in pairs)
    if all(pair in free for pair in pairs):
        assert score(pinned, s, t) == score(free, s, t)
    else:
        assert score(pinned, s, t) <= score(free, s, t)


@given(encoded_twice(), st.booleans(), st.booleans(), st.integers(1, 5))
def test_every_token_is_in_one_group_and_flags_tell_whether_texts_agree(pair, anchors, mend, max_span):
    a = xtoken(*pair, anchors=anchors, repair=mend, max_span=max_span)
    assert_partition(a.groups, len(pair[0]), len(pair[1]))
    assert a.flags.shape == (len(a),)
    for g in range(len(a)):
        both = a.sizes[g].all()
        if a.student_bytes(g) == a.teacher_bytes(g) and both:
            assert a.flags[g]
        if not both:
            assert not a.flags[g]
    wrong = int((~a.flags & (a.sizes > 0).all(axis=1)).sum())
    assert any(note.startswith(f"{wrong} of") for note in a.notes) == bool(wrong)


@given(encoded_twice())
def test_identical_tokenizers_give_1_1_groups_that_are_correct(pair):
    a = xtoken(pair[0], pair[0])
    assert a.groups.tolist() == [[k, k + 1, k, k + 1] for k in range(len(pair[0]))]
    assert a.flags.all()


@given(encoded_twice())
def test_the_repair_loses_no_correct_group(pair):
    plain, mended = xtoken(*pair, repair=False), xtoken(*pair)
    correct = {tuple(g) for g in plain.groups[plain.flags].tolist()}
    kept = [g for g, ok in zip(mended.groups.tolist(), mended.flags) if ok]
    for s0, s1, t0, t1 in correct:
        inside = any(a <= s0 and s1 <= b and c <= t0 and t1 <= d for a, b, c, d in kept)
        assert inside, "a group that agreed may become part of a larger one that agrees, nothing else"


def test_one_token_faces_the_pieces_that_spell_it():
    a = xtoken(encoding(["the", " 2024", " cats"]), encoding(["the", " 2", "0", "24", " cats"]))
    assert a.groups.tolist() == [[0, 1, 0, 1], [1, 2, 1, 4], [2, 3, 4, 5]]
    assert a.flags.all()
    assert a.pairs is None


def test_a_window_whose_texts_agree_becomes_one_group():
    """No token of "ab|cd" spells pieces of "a|bcd": only the repair finds that the two together agree."""
    s, t = encoding(["ab", "cd", "x", "y", "z"]), encoding(["a", "bcd", "x", "y", "z"])
    before, after = xtoken(s, t, repair=False), xtoken(s, t)
    assert before.groups.tolist()[:2] == [[0, 1, 0, 1], [1, 2, 1, 2]]
    assert not before.flags[:2].any()
    assert after.groups.tolist()[0] == [0, 2, 0, 2]
    assert after.flags.all()


def test_long_words_need_the_repair():
    pieces = ["un", "be", "liev", "ab", "le"]
    s, t = encoding(["so", "".join(pieces), "it", "is", "ok"]), encoding(["so", *pieces, "it", "is", "ok"])
    assert not xtoken(s, t, repair=False).flags.all()
    assert [1, 2, 1, 6] in xtoken(s, t).groups.tolist()
    assert [1, 2, 1, 6] in xtoken(s, t, repair=False, max_span=5).groups.tolist()


def test_runs_in_the_last_fifth_are_not_fused():
    good = [b"a"] * 8
    s, t = sp.Spellings.of([*good, b"x", b"y"]), sp.Spellings.of([*good, b"u", b"v"])
    pairs = np.array([[k, k + 1, k, k + 1] for k in range(10)], dtype=np.int32)
    assert repair.repaired(pairs, (s, t), ((s, t),), 4).tolist() == pairs.tolist()
    s, t = sp.Spellings.of([b"x", b"y", *good]), sp.Spellings.of([b"u", b"v", *good])
    assert repair.repaired(pairs, (s, t), ((s, t),), 4).tolist()[0] == [0, 2, 0, 2]


def test_only_neighbours_that_do_not_agree_are_fused():
    wrong, count = (0, 2, 5, 6, 7), 20
    s = sp.Spellings.of([b"x" if k in wrong else b"a" for k in range(count)])
    t = sp.Spellings.of([b"u" if k in wrong else b"a" for k in range(count)])
    pairs = np.array([[k, k + 1, k, k + 1] for k in range(count)], dtype=np.int32)
    expected = [[k, k + 1, k, k + 1] for k in range(count) if k not in (5, 6, 7)]
    expected.insert(5, [5, 8, 5, 8])
    assert repair.repaired(pairs, (s, t), ((s, t),), 4).tolist() == expected


def test_a_window_is_searched_once_more_unless_it_is_too_large(monkeypatch):
    texts = [b"a"] * 8 + [b"x", b"y", b"z"]
    s = sp.Spellings.of(texts)
    one_to_one = [[k, k + 1, k, k + 1] for k in range(len(texts))]
    pairs = np.array([*one_to_one[:8], [8, 10, 8, 9], [10, 11, 9, 11]], dtype=np.int32)  # "xy" faces "x", "z" "yz"
    assert repair.repaired(pairs, (s, s), ((s, s),), 4).tolist() == one_to_one
    monkeypatch.setattr(repair, "MAX_WINDOW_CELLS", 8)
    assert repair.repaired(pairs, (s, s), ((s, s),), 4).tolist() == [*one_to_one[:8], [8, 11, 8, 11]]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=12, unique_by=lambda x: x[0]))
def test_anchors_overlap_on_neither_side_and_never_go_back(places):
    from ctkd_core.alignment.kernels.dynamic import choose_anchors

    at = np.array(sorted(places), dtype=np.int64).reshape(-1, 2)
    found = choose_anchors(at, 3, 21)
    assert {tuple(x) for x in found.tolist()} <= set(places)
    assert (np.diff(found, axis=0) >= 3).all()
    assert found[:1].tolist() == at[:1].tolist()


def test_special_tokens_and_a_blank_before_the_text_take_no_part():
    s = encoding(["<s>", "The", " cat"], special=(0,))
    t = encoding(["The", " cat"])
    assert xtoken(s, t).groups.tolist() == [[1, 2, 0, 1], [2, 3, 1, 2]]
    marked = encoding(["The", " cat"])
    marked.token_bytes[0] = b" The"  # SentencePiece's own blank: not in the text
    a = xtoken(marked, t)
    assert a.flags.all()


def test_an_anchor_must_stand_at_the_same_place():
    """a|b|c is unique on both sides, but stands first for the student and later for the teacher."""
    s = encoding(["a", "b", "c", "-", "abc", "-"])
    t = encoding(["abc", "-", "a", "b", "c", "-"])
    assert xtoken(s, t, repair=False).groups.tolist() == [[0, 3, 0, 1], [3, 4, 1, 2], [4, 5, 2, 5], [5, 6, 5, 6]]
    misled = xtoken(s, t, repair=False, variant="released")
    assert [0, 1, 2, 3] in misled.groups.tolist()
    assert misled.flags.sum() < len(misled)


def test_a_text_without_anchors_is_cut_at_common_boundaries(monkeypatch):
    s, t = encoding(["aa", "a"] * 200), encoding(["a", "aa"] * 200)
    whole = xtoken(s, t)
    monkeypatch.setattr(cheapest_path, "MAX_CELLS", 1000)
    monkeypatch.setattr(cheapest_path, "WINDOW", 30)
    a = xtoken(s, t)
    assert "were cut at" in " ".join(a.notes)
    assert_partition(a.groups, len(s), len(t))
    assert a.metrics()["boundary_f1"] == pytest.approx(whole.metrics()["boundary_f1"], abs=0.02)
    monkeypatch.setattr(cheapest_path, "BAND_CELLS", 300)
    with pytest.raises(AlignmentError, match="no 3-gram to pin the path and no byte boundary in common"):
        xtoken(s, t)
    with pytest.raises(AlignmentError, match=r"400 student and 400 teacher tokens .* variant 'clean'"):
        xtoken(s, t, variant="released")


@given(encoded_twice())
def test_correct_groups_are_unions_of_span_groups_where_no_blank_is_involved(pair):
    assume(" " not in pair[0].text)
    ends = {tuple(x) for x in sedi(*pair).groups[:, [1, 3]].tolist()} | {(0, 0)}
    a = xtoken(*pair)
    if a.flags.all():
        assert {tuple(x) for x in a.groups[:, [1, 3]].tolist()} <= ends


@pytest.mark.parametrize(
    ("token", "form"),
    [
        ("\u2581the", "\u0120the"),
        ("_name", "\u0120name"),
        ("\u0109", "\n"),
        ("\u0120\u010a", "\u0120\n"),
        ("\\n\\n", "\n\n"),
        ("\u0120.", "."),
        ("\u0120!", "\u0120!"),
        ("<0x41>", "A"),
        ("<0xZZ>", "<0xZZ>"),
        ("caf\u00c3\u00a9", "café"),
        ("<pad>", ""),
    ],
)
def test_released_canonical_strings(token, form):
    assert released.canonical(token) == form


def test_released_strings_join_pieces_of_one_character():
    groups, correct = released.align_strings(["\u0120\u00e2\u012a", "\u0133", "a"], ["\u0120∑", "a"])
    assert groups.tolist() == [[0, 2, 0, 1], [2, 3, 1, 2]]
    assert correct.all()
    # neighbours that read as bytes are joined only when the whole run is one character
    assert released.align_strings(["\u00ce", "\u00b1"], ["α"])[0].tolist() == [[0, 2, 0, 1]]
    assert released.align_strings(["\u00ce", "\u00b1", "a"], ["α", "a"])[0].tolist()[-1] == [2, 3, 1, 2]
    assert released.align_strings([], [])[0].shape == (0, 4)


def test_released_alignment_counts_special_tokens_as_gaps():
    s, t = encoding(["<s>", "The", " cat", " sat"], special=(0,)), encoding(["The", " cat", " sat"])
    a = xtoken(s, t, variant="released")
    assert a.groups.tolist() == [[0, 1, 0, 0], [1, 2, 0, 1], [2, 3, 1, 2], [3, 4, 2, 3]]
    assert a.flags.tolist() == [False, True, True, True]


def test_two_texts_are_refused():
    with pytest.raises(AlignmentError, match="must encode one text"):
        xtoken(encoding(["a"]), encoding(["b"]))
