"""axe finds nothing on any page, in light and in dark."""

from __future__ import annotations

import pytest

from tests.browser.conftest import settled

pytestmark = [pytest.mark.browser, pytest.mark.real]
BACKGROUND = "() => getComputedStyle(document.querySelector('.stApp')).backgroundColor"
VIEWS = {
    "": "[data-testid=stMetric], .st-key-group_card, h1",
    "/align?tab=Methods&tour=drift.5": ".stack .cell",
    "/align?method=cdm&against=sedi&text=rtl&tab=Path&cost=step+by+step": ".steps td.now",
    "/align?method=cdm&against=sedi&group=3&tab=Path": ".js-plotly-plot",
    "/align?method=cdm&against=sedi&group=3&tab=Graph": ".st-key-graph .js-plotly-plot",
    "/align?method=cdm&against=sedi&group=3&tab=Disagreements": "[data-testid=stDataFrame]",
    "/vocabulary?map=exact": ".st-key-density_click .js-plotly-plot",
    "/vocabulary?map=exact&panel=Neighbours&token=2": ".st-key-graph .js-plotly-plot",
    "/pair": ".st-key-domain_bars .js-plotly-plot",
    "/pair?look=Chat+templates&student=qwen": "[data-testid=stCode]",
    "/pair?look=Special+tokens": "[data-testid=stDataFrame]:visible",
    "/rank": ".st-key-rank_map .js-plotly-plot",
    "/losses": ".st-key-lab_targets .js-plotly-plot",
    "/losses?lab_tab=Memory+and+time&teacher=smollm2&group=99": ".st-key-e_batch",
    "/evidence": ".st-key-section [role=tab]",
    "/evidence?section=Claims": ".st-key-section [role=tab]",
    "/evidence?section=Do+it+again": "[data-testid=stCode]",
    "/runs": ".st-key-first_run, [data-testid=stDataFrame]",
}
NARROW = {"/evidence?section=Do+it+again"}  # commands that are longer than a line there


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(page, server, view):
    """Half of the views open in light and turn dark, the others the other way round."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    first, then = ("light", "dark") if list(VIEWS).index(view) % 2 else ("dark", "light")
    page.set_viewport_size({"width": 420 if view in NARROW else 1280, "height": 1000})
    page.emulate_media(color_scheme=first)
    page.goto(server + view)
    page.wait_for_selector(VIEWS[view])
    settled(page)
    assert violations(axe, page) == []
    before = page.evaluate(BACKGROUND)
    page.emulate_media(color_scheme=then)
    page.wait_for_function(f"before => ({BACKGROUND})() !== before", arg=before)
    settled(page)
    assert violations(axe, page) == []


def violations(axe, page) -> list[tuple[str, str, str]]:
    found = axe.run(page).response["violations"]
    return [(v["impact"], v["id"], v["nodes"][0]["target"]) for v in found]
