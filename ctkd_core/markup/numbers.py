"""Shares as percentages and rates as decimals that promise nothing: only all is 100 %, only nothing is 0."""

from __future__ import annotations

import math


def percent(share: float, digits: int = 1) -> str:
    """A share from 0 to 1 as "97.4 %"; what isn't quite all is never rounded up to 100 %, nor a trace down to 0 %."""
    return f"{decimals(100 * share, digits, 100.0)} %"


def probability(p: float) -> str:
    """A probability as a percentage, whatever its size: "12.3 %", "0.08 %", "<0.001 %"."""
    if p <= 0:
        return "0 %"
    if p < 1e-5:
        return "<0.001 %"
    return percent(p) if p >= 0.001 else f"{100 * p:.1g} %"


def decimals(value: float, digits: int = 3, most: float = 1.0) -> str:
    """`value` from 0 to `most` with so many digits; neither end is reached by rounding."""
    shown = f"{value:.{digits}f}"
    if not 0.0 < value < most:
        return shown
    step = 10.0**-digits
    if float(shown) >= most:
        return f"{math.floor(value / step) * step:.{digits}f}"
    return f"<{step:.{digits}f}" if float(shown) == 0.0 else shown
