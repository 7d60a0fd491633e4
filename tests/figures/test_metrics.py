"""Bars and tables of metrics and of health."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.metrics import alignment_metrics, health
from ctkd_core.figures import metrics, tables
from tests.figures.samples import made
from tests.tiny import CORPUS


def test_health_lists_the_figures_of_both_methods():
    both = [made(name, " ".join(CORPUS)) for name in ("sedi", "uld")]
    table = tables.health_table(both, [one.metrics() for one in both]).set_index("figure")
    assert list(table.columns) == ["sedi", "uld"]
    assert table.loc["verdict", "sedi"] == "exact and fine"
    assert table.loc["verdict", "uld"] == "wrong"
    assert table.loc["bytes facing equal bytes", "sedi"] == "100.0 %"
    assert table.loc["boundary F1", "sedi"] == "1.000"
    bad = health(both[1])
    assert table.loc["without a partner", "uld"] == f"{bad.orphans} tokens"
    whole = Alignment(
        both[0].student,
        both[0].teacher,
        "one",
        np.array([[0, len(both[0].student), 0, len(both[0].teacher)]], dtype=np.int32),
    )
    assert tables.health_table([whole], [whole.metrics()])["one"][0] == "exact but coarse"


def test_metric_heat_and_table_agree():
    rates = {name: alignment_metrics(made(name)) for name in ("sedi", "cdm", "uld")}
    fig = metrics.metric_heat(rates, rates["sedi"])
    (heat,) = fig.data
    assert list(heat.y) == ["sedi", "cdm", "uld", "byte-exact"]
    assert heat.z[2][1] == pytest.approx(rates["uld"]["boundary_f1"])
    assert heat.text[0][0] == "100.0 %"
    table = metrics.metric_table(rates, rates["sedi"]).set_index("metric")
    assert len(table) == len(rates["sedi"])  # no metric is left out
    assert table.loc["boundary F1", "byte-exact"] == "100.0 %"
