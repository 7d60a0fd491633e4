"""End to end: a real run, started from the page, watched until it ends, found again by its address."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import settled
from tests.patience import LONG

pytestmark = [pytest.mark.browser, pytest.mark.real, pytest.mark.slow]


def test_a_short_run_is_started_watched_and_found_again(page, server):
    page.goto(f"{server}/runs?view=New+run")
    page.get_by_text("Everything else").click()
    less = {"eval samples": "4", "sample prompts": "1", "batch size": "2", "steps": "2"}  # to wait for
    for label, value in less.items():
        field = page.get_by_label(label, exact=True)
        field.fill(value)
        field.press("Enter")
    page.get_by_text("2 steps of sedi").wait_for()
    settled(page)
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url(re.compile(r"run=\d{8}-"))
    page.get_by_role("button", name="Cancel").wait_for()
    page.reload()  # a new session: only the address and the run's folder are left
    page.get_by_text("finished", exact=True).wait_for(timeout=1000 * LONG)
    page.wait_for_selector(".st-key-bits_curve .plot-container")
    assert page.get_by_role("button", name="Cancel").count() == 0
    for label in ("bits per byte now", "at the start", "teacher"):
        value = page.locator("[data-testid=stMetric]", has_text=label).locator("[data-testid=stMetricValue]")
        assert re.fullmatch(r"\d\.\d{3}", value.inner_text().strip())
    page.get_by_role("button", name="All runs").click()
    page.wait_for_url(re.compile(r"^((?!run=).)*$"))
    page.goto(server)
    page.get_by_role("link", name=re.compile("quick")).click()
    page.wait_for_url(re.compile(r"run=\d{8}-"))
    page.get_by_text("finished", exact=True).wait_for()
