"""The class of a group of tokens: that of its tokens where all have one, else "other".

Classes are those of `vocabulary.classes`. A group whose tokens differ (" 2" and "nd") is "other".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctkd_core.vocabulary.classes import CLASSES, token_classes

if TYPE_CHECKING:
    from torch import Tensor

    from ctkd_core.tokenizers.tokenizer import Tokenizer

OTHER = CLASSES.index("other")


def codes_of(tokenizer: Tokenizer) -> Tensor:
    """int64 [n_ids]: index into CLASSES of each id; ids without text count as "other"."""
    import torch

    codes = torch.from_numpy(token_classes(tokenizer).astype("int64"))
    return torch.where(codes < 0, OTHER, codes)


def classes_of_groups(codes: Tensor, ids: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """int64 [G]: index into CLASSES of the groups ids[start:end], none of them empty.

    codes int64 [n_ids]; ids int64 [n]; start, end int64 [G]
    """
    import torch

    own = codes[ids]
    changes = torch.zeros_like(own)
    changes[1:] = (own[1:] != own[:-1]).long().cumsum(0)
    return torch.where(changes[end - 1] == changes[start], own[start], OTHER)
