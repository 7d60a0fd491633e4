"""End to end: the report on a pair opens from disk without a network and draws, prints, and runs nothing of a text."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.figures.report_pair import pair_html
from ctkd_core.markup.curves import Curve, curves_svg
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


BOXES = """() => [...document.querySelectorAll('svg')].map(svg => [svg, ...svg.querySelectorAll('text')].map(part => {
    const box = part.getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom];
}))"""


def test_the_texts_of_a_picture_of_curves_lie_in_it_and_not_over_one_another(new_context, tmp_path):
    steps = np.arange(4)
    terms = ["loss", *(f"models/a-teacher-{k}.{term}" for k in range(3) for term in ("ce", "matched", "unmatched"))]
    drawn = [
        curves_svg("Training loss and its terms", [Curve(term, steps, steps * -1.2345e-5, "#000") for term in labels])
        for labels in (terms, ["student", "t" * 99], ["student", "teacher"])
    ]
    file = tmp_path / "curves.html"
    file.write_text(f"<meta charset='utf-8'>{''.join(drawn)}", encoding="utf-8")
    page = new_context(offline=True).new_page()
    page.goto(file.as_uri())
    for whole, *texts in page.evaluate(BOXES):
        assert len(texts) >= 6
        for at, (left, top, right, bottom) in enumerate(texts):
            assert whole[0] <= left < right <= whole[2] and whole[1] <= top < bottom <= whole[3]
            assert not [
                other
                for other in texts[:at]
                if left < other[2] and other[0] < right and top < other[3] and other[1] < bottom
            ]
