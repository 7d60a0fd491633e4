"""One alignment, its pair of tokenizers and made-up models, for the tests of every figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.lab.evidence import Evidence
from tests.tiny import tiny_byte_level

STUDENT, TEACHER = tiny_byte_level(), tiny_byte_level(700, digits=1)
TEXT = "The student reads <b>bold</b> & 2024 façade 👩‍🚀 units; the teacher reads 1234567 of them."


def made(method: str = "sedi", text: str = TEXT, **options: object) -> Alignment:
    return align(text, student=STUDENT, teacher=TEACHER, method=method, **options)


def said(text: str = TEXT, seed: int = 0) -> Evidence:
    """Made-up rows of both models, three candidates each."""
    rng = np.random.default_rng(seed)
    sizes = [len(t.encode(text, special_tokens=False).ids) for t in (TEACHER, STUDENT)]
    entropies = [rng.uniform(0, 5, n).astype(np.float32) for n in sizes]
    ids = [rng.integers(0, 300, (n, 3)).astype(np.int32) for n in sizes]
    logp = [np.log(np.tile([0.5, 0.25, 0.125], (n, 1))).astype(np.float32) for n in sizes]
    return Evidence(*entropies, ids[0], logp[0], ids[1], logp[1], np.zeros(sizes[0], np.float32), ("made up",))


def weighted(text: str = TEXT) -> Alignment:
    """The alignment of a method that weighs tokens by what the models said."""
    found = said(text)
    return made("cdm", text, student_entropy=found.student_entropy, teacher_entropy=found.teacher_entropy)


def trace(fig: Any, name: str) -> Any:
    """The trace of a figure with that name."""
    return next(t for t in fig.data if t.name == name)


def message_bytes(fig: go.Figure) -> int:
    """Size of the figure as it is sent to a browser, in bytes."""
    return len(fig.to_json().encode())
