"""Bars and tables of metrics and of health."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.metrics import alignment_metrics, health
from ctkd_core.figures import metrics, pair_domains, tables
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
    shown = {name: figure for figure, (name, *_) in zip(table.index, metrics.METRICS)}
    for method, texts in zip(heat.y, heat.text):
        assert list(texts) == [table.loc[shown[name], method] for name in metrics.SHOWN]


def test_boundary_f1_is_shown_as_decimals_everywhere():
    text = " ".join(CORPUS)
    both = [made(name, text) for name in ("sedi", "uld")]
    rates = [one.metrics() for one in both]
    health_of = tables.health_table(both, rates).set_index("figure")
    all_of = metrics.metric_table({one.label: rate for one, rate in zip(both, rates)}).set_index("metric")
    for name in ("sedi", "uld"):
        assert health_of.loc["boundary F1", name] == all_of.loc["boundary F1", name]
    assert "boundary F1" not in pair_domains.share_columns() and "same text" in pair_domains.share_columns()
    hovers = [bars.hovertemplate for bars in pair_domains.domain_figure({}, "quality", "sedi").data]
    assert [hover.split("y:")[1].split("}")[0] for hover in hovers] == [".3f", ".1%", ".1%"]
