"""Several runs side by side: ranks over seeds, curves over each other, options in which they differ, samples, files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from ctkd_core.distill.comparison.curves import AXES, Band, band, known_axes, line_of, smoothed
from ctkd_core.distill.comparison.figures import DEFAULT, figures_in
from ctkd_core.distill.comparison.kinds import FROM_A_FILE, Kind, table_of
from ctkd_core.distill.comparison.samples import side_by_side
from ctkd_core.distill.comparison.table import INTERVALS_NOTE, Comparison, compare, run_frame
from ctkd_core.distill.held_out_source import differing_in
from ctkd_core.distill.runs import Run, compare_runs
from ctkd_core.errors import CtkdError
from ctkd_core.figures.comparison import band_curves, better_sentence, ranking, table_bytes
from ctkd_core.figures.words import number
from ctkd_core.lab.code import comparison_code
from ctkd_core.markup.quantities import duration
from pages.parts import loaders, state
from pages.parts.downloads import download
from pages.parts.plots import chart
from pages.parts.run_views import LIST, note_opened, show_view, shown_runs
from pages.parts.runs_list import DOTS
from pages.parts.share import share

NO_BASELINE = "none"


def run_compare(names: list[str]) -> None:
    """Compare the runs with these ids; the first one is the one that single runs are compared with."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All runs", key="back", icon=":material/arrow_back:", on_click=show_view, args=(LIST,))
        st.title("Runs compared", anchor=False, width="content")
    try:
        every = shown_runs(names)
        found = compare_runs(every)
        note_opened(every)
        runs = _filtered(every)
        kept, origins = {run.id for run in runs}, _origins(every)
        shown = [row | {"opened": origins[row["run_id"]]} for row in found["runs"] if row["run_id"] in kept]
        alike = not differing_in([run.config for run in runs])
        if sentence := better_sentence(shown) if alike else "":
            st.info(state.plain(sentence), icon=":material/balance:")
        comparison = _ranking(runs)
    except CtkdError as fault:
        state.show_error(fault)
        return
    labels = {
        row["run_id"]: f"{row['name'] or row['method']} {row['run_id'][-5:]}"
        + (f", {row['opened']}" if row["opened"] else "")
        for row in shown
    }
    _curves(comparison, {labels[run.id]: run for run in runs})
    _single_runs(shown, labels, found["deltas"])
    _differences(found["differences"], [row["run_id"] for row in found["runs"]], labels)
    with state.errors_shown():
        _samples([row.kind for row in comparison.rows])
    _files(comparison, runs)
    folders: dict[str, list[str]] = {}
    for run in runs:
        folders.setdefault(str(run.dir.parent) if run.is_opened else "", []).append(run.id)
    share("runs", comparison_code(folders, comparison.figure, comparison.baseline))


def _origins(runs: list[Run]) -> dict[str, str]:
    """What marks each run by where it comes from; nothing where all come from one side."""
    mixed = len({run.is_opened for run in runs}) > 1
    return {run.id: FROM_A_FILE if mixed and run.is_opened else "" for run in runs}


def _filtered(runs: list[Run]) -> list[Run]:
    """Only the runs with the chosen values of options in which they differ."""
    tables = [
        table_of(run)
        | {"seed": run.config.seed, "status": run.status().state}
        | {"from": "a file" if run.is_opened else "this machine"}
        for run in runs
    ]
    keys = [key for key in dict.fromkeys(k for t in tables for k in t) if len({repr(t.get(key)) for t in tables}) > 1]
    with st.expander("Filter by config", icon=":material/filter_alt:"):
        if not keys:
            st.caption("The runs have the same options.")
        for key in keys:
            values = list(dict.fromkeys(str(t[key]) for t in tables if key in t))
            chosen = st.multiselect(key, values, key=f"filter_{key}", placeholder="all")
            if chosen:
                pairs = [(r, t) for r, t in zip(runs, tables) if str(t.get(key)) in chosen]
                runs, tables = [r for r, _ in pairs], [t for _, t in pairs]
    if not runs:
        raise CtkdError("no run has these options; choose others in the filter.")
    return runs


def _ranking(runs: list[Run]) -> Comparison:
    figures = {run.id: figures_in(loaders.metric_rows(run)) for run in runs}
    first = compare(runs, figures=lambda run: figures[run.id])
    figure_cell, baseline_cell = st.columns(2)
    figure = figure_cell.selectbox("Compare by", first.names or (DEFAULT,), key="compare_figure")
    labels = [row.kind.label for row in first.rows]
    options = [*([first.baseline] if first.baseline else [NO_BASELINE]), *(x for x in labels if x != first.baseline)]
    baseline = baseline_cell.selectbox("Differences to", options, key="compare_baseline")
    chosen = None if baseline == NO_BASELINE else baseline
    unchanged = (figure, chosen) == (first.figure, first.baseline)
    comparison = first if unchanged else compare(runs, figure, chosen, lambda run: figures[run.id])
    st.table([{state.plain(k): state.plain(v) for k, v in row.items()} for row in ranking(comparison)])
    st.caption(INTERVALS_NOTE)
    for note in comparison.notes:
        st.caption(state.plain(note))
    return comparison


