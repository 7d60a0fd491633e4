"""Forms drawn from options: what another option leaves without effect can't be changed."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from ctkd_core import methods
from tests.patience import PATIENCE


def page() -> None:
    import streamlit as st

    from ctkd_core import methods
    from pages.parts.forms import fields_of_variant, variant_fields

    row = methods.get(st.query_params.get("method", "kd"))
    options = row.loss_options_of("clean")
    draw = st.query_params.get("draw")
    found = (
        fields_of_variant(options, {"skew": 0.3}, "f", "clean")
        if draw == "values"
        else variant_fields(options, "f", "clean", columns=2)
    )
    row.resolve_loss(found)  # whatever is drawn is allowed
    st.session_state["found"] = found


def test_an_option_is_open_where_it_is_read() -> None:
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    assert not app.exception
    assert [app.number_input(f"f_{name}").disabled for name in ("skew", "beta", "tail_mass")] == [True] * 3
    assert "Read only where divergence is jsd." in app.number_input("f_beta").help
    app.selectbox("f_divergence").select("skewed_forward_kl").run()
    assert [app.number_input(f"f_{name}").disabled for name in ("skew", "beta", "tail_mass")] == [False, True, True]
    app.number_input("f_skew").set_value(0.25).run()
    assert app.session_state["found"]["skew"] == 0.25
    app.selectbox("f_divergence").select("tvd").run()
    assert not app.exception
    assert app.number_input("f_skew").disabled
    assert app.session_state["found"]["skew"] == 0.1, "its default, whatever was typed before"


@pytest.mark.parametrize("method", ["kd", "gold", "cdm"])
def test_a_field_takes_no_number_beyond_its_options_bounds(method: str) -> None:
    app = AppTest.from_function(page, default_timeout=PATIENCE)
    app.query_params["method"] = method
    app.run()
    bounds = {f"f_{o.name}": (o.low, o.high) for o in methods.get(method).loss_options if o.kind in ("int", "float")}
    found = {field.key: (field.min, field.max) for field in app.number_input}
    assert found == {key: bounds[key] for key in found}
    assert any(high is not None for _, high in found.values())


def test_values_that_a_form_begins_with_count_where_they_are_read() -> None:
    app = AppTest.from_function(page, default_timeout=PATIENCE)
    app.query_params["draw"] = "values"
    app.run()
    assert app.session_state["found"]["skew"] == 0.1
    app.selectbox("f_divergence").select("skewed_reverse_kl").run()
    assert app.session_state["found"]["skew"] == 0.3


def test_a_rarely_changed_option_may_decide_about_one_above_it() -> None:
    app = AppTest.from_function(page, default_timeout=PATIENCE)
    app.query_params["method"] = "mined"
    app.run()
    assert not app.selectbox("f_many_to_one").disabled
    app.number_input("f_max_align_num").set_value(1).run()
    assert app.selectbox("f_many_to_one").disabled
    assert not app.exception


def test_a_label_with_a_term_of_art_explains_it() -> None:
    app = AppTest.from_function(page, default_timeout=PATIENCE)
    app.query_params["method"] = "sedi"
    app.run()
    assert "**omega**: SeDi's weight of the rows inside a group" in app.number_input("f_omega").help
    assert "**temperature**: " in app.number_input("f_temperature").help
    assert "**" not in app.number_input("f_top_k").help
