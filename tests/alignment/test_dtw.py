"""CDM: compiled DTW against its slow twin and tslearn, weights, windows, bands and the cost surface."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment import cheapest_path, costs
from ctkd_core.alignment.dtw import cdm, path_groups
from ctkd_core.alignment.released import cdm as released
from ctkd_core.alignment.surface import DtwSurface
from ctkd_core.errors import AlignmentError
from tests.alignment.make import encoded_twice, encoding
from tests.alignment.reference import dtw_plain, levenshtein, merged_logits, path_components, text_equal
from tests.alignment.test_spans import as_sets, assert_partition

TOKENS = st.lists(st.text(alphabet="abé日\n", max_size=4), min_size=1, max_size=14)


def random_costs(student, teacher, seed, integer=True):
    rng = np.random.default_rng(seed)
    draw = (lambda n: rng.integers(3, 6, n).astype(float)) if integer else (lambda n: 3 + 3 * rng.random(n))
    return costs.token_costs(student, teacher, draw(len(student)), draw(len(teacher)))


def plain_matrix(weighted):
    """The cost matrix cell by cell, float64."""
    s = [weighted.student_strings[k] for k in weighted.student_codes]
    t = [weighted.teacher_strings[k] for k in weighted.teacher_codes]
    lev = np.array([[levenshtein(a, b) for b in t] for a in s], dtype=float)
    return lev * weighted.student_weights[:, None] * weighted.teacher_weights


@given(TOKENS, TOKENS, st.integers(0, 2**16), st.booleans())
def test_path_and_cost_equal_the_slow_twin(s, t, seed, integer):
    weighted = random_costs(s, t, seed, integer)
    blocks, pairs = cheapest_path.dtw(weighted)
    total, path = dtw_plain(plain_matrix(weighted))
    assert [tuple(p) for p in pairs.tolist()] == path
    assert blocks[-1].after == pytest.approx(total[-1, -1])
    np.testing.assert_allclose(cheapest_path.accumulated(weighted), total, rtol=1e-6)
    np.testing.assert_allclose(weighted.local(), plain_matrix(weighted), rtol=1e-6)


@given(TOKENS, TOKENS, st.integers(0, 2**16))
def test_cost_equals_tslearn_on_the_same_matrix(s, t, seed):
    tslearn = pytest.importorskip("tslearn.metrics")
    weighted = random_costs(s, t, seed, integer=False)
    matrix = plain_matrix(weighted)
    blocks, pairs = cheapest_path.dtw(weighted)
    # its kernels for torch are plain Python: those for numpy are compiled anew by every process that runs a test
    path, cost = tslearn.dtw_path_from_metric(matrix, metric="precomputed", be="pytorch")
    assert blocks[-1].after == pytest.approx(float(cost))
    # of several cheapest paths tslearn may take another one, but not a cheaper one
    assert matrix[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(sum(matrix[i, j] for i, j in path))


@given(TOKENS, TOKENS, st.integers(0, 2**16))
def test_swapping_the_sides_keeps_the_cost(s, t, seed):
    """The cost is symmetric; the path need not be, as ties prefer a teacher step to a student step."""
    weighted = random_costs(s, t, seed)
    swapped = costs.token_costs(t, s, weighted.teacher_weights, weighted.student_weights)
    assert cheapest_path.dtw(weighted)[0][-1].after == cheapest_path.dtw(swapped)[0][-1].after


def test_ties_go_to_the_diagonal_then_the_teacher_then_the_student():
    weighted = costs.token_costs(["a", "a"], ["a", "a", "a"], np.ones(2), np.ones(3))
    # all costs are 0: from (1, 2) diagonal to (0, 1), then only the teacher step is left
    assert cheapest_path.dtw(weighted)[1].tolist() == [[0, 0], [0, 1], [1, 2]]
    # before (2, 2): diagonal 2, teacher - 1 and student - 1 both 1; the teacher step wins
    matrix = np.array([[1.0, 0.0, 9.0], [0.0, 2.0, 0.0], [9.0, 0.0, 0.0]])
    assert dtw_plain(matrix)[1] == [(0, 0), (1, 0), (2, 1), (2, 2)]


@given(encoded_twice())
def test_every_token_is_in_one_group_and_groups_are_the_components_of_the_path(pair):
    alignment = cdm(*pair)
    assert_partition(alignment.groups, len(pair[0]), len(pair[1]))
    if len(pair[0]) and len(pair[1]):
        assert as_sets(alignment.groups) == path_components(alignment.pairs)
        steps = np.diff(alignment.pairs, axis=0)
        assert ((steps >= 0) & (steps <= 1)).all()
        assert (steps.sum(axis=1) > 0).all()
        assert alignment.pairs[0].tolist() == [0, 0]
        assert alignment.pairs[-1].tolist() == [len(pair[0]) - 1, len(pair[1]) - 1]


@given(encoded_twice())
def test_identical_tokenizers_give_the_diagonal_at_no_cost(pair):
    one = pair[0]
    alignment = cdm(one, one)
    assert alignment.groups.tolist() == [[k, k + 1, k, k + 1] for k in range(len(one))]
    assert alignment.cost.total == 0


def test_path_groups_of_a_path_worked_by_hand():
    pairs = np.array([[0, 0], [0, 1], [1, 2], [2, 3], [3, 3], [4, 4]], dtype=np.int32)
    assert path_groups(pairs).tolist() == [[0, 1, 0, 2], [1, 2, 2, 3], [2, 4, 3, 4], [4, 5, 4, 5]]


def test_a_single_piece_is_compared_never_their_concatenation():
    s = encoding(["I", " unbelievable", " am"])
    t = encoding(["I", " un", "believ", "able", " am"])
    h_s, h_t = np.array([1.462413, 0.934399, 1.570223]), np.array([1.27953, 0.536786, 1.704329, 0.897816, 1.620127])
    alignment = cdm(s, t, student_entropy=h_s, teacher_entropy=h_t)
    assert alignment.pairs.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [2, 4]]
    assert alignment.cost.total == 165
    assert alignment.cost.student_weights.tolist() == [5, 3, 5]
    assert alignment.cost.teacher_weights.tolist() == [4, 3, 5, 3, 5]
    np.testing.assert_allclose(alignment.cost.student_entropy, h_s, rtol=1e-6)
    assert alignment.notes == ()


def test_weights_are_3_4_or_5_and_rise_with_the_entropy():
    h = np.linspace(0.1, 2.0, 200)
    w = costs.weights(h)
    assert sorted(set(w)) == [3, 4, 5]
    assert (np.diff(w) >= 0).all()
    x = (h - h[0]) / (h[-1] - h[0])
    assert (w[x < 0.3267] == 3).all()
    assert (w[x > 0.6734] == 5).all()
    raw = costs.weights(h, integer=False)
    assert (np.trunc(raw) == w).all()
    assert len(set(raw)) == 200


@pytest.mark.parametrize("h", [[0.7], [0.7, 0.7, 0.7]])
def test_equal_entropies_give_the_constant_weight(h):
    assert costs.weights(np.array(h)).tolist() == [4.0] * len(h)


def test_entropy_of_a_uniform_and_of_a_certain_row():
    logits = np.array([[0.0] * 8, [1000.0] + [0.0] * 7])
    np.testing.assert_allclose(costs.entropy(logits), [np.log(8), 0.0], atol=1e-6)
    with pytest.raises(AlignmentError, match=r"shape \[tokens, vocabulary\]; got \[3\]"):
        costs.entropy(np.zeros(3))
    with pytest.raises(AlignmentError, match=r"row 1 holds nan"):
        costs.entropy(np.array([[0.0, 1.0], [0.0, np.nan]]))


def test_constant_weights_are_said_and_do_not_change_the_path():
    s, t = encoding(["the", " run", "ning", "!"]), encoding(["the", " running", "!"])
    plain = cdm(s, t)
    assert "every entropy weight is the constant 4" in plain.notes[0]
    one = cdm(s, t, teacher_entropy=np.array([1.0, 1.0, 1.0]))
    assert one.pairs.tolist() == plain.pairs.tolist()
    assert "No student logits given" in one.notes[0]


def test_special_tokens_take_no_part():
    s = encoding(["<s>", "a", "bc", "</s>"], special=(0, 3))
    t = encoding(["a", "b", "c"])
    alignment = cdm(s, t, student_entropy=np.array([np.nan, 0.1, 2.0, np.nan]))
    assert set(alignment.pairs[:, 0].tolist()) == {1, 2}
    assert alignment.groups[:, :2].min() == 1
    assert alignment.groups[:, :2].max() == 3
    assert alignment.cost.shape == (4, 3)
    total = alignment.cost.window("accumulated", slice(None), slice(None))
    assert np.isnan(total[[0, 3]]).all()
    assert np.isfinite(total[1:3]).all()


def test_pieces_of_different_bytes_differ_in_clean_and_are_one_in_released():
    s = encoding(["日".encode()[:1], "日".encode()[1:]])
    assert len(set(costs.content_strings(s))) == 2
    assert set(costs.content_strings(s, released=True)) <= {"\ufffd", "\ufffd\ufffd"}


def test_released_special_pairs_cost_nothing_in_either_order():
    free = costs.released_free_pairs()
    weighted = costs.token_costs(["</s>", "<|endoftext|>"], ["<|im_end|>", "x"], np.ones(2), np.ones(2), free)
    assert weighted.local().tolist() == [[0.0, 4.0], [0.0, 12.0]]
    swapped = costs.token_costs(["<|im_end|>"], ["</s>", "<|endoftext|>"], np.ones(1), np.ones(2), free)
    assert swapped.local().tolist() == [[0.0, 0.0]]


def test_released_groups_may_overlap_where_clean_ones_cannot():
    pairs = np.array([[0, 0], [1, 1], [2, 1], [2, 2]], dtype=np.int32)
    of_student, of_teacher = released.alignment_lists(pairs, 3, 3)
    assert of_student == [[0], [1], [1, 2]]
    groups = released.merge_groups(of_teacher)
    assert groups == [[0], [1, 2], [2]]
    assert path_groups(pairs).tolist() == [[0, 1, 0, 1], [1, 3, 1, 3]]
    z_s, z_t = np.eye(3), np.arange(6.0).reshape(3, 2)
    merged_s, merged_t = merged_logits(z_s, z_t, of_student, groups)
    np.testing.assert_allclose(merged_s, [[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1]])
    np.testing.assert_allclose(merged_t[1], (z_t[1] + (z_t[1] + z_t[2]) / 2) / 2)
    assert text_equal(["a", "b", "c"], ["a", "bc", " c"], of_student, groups) == [True, False, False]


@given(TOKENS, TOKENS)
def test_edit_distances_equal_the_textbook(s, t):
    expected = [[levenshtein(a, b) for b in t] for a in s]
    assert costs.edit_distances(s, t).tolist() == expected


def long_pair(repeats):
    s = encoding(["The", " comfort", " of", " un", "believable", " cats", ".\n"] * repeats)
    t = encoding(["The", " com", "fort", " of", " unbelievable", " cats", ".", "\n"] * repeats)
    return s, t


def test_windows_bind_the_path_to_common_boundaries_and_say_so():
    s, t = long_pair(20)
    alignment = cdm(s, t, window=30)
    assert "searched in" in alignment.notes[-1]
    assert_partition(alignment.groups, len(s), len(t))
    blocks = alignment.cost.blocks
    assert len(blocks) > 3
    assert max(b.s1 - b.s0 for b in blocks) <= 30
    assert max(b.t1 - b.t0 for b in blocks) <= 30
    for block in blocks:
        assert s.spans[block.s1 - 1, 1] == t.spans[block.t1 - 1, 1]
    whole = cdm(s, t)
    assert alignment.cost.total >= whole.cost.total  # bound paths can't be cheaper
    local = alignment.cost.window("local", slice(None), slice(None))
    assert local[alignment.pairs[:, 0], alignment.pairs[:, 1]].sum() == pytest.approx(alignment.cost.total)


def test_a_band_is_used_where_no_boundary_is_common(monkeypatch):
    monkeypatch.setattr(cheapest_path, "MAX_CELLS", 100)
    monkeypatch.setattr(cheapest_path, "BAND_CELLS", 200 * 141)
    n = 200
    weighted = costs.token_costs(["a", "b"] * (n // 2), ["a", "b"] * (n // 2), np.full(n, 4.0), np.full(n, 4.0))
    blocks, pairs = cheapest_path.dtw(weighted)
    assert blocks[0].banded
    assert pairs.tolist() == [[k, k] for k in range(n)]
    low, high = cheapest_path.band_of(n, n)
    assert int((high - low).sum()) <= 200 * 141
    surface = DtwSurface(weighted, tuple(blocks), np.arange(n), np.arange(n))
    assert surface.window("local", slice(2), slice(2)).shape == (2, 2)
    empty = surface.window("local", slice(0), slice(2))
    assert (empty.shape, empty.dtype) == ((0, 2), np.float32)
    with pytest.raises(AlignmentError, match=r"200 x 200 tokens was searched in a band only.* Show the local costs"):
        surface.window("accumulated", slice(2), slice(2))
    monkeypatch.setattr(cheapest_path, "BAND_CELLS", 200 * 100)
    with pytest.raises(AlignmentError, match=r"200 student and 200 teacher tokens has no byte boundary in common"):
        cheapest_path.dtw(weighted)


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_band_holds_a_connected_way(n, m):
    low, high = cheapest_path.band_of(n, m)
    assert low[0] == 0
    assert high[-1] == m
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) >= 0).all()
    assert (low < high).all()
    assert (low[1:] < high[:-1] + 1).all()


@given(st.integers(20, 60), st.integers(20, 60), st.integers(2, 60), st.integers(0, 1000))
def test_a_band_finds_what_the_slow_twin_finds_in_it(n, m, half, seed):
    rng = np.random.default_rng(seed)
    s, t = list(rng.choice(["a", "ab", "abc"], n)), list(rng.choice(["a", "ab", "abc"], m))
    weighted = random_costs(s, t, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cheapest_path, "MAX_CELLS", 1)
        patch.setattr(cheapest_path, "MIN_BAND", 1)
        patch.setattr(cheapest_path, "BAND_CELLS", n * (2 * half + 1 + m // n))
        low, high = cheapest_path.band_of(n, m)
        blocks, pairs = cheapest_path.dtw(weighted)
        total = cheapest_path.accumulated(weighted)
    inside = (np.arange(m) >= low[:, None]) & (np.arange(m) < high[:, None])
    expected, path = dtw_plain(np.where(inside, plain_matrix(weighted), np.inf))
    assert blocks[0].after == expected[-1, -1]
    assert [tuple(p) for p in pairs.tolist()] == path
    np.testing.assert_allclose(total[inside & np.isfinite(expected)], expected[inside & np.isfinite(expected)])
    assert np.isnan(total[~inside]).all()


def test_the_surface_answers_windows_and_bins():
    s, t = long_pair(6)
    surface = cdm(s, t).cost
    local, total = (surface.window(k, slice(None), slice(None)) for k in ("local", "accumulated"))
    matrix = plain_matrix(surface.costs)
    np.testing.assert_allclose(local, matrix)
    np.testing.assert_allclose(total, dtw_plain(matrix)[0], rtol=1e-6)
    np.testing.assert_allclose(surface.window("local", slice(3, 9), slice(2, 4)), matrix[3:9, 2:4])
    np.testing.assert_allclose(surface.window("accumulated", slice(3, 9), slice(2, 4)), total[3:9, 2:4])
    n, m = surface.shape
    np.testing.assert_allclose(surface.binned("local", 3, 4)[0, 0], matrix[: n // 3, : m // 4].mean(), rtol=1e-5)
    assert surface.binned("local", 1000, 1000).shape == (n, m)
    np.testing.assert_allclose(surface.binned("accumulated", 1, 1), [[total.mean()]], rtol=1e-5)
    with pytest.raises(AlignmentError, match="did you mean 'local'"):
        surface.window("locals", slice(None), slice(None))
    with pytest.raises(AlignmentError, match="at least one row and column; got 0 x 3"):
        surface.binned("local", 0, 3)


@pytest.mark.parametrize("tokens", [4095, 4096, 4097, 9000])
@pytest.mark.parametrize("swap", [False, True])
def test_a_picture_reads_at_most_4096_tokens_of_each_side(tokens, swap):
    """So many tokens all count; of more, an even sample does."""
    read = []

    class Watched(DtwSurface):
        def _cells(self, kind, rows, columns):
            read.append((columns, rows) if swap else (rows, columns))
            return super()._cells(kind, rows, columns)

    strings = (["a", "ab"] * tokens)[:tokens]
    weighted = costs.token_costs(strings, ["a", "b"], np.linspace(3, 5, tokens), np.full(2, 3.0))
    surface = Watched(weighted.swapped() if swap else weighted, (), np.arange(tokens), np.arange(2))
    found = surface.binned("local", *((2, 5) if swap else (5, 2)))
    at = np.unique(np.concatenate([long for long, _ in read]))
    assert len(at) == min(tokens, 4096)
    assert set(np.diff(at).tolist()) <= {tokens // 4096, -(-tokens // 4096)}
    inside = at * 5 // tokens
    local = weighted.local()
    expected = np.stack([local[at[inside == k]].mean(axis=0) for k in range(5)])
    np.testing.assert_allclose(found, expected.T if swap else expected, rtol=1e-5)


def test_cells_outside_the_searched_stretches_are_unknown():
    s, t = long_pair(20)
    alignment = cdm(s, t, window=30)
    surface = alignment.cost
    total = surface.window("accumulated", slice(None), slice(None))
    assert np.isnan(total[0, -1])
    on_path = total[alignment.pairs[:, 0], alignment.pairs[:, 1]]
    assert np.isfinite(on_path).all()
    assert (np.diff(on_path) >= 0).all()
    assert on_path[-1] == surface.total
    assert np.isnan(surface.binned("accumulated", 8, 8)[0, -1])


def test_faults_say_what_is_wrong():
    s, t = encoding(["a", "b"]), encoding(["ab"])
    with pytest.raises(
        AlignmentError, match=r"student_entropy needs one value per token, 2 for hand-made; got .* \[3\]"
    ):
        cdm(s, t, student_entropy=np.zeros(3))
    with pytest.raises(AlignmentError, match=r"student_entropy must be finite; token 1 has nan"):
        cdm(s, t, student_entropy=np.array([0.0, np.nan]))
    with pytest.raises(AlignmentError, match="must encode one text"):
        cdm(s, encoding(["b"]))


def test_a_side_without_tokens_faces_nothing():
    empty = encoding([])
    assert cdm(empty, empty).groups.shape == (0, 4)
    only_special = encoding(["<s>"], special=(0,))
    alignment = cdm(only_special, empty)
    assert alignment.groups.shape == (0, 4)
    assert alignment.pairs.shape == (0, 2)


@given(encoded_twice(), st.sampled_from(["cdm", "teacher", "student"]))
def test_what_each_cell_chose_leads_back_along_the_path(pair, which):
    from ctkd_core.alignment.mined import mined

    alignment = cdm(*pair) if which == "cdm" else mined(*pair, ties=which)
    if alignment.pairs is None or not len(alignment.pairs):
        return
    surface, every = alignment.cost, slice(None)
    before = surface.candidates(every, every)
    taken, local = surface.taken(before), surface.window("local", every, every)
    total = surface.window("accumulated", every, every)
    known = np.isfinite(total)
    np.testing.assert_allclose(total[known], (local + np.nanmin(np.where(known, before, 0), axis=0))[known])
    assert ((taken >= 0) == known).all()
    moves = np.array([[1, 1], [0, 1], [1, 0]])  # (student, teacher) since the cell before
    rank = np.cumsum(~alignment.student.special) - 1, np.cumsum(~alignment.teacher.special) - 1
    for (i, j), (a, b) in zip(alignment.pairs[1:].tolist(), alignment.pairs.tolist()):
        step = [rank[0][i] - rank[0][a], rank[1][j] - rank[1][b]]
        assert step == moves[taken[i, j]].tolist()


def test_a_window_of_candidates_is_a_part_of_the_whole():
    pair = [encoding(list("abcabcabdd")), encoding(["ab", "ca", "bc", "ab", "d", "d"])]
    surface = cdm(*pair, window=4).cost
    assert len(surface.blocks) > 1
    whole = surface.candidates(slice(None), slice(None))
    part = surface.candidates(slice(3, 8), slice(1, 5))
    np.testing.assert_array_equal(part, whole[:, 3:8, 1:5])


def test_nothing_is_chosen_from_where_a_window_holds_special_tokens_only():
    s, t = encoding(["<s>", "a", "bc", "</s>"], special=(0, 3)), encoding(["a", "b", "c", "</s>"], special=(3,))
    surface = cdm(s, t).cost
    whole = surface.candidates(slice(None), slice(None))
    assert np.isfinite(whole).any()
    for rows, columns in ((slice(0, 1), slice(0, 3)), (slice(1, 3), slice(3, 4)), (slice(3, 4), slice(3, 4))):
        part = surface.candidates(rows, columns)
        np.testing.assert_array_equal(part, whole[:, rows, columns])
        assert np.isnan(part).all()
        assert (surface.taken(part) == -1).all()


@pytest.mark.parametrize(("weight", "dtype"), [(2000, np.int32), (9000, np.float64)])
def test_costs_are_whole_numbers_of_32_bits_only_where_the_longest_path_fits(weight, dtype):
    """Ten cells of 3 x `weight`^2 / 2 each way: 1.2e8 fits, 2.4e9 does not."""
    every = np.full(10, float(weight))
    weighted = costs.token_costs(["abc"] * 10, ["xyz"] * 10, every, every / 2)
    rows, _, _ = cheapest_path.weighted_rows(weighted)
    assert rows.dtype == dtype
    assert rows.max() == 3 * weight / 2
