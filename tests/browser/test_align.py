"""Page Align in Chromium: keyboard, jump, options in the address, models with cancel, graph, downloads that open."""

from __future__ import annotations

import csv
import io
import json
import re
import time

import pytest

from tests.browser.conftest import settled
from tests.patience import LONG

pytestmark = [pytest.mark.browser, pytest.mark.real]
FOCUSED = """() => { let e = document.activeElement; while (e?.shadowRoot) e = e.shadowRoot.activeElement;
  return { ...e.dataset, tab: e.tabIndex, name: e.tagName, pressed: e.getAttribute('aria-pressed') }; }"""


def opened(page, server: str, query: str = "", wait: str = ".ctkd .chip") -> None:
    page.goto(f"{server}/align{query}")
    page.wait_for_selector(wait)
    settled(page)


def group_of(page) -> int:
    return int(re.search(r"group=(\d+)", page.url)[1])


def test_chips_are_buttons_that_the_keyboard_walks(page, server):
    opened(page, server, "?method=cdm&against=sedi")
    assert page.locator(".chip[tabindex='0']").count() == 1
    page.locator(".chip[tabindex='0']").focus()
    start = page.evaluate(FOCUSED)
    assert (start["name"], start["side"], start["index"]) == ("BUTTON", "teacher", "0")
    for key, side, index in (
        ("ArrowRight", "teacher", "1"),
        ("ArrowLeft", "teacher", "0"),
        ("ArrowDown", "student", "0"),
        ("ArrowDown", "student", "0"),  # there is nothing below
        ("End", "student", "69"),
        ("ArrowUp", "teacher", "80"),
        ("Home", "teacher", "0"),
    ):
        page.keyboard.press(key)
        now = page.evaluate(FOCUSED)
        assert (key, now["side"], now["index"], now["tab"]) == (key, side, index, 0)
        assert page.locator(".chip[tabindex='0']").count() == 1
    assert page.locator(".tip").is_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"group=1\b"))
    page.locator(".st-key-group_card").get_by_text("Group 1", exact=True).wait_for()
    held = page.evaluate(FOCUSED)
    assert (held["index"], held["pressed"]) == ("1", "true")  # the focus stays where it was
    page.keyboard.press("Tab")  # the chips are one stop
    assert "side" not in page.evaluate(FOCUSED)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(FOCUSED)["index"] == "1"
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile(r"^((?!group=).)*$"))
    page.locator(".st-key-group_card").get_by_text("Click a group").wait_for()


def press_until_moved(page, button) -> None:
    """Press a button that changes the address, once the page is drawn."""
    before = page.url
    settled(page)
    button.click()
    page.wait_for_function("url => location.href !== url", arg=before)


def test_next_disagreement_jumps_through_all_and_starts_again(page, server):
    opened(page, server, "?method=cdm&against=sedi")
    button = page.get_by_role("button", name=re.compile("Next disagreement"))
    count = int(re.search(r"\((\d+)\)", button.inner_text())[1])
    seen = []
    for _ in range(count + 1):
        press_until_moved(page, button)
        seen.append(group_of(page))
        page.wait_for_selector(f'.group.pinned[data-g="{seen[-1]}"]')
    assert seen[:-1] == sorted(set(seen))
    assert seen[-1] == seen[0]
    page.keyboard.press("Alt+n")
    page.wait_for_url(re.compile(rf"group={seen[1]}\b"))


def test_a_jump_turns_the_table_of_groups(page, server):
    opened(page, server, "?method=cdm&against=sedi&tab=Groups&group=56", "[data-testid=stDataFrame]")
    current = page.locator("[data-testid=stPagination] [aria-current]").last
    current.wait_for()
    assert current.inner_text().strip() == "5"


def test_options_stand_in_the_address_and_come_back(page, server):
    opened(page, server, "?method=alm&against=sedi")
    page.get_by_role("button", name="Options of alm").click()
    page.get_by_role("combobox", name="chunking").click()
    page.get_by_role("option", name="space", exact=True).click()
    page.wait_for_url(re.compile("a_alm_chunking=space"))
    page.locator(".st-key-health").get_by_text("alm (chunking space)").wait_for()
    page.reload()
    page.locator(".st-key-health").get_by_text("alm (chunking space)").wait_for()


