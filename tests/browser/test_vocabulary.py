"""Page Vocabulary map in Chromium: build, look up 201, drill down by click, box and keyboard, come back by address."""

from __future__ import annotations

import re
import shutil

import pytest

from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.vocabulary.store import cached
from tests.browser.conftest import settled

pytestmark = [pytest.mark.browser, pytest.mark.real]
AT = """([key, x, y]) => { const g = document.querySelector(`.st-key-${key} .js-plotly-plot`), l = g._fullLayout;
g.scrollIntoView({block: 'center'});
const q = g.getBoundingClientRect();
return [q.left + l.xaxis._offset + l.xaxis.d2p(x), q.top + l.yaxis._offset + l.yaxis.d2p(y)]; }"""
FIRST_CELL = """() => { const g = document.querySelector('.st-key-cells_figure .js-plotly-plot'), d = g._fullData[1];
return [d.x[0], d.y[0]]; }"""


def open_map(page, server: str, query: str = "?map=exact") -> None:
    page.goto(f"{server}/vocabulary{query}")
    page.wait_for_selector(".st-key-density_click .heatmaplayer image", state="attached")
    settled(page)


def token_field(page):
    return page.locator(".st-key-token input")


@pytest.fixture
def unbuilt():
    """A map that isn't in the cache, which the server shares with this process; its address."""
    found = cached(*map(load_tokenizer, DEFAULT_PAIR), "pieces", top_k=7)
    if found is not None:
        shutil.rmtree(found)
    return "?options=pieces,clean,top_k%3D7"


def test_a_map_is_built_with_progress_and_201_goes_to_its_digits(page, server, unbuilt):
    page.goto(f"{server}/vocabulary{unbuilt}")
    page.get_by_role("button", name="Build the map").click()
    page.get_by_role("progressbar").wait_for()
    page.get_by_text("is spread over 3 teacher tokens, most of it on 2").wait_for()
    page.wait_for_selector(".st-key-density_click .heatmaplayer image", state="attached")
    assert page.get_by_role("button", name="Build the map").count() == 0
    page.get_by_text("other student tokens point at teacher token 2").wait_for()
    page.get_by_role("tab", name="Neighbours").click()
    page.wait_for_selector(".st-key-graph .js-plotly-plot")
    page.wait_for_url(re.compile("panel=Neighbours"))
    labels = page.locator(".st-key-graph .annotation-text").all_text_contents()
    assert {"201", "2", "0", "1"} <= {label.strip() for label in labels}


def test_a_click_on_a_bin_opens_its_tokens(page, server):
    open_map(page, server, "?map=exact&panel=Lost")
    at = page.evaluate(AT, ["density_click", 3000, 4000])
    page.mouse.move(*at)
    page.wait_for_selector(".st-key-density_click .hoverlayer text")
    page.mouse.click(*at)
    page.wait_for_url(re.compile(r"window=\d+%2C505%2C\d+%2C192"))
    page.wait_for_selector(".st-key-cells_figure .js-plotly-plot")
    page.wait_for_url(re.compile("panel=Window"))
    page.reload()
    page.wait_for_selector(".st-key-cells_figure .js-plotly-plot")
    assert "window=" in page.url


def test_a_drawn_box_is_the_window(page, server):
    open_map(page, server)
    page.locator(".st-key-mouse").get_by_text("box", exact=True).click()
    page.wait_for_selector(".st-key-density_box .heatmaplayer image", state="attached")
    page.mouse.move(*page.evaluate(AT, ["density_box", 10_000, 20_000]))
    page.mouse.down()
    page.mouse.move(*page.evaluate(AT, ["density_box", 20_000, 60_000]), steps=8)
    page.mouse.up()
    page.wait_for_url(re.compile("window="))
    row, rows, column, columns = map(int, re.search(r"window=([^&]*)", page.url)[1].split("%2C"))
    assert 18_000 < row < 21_000
    assert 59_000 < row + rows < 62_000
    assert 9_000 < column < 11_000
    assert 19_000 < column + columns < 21_000
    page.wait_for_selector(".st-key-cells_figure .js-plotly-plot")


def test_a_cell_looks_its_student_token_up(page, server):
    open_map(page, server, "?map=exact&order=class&window=0,64,0,49152&token=the")
    page.wait_for_selector(".st-key-cells_figure .js-plotly-plot .plot-container")
    at = page.evaluate(AT, ["cells_figure", *page.evaluate(FIRST_CELL)])
    page.mouse.move(*at)
    page.wait_for_selector(".st-key-cells_figure .hoverlayer text")
    page.mouse.click(*at)
    page.wait_for_function("() => document.querySelector('.st-key-token input').value === '0'")
    page.get_by_text("is said by one teacher token, 0").wait_for()
    assert "window=0%2C64" in page.url


def test_the_keyboard_moves_the_window_and_looks_up(page, server):
    open_map(page, server)
    field = page.get_by_label("first student position")
    field.fill("5000")
    field.press("Enter")
    page.wait_for_url(re.compile(r"window=5000%2C"))
    token_field(page).fill("·the")
    token_field(page).press("Enter")
    page.get_by_text("is said by one teacher token, ·the").wait_for()
    page.wait_for_url(re.compile(r"token=%C2%B7the"))
    assert "window" not in page.url, "the window follows the token"
    settled(page)
    page.reload()
    page.get_by_text("is said by one teacher token, ·the").wait_for()


def test_a_page_answers_one_look_up_after_another(page, server):
    """How long that takes is measured in benchmarks/pages.py."""
    open_map(page, server)
    page.wait_for_selector(".st-key-cells_figure .heatmaplayer image", state="attached")
    for query in ("2", "7", "·the"):
        token_field(page).fill(query)
        token_field(page).press("Enter")
        page.get_by_text(f"is said by one teacher token, {query}").wait_for()
        settled(page)
