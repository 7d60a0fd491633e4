"""Options: parsing, ranges, schemas and error texts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.errors import AlignmentError, CtkdError
from ctkd_core.methods.options import Option, resolve

WHOLE = Option("steps", "int", 10, "Steps.", low=1, high=100, unit="steps")
REAL = Option("rate", "float", 0.5, "Rate.", low=0.0, high=1.0)
FLAG = Option("strict", "bool", False, "Strict.")
CHOICE = Option("unit", "choice", "byte", "Unit.", choices=("byte", "char"))
TEXT = Option("name", "str", "", "Name.")
MAYBE = Option("limit", "int", None, "Limit.", low=1)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        (WHOLE, "7", 7),
        (WHOLE, 7.0, 7),
        (WHOLE, "1e1", 10),
        (WHOLE, 100, 100),
        (REAL, "1e-1", 0.1),
        (REAL, 1, 1.0),
        (FLAG, "yes", True),
        (FLAG, "False", False),
        (FLAG, "0", False),
        (FLAG, True, True),
        (CHOICE, "char", "char"),
        (TEXT, "<script>", "<script>"),
        (MAYBE, None, None),
        (MAYBE, "3", 3),
    ],
)
def test_parse(option: Option, value: object, expected: object) -> None:
    parsed = option.parse(value)
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (WHOLE, 0),
        (WHOLE, 101),
        (WHOLE, 1.5),
        (WHOLE, True),
        (WHOLE, "ten"),
        (WHOLE, None),
        (WHOLE, [1]),
        (WHOLE, b"7"),
        (WHOLE, "1e999"),
        (WHOLE, 10**400),
        (REAL, 10**400),
        (REAL, math.nan),
        (REAL, "inf"),
        (REAL, -0.001),
        (FLAG, "maybe"),
        (FLAG, 2),
        (TEXT, 5),
        (MAYBE, 0),
    ],
)
def test_refused_values_name_option_value_and_what_is_taken(option: Option, value: object) -> None:
    with pytest.raises(AlignmentError) as caught:
        option.parse(value, AlignmentError)
    message = str(caught.value)
    assert repr(option.name) in message
    assert repr(value) in message
    assert option.expected() in message


def test_wrong_choice_names_the_nearest() -> None:
    with pytest.raises(CtkdError, match=r"value of 'unit' 'chars'; did you mean 'char'\?"):
        CHOICE.parse("chars")


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.text() | st.booleans() | st.none())
def test_parse_answers_or_raises_the_given_error(value: object) -> None:
    for option in (WHOLE, REAL, FLAG, CHOICE, MAYBE):
        try:
            parsed = option.parse(value, AlignmentError)
        except AlignmentError:
            continue
        assert option.parse(parsed) == parsed, "what was parsed parses to itself"
        if option.low is not None and parsed is not None:
            assert option.low <= parsed


def test_resolve_fills_defaults_and_keeps_order() -> None:
    assert resolve((WHOLE, REAL, FLAG), {"rate": "0.25"}, "a test") == {"steps": 10, "rate": 0.25, "strict": False}


def test_resolve_refuses_unknown_names() -> None:
    with pytest.raises(CtkdError, match=r"unknown option of a test 'stesp'; did you mean 'steps'"):
        resolve((WHOLE, REAL), {"stesp": 1}, "a test")


def test_schema() -> None:
    assert WHOLE.schema() == {
        "type": "integer",
        "default": 10,
        "description": "Steps.",
        "minimum": 1,
        "maximum": 100,
        "unit": "steps",
    }
    assert CHOICE.schema()["enum"] == ["byte", "char"]
    assert MAYBE.schema()["type"] == ["integer", "null"]


def test_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="'date'"):
        Option("when", "date", "today", "When.")


def test_a_choice_has_choices_and_nothing_else_has() -> None:
    with pytest.raises(ValueError, match="option 'unit' of kind 'choice' has the choices"):
        Option("unit", "choice", "byte", "Unit.")
    with pytest.raises(ValueError, match="option 'rate' of kind 'float'"):
        Option("rate", "float", 0.5, "Rate.", choices=("0.5",))


def test_a_field_that_options_do_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="hihg"):
        Option("rate", "float", 0.5, "Rate.", hihg=1.0)  # type: ignore[call-arg]
