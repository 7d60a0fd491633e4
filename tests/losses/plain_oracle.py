"""The oracle of a loss in plain form: its own function, asked of one row or one group after another.

Which rows count, which face each other and what the means are is told here anew; only the function, the author's own,
is the loss's. So a loss that calls `row_loss` or `group_loss` needs none of its own in `gap_oracles`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from ctkd_core.losses import author, plain
from ctkd_core.losses.author import GroupSide, PlainGroups, PlainRows
from tests.losses.gap_oracles import Given


class NotPlainError(Exception):
    """The loss isn't one call of `row_loss` or `group_loss`."""


@dataclass(frozen=True)
class Asked:
    """A call of `row_loss` or `group_loss`, and what it was given."""

    of_groups: bool
    given: dict[str, Any]


def plain_part(compute: Callable[[], Any], module: ModuleType, given: Given, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The distillation part of a loss that `compute` calls; module: where its function is. Raises NotPlainError."""
    asked = recorded(compute, module, monkeypatch)
    if len(asked) != 1:
        raise NotPlainError
    one = asked[0]
    values = dict(_groups(one.given, given) if one.of_groups else _rows(one.given, given))
    if not values:
        return given.s.sum() * 0
    if one.given["average"] == "all":
        return torch.stack([*values.values()]).mean()
    samples: dict[int, list[Tensor]] = {}
    for (sample, _), value in values.items():
        samples.setdefault(sample, []).append(value)
    return torch.stack([torch.stack(own).mean() for own in samples.values()]).mean()


def recorded(compute: Callable[[], Any], module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """The calls of both plain forms by what `compute` calls."""
    found: list[Asked] = []

    def recorder(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            bound = inspect.signature(original).bind(*args, **options)
            bound.apply_defaults()
            found.append(Asked(original is plain.group_loss, bound.arguments))
            return original(*args, **options)

        return call

    with monkeypatch.context() as patch, torch.no_grad():
        for original in (plain.row_loss, plain.group_loss):
            instead = recorder(original)
            for place in (module, author):
                for name in [name for name, value in vars(place).items() if value is original]:
                    patch.setattr(place, name, instead)
        compute()
    return found


def _rows(asked: dict[str, Any], given: Given) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Sample, position and value of every row that counts."""
    number = 0
    for b in range(len(given)):
        facing = _facing(asked["pairing"], given, b)
        for k in given.predicted("student", b):
            if k in facing:
                other = given.t[b, :0].new_zeros(1, 0) if facing[k] is None else given.t[b, facing[k] - 1][None]
                ids, at = given.batch.student_ids[b, k][None], torch.tensor([number])
                yield (b, k), _value(asked, PlainRows(given.s[b, k - 1][None], other, ids, at))
            number += 1


def _facing(pairing: str | None, given: Given, b: int) -> dict[int, int | None]:
    """By student position, the teacher's that faces it: None for a loss that reads no teacher."""
    if pairing is None:
        return dict.fromkeys(given.predicted("student", b))
    if pairing == "positional":
        pairs = list(zip(given.learnt("student", b), given.learnt("teacher", b)))
    else:
        assert pairing == "groups", "tell here which rows face each other"
        pairs = [(s1 - 1, t1 - 1) for _, _, s1, _, t1 in given.groups(b)]
    return {k: j for k, j in pairs if j >= 1}


def _groups(asked: dict[str, Any], given: Given) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """Sample, number and value of every group that counts: all of its rows' tokens are learnt, on both sides."""
    for number, (b, s0, s1, t0, t1) in enumerate(given.batch.groups.tolist()):
        mine, theirs = [k for k in range(s0, s1) if k >= 1], [k for k in range(t0, t1) if k >= 1]
        learnt = {*mine} <= {*given.learnt("student", b)} and {*theirs} <= {*given.learnt("teacher", b)}
        if mine and theirs and learnt and (asked["keep"] is None or asked["keep"][number]):
            sides = _side(given.s, given.batch.student_ids, b, mine), _side(given.t, given.batch.teacher_ids, b, theirs)
            yield (b, number), _value(asked, PlainGroups(*sides, torch.tensor([number])))


def _side(logits: Tensor, ids: Tensor, b: int, at: list[int]) -> GroupSide:
    rows = [k - 1 for k in at]
    return GroupSide(logits[b, rows], ids[b, at], torch.zeros(len(at), dtype=torch.int64), torch.tensor([len(at)]))


def _value(asked: dict[str, Any], seen: PlainRows | PlainGroups) -> Tensor:
    """The terms of one row or group, with their weights."""
    weights = [1.0] if asked["terms"] is None else [*asked["terms"].values()]
    return (asked["function"](seen).flatten() * torch.tensor(weights, dtype=torch.float64)).sum()
