"""Colours: methods can be told apart."""

from __future__ import annotations

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.figures import metrics, theme
from tests.tiny import tiny_byte_level

STUDENT, TEACHER = tiny_byte_level(), tiny_byte_level(700, digits=1)
TEXT = "The student reads <b>bold</b> & 2024 façade 👩‍🚀 units; the teacher reads 1234567 of them."


def made(method: str = "sedi", text: str = TEXT, **options: object) -> Alignment:
    return align(text, student=STUDENT, teacher=TEACHER, method=method, **options)


def test_nine_methods_look_different():
    rates = {f"m{k}": made().metrics() for k in range(12)}
    fig = metrics.metric_bars(rates)
    looks = {(t.marker.color, t.marker.pattern.shape) for t in fig.data}
    assert len(looks) == 12
    assert fig.layout.height > metrics.metric_bars({"m": made().metrics()}).layout.height


def test_quotes_stay_quotes_in_plotly():
    assert theme.escape('"don\'t"') == '"don\'t"'  # plotly would draw &quot; as it stands
