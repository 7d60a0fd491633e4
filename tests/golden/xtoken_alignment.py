"""Replay of the alignment case of tests/golden/xtoken.json: groups of raw vocabulary strings, released rules."""

from __future__ import annotations

from typing import Any

from ctkd_core.alignment.released.xtoken import align_strings


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """The results of the case, by the keys of the file; an empty side is written -1, -1 there."""
    return {"rows": [{"pairs_s0_s1_t0_t1_correct": _pairs(row)} for row in case["rows"]]}


def _pairs(row: dict[str, Any]) -> list[list[int | bool]]:
    groups, correct = align_strings(row["student_tokens"], row["teacher_tokens"])
    return [[*_side(g[:2]), *_side(g[2:]), bool(flag)] for g, flag in zip(groups.tolist(), correct)]


def _side(span: list[int]) -> list[int]:
    return span if span[0] < span[1] else [-1, -1]
