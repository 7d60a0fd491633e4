"""The class of a group: that of its tokens, or "other" where they differ."""

from __future__ import annotations

import torch

from ctkd_core.distill.evaluation.group_classes import classes_of_groups, codes_of
from ctkd_core.vocabulary.classes import CLASSES
from tests.tiny import tiny_byte_level

TOKENIZER = tiny_byte_level(340, 1)


def test_groups_take_the_class_that_all_their_tokens_have():
    ids = torch.tensor([*TOKENIZER.encode_continuation("201 é").ids.tolist(), TOKENIZER.eos_id])
    spelt = [TOKENIZER.token_bytes(int(i)) for i in ids]
    assert spelt[:4] == [b"2", b"0", b"1", b" "]
    groups = torch.tensor([[0, 3], [3, 4], [2, 4], [4, len(ids) - 1], [len(ids) - 1, len(ids)], [1, 2]])
    found = classes_of_groups(codes_of(TOKENIZER), ids, groups[:, 0], groups[:, 1])
    names = [CLASSES[k] for k in found.tolist()]
    assert names == ["digits_1", "whitespace", "other", "multibyte", "special", "digits_1"]
