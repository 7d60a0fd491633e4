"""Tours in Chromium: each step brings what it is about into view, its words and buttons stay, the keyboard walks."""

from __future__ import annotations

import re

import pytest

from pages.parts.tours import TOURS
from tests.browser.conftest import settled

pytestmark = [pytest.mark.browser, pytest.mark.real]
# In a window where the frame begins below the box and something of it is seen; both are where they stay.
SHOWN = """key => {
  const box = document.querySelector('.st-key-tour'), framed = document.querySelector(`.st-key-${key}`);
  if (!box || !framed) return false;
  const held = box.getBoundingClientRect(), seen = framed.getBoundingClientRect();
  return held.top >= 0 && seen.height > 0 && seen.top >= held.bottom
    && Math.min(seen.bottom, innerHeight) - seen.top >= Math.min(seen.height, innerHeight / 5);
}"""


@pytest.mark.parametrize(("name", "width", "height"), [("drift", 1366, 800), ("201", 640, 500)])
def test_each_step_shows_what_it_is_about_below_its_words(page, server, name, width, height):
    tour = TOURS[name]
    page.set_viewport_size({"width": width, "height": height})
    page.goto(f"{server}/{tour.page}?tour={name}")
    for number, step in enumerate(tour.steps, start=1):
        page.locator(".st-key-tour").get_by_text(f"{number} of {len(tour.steps)}").wait_for()
        settled(page)
        page.wait_for_function(SHOWN, arg=step.look_at)
        button = page.locator(".st-key-tour").get_by_role("button", name="Next" if number < len(tour.steps) else "Done")
        place = button.bounding_box()
        assert place["y"] >= 0 and place["y"] + place["height"] <= height, "the way on is in reach"
        if number > 1:
            page.wait_for_function("() => document.activeElement.closest('.st-key-tour')")
        button.focus()
        page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"^((?!tour=).)*$"))
    page.locator(".st-key-tour").wait_for(state="detached")


def test_a_reader_who_scrolls_is_left_alone(page, server):
    page.goto(f"{server}/align?tour=drift.3&method=uld&against=sedi&group=4")
    page.wait_for_selector(".ctkd .chip")
    settled(page)
    page.wait_for_function(SHOWN, arg="chips")
    page.mouse.move(700, 700)
    page.mouse.wheel(0, -2000)
    at = "() => document.querySelector('[data-testid=stMain]').scrollTop"
    page.wait_for_function(f"() => ({at})() === 0")
    page.wait_for_timeout(1000)  # five looks
    assert page.evaluate(at) == 0


def test_a_wheel_stops_the_scroll_that_is_on_its_way(page, server):
    at = "() => document.querySelector('[data-testid=stMain]')?.scrollTop ?? 0"
    page.mouse.move(700, 700)
    page.goto(f"{server}/align?tour=drift.3&method=uld&against=sedi&group=4")
    page.wait_for_function(f"() => ({at})() > 5", polling="raf")  # one that goes on for some tenths of a second
    page.mouse.wheel(0, -2000)
    page.wait_for_function(f"() => ({at})() === 0")
    page.wait_for_timeout(1000)
    assert page.evaluate(at) == 0
