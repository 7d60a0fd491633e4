"""The file around plotly figures: only its own scripts may run, and figures are data."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import plotly.graph_objects as go

from ctkd_core.figures.interactive import Figures, document
from tests.markup.page import NASTY


def scripts(html: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", html, re.DOTALL)


def test_the_policy_names_exactly_the_scripts_that_are_there():
    figures = Figures()
    block = figures.block(go.Figure(go.Bar(y=[1])), "a bar")
    html = document("title", [block], figures)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts(html)]
    allowed = re.search(r"script-src ([^;]+);", policy)[1].split(" ")
    assert allowed == hashes and len(hashes) == 2
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_without_figures_nothing_may_run():
    html = document("title", ["<p>text</p>"], Figures())
    assert "script-src 'none'" in html
    assert "<script" not in html
    assert len(html) < 10_000


def test_texts_of_figures_cannot_leave_their_data():
    figures = Figures()
    fig = go.Figure(go.Bar(x=[NASTY], y=[1]), layout={"title": {"text": "</script><script>alert(1)</script>"}})
    html = document("</title><script>alert(1)</script>", [figures.block(fig, NASTY, NASTY)], figures)
    assert html.count("<script") == html.count("</script") == 3
    data = re.search(r'<script type="application/json" id="figure-1">(.*?)</script>', html, re.DOTALL)[1]
    assert json.loads(data)["data"][0]["x"] == [NASTY]
    assert "alert(1)" not in "".join(scripts(html))
