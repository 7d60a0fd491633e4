"""End to end on page Pair: first paint, the address, a bar chooses its domain, a cell its pair, one's own file."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import settled

pytestmark = [pytest.mark.browser, pytest.mark.real]
AT = """([key, trace, point]) => {
  const g = document.querySelector(`.st-key-${key} .js-plotly-plot`);
  g.scrollIntoView({block: 'center'});
  const l = g._fullLayout, r = g.getBoundingClientRect(), t = g._fullData[trace];
  const bar = t.type === 'bar' ? g.querySelectorAll('.barlayer .trace')[trace].querySelectorAll('.point')[point] : null;
  if (bar) { const b = bar.getBoundingClientRect(); return [b.left + b.width / 2, b.bottom - 4]; }
  return [r.left + l.xaxis._offset + l.xaxis.d2p(t.x[point]), r.top + l.yaxis._offset + l.yaxis.d2p(t.y[point])];
}"""


def open_pair(page, server: str, query: str = "") -> None:
    page.goto(f"{server}/pair{query}")
    page.wait_for_selector(".st-key-pair_overlap .plot-container")
    settled(page)


def click(page, key: str, trace: int, point: int) -> None:
    """Click one bar or marker of a figure."""
    at = page.evaluate(AT, [key, trace, point])
    page.mouse.move(*at)
    page.mouse.click(*at)


def test_the_verdict_comes_first(page, server):
    """How soon is measured in benchmarks/pages.py."""
    open_pair(page, server)
    page.locator(".st-key-advice").get_by_text("P-KL").first.wait_for()
    above = [page.locator(f".st-key-{key}").bounding_box()["y"] for key in ("advice", "pair_overlap")]
    assert above == sorted(above)


def test_a_tab_and_a_bar_stay_in_the_address(page, server):
    open_pair(page, server)
    page.wait_for_selector(".st-key-domain_bars .plot-container")
    click(page, "domain_bars", 1, 4)  # the teacher's bar of Arabic
    page.wait_for_url(re.compile(r"domain=arabic"))
    page.locator(".st-key-domain_card").get_by_text("arabic:", exact=False).wait_for()
    page.get_by_role("tab", name="Token lengths").click()
    page.wait_for_url(re.compile(r"look=Token(\+|%20)lengths"))
    page.reload()
    page.wait_for_selector(".st-key-lengths .plot-container")


def test_a_cell_of_all_pairs_becomes_the_pair(page, server):
    open_pair(page, server, "?look=All+pairs")
    page.wait_for_selector(".st-key-pair_matrix .plot-container")
    cells = page.evaluate(
        "() => document.querySelector('.st-key-pair_matrix .js-plotly-plot')._fullData[1].customdata.map(c => "
        "`${c[0]} ${c[1]}`)"
    )
    click(page, "pair_matrix", 1, cells.index("qwen smollm2"))
    page.wait_for_url(re.compile(r"student=qwen"))
    page.locator(".st-key-advice").get_by_text("H-KL").first.wait_for()


def test_ones_own_file_is_measured_and_shown(page, server):
    open_pair(page, server)
    page.get_by_role("button", name="Measure your own file").click()
    page.set_input_files(
        ".st-key-corpus_file input[type=file]",
        {"name": "mine.txt", "mimeType": "text/plain", "buffer": b"In 2024 we sold 201 units.\n\n" * 40},
    )
    page.locator(".st-key-domain_card").get_by_text("your file", exact=False).first.wait_for()
    assert "1,040 bytes" in page.locator(".st-key-domain_card").inner_text()


def test_measuring_a_long_file_can_be_cancelled(page, server):
    open_pair(page, server)
    page.get_by_role("button", name="Measure your own file").click()
    page.set_input_files(
        ".st-key-corpus_file input[type=file]",
        {"name": "long.txt", "mimeType": "text/plain", "buffer": b"In 2024 we sold 201 units.\n\n" * 400_000},
    )
    page.locator(".st-key-corpus_cancel button").click()
    page.get_by_text("was cancelled", exact=False).wait_for()
    page.wait_for_selector(".st-key-domain_bars .plot-container")
    page.locator(".st-key-corpus_cancel").wait_for(state="detached")


def test_templates_stand_side_by_side(page, server):
    title = "Chat templates"
    open_pair(page, server, "?student=qwen")
    page.get_by_role("tab", name=title).click()
    page.get_by_role("radio", name="answer begins with a line break").click()
    page.get_by_text("The prompt's last tokens change", exact=False).wait_for()
    page.get_by_role("radio", name="own", exact=True).click()
    area = page.get_by_label("Conversation: each message", exact=False)
    area.fill("user: <script>document.title='owned'</script>\nassistant: **b** $x$ :red[y]")
    area.press("Control+Enter")
    page.get_by_text("document.title", exact=False).first.wait_for()
    assert "owned" not in page.title()
    assert page.locator("[data-testid=stCode] script").count() == 0
