"""The pieces map: X-Token's rules in the clean variant, and each thing that the released tools add."""

from __future__ import annotations

import difflib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary import REASONS, project
from ctkd_core.vocabulary import entries as table
from ctkd_core.vocabulary.cuts import weigh
from ctkd_core.vocabulary.partition import partition
from ctkd_core.vocabulary.projection import EXACT, PIECES, REVERSE, SCALE, SIMILAR
from ctkd_core.vocabulary.released import pieces as released
from ctkd_core.vocabulary.special_similarity import jaccard, name_words, similarities, similarity
from tests.tiny import tiny_byte_level, tiny_metaspace
from tests.vocabulary.test_matches import byte_level

MERGES = [("a", "b"), ("ab", "ab"), ("1", "1"), ("2", "0"), ("20", "1"), ("ab", "a")]
TOKENS = ["ab", "abab", "11", "20", "201", "aba"]


def slow_rows(student, teacher, k: int = 4) -> list[dict[int, float]]:
    """The paper's rules written plainly, one token at a time."""
    by_bytes: dict[bytes, int] = {}
    for i in range(teacher.n_ids - 1, -1, -1):
        if i not in teacher.special_ids and teacher.token_bytes(i):
            by_bytes[teacher.token_bytes(i)] = i
    rows: list[dict[int, float]] = []
    for i in range(student.n_ids):
        data = student.token_bytes(i)
        if i in student.special_ids or not data:
            same = student.eos_id == i and teacher.eos_id is not None
            rows.append({teacher.eos_id: 1.0} if same else {})
        elif data in by_bytes:
            rows.append({by_bytes[data]: 1.0})
        else:
            row: dict[int, float] = {}
            for place, piece in enumerate(teacher.encode_pieces([data])[0]):
                row[piece] = row.get(piece, 0.0) + 0.9 * 0.1**place
            top = sorted(row.items(), key=lambda item: (-item[1], item[0]))[:k]
            rows.append({piece: weight / sum(w for _, w in top) for piece, weight in top})
    return rows


def test_rules_of_the_paper_against_a_plain_twin() -> None:
    student, teacher = byte_level(TOKENS, MERGES, {"<eos>": 300}), byte_level(["ab"], [("a", "b")], {"<eos>": 280})
    matrix = project(student, teacher, match="bytes").matrix
    for i, row in enumerate(slow_rows(student, teacher)):
        found = matrix[i].tocoo()
        assert dict(zip(found.col.tolist(), found.data.tolist())) == pytest.approx(row, rel=1e-6)


def test_201_is_nearly_all_2_and_11_is_1() -> None:
    student, teacher = byte_level(TOKENS, MERGES), byte_level([], [])
    p = project(student, teacher)
    row = p.explain(student.id_of("201") or 0)
    assert row["teacher_token"].tolist() == ["2", "0", "1"]
    assert row["weight"].tolist() == pytest.approx([0.9009, 0.0901, 0.0090], abs=5e-5)
    assert p.explain(student.id_of("11") or 0)[["teacher_token", "weight"]].to_numpy().tolist() == [["1", 1.0]]


def test_rows_are_cut_after_repeated_pieces_add_up_but_max_pieces_cuts_before() -> None:
    student, teacher = byte_level(["abcdea"], [], {"<eos>": 300}), byte_level([], [])
    index = student.id_of("abcdea") or 0
    row = project(student, teacher).explain(index)
    assert row["teacher_token"].tolist() == ["a", "b", "c", "d"]
    raw = [0.9 + 0.9e-5, 0.09, 0.009, 0.0009]
    assert row["weight"].tolist() == pytest.approx([w / sum(raw) for w in raw], rel=1e-5)
    cut = project(student, teacher, max_pieces=2).explain(index)
    assert cut["weight"].tolist() == pytest.approx([1 / 1.1, 0.1 / 1.1], rel=1e-5)
    whole = project(student, teacher, top_k=0, weights="mean").explain(index)
    assert whole["weight"].tolist() == pytest.approx([2 / 6, *[1 / 6] * 4])


