"""Span components: the compiled sweep against networkx, and the properties of groups."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment.components import component_ranges, components
from ctkd_core.alignment.kernels import spans as kernels
from ctkd_core.alignment.released import sedi as released_sedi
from ctkd_core.alignment.spans import sedi
from ctkd_core.errors import AlignmentError
from tests.alignment.make import SPANS, encoded_twice, encoding, of_spans, sorted_spans
from tests.alignment.reference import components_networkx


def array(spans):
    return np.asarray(spans, dtype=np.int64).reshape(-1, 2)


def as_sets(groups):
    return {(frozenset(range(a, b)), frozenset(range(c, d))) for a, b, c, d in np.asarray(groups).tolist()}


def assert_partition(groups, n, m):
    """Contiguous ranges that follow one another on both sides and hold every token once."""
    edges = np.vstack([[0, 0, 0, 0], groups, [n, n, m, m]])
    assert (edges[1:, 0] == edges[:-1, 1]).all()
    assert (edges[1:, 2] == edges[:-1, 3]).all()
    assert ((groups[:, 1] - groups[:, 0]) + (groups[:, 3] - groups[:, 2]) > 0).all()


@given(SPANS, SPANS)
def test_components_are_those_of_networkx_for_any_spans(s, t):
    found = components(array(s), array(t))
    assert {(frozenset(a), frozenset(b)) for a, b in found} == components_networkx(array(s), array(t))
    assert len(found) == len(components_networkx(array(s), array(t)))


@given(SPANS, SPANS)
def test_components_with_touching_empty_spans_are_those_of_networkx(s, t):
    found = components(array(s), array(t), empty_touch=True)
    assert {(frozenset(a), frozenset(b)) for a, b in found} == components_networkx(array(s), array(t), empty_touch=True)
    assert len(found) == len(components_networkx(array(s), array(t), empty_touch=True))


@given(sorted_spans(min_width=0), sorted_spans(min_width=0))
def test_touching_empty_spans_make_the_groups_of_the_released_program(s, t):
    """Where both sides end together (else it refuses) and components are contiguous; it leaves out lone tokens."""
    s, t = [*s, (14, 20)], [*t, (14, 20)]
    exact = [g for g in components_networkx(array(s), array(t), empty_touch=True) if g[0] and g[1]]
    released = [(frozenset(a), frozenset(b)) for a, b in released_sedi.span_groups(s, t)]
    assert set(released) == set(exact)
    groups = component_ranges(array(s), array(t), empty_touch=True)
    assert_partition(groups, len(s), len(t))
    for mine, theirs in exact:
        assert any(mine <= a and theirs <= b for a, b in as_sets(groups))


@given(sorted_spans(), sorted_spans())
def test_ranges_are_the_components_when_spans_are_sorted_and_not_empty(s, t):
    groups = component_ranges(array(s), array(t))
    assert_partition(groups, len(s), len(t))
    assert as_sets(groups) == components_networkx(array(s), array(t))


@given(sorted_spans(min_width=0), sorted_spans(min_width=0))
def test_empty_spans_never_cut_or_join_components(s, t):
    groups = component_ranges(array(s), array(t))
    assert_partition(groups, len(s), len(t))
    ranges = as_sets(groups)
    exact = components_networkx(array(s), array(t))
    for mine, theirs in exact:
        assert any(mine <= a and theirs <= b for a, b in ranges)
    for mine, theirs in ranges:  # what a range adds to its component has an empty span
        inside = [(a, b) for a, b in exact if a <= mine and b <= theirs and (a and b)]
        assert len(inside) <= 1


@given(SPANS, SPANS)
def test_ranges_are_a_monotone_partition_that_cuts_no_component_even_for_unsorted_spans(s, t):
    groups = component_ranges(array(s), array(t))
    assert_partition(groups, len(s), len(t))
    ranges = as_sets(groups)
    for mine, theirs in components_networkx(array(s), array(t)):
        assert any(mine <= a and theirs <= b for a, b in ranges)


@given(encoded_twice())
def test_the_one_pass_sweep_equals_the_general_one(pair):
    s, t = (e.spans for e in pair)
    out = np.empty((len(s) + len(t), 4), np.int32)
    assert kernels.sweep_tilings(s, t, out) >= 0
    labels = kernels.overlap_labels(s, t, np.arange(len(s)), np.arange(len(t)), False)
    general = out[: kernels.ranges_of_labels(labels, s, t, out)].copy()
    assert component_ranges(s, t).tolist() == general.tolist()


@given(SPANS, SPANS)
def test_the_one_pass_sweep_refuses_what_it_is_not_made_for(s, t):
    def is_tiling(spans):
        return all(a < b for a, b in spans) and all(x[1] <= y[0] for x, y in pairwise(spans))

    out = np.empty((len(s) + len(t), 4), np.int32)
    assert (kernels.sweep_tilings(array(s), array(t), out) >= 0) == (is_tiling(s) and is_tiling(t))


@given(encoded_twice())
def test_every_byte_is_in_exactly_one_group_and_both_sides_spell_it(pair):
    alignment = sedi(*pair)
    assert_partition(alignment.groups, len(pair[0]), len(pair[1]))
    mine = [alignment.student_bytes(g) for g in range(len(alignment))]
    assert b"".join(mine) == pair[0].text.encode()
    assert mine == [alignment.teacher_bytes(g) for g in range(len(alignment))]


@pytest.mark.parametrize("unit", ["byte", "char"])
@given(pair=encoded_twice())
def test_swapping_the_sides_swaps_the_groups(unit, pair):
    there, back = sedi(*pair, unit=unit), sedi(*pair[::-1], unit=unit)
    assert there.swap().groups.tolist() == back.groups.tolist()


@given(encoded_twice())
def test_identical_tokenizers_give_only_1_1_by_bytes_and_whole_characters_by_characters(pair):
    one = pair[0]
    assert sedi(one, one).groups.tolist() == [[k, k + 1, k, k + 1] for k in range(len(one))]
    by_char = sedi(one, one, unit="char")
    assert_partition(by_char.groups, len(one), len(one))
    for g in range(len(by_char)):
        assert by_char.student_bytes(g).decode()  # no group ends inside a character


@given(encoded_twice())
def test_byte_groups_are_finer_than_character_groups(pair):
    def cuts(unit):
        return {(int(a), int(b)) for a, b in sedi(*pair, unit=unit).groups[:, [1, 3]]}

    assert cuts("char") <= cuts("byte")


def test_an_emoji_cut_by_both_sides_is_exact_by_bytes_and_one_group_by_characters():
    llama = "🦙".encode()
    s = encoding(["a", llama[:2], llama[2:3], llama[3:], "b"])
    t = encoding(["a", llama[:1], llama[1:3], llama[3:], "b"])
    assert sedi(s, t).groups.tolist() == [[0, 1, 0, 1], [1, 3, 1, 3], [3, 4, 3, 4], [4, 5, 4, 5]]
    assert sedi(s, t, unit="char").groups.tolist() == [[0, 1, 0, 1], [1, 4, 1, 4], [4, 5, 4, 5]]


def test_special_tokens_are_in_no_group_and_never_shift_the_others():
    s = encoding(["<s>", "The", " cat", "</s>"], special=(0, 3))
    t = encoding(["The", " ", "cat"])
    assert sedi(s, t).groups.tolist() == [[1, 2, 0, 1], [2, 3, 1, 3]]
    assert sedi(t, s).groups.tolist() == [[0, 1, 1, 2], [1, 3, 2, 3]]


def test_a_group_is_split_at_a_special_token_inside_it():
    s = encoding(["ab", "<sep>", "cd"], special=(1,))
    t = encoding(["abcd"])
    assert sedi(s, t).groups.tolist() == [[0, 1, 0, 1], [2, 3, 1, 1]]


def test_text_that_one_side_reads_as_a_special_token_is_in_no_group_and_is_reported():
    s = of_spans([(0, 2), (2, 4), (4, 6)], 6, special=(1,))
    t = of_spans([(0, 2), (2, 3), (3, 4), (4, 6)], 6)
    alignment = sedi(s, t)
    assert [alignment.kind(g) for g in range(len(alignment))] == ["1-1", "teacher-only", "teacher-only", "1-1"]
    assert alignment.groups[-1].tolist() == [2, 3, 3, 4]
    assert "reads text as special tokens in 1 places (first: token 1)" in alignment.notes[0]


def test_only_special_tokens_and_empty_texts_give_no_groups():
    assert sedi(encoding([]), encoding([])).groups.shape == (0, 4)
    assert sedi(encoding(["<s>"], special=(0,)), encoding([])).groups.shape == (0, 4)


def test_a_token_over_bytes_that_the_other_side_leaves_uncovered_is_one_sided_and_reported():
    alignment = sedi(of_spans([(0, 2), (2, 3), (3, 6)], 6), of_spans([(0, 2), (3, 6)], 6))
    assert [alignment.kind(g) for g in range(len(alignment))] == ["1-1", "student-only", "1-1"]
    assert "1 of 6 bytes, first at byte 2" in alignment.notes[0]


def test_an_empty_span_joins_the_group_around_it_and_is_alone_elsewhere():
    inside = sedi(of_spans([(0, 2), (2, 2), (2, 4)], 4), of_spans([(0, 4)], 4))
    assert inside.groups.tolist() == [[0, 3, 0, 1]]
    first = sedi(of_spans([(0, 0), (0, 4)], 4), of_spans([(0, 2), (2, 4)], 4))
    assert first.groups.tolist() == [[0, 1, 0, 0], [1, 2, 0, 2]]


def test_a_touching_empty_span_joins_the_token_that_holds_its_place():
    def groups(s, t, special=()):
        return sedi(of_spans(s, 4, special), of_spans(t, 4), empty_spans="touch").groups.tolist()

    assert groups([(0, 0), (0, 4)], [(0, 2), (2, 4)]) == [[0, 2, 0, 2]]
    assert groups([(0, 2), (2, 2), (2, 4)], [(0, 2), (2, 4)]) == [[0, 1, 0, 1], [1, 3, 1, 2]]  # what begins there
    assert groups([(0, 4), (4, 4)], [(0, 4)]) == [[0, 1, 0, 1], [1, 2, 1, 1]]  # nothing holds the end of the text
    assert groups([(0, 0), (0, 4)], [(0, 0), (0, 4)]) == [[0, 2, 0, 2]]
    assert groups([(0, 0), (0, 4)], [(0, 4)], special=(0,)) == [[1, 2, 0, 1]]


@pytest.mark.parametrize("unit", ["byte", "char"])
@pytest.mark.parametrize("empty_spans", ["apart", "touch"])
@given(s=sorted_spans(min_width=0), t=sorted_spans(min_width=0))
def test_gaps_overlaps_and_empty_spans_leave_every_token_in_one_group_in_order(unit, empty_spans, s, t):
    alignment = sedi(of_spans(s, 20), of_spans(t, 20), unit=unit, empty_spans=empty_spans)
    assert_partition(alignment.groups, len(s), len(t))
    joined = {(int(i), int(j)) for a, b, c, d in alignment.groups for i in range(a, b) for j in range(c, d)}
    assert {(i, j) for i, x in enumerate(s) for j, y in enumerate(t) if max(x[0], y[0]) < min(x[1], y[1])} <= joined


@given(s=sorted_spans(), t=sorted_spans())
def test_orphans_are_the_tokens_that_overlap_nothing(s, t):
    alignment = sedi(of_spans(s, 20), of_spans(t, 20))
    lonely = sum(all(max(x[0], y[0]) >= min(x[1], y[1]) for y in t) for x in s)
    assert alignment.metrics()["orphan_student"] == lonely


def test_faults_say_what_is_wrong():
    with pytest.raises(AlignmentError, match=r"must encode one text; theirs differ from character 1 on"):
        sedi(encoding(["ab"]), encoding(["ac"]))
    with pytest.raises(AlignmentError, match=r"in length \(2 and 3 characters\)"):
        sedi(encoding(["ab"]), encoding(["abc"]))
    with pytest.raises(AlignmentError, match=r"did you mean 'byte'"):
        sedi(encoding(["ab"]), encoding(["ab"]), unit="bytes")
    with pytest.raises(AlignmentError, match=r"did you mean 'touch'"):
        sedi(encoding(["ab"]), encoding(["ab"]), empty_spans="touching")
    with pytest.raises(AlignmentError, match=r"teacher token 1 has the span \[3, 2\]"):
        component_ranges(array([(0, 3)]), array([(0, 3), (3, 2)]))


@given(st.integers(0, 3))
def test_one_side_without_tokens_leaves_only_one_sided_groups(n):
    s = of_spans([(k, k + 1) for k in range(n)], 3)
    t = of_spans([], 3)
    assert sedi(s, t).groups.tolist() == [[k, k + 1, 0, 0] for k in range(n)]
