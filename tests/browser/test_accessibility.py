"""axe finds nothing on any page, in light and in dark, wide and narrow; nothing runs out of a narrow window."""

from __future__ import annotations

import itertools
import shutil

import pytest

from tests.browser.conftest import settled
from tests.made_runs import made as hand_made

pytestmark = [pytest.mark.browser, pytest.mark.real]
BACKGROUND = "() => getComputedStyle(document.querySelector('.stApp')).backgroundColor"
VIEWS = {
    "/": ".st-key-tours a",
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

# A phone, and a window of 1280 x 1000 at 200 %.
WINDOWS = ({"width": 420, "height": 1000}, {"width": 640, "height": 500})
PLOT = ".js-plotly-plot"
CODE = "[data-testid=stCode]"
TABLE = "[data-testid=stDataFrame]"
# Where a walk begins; then what is clicked and what it waits for there.
WALKS = {
    "/": [],
    "/align?method=cdm&against=sedi&group=3": [
        ("role=tab[name='Metrics']", PLOT),
        ("role=tab[name='Export']", ".picture button"),
        ("text=Show as code", CODE),
    ],
    "/align?text=rtl&tab=Methods": [],
    "/vocabulary?map=exact": [
        ("role=tab[name='Lost']", TABLE),
        ("role=tab[name='Reasons']", PLOT),
        ("role=tab[name='Export']", "[data-testid=stDownloadButton]"),
        ("text=The rule", "[data-testid=stPopoverBody]"),
    ],
    "/pair": [("role=tab[name='Token lengths']", PLOT), ("role=tab[name='All pairs']", f".st-key-pair_matrix {PLOT}")],
    "/rank?side=all+pairs": [("role=radio[name='one text']", "textarea")],
    "/losses?group=1": [
        ("role=tab[name='Values']", TABLE),
        ("role=tab[name='Groups']", TABLE),
        ("role=radio[name='whole loss']", PLOT),
    ],
    "/runs?view=New+run": [("text=Several teachers", TABLE + ", label"), ("role=radio[name='New sweep']", "label")],
    "/evidence": [("role=tab[name='At a glance']", TABLE), ("role=tab[name='Analyses']", "h2")],
}
BEGINS = {
    "/align?method=cdm&against=sedi&group=3": TABLE,
    "/align?text=rtl&tab=Methods": ".stack .cell",
    "/rank?side=all+pairs": ".st-key-rank_map .js-plotly-plot",
    "/losses?group=1": ".st-key-lab_targets .js-plotly-plot",
    "/runs?view=New+run": ".st-key-preset",
} | {view: VIEWS[view] for view in VIEWS if view in WALKS}
FITS = "() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth <= m.clientWidth; }"


@pytest.mark.parametrize("begin", WALKS)
def test_axe_finds_nothing_in_narrow_windows(page, server, begin):
    """Each step of a walk in one of two windows; half of the walks are in dark. A view is looked at in a wide window
    first, for most of the time goes into opening a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    windows = itertools.cycle(WINDOWS)
    if begin in VIEWS:
        check_wide(axe, page, server, begin)
        page.set_viewport_size(next(windows))
    else:
        page.emulate_media(color_scheme=("light", "dark")[list(WALKS).index(begin) % 2])
        page.set_viewport_size(next(windows))
        page.goto(server + begin)
        page.wait_for_selector(BEGINS[begin])
    settled(page)
    for clicked, wait in (("", ""), *WALKS[begin]):
        if clicked:
            page.locator(clicked).first.click()
            page.locator(wait).locator("visible=true").first.wait_for()
            settled(page)
        assert violations(axe, page) == [], clicked
        for _ in range(2):
            page.wait_for_function(FITS)  # figures take their new size a moment later
            page.set_viewport_size(next(windows))
        page.set_viewport_size(next(windows))


@pytest.mark.parametrize("view", [view for view in VIEWS if view not in WALKS])
def test_axe_finds_nothing(page, server, view):
    check_wide(pytest.importorskip("axe_playwright_python.sync_playwright").Axe(), page, server, view)


def check_wide(axe, page, server: str, view: str) -> None:
    """Half of the views open in light and turn dark, the others the other way round."""
    first, then = ("light", "dark") if list(VIEWS).index(view) % 2 else ("dark", "light")
    page.set_viewport_size({"width": 420 if view in NARROW else 1280, "height": 1000})
    page.emulate_media(color_scheme=first)
    page.goto(server + view)
    page.wait_for_selector(VIEWS[view])
    settled(page)
    assert violations(axe, page) == []
    assert page.locator("h1").count() == 1
    before = page.evaluate(BACKGROUND)
    page.emulate_media(color_scheme=then)
    page.wait_for_function(f"before => ({BACKGROUND})() !== before", arg=before)
    settled(page)
    assert violations(axe, page) == []


@pytest.mark.parametrize("what", ["run", "compare"])
def test_axe_finds_nothing_on_runs(page, server, home, what):
    """One run and several compared, in a wide window in light and in narrow ones in dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    made = [hand_made(root=home / "runs", seed=seed, method=method) for method in ("sft", "gold") for seed in (0, 1)]
    try:
        chosen = made[:1] if what == "run" else made
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 1000})
        page.goto(f"{server}/runs?{what}={','.join(run.id for run in chosen)}")
        page.locator(f"{PLOT} >> visible=true").first.wait_for()
        settled(page)
        assert violations(axe, page) == []
        assert page.locator("h1").count() == 1
        page.emulate_media(color_scheme="dark")
        for window in WINDOWS:
            page.set_viewport_size(window)
            page.wait_for_function(FITS)
            settled(page)
            assert violations(axe, page) == [], window
    finally:
        for run in made:
            shutil.rmtree(run.dir)


def violations(axe, page) -> list[tuple[str, str, str]]:
    found = axe.run(page).response["violations"]
    return [(v["impact"], v["id"], v["nodes"][0]["target"]) for v in found]