def test_weights_too_small_for_float32_leave_no_entry() -> None:
    long = "".join(chr(c) for c in range(0x21, 0x5B))
    student, teacher = byte_level([long], []), byte_level([], [])
    p = project(student, teacher, top_k=0)
    assert 30 < p.fan_out()[256] < len(long)
    assert p.row_sum_error < 1e-6


def test_the_reverse_pass_reaches_longer_teacher_tokens() -> None:
    student, teacher = byte_level(["ab"], [("a", "b")]), byte_level(["abs"], [])
    index = student.id_of("ab") or 0
    plain, both = project(student, teacher).explain(index), project(student, teacher, reverse=True).explain(index)
    assert plain["teacher_token"].tolist() == ["a", "b"]
    assert dict(zip(both["teacher_token"], both["reason"])) == {"a": "pieces", "abs": "reverse", "b": "pieces"}
    share = (1 / 1.1) / (1 + 1 / 1.1)
    assert both["weight"].tolist() == pytest.approx([share, share, 0.1 / 1.1 / (1 + 1 / 1.1)], rel=1e-5)
    assert project(student, teacher, reverse=True).explain(0)["teacher_id"].tolist() == [0], (
        "equal rows stay as they are"
    )


def test_similar_special_tokens() -> None:
    names = {"<|end_of_text|>": 300, "<|zz|>": 301}
    student, teacher = byte_level([], [], names), byte_level([], [], {"<|endoftext|>": 290, "<|im_end|>": 291})
    p = project(student, teacher, similar=True, match="raw")
    first = p.explain(300)
    assert set(first["reason"]) == {"similar"}
    want = [similarity("<|end_of_text|>", name) for name in ("<|endoftext|>", "<|im_end|>")]
    assert first["weight"].tolist() == pytest.approx([w / sum(want) for w in want], rel=1e-6)
    assert project(student, teacher, match="raw").explain(300).empty


def test_similarity_of_names() -> None:
    ratio = difflib.SequenceMatcher(None, "<|end_of_text|>", "<|begin_of_text|>").ratio()
    assert similarity("<|end_of_text|>", "<|begin_of_text|>") == pytest.approx(0.6 * ratio + 0.4 / 3)
    assert name_words("<|begin_of_Text|>") == {"begin", "text"}
    assert jaccard(frozenset(), frozenset()) == 0
    many = similarities({0: "<eos>"}, {i: f"<eos{i}>" for i in range(9)}, top_k=3)
    assert many.columns.tolist() == [0, 1, 2]
    assert similarities({0: "<eos>"}, {}, 3).rows.tolist() == []


def test_the_scale_slot_gives_a_quarter_to_an_unrelated_token() -> None:
    student, teacher = byte_level(["ab"], []), byte_level([], [])
    row = project(student, teacher, scale_slot=True).explain(256)
    junk = row[row["reason"] == REASONS[SCALE]]
    assert junk["teacher_id"].tolist() == [0], "the lowest id that the row doesn't hold"
    assert junk["weight"].iloc[0] == pytest.approx(0.4 / 1.4, rel=1e-6)
    assert row["weight"].sum() == pytest.approx(1)
    empty = project(byte_level([], [], {"<x>": 300}), teacher, scale_slot=True).explain(300)
    assert empty[["weight", "reason"]].to_numpy().tolist() == [[1.0, "scale"]]
    with pytest.raises(ProjectionError, match="at least two entries"):
        project(student, teacher, scale_slot=True, top_k=1)


def test_the_scale_slot_of_a_full_row_keeps_its_id() -> None:
    student, teacher = byte_level(["abc"], []), byte_level([], [])
    row = project(student, teacher, scale_slot=True, prep_top_k=2, top_k=0).explain(256)
    assert row["teacher_token"].tolist() == ["a", "b"]
    assert row["reason"].tolist() == ["pieces", "pieces"]
    first = 0.9 / 0.999
    assert row["weight"].tolist() == pytest.approx([first / (first + 0.2), 0.2 / (first + 0.2)], rel=1e-6)


