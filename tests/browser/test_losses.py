"""Page Losses in Chromium: keyboard, options in the address, a computation with cancel, the way to a run."""

from __future__ import annotations

import re
import time

import pytest

from tests.browser.conftest import settled
from tests.patience import LONG

pytestmark = [pytest.mark.browser, pytest.mark.real]
DRAWN = ".st-key-lab_targets .js-plotly-plot .bars"
FOCUSED = """() => { let e = document.activeElement; while (e?.shadowRoot) e = e.shadowRoot.activeElement;
  return { g: e.dataset.g, tab: e.tabIndex, name: e.tagName, pressed: e.getAttribute('aria-pressed') }; }"""


def opened(page, server: str, query: str = "", wait: str = DRAWN) -> None:
    page.goto(f"{server}/losses{query}")
    page.wait_for_selector(wait)
    settled(page)


def test_groups_are_buttons_that_the_keyboard_walks(page, server):
    opened(page, server)
    assert page.locator(".lab .group[tabindex='0']").count() == 1
    page.locator(".lab .group[tabindex='0']").focus()
    start = page.evaluate(FOCUSED)
    assert (start["name"], start["g"], start["pressed"]) == ("BUTTON", "4", "true")
    for key, group in (("ArrowRight", "5"), ("ArrowRight", "6"), ("Home", "0"), ("ArrowLeft", "0"), ("End", "6")):
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED)["g"] == group
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"group=3\b"))
    page.locator(".st-key-group_panel").get_by_text("Group 3").wait_for()
    held = page.evaluate(FOCUSED)
    assert (held["g"], held["pressed"]) == ("3", "true")
    label = page.locator(".lab .group[data-g='1']").get_attribute("aria-label")
    assert label.startswith("group 1: teacher 2 0 1, student 201; share of the loss: gold ")


def test_201_points_down_under_gold_and_up_under_pkl(page, server):
    opened(page, server, "?group=1")
    page.locator(".st-key-group_panel").get_by_text("down under gold and xtoken-hkl, up under xtoken-pkl").wait_for()
    labels = page.locator(".st-key-lab_gradients .textpoint text, .st-key-lab_gradients .bars text").all_text_contents()
    assert "▼" in labels
    assert "▲" in labels


def test_the_page_is_there_again_and_computes_nothing(page, server):
    """How long that takes is measured in benchmarks/pages.py."""
    for _ in range(2):
        opened(page, server)
        assert page.locator("[data-testid=stProgress]").count() == 0
        assert page.get_by_role("button", name=re.compile("^Compute")).count() == 0


def test_use_in_a_run_opens_the_form_with_the_method(page, server):
    opened(page, server)
    page.get_by_role("link", name="Use xtoken-pkl in a run").click()
    page.wait_for_url(re.compile("/runs.*carry="))
    form = page.get_by_role("combobox", name=re.compile("method"))
    page.get_by_text(re.compile("40 steps of xtoken-pkl")).wait_for()
    assert form.first.input_value() == "xtoken-pkl"


@pytest.mark.slow
def test_an_option_is_computed_cancelled_computed_again_and_kept(page, server):
    opened(page, server)
    page.get_by_role("button", name="Options of gold").click()
    beta = f"0.{time.time_ns() % 10**6:06d}1"  # nobody asked about it before
    page.get_by_role("spinbutton", name="beta", exact=True).fill(beta)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("l_gold_beta=0"))
    settled(page)
    page.keyboard.press("Escape")
    compute = page.get_by_role("button", name=re.compile("^Compute"))
    compute.click()
    page.locator("[data-testid=stProgress]").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled; nothing was kept").wait_for()
    compute.click()
    page.locator(".lab .key").get_by_text(re.compile(r"gold \(beta 0\.")).wait_for(timeout=1000 * LONG)
    page.reload()
    page.locator(".lab .key").get_by_text(re.compile(r"gold \(beta 0\.")).wait_for()
