"""Several runs side by side: curves over each other, and the options in which they differ."""

from __future__ import annotations

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.figures.comparison import better_sentence
from ctkd_core.figures.curves import evaluation_curves, training_curves
from ctkd_core.figures.words import duration, number
from pages.parts import loaders, state
from pages.parts.run_views import LIST, show_view
from pages.parts.runs_list import DOTS


def run_compare(names: list[str]) -> None:
    """Compare the runs with these ids; the first one is the baseline."""
    st.button("All runs", key="back", icon=":material/arrow_back:", on_click=show_view, args=(LIST,))
    try:
        found = loaders.store().compare(names)
        runs = {row["run_id"]: loaders.store().get(row["run_id"]) for row in found["runs"]}
    except CtkdError as fault:
        st.error(state.plain(str(fault)), icon=":material/error:")
        return
    labels = {row["run_id"]: f"{row['name'] or row['method']} {row['run_id'][-5:]}" for row in found["runs"]}
    frames = {labels[name]: run.metrics() for name, run in runs.items()}
    if sentence := better_sentence(found["runs"]):
        st.info(state.plain(sentence), icon=":material/balance:")
    left, right = st.columns(2)
    with left:
        fig = training_curves(frames, title="Training loss")
        st.plotly_chart(fig, key="compare_loss", alt="Training loss of each run", config={"displaylogo": False})
    with right:
        fig = evaluation_curves(frames)
        st.plotly_chart(fig, key="compare_bits", alt="Bits per byte of each run", config={"displaylogo": False})
    st.dataframe(
        [
            {
                "run": labels[row["run_id"]],
                "status": f"{DOTS[row['status']]} {row['status']}",
                "method": row["method"],
                "bits/byte before": number(row["metrics"]["bits_per_byte_before"]),
                "bits/byte now": number(row["metrics"]["bits_per_byte_after"]),
                "against the first": number(found["deltas"][row["run_id"]]),
                "time": duration(row["seconds"]),
            }
            for row in found["runs"]
        ],
        key="compare_table",
        hide_index=True,
        alt="Results of each run",
    )
    st.subheader("What differs", anchor=False)
    if not found["differences"]:
        st.caption("The runs have the same options.")
        return
    order = [labels[row["run_id"]] for row in found["runs"]]
    st.dataframe(
        [
            {"option": key} | {run: "" if value is None else str(value) for run, value in zip(order, values)}
            for key, values in sorted(found["differences"].items(), key=lambda item: ("." in item[0], item[0]))
        ],
        key="differences",
        hide_index=True,
        alt="Options in which the runs differ",
    )
