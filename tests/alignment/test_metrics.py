"""Metrics, agreement and health against cases worked by hand and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.dtw import cdm
from ctkd_core.alignment.metrics import agreement, alignment_metrics, group_table, health, texts_equal
from ctkd_core.alignment.positional import uld
from ctkd_core.alignment.spans import sedi
from ctkd_core.errors import AlignmentError
from ctkd_core.tokenizers.load import load_tokenizer as catalog_tokenizer
from tests.alignment.make import encoded_twice, encoding, of_spans
from tests.work import lines_run

NAMES = {
    "n_groups",
    "share_1_1",
    "share_1_n",
    "share_n_1",
    "share_n_m",
    "student_tokens_1_1",
    "teacher_tokens_1_1",
    "byte_coverage",
    "byte_match_rate",
    "orphan_student",
    "orphan_teacher",
    "largest_group",
    "mean_group_size",
    "text_match_rate",
    "student_text_match_rate",
    "boundary_f1",
}


def with_groups(s, t, groups):
    return Alignment(s, t, "hand", np.asarray(groups, dtype=np.int32).reshape(-1, 4))


def boundaries_by_loop(alignment):
    return {(int(g[1]), int(g[3])) for g in alignment.groups[:-1]}


def test_every_number_of_a_case_worked_by_hand():
    s = encoding(["The", " 2", "0", "1", " cats", "x"])
    t = encoding(["The", " ", "201", " c", "ats", "x"])
    m = alignment_metrics(sedi(s, t))
    # groups: The|The, " 2"+"0"+"1"|" "+"201", " cats"|" c"+"ats", x|x
    assert set(m) == NAMES
    assert m["n_groups"] == 4
    assert (m["share_1_1"], m["share_1_n"], m["share_n_1"], m["share_n_m"]) == (0.5, 0.25, 0.0, 0.25)
    assert m["student_tokens_1_1"] == pytest.approx(2 / 6)
    assert m["teacher_tokens_1_1"] == pytest.approx(2 / 6)
    assert m["byte_coverage"] == 1.0
    assert m["orphan_student"] == m["orphan_teacher"] == 0
    assert m["largest_group"] == 3
    assert m["mean_group_size"] == pytest.approx((1 + 2.5 + 1.5 + 1) / 4)
    assert m["text_match_rate"] == m["student_text_match_rate"] == m["boundary_f1"] == 1.0


def test_orphans_and_coverage_count_what_faces_nothing():
    a = sedi(of_spans([(0, 2), (2, 3), (3, 6)], 6), of_spans([(0, 2), (3, 6)], 6))
    m = alignment_metrics(a)
    assert (m["n_groups"], m["orphan_student"], m["orphan_teacher"]) == (2, 1, 0)
    assert m["byte_coverage"] == pytest.approx(5 / 6)
    assert m["student_tokens_1_1"] == pytest.approx(2 / 3)


def test_overlapping_student_spans_are_covered_once():
    a = sedi(of_spans([(0, 3), (1, 4)], 4), of_spans([(0, 4)], 4))
    assert alignment_metrics(a)["byte_coverage"] == 1.0


def test_positional_pairs_match_by_chance_only():
    s, t = encoding(["a", "b", "c", "d"]), encoding(["ab", "c", "d"])
    m = alignment_metrics(uld(s, t))
    assert m["share_1_1"] == 1.0
    assert m["text_match_rate"] == 0.0
    assert m["orphan_student"] == 1
    # boundaries (1,1), (2,2), (3,3) against (2,1), (3,2)
    assert m["boundary_f1"] == 0.0


def test_a_dummy_space_before_the_text_does_not_count_as_other_text():
    s = encoding(["The", " cat"])
    data = [b" The", b" cat"]
    t = encoding(["The", " cat"])
    t = type(t)(**{**t.__dict__, "token_bytes": data})
    assert alignment_metrics(sedi(s, t))["text_match_rate"] == 1.0


def test_empty_text_has_no_groups_and_no_division_by_zero():
    m = alignment_metrics(sedi(encoding([]), encoding([])))
    assert set(m) == NAMES
    assert m["n_groups"] == 0
    assert m["boundary_f1"] == 1.0
    assert m["byte_coverage"] == 0.0


@pytest.mark.parametrize("aligner", [sedi, cdm, uld])
@given(pair=encoded_twice())
def test_metrics_equal_plain_loops(aligner, pair):
    a = aligner(*pair)
    m = alignment_metrics(a)
    both = [g for g in range(len(a)) if a.sizes[g].all()]
    equal = [a.student_bytes(g) == a.teacher_bytes(g) for g in both]
    # a text that starts without a blank has no token that starts with one, so no dummy space is taken off here
    assert [bool(x) for x in texts_equal(a)[both]] == equal
    assert m["n_groups"] == len(both)
    if both:
        assert m["share_1_1"] + m["share_1_n"] + m["share_n_1"] + m["share_n_m"] == pytest.approx(1)
        assert m["largest_group"] == max(a.sizes[g].max() for g in both)
        tokens = sum(a.sizes[g, 0] for g, same in zip(both, equal) if same)
        assert m["student_text_match_rate"] == pytest.approx(tokens / len(pair[0]))
    mine, truth = boundaries_by_loop(a), boundaries_by_loop(sedi(*pair))
    expected = 2 * len(mine & truth) / (len(mine) + len(truth)) if mine or truth else 1.0
    assert m["boundary_f1"] == pytest.approx(expected)


@given(encoded_twice())
def test_an_alignment_agrees_with_itself_and_agreement_is_symmetric(pair):
    a, b = sedi(*pair), uld(*pair)
    own = agreement(a, a)
    assert (own.boundary_f1, own.share, len(own.differing)) == (1.0, 1.0, 0)
    there, back = agreement(a, b), agreement(b, a)
    assert there.boundary_f1 == back.boundary_f1
    assert there.share == back.share
    assert there.differing.tolist() == back.differing.tolist()


@given(encoded_twice())
def test_outside_the_differing_stretches_the_groups_are_the_same(pair):
    a, b = sedi(*pair), cdm(*pair)
    found = agreement(a, b)
    rows_a, rows_b = (set(map(tuple, x.groups.tolist())) for x in (a, b))
    inside = set()
    for s0, s1, t0, t1 in found.differing.tolist():
        here_a = {g for g in rows_a if s0 <= g[0] and g[1] <= s1 and t0 <= g[2] and g[3] <= t1}
        here_b = {g for g in rows_b if s0 <= g[0] and g[1] <= s1 and t0 <= g[2] and g[3] <= t1}
        assert here_a != here_b
        # smallest: no boundary inside the stretch is common to both
        assert not {(g[1], g[3]) for g in here_a} & {(g[1], g[3]) for g in here_b} - {(s1, t1)}
        inside |= here_a | here_b
    assert rows_a - inside == rows_b - inside


def test_agreement_names_the_stretch_that_differs():
    s, t = encoding(list("abcdef")), encoding(list("abcdef"))
    one = with_groups(s, t, [[k, k + 1, k, k + 1] for k in range(6)])
    other = with_groups(s, t, [[0, 1, 0, 1], [1, 2, 1, 3], [2, 3, 3, 3], [3, 4, 3, 4], [4, 5, 4, 5], [5, 6, 5, 6]])
    found = agreement(one, other)
    assert found.differing.tolist() == [[1, 3, 1, 3]]
    assert found.share == pytest.approx(4 / 6)
    assert found.boundary_f1 == pytest.approx(2 * 4 / (5 + 5))


def test_agreement_of_two_texts_is_refused():
    a, b = (sedi(encoding([x]), encoding([x])) for x in ("a", "b"))
    with pytest.raises(AlignmentError, match="must encode one text"):
        agreement(a, b)


def test_group_table_shows_texts_and_ranges():
    s, t = encoding(["The", " 2", "01"]), encoding(["The", " 201"])
    table = group_table(sedi(s, t))
    assert list(table)[:5] == ["group", "kind", "student_text", "teacher_text", "bytes"]
    assert list(table)[5:] == ["s0", "s1", "t0", "t1", "text_equal"]
    assert table.to_numpy().tolist() == [
        [0, "1-1", "The", "The", 3, 0, 1, 0, 1, True],
        [1, "n-1", " 201", " 201", 4, 1, 3, 1, 2, True],
    ]


def test_health_is_ok_for_a_sound_alignment():
    s, t = encoding(["The", " 2", "01"]), encoding(["The", " 201"])
    found = health(sedi(s, t))
    assert found.level == "ok"
    assert found.verdict == "exact and fine"
    assert found.sentence == (
        "100.0 % of bytes face equal bytes; boundary F1 1.000; largest group 2 tokens; no uncovered bytes"
    )


def test_health_warns_of_gaps_and_of_unequal_text():
    gap = health(sedi(of_spans([(0, 2), (2, 3), (3, 6)], 6), of_spans([(0, 2), (3, 6)], 6)))
    assert (gap.level, gap.uncovered_bytes, gap.orphans) == ("warn", 1, 1)
    assert "1 uncovered byte; 1 token without a partner" in gap.sentence
    shifted = health(uld(encoding(["a", "bc"]), encoding(["ab", "c"])))
    assert (shifted.level, shifted.verdict) == ("bad", "wrong")
    assert shifted.sentence.startswith("0.0 % of bytes face equal bytes; boundary F1 0.000")
    assert "100.0 % of groups spell different bytes" in shifted.sentence


def test_health_flags_a_super_group():
    s, t = encoding(list("a" * 20)), encoding(["a" * 20])
    found = health(sedi(s, t))
    assert (found.level, found.verdict, found.largest_group) == ("warn", "exact but coarse", 20)
    assert "largest group 20 tokens" in found.sentence
    # 10 tokens are few, and can't be parted: however long the text around them is, the rule is the same
    for times in (1, 4, 40):
        s = encoding([*"abcdefghij" * times, *"0123456789"])
        t = encoding([*"abcdefghij" * times, "0123456789"])
        assert health(sedi(s, t)).level == "ok"
        whole = with_groups(s, t, [[0, 10 * times + 10, 0, 10 * times + 1]])
        assert (health(whole).level, health(whole).verdict) == ("warn", "exact but coarse")


def test_equal_bytes_from_another_place_are_no_match():
    """Eight times the same word: after one token more, every word faces an equal one that stands elsewhere."""
    s, t = encoding(["x", *[" ha"] * 8]), encoding([*["x ha"], *[" ha"] * 7])
    drift = with_groups(s, t, [[0, 1, 0, 1], *([k, k + 1, k, k + 1] for k in range(1, 8)), [8, 9, 8, 8]])
    assert alignment_metrics(drift)["text_match_rate"] == pytest.approx(7 / 8)
    assert alignment_metrics(drift)["byte_match_rate"] == 0.0
    assert (health(drift).level, health(drift).verdict) == ("bad", "wrong")


def test_bytes_that_face_equal_bytes_are_those_of_equal_groups():
    s, t = encoding(["The", " 2", "0", "1", " cats"]), encoding(["The", " 20", "1", " cats"])
    right = with_groups(s, t, [[0, 1, 0, 1], [1, 3, 1, 2], [3, 4, 2, 3], [4, 5, 3, 4]])
    assert alignment_metrics(right)["byte_match_rate"] == 1.0
    assert right.unequal.tolist() == [False] * 4
    position = with_groups(s, t, [[0, 1, 0, 1], [1, 2, 1, 2], [2, 3, 2, 3], [3, 4, 3, 4], [4, 5, 4, 4]])
    found = alignment_metrics(position)
    assert (found["share_1_1"], found["byte_match_rate"]) == (1.0, pytest.approx(3 / 12))
    assert position.unequal.tolist() == [False, True, True, True, False]  # what faces nothing isn't unequal
    assert health(position).sentence.startswith("25.0 % of bytes face equal bytes")


def level_by_loop(a):
    """The rule of `health`, token by token and byte by byte."""
    pairs = [(i, j) for s0, s1, t0, t1 in a.groups.tolist() for i in range(s0, s1) for j in range(t0, t1)]
    facing = {(i, j) for i, j in pairs}
    two_sided = {i for i, _ in facing}, {j for _, j in facing}
    overlap = {
        (i, j)
        for i, (b, e) in enumerate(a.student.spans.tolist())
        for j, (c, d) in enumerate(a.teacher.spans.tolist())
        if min(e, d) > max(b, c)
    }
    if any((i, j) not in facing and (i in two_sided[0] or j in two_sided[1]) for i, j in overlap) or not facing:
        return "bad"
    both = int((a.sizes > 0).all(axis=1).sum())
    smallest = sum(1 for g in sedi(a.student, a.teacher).sizes.tolist() if all(g))
    alone = len(two_sided[0]) < len(a.student) or len(two_sided[1]) < len(a.teacher)
    coarse = both < smallest or int(a.sizes.max(initial=0)) > 16 or alone
    return "warn" if coarse or a.unequal.any() else "ok"


@pytest.mark.parametrize("aligner", [sedi, cdm, uld])
@given(pair=encoded_twice(max_size=16), times=st.sampled_from([1, 2, 7]))
def test_one_rule_decides_on_every_length(aligner, pair, times):
    """Green, amber and red follow from the groups alone, in a text as in seven copies of it."""
    if not pair[0].n_bytes:
        return
    s, t = (encoding([piece for _ in range(times) for piece in side.token_bytes]) for side in pair)
    assert health(aligner(s, t)).level == level_by_loop(aligner(s, t))


def test_health_flags_an_alignment_without_any_pair():
    s, t = of_spans([(0, 2)], 4), of_spans([(2, 4)], 4)
    assert health(sedi(s, t)).level == "bad"


def test_the_work_of_metrics_grows_with_the_tokens_to_100000():
    def work(n: int) -> int:
        rng = np.random.default_rng(0)
        edges = np.arange(0, 5 * n + 1, 5)
        s = of_spans(np.stack([edges[:-1], edges[1:]], axis=1), 5 * n)
        cuts = np.unique(np.concatenate([[0, 5 * n], rng.choice(5 * n, 6 * n // 5)]))
        t = of_spans(np.stack([cuts[:-1], cuts[1:]], axis=1), 5 * n)
        a = sedi(s, t)
        return lines_run(lambda: alignment_metrics(a))

    assert work(100_000) < 11 * work(10_000)


def test_special_tokens_inside_groups_do_not_count():
    """The released X-Token walk pairs special tokens as well."""
    same = catalog_tokenizer("mistral-v1")
    for text, special in (("Hello there", True), ("Hello", True), ("hi </s> there<s>", False)):
        found = align(
            text, student=same, teacher=same, method="xtoken", variant="released", special_tokens=special
        ).metrics()
        for name in ("student_tokens_1_1", "teacher_tokens_1_1", "student_text_match_rate"):
            assert found[name] == 1.0, (text, name)
        assert found["boundary_f1"] == 1.0 or not special  # a special token inside a text may join its neighbours
    smol = catalog_tokenizer("smollm2")
    text = "hi <|endoftext|> there<|im_end|>"
    found = align(text, student=smol, teacher=smol, method="xtoken", variant="released").metrics()
    assert found["student_tokens_1_1"] == found["text_match_rate"] == 1.0


@pytest.mark.parametrize("text", ["hi there", "hi there </s>", "hi </s>there <s>", "  two", " ", "\r\n\r\n\t x"])
@pytest.mark.parametrize("method", ["sedi", "xtoken"])
def test_a_blank_that_a_tokenizer_adds_is_no_text_wherever_it_stands(text, method):
    found = align(text, student=catalog_tokenizer("smollm2"), teacher=catalog_tokenizer("mistral-v1"), method=method)
    both = (found.groups[:, 0] < found.groups[:, 1]) & (found.groups[:, 2] < found.groups[:, 3])
    content = both & ~np.array([found.student.special[a:b].any() for a, b, *_ in found.groups.tolist()])
    covering = [
        g for g in np.flatnonzero(content)
        if found.student.spans[found.groups[g, 0], 0] == found.teacher.spans[found.groups[g, 2], 0]
        and found.student.spans[found.groups[g, 1] - 1, 1] == found.teacher.spans[found.groups[g, 3] - 1, 1]
    ]  # fmt: skip
    assert texts_equal(found)[covering].all()
    if found.flags is not None:
        assert found.flags[covering].all()


def test_agreement_needs_one_pair_of_tokenizers():
    smol, mistral, qwen = (catalog_tokenizer(name) for name in ("smollm2", "mistral-v1", "qwen"))
    one, other = (align("a short text", student=smol, teacher=t) for t in (mistral, qwen))
    with pytest.raises(AlignmentError, match="different teacher tokens"):
        agreement(one, other)


def test_swapping_turns_the_notes_round():
    smol, mistral = catalog_tokenizer("smollm2"), catalog_tokenizer("mistral-v1")
    found = align("a </s> b", student=smol, teacher=mistral)
    back = found.swap()
    assert back.swap().notes == found.notes
    assert any("teacher" in note for note in found.notes)
    assert [n.replace("teacher", "student") for n in found.notes if "teacher" in n] == [
        n for n in back.notes if "student" in n
    ]


def test_a_text_that_is_no_text_is_refused():
    smol = catalog_tokenizer("smollm2")
    for text in (None, b"x", 5):
        with pytest.raises(AlignmentError, match="must be a str"):
            align(text, student=smol, teacher=smol)  # type: ignore[arg-type]
