"""Curves as inline SVG: few points, spikes kept, gaps left out, labels escaped."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.markup.curves import BOTTOM, HEIGHT, LEFT, MAX_POINTS, RIGHT, TOP, WIDTH, Curve, curves_svg, downsample
from ctkd_core.markup.visible import one_line
from tests.markup.page import NASTY, harmless


def points(page) -> list[tuple[float, float]]:
    drawn = next(a["points"] for tag, a in page.tags if tag == "polyline")
    return [tuple(map(float, pair.split(","))) for pair in drawn.split()]


def test_sampling_a_curve_keeps_its_spikes():
    y = np.random.default_rng(0).normal(size=50_001)
    y[17_003], y[40_000] = 99.0, -99.0
    x, kept = downsample(np.arange(len(y)), y, 2000)
    assert len(x) <= 2000
    assert {99.0, -99.0} <= set(kept.tolist())
    assert (x[0], x[-1]) == (0, len(y) - 1)
    assert (np.diff(x) > 0).all()


def test_a_curve_fills_its_frame():
    page = harmless(curves_svg("Loss", [Curve("loss", np.arange(3), np.array([5.0, 3.0, 1.0]), "#000")]))
    assert points(page) == [
        (LEFT, TOP),
        (pytest.approx((LEFT + WIDTH - RIGHT) / 2), pytest.approx((TOP + HEIGHT - BOTTOM) / 2)),
        (WIDTH - RIGHT, HEIGHT - BOTTOM),
    ]
    assert page.tags[0][1]["aria-label"] == "Loss: loss from 5 to 1"


def test_what_is_not_finite_is_left_out():
    y = np.array([np.nan, 2.0, np.inf, 1.0])
    assert len(points(harmless(curves_svg("", [Curve("", np.arange(4), y, "#000")])))) == 2
    assert curves_svg("", [Curve("", np.arange(2), np.full(2, np.nan), "#000")]) == ""
    assert curves_svg("", []) == ""


def test_one_point_and_a_level_line_are_drawn():
    page = harmless(curves_svg("", [Curve("", np.array([4.0]), np.array([2.0]), "#000")]))
    assert points(page) == [(LEFT, (TOP + HEIGHT - BOTTOM) / 2)]


def test_a_long_run_stays_small():
    steps = np.arange(200_000)
    svg = curves_svg("Loss", [Curve("loss", steps, np.sin(steps), "#000")])
    assert len(points(harmless(svg))) <= MAX_POINTS
    assert len(svg) < 10_000


def test_labels_are_text():
    two = [Curve(NASTY, np.arange(2), np.arange(2), "#000", '"/><script>') for _ in range(2)]
    page = harmless(curves_svg(NASTY, two))
    assert page.text.count(one_line(NASTY)) == 1  # the title; labels are cut
    assert page.text.count(one_line(NASTY)[:40]) == 3


def test_curves_without_labels_have_no_legend():
    two = [Curve("", np.arange(2), np.arange(2), "#000") for _ in range(2)]
    assert "■" not in curves_svg("Loss", two)
