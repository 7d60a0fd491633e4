"""Formulas of Markdown as MathML, which browsers draw themselves: no script, no font and no network.

An extension of Python-Markdown, with which MkDocs and Zensical build the documentation (extra `docs`). What stands
between two `$`, or `$$` for a formula of its own line, reaches no other rule of Markdown, so that neither `_` nor `\\|`
of a formula is taken for markup.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from markdown import Extension
from markdown.inlinepatterns import InlineProcessor

if TYPE_CHECKING:
    from markdown import Markdown

# As on GitHub: no blank behind the opening `$` or before the closing one, and no digit behind it, so prices are none.
_OWN_LINE = r"(?<!\\)\$\$(.+?)\$\$"
_IN_TEXT = r"(?<![\\$])\$(?![\s$])([^$]*[^$\s\\])\$(?![\d$])"
_BELOW_CODE, _BELOW_OWN_LINE = 189, 188  # code is found at 190, escapes at 180


class FormulaError(ValueError):
    """A formula that can't be read."""


def mathml(formula: str, own_line: bool = False) -> str:
    """A formula in the notation of LaTeX as MathML. Raises FormulaError with what can't be read."""
    from math_core import LatexError

    try:
        return str(_converter().convert_with_local_state(formula, displaystyle=own_line))
    except LatexError as fault:
        raise FormulaError(f"the formula {formula!r} can't be read: {fault}") from None


@functools.cache
def _converter() -> Any:
    from math_core import LatexToMathML

    return LatexToMathML(fancy_error=False)


class _Formula(InlineProcessor):
    """One kind of formula; what it becomes is kept from other rules."""

    def __init__(self, pattern: str, md: Markdown, own_line: bool) -> None:
        super().__init__(pattern, md)
        self.own_line = own_line

    def handleMatch(self, m: re.Match[str], data: str) -> Any:  # noqa: ARG002, N802
        """The place of the MathML in the text, and where the formula begins and ends."""
        return self.md.htmlStash.store(mathml(m[1], self.own_line)), m.start(0), m.end(0)


class Formulas(Extension):
    """Both kinds of formulas."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Look for formulas behind code and before anything else."""
        md.inlinePatterns.register(_Formula(_OWN_LINE, md, True), "formula of its own line", _BELOW_CODE)
        md.inlinePatterns.register(_Formula(_IN_TEXT, md, False), "formula in the text", _BELOW_OWN_LINE)


def makeExtension(**options: Any) -> Formulas:  # noqa: N802
    """What Python-Markdown asks a module for."""
    return Formulas(**options)
