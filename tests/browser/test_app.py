"""End to end in Chromium: align a text, pin a group by mouse and keyboard, train, reload, nothing executed."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import settled

pytestmark = [pytest.mark.browser, pytest.mark.real]


def open_align(page, server: str, query: str = "") -> None:
    page.goto(f"{server}/align{query}")
    page.wait_for_selector(".ctkd .chip")
    settled(page)


def type_text(page, text: str) -> None:
    area = page.locator("textarea")
    area.fill(text)
    area.press("Control+Enter")


def test_a_typed_text_is_aligned_and_a_click_pins_its_group(page, server):
    open_align(page, server)
    type_text(page, "Exactly 201 lighthouse keepers")
    page.wait_for_selector('.chip:has-text("Exactly") >> nth=0')  # the sample text has a lighthouse, too
    group = page.locator(".group", has=page.locator('.chip[data-side="student"]', has_text="201"))
    group.locator(".chip").first.click()
    card = page.locator(".st-key-group_card")
    card.get_by_text("32 30 31", exact=False).first.wait_for()
    page.wait_for_url(re.compile(r"group=\d+"))
    page.wait_for_selector(".group.pinned")
    assert group.get_attribute("class").endswith("pinned")


def test_the_address_brings_the_view_back(page, server):
    open_align(page, server, "?text=numbers&method=cdm&against=sedi&group=3")
    page.locator(".st-key-group_card").get_by_text("Group 3").wait_for()
    page.reload()
    page.wait_for_selector(".group.pinned")
    assert page.locator(".group.pinned").get_attribute("data-g") == "3"
    assert "numbers" in page.url


def test_keyboard_walks_between_tokens_and_sides(page, server):
    open_align(page, server)
    first = page.locator('.chip[data-side="teacher"]').first
    first.focus()
    page.keyboard.press("ArrowRight")
    look = """() => { let e = document.activeElement; while (e.shadowRoot) e = e.shadowRoot.activeElement;
      const { side, index } = e.dataset;
      return { side, index, label: e.getAttribute('aria-label'), tab: e.tabIndex }; }"""
    assert page.evaluate(look)["index"] == "1"
    page.keyboard.press("ArrowDown")
    here = page.evaluate(look)
    assert (here["side"], here["tab"]) == ("student", 0)
    assert re.match(r"student token \d+, id \d+, bytes '.+', group \d+, \d+ student : \d+ teacher", here["label"])
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"group=\d+"))
    page.wait_for_selector(".group.pinned")
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile(r"^((?!group=).)*$"))
    assert page.locator(".chip[tabindex='0']").count() == 1


def test_hover_lights_both_rows_without_the_server(page, server):
    open_align(page, server)
    chip = page.locator('.chip[data-side="student"]').nth(4)
    other = page.locator(f'.chip[data-side="teacher"][data-g="{chip.get_attribute("data-g")}"]').first
    colour = "e => getComputedStyle(e).backgroundColor"
    before = other.evaluate(colour)
    sent: list[str] = []
    page.on("websocket", lambda ws: ws.on("framesent", lambda _: sent.append("x")))
    chip.hover()
    page.wait_for_function(
        "([e, was]) => getComputedStyle(e).backgroundColor !== was", arg=[other.element_handle(), before]
    )
    assert page.locator(".tip").is_visible()
    assert "student token" in page.locator(".tip").inner_text()
    assert sent == []


def test_a_script_token_is_text(page, server):
    open_align(page, server)
    title = page.title()
    attack = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> **b** $x$ :red[y]"
    for tab in ("Path", "Groups", "Disagreements"):
        page.get_by_role("tab", name=tab).click()
        settled(page)
        type_text(page, f"{attack} {tab}")
        page.wait_for_selector('.chip:has-text("script") >> nth=0')
        page.locator('.chip:has-text("script") >> nth=0').first.click()
        page.locator(".st-key-group_card").get_by_text("Group", exact=False).first.wait_for()
    assert page.title() == title
    assert page.locator(".ctkd script, .ctkd img, .st-key-group_card script").count() == 0


def test_a_cell_of_the_cost_matrix_pins_its_group(page, server):
    open_align(page, server, "?method=cdm&against=sedi&tab=Path")
    page.wait_for_selector(".st-key-dtw_local .plot-container .heatmaplayer image", state="attached")
    at = page.evaluate(
        """() => { const g = document.querySelector('.st-key-dtw_local .js-plotly-plot'), l = g._fullLayout;
        const r = g.getBoundingClientRect();
        g.scrollIntoView({block: 'center'});
        const q = g.getBoundingClientRect();
        return [q.left + l.xaxis._offset + l.xaxis.d2p(6), q.top + l.yaxis._offset + l.yaxis.d2p(7)]; }"""
    )
    page.mouse.move(*at)
    page.mouse.click(*at)
    page.wait_for_url(re.compile(r"group=\d+"))
    pinned = page.locator(".group.pinned")
    pinned.wait_for()
    assert pinned.locator('.chip[data-side="student"][data-index="6"]').count() == 1


def test_swap_and_navigation_keep_the_pair(page, server):
    open_align(page, server, "?student=qwen")
    page.get_by_role("button", name="Swap").click()
    page.wait_for_url(re.compile(r"teacher=qwen"))
    settled(page)
    page.get_by_role("link", name="Runs").click()
    page.wait_for_url(re.compile(r"/runs"))
    page.get_by_role("link", name="Align").click()
    page.wait_for_selector('.ctkd[aria-label^="Tokens of qwen above"]')


def test_an_edit_of_six_thousand_characters_draws_the_chips_anew(page, server):
    """How long that takes is measured in benchmarks/pages.py."""
    open_align(page, server)
    text = "The year 2024 had 366 days, and 201 lighthouse keepers crossed the naïve tide. " * 90
    type_text(page, text)
    page.wait_for_selector('.chip:has-text("lighthouse") >> nth=0')  # the sample's, too: the first edits follow at once
    for number in ("501", "502", "503"):  # each one token of the student
        type_text(page, f"{number} {text}")
        page.wait_for_selector(f'.chip[data-side="student"][data-index="0"]:has-text("{number}")')
