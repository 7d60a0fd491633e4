"""Curves of runs: spikes stay, kinds of rows apart, small messages."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ctkd_core.figures import curves
from tests.figures.samples import message_bytes, trace

LIMIT = 2 * 2**20


def test_curves_show_train_and_eval_rows_apart():
    rows = pd.DataFrame(
        [{"step": k, "kind": "train", "loss": 5.0 - k} for k in range(3)]
        + [{"step": k, "kind": "eval", "bits_per_byte": 2.0 - k / 10} for k in (0, 3)]
    )
    fig = curves.training_curves({"<i>a": rows})
    assert list(fig.data[0].y) == [5.0, 4.0, 3.0]
    assert fig.data[0].name == "&lt;i&gt;a"
    evaluated = curves.evaluation_curves({"a": rows}, teacher=0.8)
    assert list(evaluated.data[0].y) == [2.0, 1.7]
    assert list(trace(evaluated, "teacher").y) == [0.8, 0.8]
    assert len(curves.training_curves({"none": rows.iloc[:0]}).data[0].x) == 0


def test_long_runs_stay_under_the_message_limit():
    rows = pd.DataFrame({"step": range(100_000), "kind": "train", "loss": np.linspace(5, 1, 100_000)})
    fig = curves.training_curves({f"run {k}": rows for k in range(4)})
    assert message_bytes(fig) < LIMIT
