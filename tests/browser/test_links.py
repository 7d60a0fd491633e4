"""Every link between pages, walked: what it promises in its words and its address is what stands on the other side."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from pages.parts.late_values import GRACE_SECONDS
from tests.browser.conftest import settled

pytestmark = [pytest.mark.browser, pytest.mark.real]
LINKS = "[data-testid=stPageLink] a"
# The bar holds another pair and other methods than the links name: a link must win over what a page had before.
FROM = {
    "/": "?student=qwen&teacher=mistral-v3",
    "/pair": "?student=deepseek&method=cdm",
    "/losses": "?losses=gold&losses=xtoken-pkl&losses=sedi&l_gold_variant=released",
}
TITLES = {
    "": "Start",
    "pair": "Pair",
    "rank": "Rank",
    "align": "Align",
    "vocabulary": "Vocabulary map",
    "losses": "Losses",
    "evidence": "Evidence",
    "runs": "Runs",
}


def chosen(page, key: str) -> str:
    return page.locator(f".st-key-{key} input").first.input_value()


def wait_for_pair(page, student: str, teacher: str) -> None:
    """The address changes before the fields do."""
    field = "document.querySelector('.st-key-{} input')?.value"
    both = f"([s, t]) => {field.format('student')} === s && {field.format('teacher')} === t"
    page.wait_for_function(both, arg=[student, teacher])


def opened(page, address: str) -> None:
    page.goto(address)
    page.locator(LINKS).first.wait_for()
    settled(page)


def promised(link: dict[str, str]) -> tuple[str, dict[str, str]]:
    parts = urlsplit(link["href"])
    return parts.path.strip("/"), {key: values[0] for key, values in parse_qs(parts.query).items()}


def check_arrival(page, label: str, said: dict[str, str]) -> None:
    """The page holds what the link said."""
    if "student" in said:
        wait_for_pair(page, said["student"], said["teacher"])
    if "→" in label and "student" in said:
        assert label.strip() == f"{said['teacher']} → {said['student']}"
    if "text" in said:
        page.locator(".st-key-text").get_by_role("radio", name=said["text"], exact=True, checked=True).wait_for()
        page.wait_for_function("() => document.querySelector('textarea')?.value")
        words = page.locator("textarea").first.input_value().split()
        page.locator(f".chip:has-text({json.dumps(words[0])}) >> nth=0").wait_for()
    if "see" in said:
        page.wait_for_function(
            "name => document.querySelector('.st-key-method input')?.value === name", arg=said["see"]
        )
        page.locator(".st-key-health").get_by_text(said["see"], exact=True).wait_for()
    if "tour" in said:
        page.locator(".st-key-tour").get_by_text(f"{label.strip()} · 1 of").wait_for()
    if "tab" in said:
        page.get_by_role("tab", name=said["tab"], selected=True).wait_for()
    if "run" in said:
        page.get_by_text(said["run"]).first.wait_for()
    if "view" in said:
        page.get_by_role("button", name="Start run").wait_for()
    if "carry" in said:
        method, variant, options = json.loads(said["carry"])
        assert method in label
        page.get_by_text(re.compile(rf"steps of {re.escape(method)}\b")).wait_for()
        assert page.get_by_role("combobox", name=re.compile("method")).first.input_value() == method
        page.get_by_text("Everything else").click()
        assert page.get_by_role("combobox", name=re.compile("variant")).first.input_value() == variant
        assert not options


def test_every_link_brings_what_it_promises(page, server):
    walked = []
    for origin, query in FROM.items():
        opened(page, server + origin + query)
        found = page.locator(LINKS).evaluate_all("all => all.map(a => ({label: a.innerText, href: a.href}))")
        for link in found:
            path, said = promised(link)
            if link is not found[0]:  # the page stands open for the first
                opened(page, server + origin + query)
            # By its address, not its place: what a page has found out meanwhile may bring one link more.
            page.wait_for_function(
                "([links, href]) => [...document.querySelectorAll(links)].some(a => a.href === href)",
                arg=[LINKS, link["href"]],
            )
            there = page.locator(LINKS).evaluate_all("all => all.map(a => a.href)")
            page.locator(LINKS).nth(there.index(link["href"])).click()
            page.wait_for_url(lambda url, path=path: urlsplit(url).path.strip("/") == path)
            # A run's page puts the run's name before its page's.
            page.wait_for_function("title => ` · ${document.title}`.includes(` · ${title} · `)", arg=TITLES[path])
            page.locator(".st-key-student input").wait_for()
            settled(page)
            check_arrival(page, link["label"].split("\n")[-1], said)
            walked.append((origin, path))
    assert {path for _, path in walked} >= {"pair", "align", "vocabulary", "runs"}


def test_the_navigation_names_each_page_and_keeps_the_pair(page, server):
    missing: list[str] = []
    page.on("response", lambda answer: missing.append(answer.url) if answer.status == 404 else None)
    page.goto(f"{server}/?student=qwen")
    for path, title in TITLES.items():
        page.get_by_role("link", name=title, exact=True).first.click()
        page.wait_for_url(lambda url, path=path: urlsplit(url).path.strip("/") == path)
        page.wait_for_function("title => document.title === `${title} · CTKD Lab`", arg=title)
        page.locator(".st-key-student input").wait_for()
        settled(page)
        assert chosen(page, "student") == "qwen"
    page.goto(f"{server}/runs")  # an address that isn't the first one's
    page.locator(".st-key-student input").wait_for()
    settled(page)
    assert missing == []


def test_back_undoes_a_swap_in_one_step(page, server):
    page.goto(f"{server}/align")
    page.wait_for_selector(".ctkd .chip")
    settled(page)
    student, teacher = chosen(page, "student"), chosen(page, "teacher")
    page.get_by_role("button", name="Swap").click()
    wait_for_pair(page, teacher, student)
    page.wait_for_selector(f'.ctkd[aria-label^="Tokens of {student} above"]')
    settled(page)
    page.go_back()
    page.wait_for_url(re.compile(r"/align$"))
    wait_for_pair(page, student, teacher)
    page.wait_for_selector(f'.ctkd[aria-label^="Tokens of {teacher} above"]')
    settled(page)
    page.go_forward()
    wait_for_pair(page, teacher, student)
    page.wait_for_selector(f'.ctkd[aria-label^="Tokens of {student} above"]')


def test_back_brings_the_text_back(page, server):
    page.goto(f"{server}/align")
    page.wait_for_selector(".ctkd .chip")
    settled(page)
    first = page.locator("textarea").first.input_value()
    area = page.locator("textarea").first
    area.fill("Exactly 201 keepers")
    area.press("Control+Enter")
    page.wait_for_url(re.compile("snapshot="))
    settled(page)
    page.go_back()
    page.wait_for_function("text => document.querySelector('textarea').value === text", arg=first)


@pytest.mark.parametrize(
    ("path", "group", "texts", "field"),
    [("align", ".group .chip", "text", "typed"), ("losses", ".group", "example", "lab_text")],
)
def test_back_undoes_another_text_in_one_step(page, server, path, group, texts, field):
    """The group that was pinned in the text before goes with it, and comes back with it."""
    page.goto(f"{server}/{path}")
    page.locator(group).first.wait_for()
    settled(page)
    first = page.locator(f".st-key-{field} textarea").input_value()
    page.locator(group).nth(4).click()
    page.wait_for_url(re.compile(r"\?group=\d+$"))
    settled(page)
    pinned = page.url
    page.locator(f".st-key-{texts}").get_by_role("radio").nth(1).click()
    page.wait_for_url(re.compile(rf"\?{texts}=\w+$"))
    settled(page)
    page.go_back()
    page.wait_for_url(pinned)
    shown = f"text => document.querySelector('.st-key-{field} textarea')?.value === text"
    page.wait_for_function(shown, arg=first)


@pytest.mark.parametrize("way", ["link", "menu"])
def test_back_from_another_page_brings_what_was_left(page, server, way):
    """In one step, though Streamlit takes what pages bind out of their address before the next one comes, and puts what
    a button gives the next one there."""
    query = "?method=cdm&tab=Graph&text=code&group=3"
    page.goto(f"{server}/align{query}")
    page.wait_for_selector(".ctkd .chip")
    settled(page)
    first = page.locator("textarea").first.input_value()
    if way == "link":
        page.get_by_role("link", name="Evidence", exact=True).first.click()
        page.locator(".st-key-tried input").wait_for()
    else:
        page.locator(".st-key-help_menu button").click()
        page.get_by_text("Tour: See 201 fail").click()
        page.wait_for_url(re.compile(r"/losses\?tour=201\.1"))
        page.locator(".st-key-tour").wait_for()
    settled(page)
    page.go_back()
    page.wait_for_url(f"{server}/align{query}")
    page.get_by_role("tab", name="Graph", selected=True).wait_for()
    page.wait_for_function("text => document.querySelector('textarea')?.value === text", arg=first)


def test_back_undoes_one_choice_on_page_vocabulary(page, server):
    """A token takes the window with it: both come back together, and the open tab as well."""
    tabs = page.get_by_role("tab")
    token = page.locator(".st-key-token input")
    page.goto(f"{server}/vocabulary?map=exact")
    page.get_by_role("button", name="Next tokens").wait_for()
    settled(page)
    first = token.input_value()
    tabs.filter(has_text="Neighbours").click()
    page.wait_for_url(re.compile("panel=Neighbours$"))
    settled(page)
    tabs.filter(has_text="Window").click()
    page.wait_for_url(re.compile("panel=Window$"))
    settled(page)
    page.get_by_role("button", name="Next tokens").click()
    page.wait_for_url(re.compile("window="))
    settled(page)
    moved = page.url
    token.fill("7")
    token.press("Enter")
    page.wait_for_url(re.compile("panel=Window&token=7$"))
    settled(page)
    page.go_back()
    page.wait_for_url(moved)
    page.wait_for_function("t => document.querySelector('.st-key-token input')?.value === t", arg=first)
    settled(page)
    for shown in ("Window", "Neighbours"):
        page.go_back()
        page.wait_for_url(re.compile(f"map=exact&panel={shown}$"))
        page.get_by_role("tab", name=shown, selected=True).wait_for()
        settled(page)


def test_back_undoes_an_option_of_a_map(page, server):
    def shown() -> str:
        page.get_by_role("button", name="Options").first.click()
        found = page.locator("[data-testid=stPopoverBody] input[type=number]").first
        found.wait_for()
        return found.input_value()

    page.goto(f"{server}/vocabulary")
    page.locator(".st-key-map input").first.wait_for()
    settled(page)
    first = shown()
    field = page.locator("[data-testid=stPopoverBody] input[type=number]").first
    field.fill(str(int(first) + 3))
    field.press("Enter")
    page.wait_for_url(re.compile("options="))
    settled(page)
    page.go_back()
    page.wait_for_url(f"{server}/vocabulary")
    settled(page)
    page.wait_for_timeout(500)  # what a run would put back it puts back in this time
    assert page.url == f"{server}/vocabulary"
    if not field.is_visible():
        shown()
    page.wait_for_function(
        "v => document.querySelector('[data-testid=stPopoverBody] input[type=number]').value === v", arg=first
    )


def test_back_undoes_one_choice_on_page_evidence(page, server):
    def choose(key: str, place: int) -> None:
        page.locator(f".st-key-{key} input").first.click()
        page.get_by_role("option").nth(place).click()
        page.wait_for_url(re.compile(f"{key}="))
        settled(page)

    page.goto(f"{server}/evidence")
    page.locator(".st-key-tried input").wait_for()
    settled(page)
    setting, regime = chosen(page, "setting"), chosen(page, "regime")
    choose("setting", 2)
    other = chosen(page, "setting")
    assert other != setting
    choose("regime", 0)
    assert chosen(page, "regime") != regime and "setting=" not in page.url
    for shown in (other, setting):
        page.go_back()
        page.wait_for_function(
            "([s, r]) => [s, r].every((v, i) => "
            "document.querySelector(`.st-key-${['setting', 'regime'][i]} input`)?.value === v)",
            arg=[shown, regime],
        )
        settled(page)
    assert urlsplit(page.url).query == ""
    page.wait_for_timeout(1200 * GRACE_SECONDS)  # what Back has just replaced isn't a choice while that lasts
    choose("regime", 0)
    for name, path in (("Pair", "/pair"), ("Evidence", "/evidence")):
        page.get_by_role("link", name=name, exact=True).first.click()
        page.wait_for_url(re.compile(rf"{path}\b"))
        settled(page)
    page.wait_for_url(re.compile("regime="))  # what was chosen is there again
