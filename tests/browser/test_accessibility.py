"""axe finds nothing on any page, in light and in dark."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.real]
VIEWS = {
    "": "[data-testid=stMetric], .st-key-group_card, h1",
    "/align": ".ctkd .chip",
    "/align?method=cdm&against=sedi&group=3&tab=Path": ".js-plotly-plot",
    "/align?method=cdm&against=sedi&group=3&tab=Graph": ".st-key-graph .js-plotly-plot",
    "/align?method=cdm&against=sedi&group=3&tab=Disagreements": "[data-testid=stDataFrame]",
    "/vocabulary?map=exact": ".st-key-density_click .js-plotly-plot",
    "/vocabulary?map=exact&panel=Neighbours&token=2": ".st-key-graph .js-plotly-plot",
    "/pair": ".st-key-domain_bars .js-plotly-plot",
    "/pair?look=Chat+templates&student=qwen": "[data-testid=stCode]",
    "/pair?look=Special+tokens": "[data-testid=stDataFrame]:visible",
    "/losses": ".st-key-lab_targets .js-plotly-plot",
    "/losses?lab_tab=Memory+and+time&teacher=smollm2&group=99": ".st-key-e_batch",
    "/runs": ".st-key-first_run, [data-testid=stDataFrame]",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(browser, server, view, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(server + view)
        page.wait_for_selector(VIEWS[view], timeout=30_000)
        page.wait_for_selector("[data-testid=stStatusWidget]", state="detached", timeout=30_000)
        found = axe.Axe().run(page).response["violations"]
    finally:
        context.close()
    assert [(v["impact"], v["id"], v["nodes"][0]["target"]) for v in found] == []
