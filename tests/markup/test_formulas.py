"""Formulas of Markdown as MathML: whole, whatever signs they hold, and nothing else is taken for one."""

from __future__ import annotations

import re

import pytest

markdown = pytest.importorskip("markdown")
pytest.importorskip("math_core")

from ctkd_core.markup.formulas import FormulaError, mathml  # noqa: E402


def page(text: str) -> str:
    return markdown.markdown(text, extensions=["tables", "fenced_code", "ctkd_core.markup.formulas"])


@pytest.mark.parametrize(
    "formula",
    [
        r"\overline{\mathrm{KL}_{K_T}(p_T\,\|\,p_S)} + \overline{\mathrm{KL}_{K_S}(p_T\,\|\,p_S)}",
        r"A = \{(i,j) : a_{<i} = b_{<j},\; a_i = b_j\}",
        r"a_*b_* < c > d & e".replace("&", r"\&"),
        "a\n+ b",
    ],
)
@pytest.mark.parametrize("own_line", [True, False])
def test_a_formula_is_whole(formula: str, own_line: bool) -> None:
    signs = "$$" if own_line else "$"
    found = page(f"Before\n{signs}{formula}{signs}, *behind*.")
    assert mathml(formula, own_line) in found
    assert found.count("<math") == 1 and found.count("<em>") == 1 and "$" not in found
    assert ('display="block"' in found) == own_line


def test_a_formula_in_a_cell_and_in_a_list() -> None:
    assert page("| a | b |\n|---|---|\n| $x_1$ and $x_2$ | $q \\Vert p$ |").count("<math") == 3
    assert page("1. one\n\n    $$x_1$$\n\n2. two $y$").count("<math") == 2


@pytest.mark.parametrize("text", ["`$x$` is code", "```\n$x$ and $y$\n```", r"\$x\$", "it costs $5 or $6", "a $ b $ c"])
def test_what_is_no_formula(text: str) -> None:
    assert "<math" not in page(text)
    assert "$" in page(text)


def test_what_cannot_be_read_is_told() -> None:
    with pytest.raises(FormulaError, match=re.escape(repr(r"\nosuch x"))):
        page(r"$\nosuch x$")