def test_released_variant_is_its_options_and_given_ones_win() -> None:
    student, teacher = tiny_byte_level(), tiny_metaspace()
    p = project(student, teacher, variant="released")
    flags = {"reverse": True, "similar": True, "scale_slot": True, "match": "raw", "rounding": "bfloat16"}
    assert p.options == {"weights": "geometric", "top_k": 4, "prep_top_k": 32, "max_pieces": 4} | flags
    same = project(student, teacher, max_pieces=4, **flags)
    assert (p.matrix != same.matrix).nnz == 0
    assert (p.reason == same.reason).all()
    assert not (project(student, teacher, variant="released", scale_slot=False).reason == SCALE).any()
    assert set(np.unique(p.reason)) <= {EXACT, PIECES, REVERSE, SIMILAR, SCALE}
    assert (project(student, teacher).reason != REVERSE).all()


FLOATS = st.floats(2.0**-60, 2.0**60, width=32)


@given(st.lists(FLOATS, max_size=20))
def test_bfloat16_is_that_of_torch(values: list[float]) -> None:
    import torch

    given_values = np.array(values, dtype=np.float32)
    assert (released.bfloat16(given_values) == torch.from_numpy(given_values).bfloat16().float().numpy()).all()


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), max_size=6), st.integers(0, 3))
def test_weigh_sums_to_one_per_token(pieces: list[list[int]], most: int) -> None:
    counts, flat, weight = weigh(pieces, "geometric", most)
    assert counts.tolist() == [min(len(p), most) if most else len(p) for p in pieces]
    assert flat.tolist() == [i for p in pieces for i in (p[:most] if most else p)]
    owner = np.repeat(np.arange(len(pieces)), counts)
    assert np.allclose(np.bincount(owner, weights=weight, minlength=len(pieces)), 1)


CELLS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.floats(0.01, 1)), max_size=25)


@given(CELLS, st.integers(0, 4))
def test_heaviest_and_sums_against_plain_twins(cells: list[tuple[int, int, float]], k: int) -> None:
    rows, columns, weights = (np.array([c[i] for c in cells]) for i in range(3))
    summed = table.sum_cells(table.entries(rows, columns, weights, PIECES))
    plain: dict[tuple[int, int], float] = {}
    for row, column, weight in cells:
        plain[row, column] = plain.get((row, column), 0.0) + weight
    assert list(zip(summed.rows.tolist(), summed.columns.tolist())) == sorted(plain)
    kept = table.heaviest(summed, k)
    want = sorted(plain, key=lambda cell: (cell[0], -plain[cell], cell[1]))
    want = [c for i, c in enumerate(want) if not k or sum(d[0] == c[0] for d in want[:i]) < k]
    assert list(zip(kept.rows.tolist(), kept.columns.tolist())) == want


def test_partition_gives_one_to_one_pairs() -> None:
    indices = np.array([[2, -1], [2, 0], [2, -1], [1, 3], [-1, -1]])
    likelihoods = np.array([[0.9, 0], [0.95, 0.05], [1, 0], [0.55, 0.45], [0, 0]], dtype=np.float32)
    strict = partition(indices, likelihoods, 5, "strict")
    assert strict.common.tolist() == [[2, 2]]
    relaxed = partition(indices, likelihoods, 5)
    assert relaxed.common.tolist() == [[2, 2]]
    assert relaxed.uncommon_student.tolist() == [0, 1, 3, 4]
    assert relaxed.uncommon_teacher.tolist() == [0, 1, 3, 4]
    assert partition(indices, likelihoods, 5, least=0).common.tolist() == [[2, 2], [3, 1]]
    with pytest.raises(ProjectionError, match="did you mean 'strict'"):
        partition(indices, likelihoods, 5, "strikt")
    with pytest.raises(ProjectionError, match="must both be"):
        partition(indices, likelihoods[:2], 5)
