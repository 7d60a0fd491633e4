"""Methods can be told apart, titles fit, texts stay texts."""

from __future__ import annotations

from ctkd_core.figures import metrics, theme
from tests.figures.samples import made


def test_twelve_methods_have_a_row_each():
    rates = {f"m{k}": made().metrics() for k in range(12)}
    fig = metrics.metric_heat(rates)
    assert list(fig.data[0].y) == list(rates)
    assert fig.layout.height > metrics.metric_heat({"m": made().metrics()}).layout.height


def test_long_titles_have_lines_that_fit_a_narrow_window():
    words = "What each method compares (bars: its target, from the teacher; red lines: the student; grey: lost)"
    lines = theme.folded(words)
    assert " ".join(lines) == words
    assert max(map(len, lines)) <= theme.TITLE_CHARACTERS
    short, long = (theme.figure([], title, 300) for title in ("short", words))
    assert long.layout.title.text == "<br>".join(lines)
    assert long.layout.margin.t > short.layout.margin.t
    narrow = theme.figure([], words, 300, line=theme.NARROW_TITLE)
    assert max(map(len, narrow.layout.title.text.split("<br>"))) <= theme.NARROW_TITLE
    assert narrow.layout.margin.t > long.layout.margin.t


def test_quotes_stay_quotes_in_plotly():
    assert theme.escape('"don\'t"') == '"don\'t"'  # plotly would draw &quot; as it stands
