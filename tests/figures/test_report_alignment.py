"""The HTML report: one file with everything in it, nothing of a token is markup, nothing comes from elsewhere."""

from __future__ import annotations

import re

import pytest

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.figures.report_alignment import MAX_GROUPS, alignment_html
from tests.markup.page import Page
from tests.tiny import CORPUS, tiny_byte_level

STUDENT, TEACHER = tiny_byte_level(), tiny_byte_level(700, digits=1)
TEXT = "<script>alert(1)</script> & \"2024\" <img src=x onerror='x'> 🦙 façade"


def made(method: str = "sedi", text: str = TEXT) -> Alignment:
    return align(text, student=STUDENT, teacher=TEACHER, method=method)


def test_tokens_groups_and_metrics_are_there_and_nothing_is_markup():
    a, b = made(), made("uld")
    html = alignment_html(a, b)
    page = Page(html)
    assert page.count("script") == page.count("img") == page.count("iframe") == 0
    assert page.count("div", **{"class": "g"}) == len(a)
    titles = [a["title"] for tag, a in page.tags if tag == "span" and a.get("title")]
    assert len(titles) == len(a.student) + len(a.teacher)
    assert page.count("table") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    for name, value in a.metrics().items():
        assert f'<td>{name}</td><td class="n">{value:.6g}</td>' in html
    assert len(html) < 100_000


def test_the_policy_forbids_everything_from_elsewhere():
    html = alignment_html(made("cdm"))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src 'none'")
    assert "connect-src" not in policy
    page = Page(html)
    assert not [a for _, a in page.tags if "src" in a or "href" in a]
    assert page.count("script") > 0  # the figure's library is inside
    assert len(html) < 8_000_000
    assert page.count("div", **{"class": "g"}) == len(made("cdm"))


def test_without_the_figure_the_file_is_small_and_runs_nothing():
    html = alignment_html(made("cdm"), figure=False)
    assert "script-src" not in html
    assert len(html) < 100_000


def test_a_long_text_is_drawn_in_part_and_says_so():
    a = made(text=" ".join(CORPUS * 30))
    assert len(a) > MAX_GROUPS
    html = alignment_html(a)
    assert f"{len(a) - MAX_GROUPS:,} more groups are not drawn" in html
    assert f"The first {MAX_GROUPS:,} of {len(a):,} groups" in html
    assert Page(html).count("div", **{"class": "g"}) == MAX_GROUPS


@pytest.mark.parametrize("text", ["", "\u0301\u0000\u202e"])
def test_odd_texts_make_a_report(text):
    html = alignment_html(made(text=text))
    assert "<h2>Groups</h2>" in html
    assert "\u202e" not in html.replace(text, "")


@pytest.mark.real
def test_the_command_writes_the_report(tmp_path, capsys):
    from ctkd_core.cli.main import main

    path = tmp_path / "a.html"
    words = ["align", "-s", "deepseek", "-t", "smollm2", "--text", "<b>2024</b>", "--json", "--html"]
    assert main([*words, str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "report:" in err
    assert Page(path.read_text(encoding="utf-8")).count("b") == 0
    assert main([*words, str(tmp_path / "none" / "a.html")]) == 2
    assert "give another file" in capsys.readouterr().err