def _curves(comparison: Comparison, runs: Mapping[str, Run]) -> None:
    rows = {run.id: loaders.metric_rows(run) for run in runs.values()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        axes = known_axes(rows.values()) or ["step"]
        axis = st.segmented_control(
            "Over", axes, default=axes[0], key="compare_axis", required=True, format_func=lambda key: AXES[key]
        )
        weight = st.slider("Smoothing", 0.0, 0.99, 0.0, key="compare_smoothing", width=220)
        several = any(len(row.kind.by_seed) > 1 for row in comparison.rows)
        mean = st.toggle("Mean over seeds", value=several, key="compare_mean", disabled=not several)
    groups = {row.kind.label: row.kind.runs for row in comparison.rows} if mean else {k: [v] for k, v in runs.items()}

    def bands(column: str, kind: str, smooth: float = 0.0) -> dict[str, Band | None]:
        found = {}
        for label, members in groups.items():
            lines = [line_of(rows[run.id], column, axis or "step", kind) for run in members]
            found[label] = band([(x, smoothed(y, smooth)) for x, y in lines])
        return found

    name = AXES[axis or "step"]
    left, right = st.columns(2)
    with left:
        fig = band_curves(bands("loss", "train", weight), "Training loss", name)
        chart(fig, "compare_loss", "Training loss of each kind of runs", "loss")
    with right:
        title = "Bits per byte on held-out text (lower is better)"
        fig = band_curves(bands(DEFAULT, "eval"), title, name)
        chart(fig, "compare_bits", "Bits per byte of each kind of runs", "bits")
    if mean:
        st.caption("Lines are means over seeds, bands their 95 % intervals (Student's) at each point.")


def _single_runs(rows: list[dict[str, Any]], labels: Mapping[str, str], deltas: Mapping[str, float | None]) -> None:
    st.dataframe(
        [
            {
                "run": labels[row["run_id"]],
                "status": ", ".join(filter(None, (f"{DOTS[row['status']]} {row['status']}", row["opened"]))),
                "method": row["method"],
                "seed": row["seed"],
                "bits/byte before": number(row["metrics"]["bits_per_byte_before"]),
                "bits/byte now": number(row["metrics"]["bits_per_byte_after"]),
                "against the first": number(deltas[row["run_id"]]),
                "time": duration(row["seconds"]),
            }
            for row in rows
        ],
        key="compare_table",
        hide_index=True,
        alt="Results of each run",
    )


def _differences(differences: Mapping[str, list[Any]], order: list[str], labels: Mapping[str, str]) -> None:
    st.header("What differs", anchor=False)
    if not differences:
        st.caption("The runs have the same options.")
        return
    st.dataframe(
        [
            {"option": key}
            | {labels[run]: "" if value is None else str(value) for run, value in zip(order, values) if run in labels}
            for key, values in sorted(differences.items(), key=lambda item: ("." in item[0], item[0]))
        ],
        key="differences",
        hide_index=True,
        alt="Options in which the runs differ",
    )


def _samples(kinds: list[Kind]) -> None:
    seeds = sorted({seed for kind in kinds for seed in kind.by_seed})
    seed = st.selectbox("Samples of seed", seeds, key="compare_seed") if len(seeds) > 1 else seeds[0]
    rows = side_by_side({kind.label: kind.by_seed[seed] for kind in kinds if seed in kind.by_seed})
    if not rows:
        st.caption("These runs wrote no samples.")
        return
    st.dataframe(
        [{key: "–" if value is None else value for key, value in row.items()} for row in rows],
        key="compare_samples",
        hide_index=True,
        alt="Completions of held-out prompts by each kind of runs",
    )


def _files(comparison: Comparison, runs: list[Run]) -> None:
    def report() -> str:
        from ctkd_core.figures.report_runs import comparison_html

        return comparison_html(runs, comparison.figure, comparison.baseline)

    with st.container(horizontal=True):
        download(
            "Table as CSV",
            lambda: table_bytes(comparison.frame(), "comparison.csv"),
            "comparison.csv",
            "text/csv",
            "compare_csv",
        )
        download(
            "Runs as CSV", lambda: table_bytes(run_frame(runs), "runs.csv"), "runs.csv", "text/csv", "compare_runs_csv"
        )
        mime = "application/vnd.apache.parquet"
        download(
            "Runs as Parquet",
            lambda: table_bytes(run_frame(runs), "runs.parquet"),
            "runs.parquet",
            mime,
            "compare_parquet",
        )
        download("Report as HTML", report, "comparison.html", "text/html", "compare_html")
