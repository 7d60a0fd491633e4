"""Losses in notebooks: value, terms and the largest groups, without disturbing the gradient."""

from __future__ import annotations

import re

import torch

from ctkd_core.losses.base import LossOutput
from ctkd_core.losses.display import LARGEST
from ctkd_core.markup.visible import one_line
from tests.markup.page import NASTY, harmless


def made(values: list[float], **terms: float) -> LossOutput:
    loss = torch.tensor(2.5, requires_grad=True)
    return LossOutput(loss, {k: torch.tensor(v) for k, v in terms.items()}, torch.tensor(values), {"rows": 7.0})


def test_the_line_has_the_terms_and_no_tensors() -> None:
    assert repr(made([1.0, 2.0], ce=2.0, kd=0.5)) == "<LossOutput 2.5, ce 2, kd 0.5, 2 groups>"


def test_the_largest_groups_come_first_by_size() -> None:
    output = made([0.5, -4.0, 1.0, *[0.25] * 12])
    html = output._repr_html_()
    rows = re.findall(r'<tr><td class="n">(\d+)</td><td>([^<]*)</td><td>([^<]*)</td>', html)
    assert len(rows) == LARGEST
    assert [row[:2] for row in rows[:3]] == [("1", "-4"), ("2", "1"), ("0", "0.5")]
    assert rows[0][2] == f"{100 * 4 / 8.5:.1f} %"
    assert f"The largest {LARGEST} of 15 groups" in harmless(html).text
    output.loss.backward()  # still the loss that it was


def test_values_that_are_not_finite_are_named() -> None:
    page = harmless(made([1.0, float("nan"), float("inf")], ce=float("nan"))._repr_html_())
    assert "cenan" in page.text
    assert "1nan" in page.text


def test_no_groups_and_no_terms_have_a_card() -> None:
    assert "no groups" in harmless(made([])._repr_html_()).text
    assert "The largest 1 of 1 group," in harmless(made([0.0])._repr_html_()).text


def test_names_of_terms_are_text() -> None:
    assert one_line(NASTY) in harmless(made([1.0], **{NASTY: 1.0})._repr_html_()).text
    assert repr(made([1.0], **{NASTY: 1.0})).isprintable()
