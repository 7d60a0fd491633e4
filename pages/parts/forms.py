"""Widgets drawn from options: the only place that knows both `Option` and Streamlit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import streamlit as st

from ctkd_core.markup.glossary import explained_in
from ctkd_core.methods.options import Option
from ctkd_core.methods.row import Method
from pages.parts import address, late_values, state


def option_fields(
    options: Iterable[Option],
    values: Mapping[str, Any],
    prefix: str,
    columns: int = 3,
    in_url: bool = False,
    variant: str = "clean",
    above: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Draw one widget for each option and return the values by name; `values` are what the widgets start with.

    `prefix` keeps the keys of several forms apart. `in_url`: the address bar holds what isn't at its default.
    An option that others leave without effect (`Option.read_if`) can't be changed, and its value is its default;
    `above` are the values of options of the same table that were drawn before.
    """
    cells = st.columns(columns)
    found: dict[str, Any] = {}
    for k, option in enumerate(options):
        asked = [c.option for one in option.conditions for c in one]
        now = {name: st.session_state[key] for name in asked if (key := f"{prefix}_{name}") in st.session_state}
        idle = bool(option.unmet({**values, **now, **(above or {}), **found}, variant))
        with cells[k % columns]:
            value = option_field(option, values.get(option.name, option.default), prefix, in_url, idle)
            found[option.name] = option.default if idle else value
    return found


def put_fields(options: Iterable[Option], values: Mapping[str, Any], prefix: str) -> None:
    """Before fields are drawn by `option_fields`: those that hold something else are to hold these values."""
    for option in options:
        if (key := f"{prefix}_{option.name}") in st.session_state:
            late_values.put(key, _shown(option, values.get(option.name, option.default)))


def _shown(option: Option, value: Any) -> Any:
    """A value as its widget holds it."""
    match option.kind:
        case "bool":
            return bool(value)
        case "choice":
            return value if value in option.choices else option.choices[0]
        case "int":
            return int(value)
        case "float":
            return None if value is None else float(value)
    return "" if value is None else str(value)


def fields_of_variant(
    options: Iterable[Option],
    values: Mapping[str, Any],
    key: str,
    variant: str,
    columns: int = 3,
    in_url: bool = False,
    above: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`option_fields` for the options that a variant reads (`Method.loss_options_of`).

    An option whose default is the variant's own has a key of its own: what one variant begins with isn't a choice in
    the other.
    """
    chosen = list(options)
    own = [option for option in chosen if variant == "released" and option.released is not None]
    shared = [option for option in chosen if option not in own]
    found = option_fields(shared, values, key, columns, in_url, variant, above) if shared else {}
    if own:
        drawn = {**(above or {}), **found}
        found |= option_fields(own, values, f"{key}_{variant}", columns, in_url, variant, drawn)
    return found


def variant_fields(options: Iterable[Option], key: str, variant: str, columns: int) -> dict[str, Any]:
    """`fields_of_variant`, bound to the address, the rarely changed ones last."""
    found: dict[str, Any] = {}
    every = list(options)
    defaults = {option.name: option.default for option in every}
    for rare in (False, True):
        chosen = [option for option in every if option.advanced is rare]
        if rare and chosen:
            st.caption("Rarely changed")
        found |= fields_of_variant(chosen, defaults, key, variant, columns, in_url=True, above=found)
    return found


def changed_fields(
    row: Method, key: str, columns: int, options_of: Callable[[str], Iterable[Option]]
) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Draw the variant of a method, where it has several, and the options that `options_of` gives for one.

    Returns the variant, and the options that aren't at their default, by name; the address bar holds both.
    """
    variant = row.variants[0]
    if len(row.variants) > 1:
        variant = st.selectbox("variant", row.variants, key=f"{key}_variant", bind="query-params")
        st.caption(state.plain(row.variant_note))
    options = list(options_of(variant))
    given = variant_fields(options, key, variant, columns)
    defaults = {option.name: option.default for option in options}
    return variant, tuple(sorted((name, value) for name, value in given.items() if value != defaults[name]))


def option_field(option: Option, value: Any, prefix: str, in_url: bool = False, idle: bool = False) -> Any:
    """One widget, by the option's kind; its help says where the default comes from. `idle`: it can't be changed."""
    label = option.name.replace("_", " ") + (f" ({option.unit})" if option.unit else "")
    hint = option.help + option.where() + (f"  \nDefault from: {option.source}." if option.source else "")
    if meant := explained_in(label):
        hint += f"  \n{meant}"
    shared: dict[str, Any] = {"key": f"{prefix}_{option.name}", "help": hint, "disabled": idle}
    if in_url:
        _drop_infinite(option, shared["key"])
        shared["bind"] = "query-params"
    match option.kind:
        case "bool":
            return st.toggle(label, value=_shown(option, value), **shared)
        case "choice":
            choices = list(option.choices)
            return st.selectbox(label, choices, index=choices.index(_shown(option, value)), **shared)
        case "int":
            low = None if option.low is None else int(option.low)
            high = None if option.high is None else int(option.high)
            return st.number_input(label, min_value=low, max_value=high, value=_shown(option, value), step=1, **shared)
        case "float":
            shown = "%.6g"
            return st.number_input(
                label,
                min_value=option.low,
                max_value=option.high,
                value=_shown(option, value),
                format=shown,
                **shared,
            )
    return st.text_input(label, value=_shown(option, value), **shared)


def _drop_infinite(option: Option, key: str) -> None:
    """Take a number that is none out of the address: Streamlit can't make a whole number of infinity."""
    asked = st.query_params.get(key)
    if option.kind not in ("int", "float") or asked is None or key in st.session_state:
        return
    try:
        finite = math.isfinite(float(asked))
    except ValueError:
        return  # which the widget drops by itself
    if not finite:
        address.change({key: None})