def test_the_graph_pins_what_is_clicked(page, server):
    opened(page, server, "?method=cdm&against=sedi&tab=Graph&group=9", ".st-key-graph .scatterlayer .point")
    points = page.locator(".st-key-graph .scatterlayer .point")
    points.first.scroll_into_view_if_needed()
    box = points.first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(lambda url: "group=9" not in url and "group=" in url)
    page.wait_for_selector(f'.group.pinned[data-g="{group_of(page)}"]')


def test_a_narrow_window_cuts_no_names(page, server):
    page.set_viewport_size({"width": 420, "height": 1000})
    opened(page, server, "?method=cdm&against=sedi&tab=Path", ".st-key-dtw_local .heatmaplayer image")
    for key in ("dtw_local", "graph"):
        width = page.locator(f".st-key-{key} .js-plotly-plot").evaluate("e => e.getBoundingClientRect().width")
        assert width > 800, "its labels would lie upon each other"
        assert page.evaluate("document.documentElement.scrollWidth") == 420
        page.get_by_role("tab", name="Graph").click()
        page.wait_for_selector(".st-key-graph .scatterlayer .point")
    last = page.locator(".st-key-text").get_by_role("radio", name="own").bounding_box()
    assert last["x"] + last["width"] < 420


def test_downloads_open_and_hold_the_alignment(page, server, new_context, tmp_path):
    opened(page, server, "?method=cdm&against=sedi&tab=Export&group=9", ".st-key-html button")

    def saved(key: str):
        with page.expect_download() as download:
            page.locator(f".st-key-{key} button").click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path

    document = json.loads(saved("json").read_text(encoding="utf-8"))
    assert document["method"] == "cdm"
    rows = list(csv.DictReader(io.StringIO(saved("csv").read_text(encoding="utf-8"))))
    assert [[int(r[k]) for k in ("s0", "s1", "t0", "t1")] for r in rows] == document["groups"]
    report = saved("html")
    assert report.stat().st_size < 8_000_000
    offline = new_context(offline=True).new_page()
    faults: list[str] = []
    offline.on("pageerror", lambda fault: faults.append(str(fault)))
    offline.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    offline.goto(report.as_uri())
    offline.wait_for_selector(".js-plotly-plot .heatmaplayer image", state="attached")
    assert offline.locator(".g").count() == len(document["groups"])
    assert offline.evaluate("() => performance.getEntriesByType('resource').length") == 0
    assert faults == []


def test_the_path_plays_in_the_browser_alone_and_terms_open_by_keyboard(page, server):
    sent: list[str] = []
    page.on("websocket", lambda ws: ws.on("framesent", lambda _: sent.append("x")))  # before there is one
    opened(page, server, "?method=cdm&against=sedi&tab=Path&cost=step+by+step", ".steps td.now")
    assert sent
    sent.clear()
    slider, sentence = page.locator(".steps .scrub"), page.locator(".steps .sentence")
    page.locator(".steps .next").click()
    assert "Step 1 of" in sentence.inner_text()
    slider.focus()
    page.keyboard.press("End")
    last = int(slider.get_attribute("max"))
    assert f"Step {last} of" in sentence.inner_text()
    assert page.locator(".steps td.walked").count() == last + 1
    page.locator(".steps .play").click()  # at the end it begins again
    page.locator(".steps .sentence", has_text="Step 2 of").wait_for()
    page.locator(".steps .play").click()
    assert page.locator(".steps .play").inner_text() == "Play"
    assert "= " in page.locator(".steps td.now").get_attribute("title")
    assert sent == []
    term = page.locator(".terms button.term").first
    term.focus()
    assert term.locator(".meaning").is_visible()


@pytest.mark.slow
def test_the_models_are_asked_cancelled_and_asked_again(page, server):
    text = f"Exactly 201 lighthouse keepers saw the tide of {time.time_ns()}."  # nobody asked about it before
    opened(page, server, "?method=cdm&against=sedi&tab=Path")
    area = page.locator("textarea")
    area.fill(text)
    area.press("Control+Enter")
    page.wait_for_selector('.chip:has-text("Exactly") >> nth=0')
    ask = page.get_by_role("button", name="Ask the models")
    ask.click()
    page.locator("[data-testid=stProgress]").get_by_text("Loading").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled; nothing was kept").wait_for()
    ask.click()
    page.get_by_text("use what the models said").wait_for(timeout=1000 * LONG)
    page.wait_for_selector(".st-key-dtw_local .barlayer .point", state="attached")
    page.reload()  # the answer was kept
    page.get_by_text("use what the models said").wait_for()
