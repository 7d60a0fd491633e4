"""Rows that answer labels."""

from __future__ import annotations

import torch

from ctkd_core.losses.base import response_rows


def test_rows_follow_the_labels():
    labels = torch.tensor([[7, 8, -100], [-100, 5, 6]])
    rows = response_rows(labels)
    assert rows.sample.tolist() == [0, 1, 1]
    assert rows.position.tolist() == [1, 1, 2]
    assert rows.target.tolist() == [8, 5, 6]
    assert rows.flat.tolist() == [0, 3, 4]
    assert labels[0, 0] == 7  # untouched
