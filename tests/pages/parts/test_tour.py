"""Tours: they set up their page, go on, can be left and linked to, and every step points at something that is there."""

from __future__ import annotations

import pytest

from pages.parts.tour import bound
from pages.parts.tours import TOURS
from tests.pages.app import chips, components, opened, texts

pytestmark = pytest.mark.real
READY = {"align": "chips", "losses": "strip"}


def drawn(at) -> set[str]:
    """Keys of all elements and containers on the page, as the frame around one is asked for."""
    found = {element.key for element in at if getattr(element, "key", None)}
    for kind in ("plotly_chart", "bidi_component"):
        found |= {element.proto.id.rsplit("-", 1)[-1] for element in at.get(kind)}
    return found


@pytest.mark.parametrize("name", TOURS)
def test_a_tour_is_walked_from_a_link_to_its_end_and_leaves_the_page_as_it_is(name):
    tour = TOURS[name]
    defaults = bound(tour.page)
    at = opened(tour.page, tour=name, **({"method": "cdm"} if tour.page == "losses" else {}))
    for number, step in enumerate(tour.steps, start=1):
        assert not at.exception, at.exception
        assert at.query_params["tour"] == f"{name}.{number}"
        assert f"{number} of {len(tour.steps)} · **{step.title}**" in texts(at)
        assert step.look_at in drawn(at), f"nothing on the page has the key {step.look_at}"
        for parameter, value in step.address.items():
            default = defaults.get(parameter)
            assert at.query_params.get(parameter) == (None if value == default else value), parameter
        if number < len(tour.steps):
            at.button(key="tour_next").click().run()
    at.button(key="tour_back").click().run()
    assert at.query_params["tour"] == f"{name}.{len(tour.steps) - 1}"
    before = {key: value for key, value in at.query_params.items() if key != "tour"}
    at.button(key="tour_leave").click().run()
    assert at.query_params == before
    assert "tour_next" not in {button.key for button in at.button}


def test_the_drift_is_where_the_tour_says():
    at = opened("align", tour="drift", student="qwen", teacher="mistral-v3")
    assert (chips(at)["student"], chips(at)["teacher"]) == ("deepseek", "smollm2"), "what it says holds for this pair"
    for _ in range(2):
        at.button(key="tour_next").click().run()
    data = chips(at)
    assert data["methods"] == ["uld", "sedi"]
    wrong = [group["g"] for group in data["groups"] if group["x"]]
    assert wrong[0] == data["pinned"] == 4
    assert "".join(token[2] for token in data["groups"][4]["s"]) == "·granddaughter"


def test_a_linked_step_keeps_what_the_address_says():
    at = opened("align", tour="drift.2", method="cdm", text="numbers", group="3")
    assert "2 of 5" in texts(at)
    assert (chips(at)["methods"][0], chips(at)["pinned"]) == ("cdm", 3)


def test_unknown_tours_and_steps_are_named_or_begun_anew():
    at = opened("align", tour="drfit.2")
    assert "did you mean 'drift'" in at.warning[0].value
    assert "tour" not in at.query_params
    for step in ("drift.99", "drift.x"):
        assert opened("align", tour=step).query_params["tour"] == "drift.1"
    other = opened("losses", tour="drift.2")
    assert "tour" not in other.query_params
    assert "strip" in components(other)


def test_each_step_asks_the_browser_to_bring_what_it_frames_into_view():
    at = opened("align", tour="drift")
    asked = []
    for step in TOURS["drift"].steps:
        asked.append(components(at)["tour_look"])
        assert asked[-1]["look_at"] == step.look_at
        if at.query_params["tour"] != "drift.5":
            at.button(key="tour_next").click().run()
    assert len({each["step"] for each in asked}) == len(asked), "a step is brought into view once"
