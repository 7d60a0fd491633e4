"""End to end: the report on a pair opens from disk without a network and draws, prints, and runs nothing of a text."""

from __future__ import annotations

import pytest

from ctkd_core.figures.report_pair import pair_html
from ctkd_core.pair.full_report import full_report
from tests.browser.conftest import PATIENCE_MS
from tests.tiny import tiny_byte_level, tiny_metaspace

pytestmark = pytest.mark.browser
EVIL = "</script><script>window.owned=1</script><img src=x onerror='window.owned=1'> in 2024"
DRAWN = "() => [...document.querySelectorAll('.plot')].every(place => place.querySelector('.main-svg'))"


def test_a_report_opens_from_disk_draws_and_saves_its_figures(new_context, tmp_path):
    found = full_report(tiny_byte_level(), tiny_metaspace(), {EVIL: EVIL}, ("sedi", "cdm"), {EVIL: [EVIL]}, "exact")
    file = tmp_path / "report.html"
    file.write_text(pair_html(found), encoding="utf-8")
    context = new_context(offline=True, accept_downloads=True)
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda fault: said.append(str(fault)))
    page.goto(file.as_uri())
    page.wait_for_function(DRAWN, timeout=PATIENCE_MS)
    assert page.evaluate("() => window.owned") is None
    with page.expect_download() as download:
        page.locator(".plot").first.hover()
        page.locator(".plot .modebar-btn[data-title='Save as SVG']").first.click()
    saved = download.value.path().read_text(encoding="utf-8")
    assert saved.startswith("<svg")
    with page.expect_download() as download:
        page.locator(".plot .modebar-btn[data-title='Save as PNG']").first.click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert said == []
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF")
