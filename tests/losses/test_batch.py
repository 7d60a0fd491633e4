"""Samples and batches: both sides spell the response, groups sit at the right places, cuts and padding."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from ctkd_core import losses
from ctkd_core.errors import AlignmentError, CtkdError, LossInputError, TokenizerError
from ctkd_core.losses.batch import AlignedBatch, AlignedSample, align_sample, answer_of, collate, encode_response
from ctkd_core.tokenizers.chat_prompts import ChatPrompt
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.losses.cases import TEXTS, pair, plain_sample
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

PAIRS = {
    "bytes": (tiny_byte_level(400, 3), tiny_byte_level(300, 1)),
    "bytes-metaspace": (tiny_byte_level(400, 3), tiny_metaspace()),
    "metaspace-bytes": (tiny_metaspace(), tiny_byte_level(300, 1)),
}


def spelled(tokenizer, ids) -> bytes:
    return b"".join(tokenizer.token_bytes(int(i)) for i in ids)


@pytest.mark.parametrize("name", PAIRS)
@given(text=st.one_of(st.text(max_size=30), st.sampled_from(TEXTS), st.text(alphabet="12 aé🦙\n", max_size=20)))
def test_both_sides_spell_the_completion(name, text):
    student, teacher = PAIRS[name]
    text = text.encode("utf-8", "ignore").decode()
    sample = align_sample("Say:", text, student, teacher)
    data = text.encode()
    for tokenizer, ids, start in (
        (student, sample.student_ids, sample.student_response_start),
        (teacher, sample.teacher_ids, sample.teacher_response_start),
    ):
        assert ids[0] == tokenizer.bos_id
        if tokenizer.eos_id is not None:
            assert ids[-1] == tokenizer.eos_id
            ids = ids[:-1]
        assert spelled(tokenizer, ids[start:]) == data
    content = [g for g in sample.groups.tolist() if sample.student_ids[g[0]] != student.eos_id]
    whole = b""
    for s0, s1, t0, t1 in content:
        mine, theirs = spelled(student, sample.student_ids[s0:s1]), spelled(teacher, sample.teacher_ids[t0:t1])
        assert mine == theirs != b""
        whole += mine
    assert whole == data


def test_the_end_of_text_is_the_last_group():
    student, teacher = pair()
    sample = align_sample("a", " b", student, teacher)
    assert sample.groups[-1].tolist() == [
        len(sample.student_ids) - 1,
        len(sample.student_ids),
        len(sample.teacher_ids) - 1,
        len(sample.teacher_ids),
    ]
    without = align_sample("a", " b", student, tiny_metaspace())
    assert tiny_metaspace().eos_id is not None or len(without.groups) == len(sample.groups) - 1


def test_special_tokens_in_a_completion_stay_text():
    student, teacher = pair()
    sample = align_sample("a", " x<eos> y", student, teacher)
    assert (sample.student_ids == student.eos_id).sum() == 1
    prompt = align_sample("a<eos>", " y", student, teacher)
    assert (prompt.student_ids[: prompt.student_response_start] == student.eos_id).sum() == 1


def with_added(*tokens: dict) -> Tokenizer:
    """The tiny byte-level tokenizer with more added tokens that aren't special, above its model's vocabulary."""
    document = json.loads(tiny_byte_level().backend.to_str())
    following = max([*document["model"]["vocab"].values(), *(t["id"] for t in document["added_tokens"])]) + 1
    for k, token in enumerate(tokens):
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
        document["added_tokens"].append({"id": following + k, **flags, **token})
    return Tokenizer.from_backend(Backend.from_str(json.dumps(document)), "added", source="tests")


@pytest.mark.parametrize(
    ("token", "completion", "cut"),
    [
        ({"content": "<think>"}, "<think>\nok", ["<think>", "\n", "o", "k"]),
        ({"content": "cat", "single_word": True}, " a cat category", None),
        ({"content": "<sep>", "lstrip": True}, "a  <sep> b", None),
        ({"content": "<sep>", "rstrip": True}, "a <sep>  b", None),
        ({"content": "<sep>", "lstrip": True, "rstrip": True, "normalized": True}, "a <sep> b<sep>", None),
    ],
)
def test_a_completion_is_cut_as_the_tokenizer_cuts_it(token, completion, cut):
    tokenizer = with_added(token)
    response = encode_response(completion, tokenizer)
    alone = tokenizer.encode(completion)
    assert response.ids.tolist() == alone.ids.tolist()
    assert response.spans.tolist() == alone.spans.tolist()
    assert not response.special.any()
    if cut is not None:
        assert [tokenizer.token(int(i)) for i in response.ids[:1]] == cut[:1]
        assert spelled(tokenizer, response.ids) == completion.encode()
    sample = align_sample("Say:", completion, tokenizer, tiny_byte_level(300, 1), method="gold")
    added = tokenizer.id_of(token["content"])
    at = [k for k, i in enumerate(sample.student_ids.tolist()) if i == added]
    assert at and all(any(g[0] <= k < g[1] for g in sample.groups.tolist()) for k in at)


@given(text=st.text(alphabet="ab <>tc\n", max_size=20).flatmap(lambda t: st.sampled_from([t, t + "<t>", t + " <t> x"])))
def test_a_completion_is_the_rest_of_prompt_and_completion(text):
    tokenizer = with_added({"content": "<t>"}, {"content": "cab", "single_word": True})
    prompt = tokenizer.encode("Say!\n").ids.tolist()
    whole = tokenizer.encode("Say!\n" + text).ids.tolist()
    if whole[: len(prompt)] == prompt and not text.startswith(("cab", "\n", " ")):
        assert encode_response(text, tokenizer).ids.tolist() == whole[len(prompt) :]


def test_a_text_without_a_prompt_begins_like_any_text():
    tokenizer = tiny_metaspace()
    own = tokenizer.encode("the cats").ids.tolist()
    assert own != encode_response("the cats", tokenizer).ids.tolist(), "it puts a blank before texts"
    for prompt in ("", ChatPrompt("")):
        answer = answer_of(prompt, "the cats", tokenizer)
        assert answer.ids.tolist() == own
        assert b"".join(answer.token_bytes) == b"the cats" and answer.spans[0, 0] == 0, "the blank is no part of it"
    sample = align_sample("", "the cats", tokenizer, tiny_byte_level(300, 1), method="gold")
    assert sample.student_ids.tolist() == [tokenizer.bos_id, *own, tokenizer.eos_id]
    assert answer_of("x", "the cats", tokenizer).ids.tolist() == encode_response("the cats", tokenizer).ids.tolist()


def test_a_rewritten_completion_gets_no_blank_before_it():
    tokenizer = tiny_metaspace()

    def cut(text):
        return [tokenizer.token(int(i)) for i in encode_response(text, tokenizer).ids]

    assert cut("the cats")[0] == "the"[: len(cut("the cats")[0])]
    assert cut("the\u2581cats") == cut("the cats")


def test_bos_once_and_empty_parts():
    student, teacher = pair()
    assert align_sample("<bos>a", " b", student, teacher).student_ids.tolist().count(student.bos_id) == 1
    empty = align_sample("", "", student, teacher)
    assert empty.student_ids.tolist() == [student.bos_id, student.eos_id]
    assert empty.groups.tolist() == [[1, 2, 1, 2]]
    assert empty.n_learnt == 1


def test_a_prompt_of_its_own_for_the_teacher():
    student, teacher = pair()
    sample = align_sample("Q: x", " y", student, teacher, teacher_prompt="<bos>user x assistant")
    same = align_sample("Q: x", " y", student, teacher)
    assert sample.teacher_response_start > same.teacher_response_start
    tail = sample.teacher_ids[sample.teacher_response_start :]
    assert tail.tolist() == same.teacher_ids[same.teacher_response_start :].tolist()


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 14, 1000])
def test_cut_at_max_length(limit):
    student, teacher = pair()
    full = align_sample("a prompt", TEXTS[0], student, teacher)
    cut = align_sample("a prompt", TEXTS[0], student, teacher, max_length=limit)
    assert cut.truncated == (limit < max(len(full.student_ids), len(full.teacher_ids)))
    assert cut.student_ids.tolist() == full.student_ids[:limit].tolist()
    assert cut.teacher_ids.tolist() == full.teacher_ids[:limit].tolist()
    inside = [g for g in full.groups.tolist() if g[1] <= limit and g[3] <= limit]
    assert cut.groups.tolist() == inside
    assert cut.student_response_start <= len(cut.student_ids)


@pytest.mark.parametrize("limit", [3, 8, 12, 20, 1000])
def test_cut_at_the_left_the_answer_stays(limit):
    student, teacher = pair()
    prompt, answer = "a long prompt of many words, all of which are context", " 2024 cats"
    full = align_sample(prompt, answer, student, teacher)
    cut = align_sample(prompt, answer, student, teacher, max_length=limit, truncation_side="left")
    sides = ("student", student), ("teacher", teacher)
    assert cut.truncated == any(len(getattr(full, f"{side}_ids")) > limit for side, _ in sides)
    for side, tokenizer in sides:
        whole, kept = getattr(full, f"{side}_ids"), getattr(cut, f"{side}_ids")
        start, begins = getattr(full, f"{side}_response_start"), getattr(cut, f"{side}_response_start")
        room = max(1, min(start, limit - (len(whole) - start)))
        assert begins == room
        assert kept[begins:].tolist() == whole[start:][: limit - room].tolist()
        assert kept[0] == tokenizer.bos_id or room == 1
        assert kept[1:begins].tolist() == (whole[start - room + 1 : start].tolist() if room > 1 else [])
    if limit == 20:
        assert len(cut.groups) == len(full.groups)
    with pytest.raises(AlignmentError, match="truncation_side must be 'right' or 'left'; got 'middle'"):
        align_sample(prompt, answer, student, teacher, truncation_side="middle")


def test_prompts_of_chat_templates_differ_and_the_answer_is_aligned_on_its_own_bytes():
    student, teacher = pair()
    own, other = ChatPrompt("<bos>Q", end=student.pad_id), ChatPrompt("user x", " ", end=teacher.eos_id)
    sample = align_sample(own, "2024 cats", student, teacher, teacher_prompt=other)
    assert sample.student_ids.tolist().count(student.bos_id) == 1
    assert teacher.bos_id not in sample.teacher_ids.tolist()  # the template has written all that belongs there
    assert (sample.student_ids[-1], sample.teacher_ids[-1]) == (student.pad_id, teacher.eos_id)
    assert sample.groups[-1].tolist()[1::2] == [len(sample.student_ids), len(sample.teacher_ids)]
    mine = spelled(student, sample.student_ids[sample.student_response_start : -1])
    theirs = spelled(teacher, sample.teacher_ids[sample.teacher_response_start : -1])
    assert (mine, theirs) == (b"2024 cats", b" 2024 cats")
    at = 0
    for s0, s1, t0, t1 in sample.groups[:-1].tolist():
        piece = spelled(student, sample.student_ids[s0:s1])
        assert piece == spelled(teacher, sample.teacher_ids[t0:t1]).lstrip(b" " if at == 0 else b"")
        at += len(piece)
    assert at == len(b"2024 cats")


def test_a_blank_before_an_answer_covers_none_of_it():
    tokenizer = tiny_byte_level(400, 3)
    plain, led = answer_of("x", "the cats", tokenizer), answer_of(ChatPrompt("x", " "), "the cats", tokenizer)
    assert led.text == plain.text == "the cats"
    assert led.spans[0, 0] == 0 and led.spans[-1, 1] == len("the cats")
    assert b"".join(led.token_bytes) == b"the cats"
    assert led.ids.tolist() == encode_response(" the cats", tokenizer).ids.tolist()


def test_wordpiece_falls_back_to_its_own_offsets():
    student, teacher = tiny_wordpiece(), tiny_byte_level(400, 3)
    sample = align_sample("a", " The Cats of 2024", student, teacher)
    assert len(sample.groups) >= 3
    assert (sample.groups[:, 1] > sample.groups[:, 0]).all()
    assert (np.diff(sample.groups[:, 0]) > 0).all()


def test_spans_of_a_response():
    encoding = encode_response(" naïve 🦙", tiny_byte_level(300, 1))
    assert encoding.spans[0, 0] == 0
    assert encoding.spans[-1, 1] == len(" naïve 🦙".encode())
    assert (encoding.spans[1:, 0] == encoding.spans[:-1, 1]).all()
    llama = encoding.char_spans[encoding.spans[:, 1] > len(" naïve ".encode())]
    assert (llama[-2:] == [7, 8]).all()  # pieces of one character share its range


def test_methods_and_refusals():
    student, teacher = pair()
    by_span = align_sample("a", TEXTS[0], student, teacher, "sedi")
    for method in ("sft", "uld"):
        assert align_sample("a", TEXTS[0], student, teacher, method).groups.tolist() == by_span.groups.tolist()
    chars = align_sample("a", " 🦙", student, teacher, "sedi", unit="char")
    assert len(chars.groups) <= len(align_sample("a", " 🦙", student, teacher).groups)
    with pytest.raises(AlignmentError, match="did you mean 'sedi'"):
        align_sample("a", "b", student, teacher, "sedii")
    with pytest.raises(AlignmentError, match="max_length must be at least 1; got 0"):
        align_sample("a", "b", student, teacher, max_length=0)
    with pytest.raises(AlignmentError, match="option"):
        align_sample("a", "b", student, teacher, units="char")
    with pytest.raises(AlignmentError, match=r"'uld' trains on the groups of 'sedi' .* leave out 'unit'"):
        align_sample("a", "b", student, teacher, "uld", unit="char")
    with pytest.raises(CtkdError):
        align_sample("a", "half an emoji \ud83e", student, teacher)


class TestCollate:
    def test_right_and_left(self):
        samples = [
            plain_sample([0, 5, 6, 1], [0, 7, 1], 2, 1, [[2, 3, 1, 2], [3, 4, 2, 3]]),
            plain_sample([9], [8], 1, 0),
        ]
        right = collate(samples)
        assert right.student_ids.tolist() == [[0, 5, 6, 1], [9, 0, 0, 0]]
        assert right.student_labels.tolist() == [[-100, -100, 6, 1], [-100] * 4]
        assert right.teacher_labels.tolist() == [[-100, 7, 1], [8, -100, -100]]
        assert right.student_attention.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
        assert right.groups.tolist() == [[0, 2, 3, 1, 2], [0, 3, 4, 2, 3]]
        samples = samples[::-1]
        left = collate([samples[0], samples[1]], pad="left")
        assert left.student_ids.tolist() == [[0, 0, 0, 9], [0, 5, 6, 1]]
        assert left.teacher_labels.tolist() == [[-100, -100, 8], [-100, 7, 1]]
        short = plain_sample([0, 5], [0, 7], 1, 1, [[1, 2, 1, 2]])
        assert collate([short, samples[1]], pad="left").groups[0].tolist() == [0, 3, 4, 2, 3]

    def test_padding_ids_and_types(self):
        student, teacher = pair()
        batch = collate([plain_sample([0, 5, 6], [0], 1, 1), plain_sample([0], [0, 5], 1, 1)], student, teacher)
        assert batch.student_ids[1, 1:].tolist() == [student.pad_id] * 2
        for name in ("student_ids", "teacher_labels", "student_attention", "groups"):
            assert getattr(batch, name).dtype == torch.int64
        assert batch.groups.shape == (0, 5)
        assert batch.student is student
        assert len(batch.to("cpu")) == 2

    def test_refusals(self):
        with pytest.raises(LossInputError, match="'right' or 'left'; got 'middle'"):
            collate([plain_sample([0], [0], 1, 1)], pad="middle")
        with pytest.raises(LossInputError, match="at least one sample"):
            collate([])

    def test_samples_travel_between_processes(self):
        student, teacher = pair()
        sample = align_sample("a", " b", student, teacher)
        again: AlignedSample = pickle.loads(pickle.dumps(sample))
        assert again.groups.tolist() == sample.groups.tolist()


@pytest.mark.real
def test_bos_only_where_the_tokenizer_itself_puts_it():
    from ctkd_core import load_tokenizer

    smollm2, mistral = load_tokenizer("smollm2"), load_tokenizer("mistral-v3")
    assert smollm2.bos_id is not None and not smollm2.begins_with_bos
    assert mistral.begins_with_bos
    sample = align_sample("Say:", " hello", mistral, smollm2)
    assert sample.student_ids[0] == mistral.bos_id
    assert smollm2.bos_id not in sample.teacher_ids.tolist()


def test_pairs_of_a_path_move_with_the_prompt_and_the_padding():
    student, teacher = pair()
    chosen = [align_sample("The teacher reads:", text, student, teacher, "cdm") for text in TEXTS[:2]]
    for sample in chosen:
        assert sample.pairs is not None
        assert sample.pairs[0].tolist() == [sample.student_response_start, sample.teacher_response_start]
        assert sample.pairs[-1].tolist() == [len(sample.student_ids) - 1, len(sample.teacher_ids) - 1]  # EOS with EOS
    for pad in ("right", "left"):
        batch = collate(chosen, student, teacher, pad=pad)
        for sample, s, t in batch.pairs.tolist():
            assert batch.student_labels[sample, s] != -100
            assert batch.teacher_labels[sample, t] != -100
        assert len(batch.pairs) == sum(len(x.pairs) for x in chosen)


def test_pairs_beyond_max_length_are_cut():
    student, teacher = pair()
    sample = align_sample("The teacher reads:", TEXTS[0], student, teacher, "cdm", max_length=14)
    assert sample.truncated
    assert (sample.pairs < 14).all()
    assert collate([align_sample("x", " y", student, teacher)], student, teacher).pairs is None


def test_tokenizers_in_the_wrong_order_are_refused():
    student, teacher = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
    sample = align_sample("a", " b", student, teacher)
    assert len(collate([sample], student, teacher)) == 1
    assert len(collate([sample])) == 1
    with pytest.raises(LossInputError, match="same order, collate"):
        collate([sample], teacher, student)
    with pytest.raises(TokenizerError):
        align_sample("a", " b", "deepseek", "smollm2")


def test_numpy_is_no_tensor():
    student, teacher = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
    batch = collate([align_sample("a", " b", student, teacher)], student, teacher)
    s = torch.zeros(*batch.student_ids.shape, 400)
    with pytest.raises(LossInputError, match="teacher logits must be a tensor"):
        losses.loss("gold", s, np.zeros((1, 3, 300)), batch)


class TestFromIds:
    """Batches from plain tensors are those that `align_sample` and `collate` make of the texts."""

    @pytest.mark.parametrize("name", PAIRS)
    @pytest.mark.parametrize("method", ["sedi", "gold", "cdm", "sft"])
    @pytest.mark.parametrize("pad", ["right", "left"])
    def test_as_from_texts(self, name, method, pad):
        student, teacher = PAIRS[name]
        made = collate([align_sample("Say:", x, student, teacher, method) for x in TEXTS], student, teacher, pad)
        again = self.again(made, method=method)
        for part in ("student_ids", "teacher_ids", "student_labels", "teacher_labels", "groups"):
            assert torch.equal(getattr(again, part), getattr(made, part)), part
        assert (again.pairs is None) == (made.pairs is None)
        assert made.pairs is None or torch.equal(again.pairs, made.pairs)
        assert torch.equal(again.student_attention, made.student_attention)

    def again(self, batch, **changes):
        given = {
            part: getattr(batch, part)
            for part in ("student_ids", "teacher_ids", "student_labels", "teacher_labels", "student", "teacher")
        }
        given |= {"student_attention": batch.student_attention, "teacher_attention": batch.teacher_attention}
        return AlignedBatch.from_ids(**given | changes)

    def batch(self, texts=TEXTS):
        student, teacher = pair()
        return collate([align_sample("Say:", x, student, teacher) for x in texts], student, teacher)

    def test_masks_instead_of_labels(self):
        made = self.batch()
        masks = {f"{side}_labels": getattr(made, f"{side}_labels") != -100 for side in ("student", "teacher")}
        assert torch.equal(self.again(made, **masks).groups, made.groups)

    def test_word_pieces(self):
        student, teacher = tiny_byte_level(400, 3), tiny_wordpiece()
        made = collate([align_sample("say", " the cats", student, teacher)], student, teacher)
        with pytest.raises(LossInputError, match="differ from character 0"):
            self.again(made)  # the blank is nowhere in the teacher's tokens
        made = collate([align_sample("say", "the cats", student, teacher)], student, teacher)
        assert torch.equal(self.again(made).groups, made.groups)

    def test_a_special_token_inside_belongs_to_no_group(self):
        student, teacher = pair()
        s = torch.tensor([[0, *student.encode_pieces([" cats"])[0], 2, *student.encode_pieces([" dogs"])[0], 1]])
        t = torch.tensor([[0, *teacher.encode_pieces([" cats"])[0], *teacher.encode_pieces([" dogs"])[0], 1]])
        masks = [torch.arange(x.shape[1])[None] > 0 for x in (s, t)]
        made = AlignedBatch.from_ids(s, t, *masks, student=student, teacher=teacher)
        at = s[0].tolist().index(2)
        assert all(not s0 <= at < s1 for _, s0, s1, _, _ in made.groups.tolist())
        spelt = [
            (spelled(student, s[0, g[1] : g[2]]), spelled(teacher, t[0, g[3] : g[4]])) for g in made.groups.tolist()
        ]
        assert all(mine == theirs for mine, theirs in spelt)
        assert b"".join(mine for mine, _ in spelt[:-1]) == b" cats dogs"
        assert made.groups[-1].tolist() == [0, s.shape[1] - 1, s.shape[1], t.shape[1] - 1, t.shape[1]]

    def test_nothing_learnt(self):
        made = self.batch()
        nothing = torch.full_like(made.student_labels, -100), torch.full_like(made.teacher_labels, -100)
        empty = self.again(made, student_labels=nothing[0], teacher_labels=nothing[1])
        assert len(empty.groups) == 0
        logits = torch.randn(*made.student_ids.shape, 403, requires_grad=True)
        assert losses.loss("sft", logits, None, empty).loss == 0

    @pytest.mark.parametrize("method", ["sedi", "gold", "mined"])
    def test_two_turns_are_aligned_each_alone(self, method):
        """The user's words between the answers differ, as chat templates do."""
        student, teacher = pair()
        turns = [align_sample("Q: 2?", x, student, teacher, method) for x in (" In 2024", " naïve 🦙")]
        parts = []
        for side, between in (("student", [2, 50, 60]), ("teacher", [2, 7])):
            ids, labels = [], []
            for turn in turns:
                own, start = getattr(turn, f"{side}_ids").tolist(), getattr(turn, f"{side}_response_start")
                ids += [*own, *between]
                labels += [*([-100] * start), *own[start:], *([-100] * len(between))]
            parts.append((torch.tensor([ids]), torch.tensor([labels])))
        (s, s_labels), (t, t_labels) = parts
        made = AlignedBatch.from_ids(s, t, s_labels, t_labels, student=student, teacher=teacher, method=method)
        shift = len(turns[0].student_ids) + 3, len(turns[0].teacher_ids) + 2
        second = turns[1].groups + np.array(shift).repeat(2)
        assert made.groups[:, 1:].tolist() == [*turns[0].groups.tolist(), *second.tolist()]
        if method == "mined":
            path = [*turns[0].pairs.tolist(), *(turns[1].pairs + np.array(shift)).tolist()]
            assert made.pairs[:, 1:].tolist() == path

    @pytest.mark.parametrize("seed", range(4))
    def test_holes_in_different_places_leave_the_alignment_as_it_is(self, seed):
        made = self.batch()
        generator = torch.Generator().manual_seed(seed)
        holed = {}
        for side in ("student", "teacher"):
            labels = getattr(made, f"{side}_labels").clone()
            for b in range(len(made)):
                inner = (labels[b] != -100).nonzero().flatten()[1:-1]
                labels[b, inner[torch.rand(len(inner), generator=generator) < 0.3]] = -100
            holed[f"{side}_labels"] = labels
        again = self.again(made, **holed)
        kept = [
            {tuple(g) for g in x.groups.tolist() if bool((holed["student_labels"][g[0], g[1] : g[2]] != -100).all())
             and bool((holed["teacher_labels"][g[0], g[3] : g[4]] != -100).all())}
            for x in (made, again)
        ]  # fmt: skip
        assert kept[0] == kept[1]
        assert {tuple(g) for g in again.groups.tolist()} <= {tuple(g) for g in made.groups.tolist()}
        s, t = torch.randn(*made.student_ids.shape, 403), torch.randn(*made.teacher_ids.shape, 305)
        first, second = (losses.loss("gold", s, t, dataclasses.replace(x, **holed)).loss for x in (made, again))
        torch.testing.assert_close(first, second)

    def test_turns_that_differ_are_named(self):
        student, teacher = pair()
        sides = []
        for tokenizer, words in ((student, (" cats", " dogs")), (teacher, (" cats", " cows"))):
            one, two = (tokenizer.encode_pieces([x])[0] for x in words)
            ids = torch.tensor([[0, *one, 5, *two, 1]])
            labels = torch.where(torch.arange(ids.shape[1]) % (len(one) + 1) == 0, -100, ids)
            labels[0, len(one) + 1] = -100
            labels[0, len(one) + 2 :] = ids[0, len(one) + 2 :]
            sides.append((ids, labels))
        (s, s_labels), (t, t_labels) = sides
        with pytest.raises(LossInputError, match=r"learnt stretches: 2 of the student's and 2 of the teacher's"):
            AlignedBatch.from_ids(s, t, s_labels, t_labels, student=student, teacher=teacher)

    def test_refusals(self):
        made = self.batch()

        def refused(message, error=LossInputError, **changes):
            with pytest.raises(error, match=message):
                self.again(made, **changes)

        refused(r"student_ids must be whole numbers \[samples, positions\]; got list", student_ids=[[1]])
        refused("must be whole numbers", teacher_ids=made.teacher_ids.float())
        refused("student_labels must have the shape of student_ids", student_labels=made.student_labels[:, 1:])
        shifted = made.student_labels.roll(-1, dims=1)
        refused("where the id is .* and not shifted", student_labels=shifted)
        less = made.student_labels.clone()
        less[1, (less[1] != -100).nonzero()[0]] = -100
        refused(r"responses of sample 1 differ from character 0|inside a character", student_labels=less)
        large = made.student_ids.clone()
        large[0, 6] = 9999
        mask = made.student_labels != -100
        refused("sample 0 holds student id 9999", student_ids=large, student_labels=mask)
        refused("hold 2 samples on cpu, teacher_ids 4", **{
            f"student_{part}": getattr(made, f"student_{part}")[:2] for part in ("ids", "labels", "attention")
        })  # fmt: skip
        refused("unknown method", error=AlignmentError, method="sedo")
        refused("is the text 'qwen'", error=TokenizerError, student="qwen")
