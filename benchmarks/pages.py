"""How long a reader waits: page loads, edit to repaint, click to card; a real server and a real Chromium.

A load is counted until the page shows its content and no script runs: "warm" in a browser that has been here before,
"first visit" in one with an empty cache, which has to read plotly; "before its figures" is when everything else of that
page stands. An edit counts from Ctrl+Enter until the new text's
chips are drawn; a click until the card names the group; a look-up from Enter until the map says where the token goes.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _app import wait_for_app
from _record import arguments, save

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
# Plotly throws as it loads, and a browser that is driven parses four megabytes anew for the place of each exception,
# for 0.8 s. No reader's does.
FLAGS += ["--js-flags=--no-enable-lazy-source-positions"]
READY = {
    "/": "h1",
    "/align": ".ctkd .chip",
    "/align?method=cdm&tab=Path": ".js-plotly-plot",
    "/pair": ".js-plotly-plot",
    "/vocabulary": ".js-plotly-plot",
    "/losses": ".js-plotly-plot",
    "/runs": ".stButton",
}

# What pages with figures show last before them.
STANDS = {
    "/align?method=cdm&tab=Path": ".ctkd .chip",
    "/pair": "[data-testid=stTabs]",
    "/vocabulary": "[data-testid=stTabs]",
    "/losses": "[data-testid=stTabs]",
}

# From the key press until the component's next frame with new chips.
WATCH = """() => {
  const chips = document.querySelector('[class*=st-key-chips]');
  const root = [...chips.querySelectorAll('*')].map(e => e.shadowRoot).find(Boolean);
  window.repaint = new Promise(done => {
    const start = performance.now();
    const drawn = () => requestAnimationFrame(() => done(performance.now() - start));
    new MutationObserver((_, o) => { o.disconnect(); drawn(); }).observe(root, {subtree: true, childList: true});
  });
}"""


def main() -> None:
    """Start the app on a free port, measure, write the table."""
    from playwright.sync_api import sync_playwright

    parser = arguments(__doc__ or "", "pages.json")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_app(address)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            rows = [
                {"what": "first /align after the server's start", **_summary([_load(browser, address, "/align")[0]])}
            ]
            _build_maps(browser, address)
            for path in READY:
                visits = [_load(browser, address, path) for _ in range(args.repeats)]
                rows.append({"what": f"first visit {path}", **_summary([ready for ready, _ in visits])})
                if path in STANDS:
                    stood = [stands for _, stands in visits]
                    rows.append({"what": f"first visit {path}, before its figures", **_summary(stood)})
                again = _load_again(browser, address, path, args.repeats)
                rows.append({"what": f"warm {path}", **_summary(again)})
            rows += _edits(browser, address, 2 * args.repeats)
            rows += _look_ups(browser, address, 2 * args.repeats)
    finally:
        server.terminate()
        server.wait(timeout=20)
    save(args.out, rows)


def _build_maps(browser, address: str) -> None:
    """Have the page Vocabulary map build what a new home lacks; it is kept, so no load below waits for it."""
    page = browser.new_page()
    for path in ("/vocabulary", "/vocabulary?map=exact"):
        page.goto(address + path)
        build, figure = page.get_by_role("button", name="Build the map"), page.locator(READY["/vocabulary"]).first
        build.or_(figure).first.wait_for(timeout=60_000)
        if build.is_visible():
            build.click()
        figure.wait_for(timeout=120_000)
    page.close()


def _load(browser, address: str, path: str) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    took = _open(context.new_page(), address, path)
    context.close()
    return took


def _load_again(browser, address: str, path: str, repeats: int) -> list[float]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    took = [_open(page, address, path) for _ in range(repeats + 2)]
    context.close()
    return [ready for ready, _ in took[2:]]  # the second visit compiles the scripts that the first one fetched


def _open(page, address: str, path: str) -> tuple[float, float]:
    """Milliseconds until the page is there with its figures and no script runs, and until it stands without them."""
    start = time.perf_counter()
    page.goto(address + path, wait_until="commit")
    page.wait_for_selector(STANDS.get(path, READY[path]), timeout=60_000)
    stands = (time.perf_counter() - start) * 1000
    page.wait_for_selector(READY[path], timeout=60_000)
    page.wait_for_selector("[data-testid=stStatusWidget]", state="detached", timeout=60_000)
    return (time.perf_counter() - start) * 1000, stands


def _edits(browser, address: str, repeats: int) -> list[dict]:
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.goto(f"{address}/align")
    page.wait_for_selector(".ctkd .chip")
    text = "The keeper counted 1,247 shells and 36 naïve gulls. " * 200
    edits, clicks = [], []
    for k in range(repeats + 1):
        area = page.locator("textarea")
        area.fill((f"edit{k} " + text)[:6000])
        page.evaluate(WATCH)
        area.press("Control+Enter")
        edits.append(page.evaluate("() => window.repaint"))
        chip = page.locator(".group .chip").nth(2 * k + 1)
        chip.scroll_into_view_if_needed()
        group = chip.evaluate("e => e.closest('.group').dataset.g")
        start = time.perf_counter()
        chip.click()
        page.locator(".st-key-group_card").get_by_text(f"Group {group}", exact=True).wait_for()
        clicks.append((time.perf_counter() - start) * 1000)
    return [
        {"what": "edit to repaint, 6,000 characters", **_summary(edits[1:])},
        {"what": "click to pinned card", **_summary(clicks[1:])},
    ]


def _look_ups(browser, address: str, repeats: int) -> list[dict]:
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.goto(f"{address}/vocabulary?map=exact")
    page.wait_for_selector(".st-key-cells_figure .heatmaplayer image", state="attached")
    took = []
    for k in range(repeats + 1):
        token, field = ("2", "7", "·the")[k % 3], page.locator(".st-key-token input")
        field.fill(token)
        start = time.perf_counter()
        field.press("Enter")
        page.get_by_text(f"is said by one teacher token, {token}").wait_for()
        took.append((time.perf_counter() - start) * 1000)
    return [{"what": "look-up of a token", **_summary(took[1:])}]


def _summary(values: list[float]) -> dict[str, float]:
    return {"median_ms": statistics.median(values), "most_ms": max(values), "n": len(values)}


if __name__ == "__main__":
    main()
