"""The figures that experiments compare, in words."""

from __future__ import annotations

# Figures of a part of the text, by the name before the dot.
_OF_PARTS = {
    "bits_by_domain": "bits per byte of {}",
    "bits_by_class": "bits per byte of class {}",
    "mass_by_class": "probability of class {}",
    "arithmetic": "share of right results with operands of {} digits",
    "exposure": "exposure bias in % after {} boundaries",
    "agreement": "agreement with the teacher ({})",
}


def in_words(figure: str) -> str:
    """`bits_per_byte` as "bits per byte", `mass_by_class.digits_3` as "probability of class digits_3"."""
    name, dot, part = figure.partition(".")
    if dot and name in _OF_PARTS:
        return _OF_PARTS[name].format(part)
    return figure.replace("_", " ")
