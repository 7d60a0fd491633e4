"""GOLD's byte walk and the text buffers before it: against the released walks, and what must hold for any text."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctkd_core import methods
from ctkd_core.alignment import align
from ctkd_core.alignment.boundaries import closed_groups, lists_to_groups
from ctkd_core.alignment.gold import gold
from ctkd_core.alignment.greedy import buffer_groups, gold_greedy
from ctkd_core.alignment.metrics import agreement, group_table, health
from ctkd_core.alignment.released import gold as released
from ctkd_core.alignment.released.decoding import byte_fallback_pieces, byte_level_pieces, decoded_pieces
from ctkd_core.alignment.spans import sedi
from ctkd_core.errors import AlignmentError
from ctkd_core.tokenizers.token_bytes import token_bytes_from_strings
from tests.alignment.make import encoded_twice, encoding, of_spans, sorted_spans
from tests.alignment.reference import incremental_pieces, text_buffer_groups
from tests.alignment.test_spans import array, assert_partition
from tests.tiny import tiny_byte_level, tiny_metaspace
from tests.work import lines_run

ALIGNERS = [gold, gold_greedy]
FACTS = Path(__file__).parents[1] / "golden" / "alignment.json"
EMOJI = "a 👩‍🚀 b 東京 c"


def kinds(alignment):
    return [alignment.kind(g) for g in range(len(alignment))]


# --- both ---


@pytest.mark.parametrize("aligner", ALIGNERS)
@given(pair=encoded_twice())
def test_every_token_is_in_one_group_in_order_and_both_sides_spell_the_group(aligner, pair):
    alignment = aligner(*pair)
    assert_partition(alignment.groups, len(pair[0]), len(pair[1]))
    mine = [alignment.student_bytes(g) for g in range(len(alignment))]
    assert b"".join(mine) == pair[0].text.encode()
    assert mine == [alignment.teacher_bytes(g) for g in range(len(alignment))]
    assert alignment.flags.all()
    assert not alignment.notes


@pytest.mark.parametrize("aligner", ALIGNERS)
@given(pair=encoded_twice())
def test_on_whole_texts_the_groups_are_the_span_components(aligner, pair):
    assert aligner(*pair).groups.tolist() == sedi(*pair).groups.tolist()


@pytest.mark.parametrize("aligner", ALIGNERS)
@given(pair=encoded_twice())
@settings(max_examples=50)
def test_swapping_the_sides_swaps_the_groups(aligner, pair):
    assert aligner(*pair).swap().groups.tolist() == aligner(*pair[::-1]).groups.tolist()


@pytest.mark.parametrize("aligner", ALIGNERS)
@given(pair=encoded_twice())
@settings(max_examples=50)
def test_one_tokenizer_on_both_sides_gives_1_1_groups_only(aligner, pair):
    one = pair[0]
    assert aligner(one, one).groups.tolist() == [[k, k + 1, k, k + 1] for k in range(len(one))]


@pytest.mark.parametrize("aligner", ALIGNERS)
@pytest.mark.parametrize("variant", ["clean", "released"])
def test_two_texts_are_refused_and_empty_ones_are_not(aligner, variant):
    with pytest.raises(AlignmentError, match="must encode one text"):
        aligner(encoding(["a"]), encoding(["b"]), variant=variant)
    assert aligner(encoding([]), encoding([]), variant=variant).groups.shape == (0, 4)
    alone = aligner(encoding(["a"]), of_spans([], 1), variant=variant)
    assert alone.groups.tolist() == [[0, 1, 0, 0]]
    assert not alone.flags.any()


@pytest.mark.parametrize("method", ["gold", "gold-greedy", "alm"])
def test_text_that_one_side_reads_as_a_special_token_is_in_no_group_and_shifts_no_other(method):
    """The special token stands for its bytes in the walk, so what comes after it still meets."""
    s, t = tiny_byte_level(400), tiny_byte_level(300, digits=1)
    text = "The cats<eos> sat on the flag."
    cut = [*t.encode("The cats").token_bytes, *"<eos>", *t.encode(" sat on the flag.").token_bytes]
    teacher = replace(encoding(cut), kind="byte-level")
    row = methods.get(method)
    alignment = methods.load(row.aligner)(s.encode(text), teacher)
    special = int(np.flatnonzero(alignment.student.special)[0])
    lonely = [g for g in range(len(alignment)) if alignment.kind(g) == "teacher-only"]
    assert b"".join(alignment.teacher_bytes(g) for g in lonely) == b"<eos>"
    assert alignment.flags.tolist() == [g not in lonely for g in range(len(alignment))]
    after = [g for g in range(len(alignment)) if alignment.groups[g, 0] > special]
    assert b"".join(alignment.student_bytes(g) for g in after) == b" sat on the flag."
    assert all(alignment.student_bytes(g) == alignment.teacher_bytes(g) for g in after)


@given(st.lists(st.sampled_from(["ab", "<x>", "c", "<y>"]), min_size=1), st.sets(st.integers(1, 40)))
def test_special_tokens_that_the_text_spells_are_in_no_group_and_every_other_token_is(words, marks):
    special = np.array([word.startswith("<") for word in words])
    s = replace(encoding(words), special=special)
    edges = sorted({0, len(s.text), *(m for m in marks if m < len(s.text))})
    t = encoding([s.text[a:b] for a, b in pairwise(edges)])
    for aligner in ALIGNERS:
        alignment = aligner(s, t)
        rows = alignment.groups.tolist()
        assert [k for a, b, _, _ in rows for k in range(a, b)] == np.flatnonzero(~special).tolist()
        assert [k for _, _, a, b in rows for k in range(a, b)] == list(range(len(t)))
        assert all(value <= 1 for name, value in alignment.metrics().items() if name.endswith(("rate", "1_1")))


# --- gold ---


def own_ends(spans):
    """Without tokens that cover text and end where the one before ends: pieces of one changed character."""
    return [x for k, x in enumerate(spans) if k == 0 or x[1] != spans[k - 1][1] or x[0] >= x[1]]


@given(sorted_spans(min_width=0).map(own_ends), sorted_spans(min_width=0).map(own_ends))
def test_the_compiled_walk_closes_the_groups_of_the_released_one(s, t):
    lists = released.end_boundary_walk(s, t)
    closed = [g for g in lists if g[0] and g[1] and s[g[0][-1]][1] == t[g[1][-1]][1]]
    assert closed_groups(array(s), array(t)).tolist() == lists_to_groups(closed).tolist()


@given(sorted_spans(), sorted_spans())
def test_pieces_of_one_changed_character_close_together(s, t):
    for _, b, _, d in closed_groups(array(s), array(t)).tolist():
        assert s[b - 1][1] == t[d - 1][1]
        for spans, following in ((s, b), (t, d)):
            assert following == len(spans) or spans[following][1] > spans[following - 1][1]


@given(sorted_spans(min_width=0), sorted_spans(min_width=0))
def test_gaps_and_empty_spans_leave_every_token_in_one_group_and_flags_mean_equal_bytes(s, t):
    def new(spans, first, last):
        """Bytes that these tokens cover and none before them does."""
        before = max((end for _, end in spans[:first]), default=0)
        return {k for x, y in spans[first:last] for k in range(x, y) if k >= before}

    alignment = gold(of_spans(s, 20), of_spans(t, 20))
    assert_partition(alignment.groups, len(s), len(t))
    for (a, b, c, d), flag in zip(alignment.groups.tolist(), alignment.flags.tolist()):
        hulls_agree = b > a and d > c and (s[a][0], s[b - 1][1]) == (t[c][0], t[d - 1][1])
        assert flag == (hulls_agree and len(new(s, a, b)) == len(new(t, c, d)))


@given(encoded_twice())
def test_released_and_clean_agree_on_whole_texts(pair):
    assert gold(*pair, variant="released").groups.tolist() == gold(*pair).groups.tolist()


def test_what_is_left_over_is_forced_together_or_flagged():
    s, t = of_spans([(0, 2), (2, 4), (4, 6)], 6), of_spans([(0, 2), (2, 3), (3, 5)], 6)
    forced = gold(s, t, variant="released")
    assert forced.groups.tolist() == [[0, 1, 0, 1], [1, 3, 1, 3]]
    assert forced.flags.tolist() == [True, False]
    assert "last 2 student and 2 teacher tokens" in forced.notes[-1]
    assert "closes them as one group all the same" in forced.notes[-1]
    clean = gold(s, t)
    assert clean.groups.tolist() == forced.groups.tolist()  # these really share bytes
    assert "grouped by the bytes that they share" in clean.notes[-1]
    apart = of_spans([(0, 2), (2, 4), (5, 6)], 6), of_spans([(0, 2), (4, 5)], 6)
    assert gold(*apart, variant="released").groups.tolist() == [[0, 1, 0, 1], [1, 3, 1, 2]]
    assert kinds(gold(*apart)) == ["1-1", "student-only", "teacher-only", "student-only"]
    assert gold(*apart).flags.tolist() == [True, False, False, False]


def test_a_tail_that_one_side_lacks_is_one_sided_in_both_variants():
    s, t = of_spans([(0, 2), (2, 3), (3, 4)], 4), of_spans([(0, 2)], 4)
    assert gold(s, t, variant="released").groups.tolist() == [[0, 1, 0, 1], [1, 3, 1, 1]]
    assert "drops them" in gold(s, t, variant="released").notes[-1]
    assert gold(s, t).groups.tolist() == [[0, 1, 0, 1], [1, 2, 1, 1], [2, 3, 1, 1]]


def test_a_token_over_bytes_that_the_other_side_lacks_joins_the_next_group_which_is_flagged():
    alignment = gold(of_spans([(0, 2), (2, 3), (3, 6)], 6), of_spans([(0, 2), (3, 6)], 6))
    assert alignment.groups.tolist() == [[0, 1, 0, 1], [1, 3, 1, 2]]
    assert alignment.flags.tolist() == [True, False]


def test_the_released_variant_refuses_what_is_not_byte_level():
    with pytest.raises(AlignmentError, match=r"not byte-level: teacher. Use the variant 'clean'"):
        align("The cats", student=tiny_byte_level(400), teacher=tiny_metaspace(), method="gold", variant="released")
    assert len(align("The cats", student=tiny_byte_level(400), teacher=tiny_metaspace(), method="gold"))


def test_the_released_variant_on_real_tokenizers_cuts_characters_by_the_bytes_of_their_pieces():
    s, t = tiny_byte_level(400), tiny_byte_level(300, digits=1)
    one = align(EMOJI, student=s, teacher=t, method="gold", variant="released")
    assert one.groups.tolist() == align(EMOJI, student=s, teacher=t, method="gold").groups.tolist()
    assert one.flags.all()


# --- gold-greedy ---


@given(encoded_twice())
def test_byte_buffers_are_those_of_the_plain_loop(pair):
    pieces = [[p.decode("latin-1") for p in e.token_bytes] for e in pair]
    groups, closed = buffer_groups(pair[0].token_bytes, pair[1].token_bytes)
    assert groups.tolist() == lists_to_groups(text_buffer_groups(*pieces)).tolist()
    assert closed == len(groups)


@given(st.lists(st.text("ab", min_size=1, max_size=3)), st.lists(st.text("ab", min_size=1, max_size=3)))
def test_byte_buffers_of_different_texts_end_in_one_group_like_the_plain_loop(s, t):
    groups, closed = buffer_groups([x.encode() for x in s], [x.encode() for x in t])
    lists = text_buffer_groups(s, t)
    assert groups.tolist() == lists_to_groups(lists).tolist()
    met = [a for a, b in lists if "".join(s[k] for k in a) == "".join(t[k] for k in b)]
    assert closed == len(met)


@given(st.lists(st.sampled_from(["", "a", "b", "ab"])), st.lists(st.sampled_from(["", "a", "b", "ab"])))
def test_pieces_that_add_nothing_go_where_the_plain_loop_puts_them(s, t):
    groups, closed = buffer_groups(s, t)
    lists = text_buffer_groups(s, t)
    assert groups.tolist() == lists_to_groups(lists).tolist()
    assert closed == sum("".join(s[k] for k in a) == "".join(t[k] for k in b) != "" for a, b in lists)


@given(encoded_twice())
def test_pieces_in_one_pass_are_those_of_decoding_every_prefix(pair):
    tokens = pair[0].token_bytes
    prefixes = [b"".join(tokens[: k + 1]).decode("utf-8", "replace") for k in range(len(tokens))]
    assert byte_level_pieces(tokens) == incremental_pieces(prefixes)


@given(
    st.lists(st.sampled_from([b"a", b" b", "é".encode()[:1], "é".encode()[1:], "日".encode()[:1], b"\x97", b"\xa5"]))
)
def test_runs_of_byte_tokens_are_text_only_as_a_whole(tokens):
    def decoded(tokens):
        text, run = "", b""
        for token in [*tokens, b"."]:
            if len(token) == 1 and token[0] >= 0x80:
                run += token
                continue
            try:
                text += run.decode()
            except UnicodeDecodeError:
                text += "\ufffd" * len(run)
            run, text = b"", text + token.decode()
        return text[:-1]

    prefixes = [decoded(tokens[: k + 1]) for k in range(len(tokens))]
    assert byte_fallback_pieces(tokens) == incremental_pieces(prefixes)


@pytest.mark.parametrize("case", json.loads(FACTS.read_text())["cases"], ids=lambda case: case["id"])
def test_pieces_in_one_pass_give_the_recorded_groups_of_the_trainer(case):
    pieces = []
    for side in ("student", "teacher"):
        kind = "sentencepiece" if case[side] in ("gemma3", "llama2") else "byte-level"
        tokens = token_bytes_from_strings(case[f"{side}_tokens"], kind)
        pieces.append(decoded_pieces(replace(encoding(tokens, range(len(tokens))), text=case["text"], kind=kind)))
    lists = [[list(range(a, b)), list(range(c, d))] for a, b, c, d in buffer_groups(*pieces)[0].tolist()]
    assert lists == case["outputs"]["trl_gold_greedy_text"]


def test_a_bos_of_one_side_collapses_the_released_buffers_and_only_them():
    s = tiny_byte_level(400)
    text = "The comfort of cats was the flag carrier during the year."
    without = s.encode(text), s.encode(text)
    with_bos = s.encode(text, special_tokens=True), s.encode(text)
    assert gold_greedy(*without, variant="released").metrics()["share_1_1"] == 1.0
    collapsed = gold_greedy(*with_bos, variant="released")
    assert collapsed.groups.tolist() == [[0, len(with_bos[0]), 0, len(with_bos[1])]]
    assert collapsed.flags.tolist() == [False]
    assert "stop matching at student token 0 and teacher token 0" in collapsed.notes[0]
    assert (health(collapsed).level, health(collapsed).verdict) == ("warn", "exact but coarse")
    assert gold_greedy(*with_bos).metrics()["share_1_1"] == 1.0
    assert gold(*with_bos).metrics()["share_1_1"] == 1.0


def test_a_cut_character_collapses_the_released_buffers_but_neither_bytes_nor_offsets():
    llama = "🦙".encode()
    s = encoding(["a", llama[:2], llama[2:], *"bcdefgh"])
    t = encoding(["a", llama, *"bcdefgh"])
    collapsed = gold_greedy(s, t, variant="released")
    assert collapsed.groups.tolist() == [[0, 1, 0, 1], [1, 10, 1, 9]]
    assert collapsed.flags.tolist() == [True, False]
    for aligner in ALIGNERS:
        assert aligner(s, t).groups.tolist()[:2] == [[0, 1, 0, 1], [1, 3, 1, 2]]
        assert len(aligner(s, t)) == 9


def test_a_blank_before_the_text_on_one_side_collapses_even_the_bytes():
    alignment = align("The cats sat", student=tiny_byte_level(400), teacher=tiny_metaspace(), method="gold-greedy")
    assert len(alignment) == 1
    assert not alignment.flags.any()
    released_one = align(
        "The cats sat", student=tiny_byte_level(400), teacher=tiny_metaspace(), method="gold-greedy", variant="released"
    )
    assert len(released_one) > 1  # the decoder takes that blank off


def test_a_group_of_nothing_but_special_tokens_is_left_out():
    s, t = (tiny_byte_level(400).encode("The cats", special_tokens=True) for _ in range(2))
    alignment = gold_greedy(s, t, variant="released")
    assert alignment.groups[0].tolist() == [1, 2, 1, 2]
    assert alignment.metrics()["share_1_1"] == 1.0


def test_a_collapsed_alignment_works_with_metrics_table_and_agreement():
    s = tiny_byte_level(400).encode(EMOJI * 20, special_tokens=True)
    t = tiny_byte_level(300, digits=1).encode(EMOJI * 20)
    collapsed, exact = gold_greedy(s, t, variant="released"), gold(s, t)
    assert collapsed.metrics()["largest_group"] == max(len(s), len(t))
    assert collapsed.metrics()["boundary_f1"] == 0.0
    assert len(group_table(collapsed)) == 1
    assert agreement(exact, collapsed).boundary_f1 == 0.0


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
def test_ten_thousand_tokens_take_no_quadratic_work(kind):
    def sides(n: int):
        tokens = ["日".encode()[k : k + 1] for _ in range(n) for k in range(3)]
        return replace(encoding(tokens), kind=kind), replace(encoding(["日"] * n), kind=kind)

    def work(n: int) -> int:
        s, t = sides(n)
        return lines_run(lambda: gold_greedy(s, t, variant="released"))

    assert work(3400) < 4.2 * work(850)
    s, t = sides(3400)
    alignment = gold_greedy(s, t, variant="released")
    assert len(decoded_pieces(s)) == 3 * 3400
    assert np.array_equal(alignment.groups[-1, [1, 3]], [len(s), len(t)])


@pytest.mark.parametrize(("groups", "method"), [("dtw", "mined"), ("positional", "uld")])
def test_other_groups_are_those_of_the_method_that_they_name(groups, method):
    student, teacher = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
    found = align("In 2024 we sold 1234567 units.", student=student, teacher=teacher, method="gold", groups=groups)
    other = align("In 2024 we sold 1234567 units.", student=student, teacher=teacher, method=method)
    assert found.groups.tolist() == other.groups.tolist()
    assert found.label == f"gold (groups {groups})"
    assert found.flags is not None and not found.flags.all()
    assert other.method in found.notes[-1]


def test_unknown_groups_are_refused():
    student = tiny_byte_level(400, 3)
    with pytest.raises(AlignmentError, match="groups"):
        align("a", student=student, teacher=student, method="gold", groups="words")


def test_the_released_variant_reads_no_groups():
    pair = (encoding(["a", " b"]), encoding(["a b"]))
    with pytest.raises(AlignmentError, match="reads no 'groups' \\('dtw'\\)"):
        gold(*pair, variant="released", groups="dtw")
    assert gold(*pair, variant="released", groups="bytes").groups.tolist()
