"""The report on a pair: all of its parts, one file, and nothing of a token, a text or a run is markup."""

from __future__ import annotations

import dataclasses
import re

import pytest

from ctkd_core.distill.runs import RunStore
from ctkd_core.figures.report_pair import SECTIONS, pair_html
from ctkd_core.pair.full_report import FullReport, full_report
from tests.distill.comparison.make import made
from tests.homes import own_home
from tests.markup.page import NASTY, Page
from tests.tiny import tiny_byte_level

EVIL = "</pre></td><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"
CORPUS = {EVIL: ["In 2024 we sold 201 of them.", NASTY]}


def hostile_tokenizer():
    """A tokenizer whose own tokens, name and special tokens are markup."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers

    from ctkd_core.tokenizers.tokenizer import Tokenizer

    words = ["<script>alert(2)</script>", "<img src=x onerror=alert(2)>", "<unk>", *map(chr, range(33, 127)), "Ġ"]
    backend = Backend(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", behavior="isolated")
    backend.add_special_tokens(["</script><script>alert(3)</script>"])
    return Tokenizer.from_backend(backend, "<script>alert(4)</script>", source="tests", licence="none")


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> FullReport:
    with pytest.MonkeyPatch.context() as patch:
        own_home(tmp_path_factory.mktemp("r") / "home", patch)
        texts = {EVIL: EVIL + " 201 <script>alert(2)</script>", "plain": "the 2024 llamas"}
        return full_report(hostile_tokenizer(), tiny_byte_level(), texts, ("sedi", "uld", "cdm"), CORPUS, "exact")


def body(html: str) -> str:
    """The file without its two scripts and styles, which are ours."""
    return re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)


def test_all_parts_are_there_and_nothing_is_markup(found, tmp_path):
    runs = [
        made(RunStore(tmp_path), 2.0 + k, seed=k, method=m, name=EVIL, answer=EVIL)
        for k in range(2)
        for m in ("sft", "uld")
    ]
    html = pair_html(found, runs)
    page = Page(body(html))
    assert not page.open
    for key, title in SECTIONS.items():
        assert page.count("h2", id=key) == 1, title
    assert {tag for tag, _ in page.tags} & {"img", "iframe", "object", "embed", "link"} == set()
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert {attributes.get("type") for attributes in scripts} == {"application/json"}
    assert page.count("div", **{"class": "plot"}) == len(scripts) >= 12
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcdoc", "action")]
        assert tag != "a" or attributes["href"].startswith("#")
    assert page.count("div", **{"class": "g"}) == sum(len(text.first) for text in found.texts)
    assert "\u202e" not in html
    assert len(html.encode()) < 10_000_000
    assert "alert(4)" in page.text and "ctkd report" in page.text
    command = page.text[page.text.index("ctkd report") :]
    assert "--map exact" in command and f"--runs-dir {tmp_path}" in command
    assert all(f"--run {run.id}" in command for run in runs)
    assert all(name.split("<")[0] in command for name in CORPUS) and "--corpus NAME=FILE" in command


def test_a_single_run_stands_with_its_own_figures(found, tmp_path):
    run = made(RunStore(tmp_path), 2.0)
    html = pair_html(found, [run])
    assert run.id in html and "learning_rate" in html
    assert "Runs compared" in html


def test_without_runs_there_is_no_part_for_them_and_the_file_is_the_library_and_little_more(found):
    html = pair_html(found)
    assert 'id="runs"' not in html
    assert "--no-runs" in Page(body(html)).text
    assert len(body(html)) < 400_000


def test_the_advice_stands_with_what_experiments_found(found, monkeypatch):
    from ctkd_core.figures import report_pair
    from ctkd_core.pair import evidence
    from tests.pair.test_evidence import BETTER, MAYBE_WORSE, digest

    tried = digest(BETTER)
    advice = dataclasses.replace(
        found.pair.advice,
        kind=BETTER.kind,
        confidence=evidence.SUCH,
        evidence=evidence.findings([("few", BETTER)], "a", "b"),
        counter=(evidence.finding_of("few", MAYBE_WORSE, MAYBE_WORSE.methods[1], ("a", "b"), worse=True),),
    )
    monkeypatch.setattr(report_pair, "load", lambda: tried)
    html = pair_html(dataclasses.replace(found, pair=dataclasses.replace(found.pair, advice=advice)))
    assert "What experiments found" in html
    assert evidence.SUCH.capitalize() in html
    assert "Bytes comes first" in html
    assert f"Where {advice.method} loses" in html and "Bytes is decidedly worse" in html
