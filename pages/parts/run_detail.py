"""One run: the number that counts, live curves, samples of both models, log, Cancel and Resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from ctkd_core.background.status import cancel_asked, elsewhere
from ctkd_core.distill.estimate import spread
from ctkd_core.distill.evaluation.saved import kept
from ctkd_core.distill.headline import headline, held_out_text
from ctkd_core.distill.records import metrics_frame
from ctkd_core.distill.runs import Run
from ctkd_core.distill.status import RunStatus
from ctkd_core.distill.stopping import AT_ONCE
from ctkd_core.errors import CtkdError
from ctkd_core.figures.curves import evaluation_curves, kind_curves, training_curves
from ctkd_core.figures.words import change, number, progress, remaining
from ctkd_core.lab.code import run_code
from ctkd_core.markup.glossary import explained
from ctkd_core.markup.quantities import between, duration
from ctkd_core.markup.visible import counted
from pages.parts import loaders, state
from pages.parts.attempts import attempt, show_problem
from pages.parts.launching import change_button
from pages.parts.plots import chart
from pages.parts.run_evaluation import evaluation, tasks
from pages.parts.run_files import take_away
from pages.parts.run_views import FORM, LIST, note_opened, opened, show_view, shown_store
from pages.parts.runs_list import dot
from pages.parts.share import share

if TYPE_CHECKING:
    import pandas as pd


def run_detail(name: str) -> None:
    """The page of one run; it refreshes itself until the run has ended."""
    try:
        run = shown_store().get(name)
        config = run.config
    except CtkdError as fault:
        st.title("Run", anchor=False)
        state.show_error(fault)
        st.button("All runs", key="back", icon=":material/arrow_back:", on_click=show_view, args=(LIST,))
        return
    together = f" · in {run.processes} processes" if (run.processes or 1) > 1 else ""
    st.set_page_config(page_title=f"{config.name or run.id} · Runs · CTKD Lab")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All runs", key="back", icon=":material/arrow_back:", on_click=show_view, args=(LIST,))
        st.title(state.plain(config.name or run.id), anchor=False, width="content")
        st.caption(
            f"{state.plain(config.teacher)} → {state.plain(config.student)} · {config.method} · "
            f"{config.student_model} student · seed {config.seed}{together} · {run.id}"
        )
    note_opened()
    ended = run.status().ended_already
    st.fragment(_live, run_every=None if ended else "2s", key="live_run")(run.id, ended)


def _live(run_id: str, was_ended: bool) -> None:
    if not st.query_params.get("run"):
        st.rerun()  # a click here turned to another view
    try:
        run = shown_store().get(run_id)
        status = run.status()
    except CtkdError as fault:
        state.show_error(fault)
        return
    if status.ended_already != was_ended:
        st.rerun()  # it ended, or was resumed: mount it again without the timer, or with it
    rows: list[dict[str, Any]] = []
    damage = ""
    with state.errors_shown():
        rows, damage = loaders.metrics(run)
    _status(run, status, rows)
    if damage:
        st.warning(state.plain(damage), icon=":material/warning:")
    found, frame = headline(rows), metrics_frame(rows)
    _numbers(status, found)
    _curves(frame, found.get("teacher_bits_per_byte"))
    evaluation(rows, frame)
    with state.errors_shown():
        _samples(run)
    _afterwards(run)
    _more(run)
    with state.errors_shown():
        take_away(run)
    share("runs", run_code(run.id, str(run.dir.parent) if opened() else ""))


def _status(run: Run, status: RunStatus, rows: list[dict[str, Any]]) -> None:
    asked = not status.ended_already and cancel_asked(run.dir, status.attempt)
    with st.container(horizontal=True, vertical_alignment="center"):
        said = ", asked to stop" if asked else ""
        st.markdown(f"{dot(status.state)} **{status.state}**{said}", width="content")
        with st.container(width="stretch"):
            share = progress(status.step, status.total_steps)
            left = remaining(status.step, status.total_steps, _trained(status, rows))
            text = f"step {status.step} of {status.total_steps}"
            if status.state == "running" and left is not None:
                text += f", {between(*spread(left))} left"
            elif status.state in ("queued", "starting"):
                text += f"; preparing takes {duration(loaders.estimate(run.config).preparation)} or more"
            st.progress(share, text=text)
        if status.ended_already and status.state != "finished" and not opened():
            change_button("Resume", key="resume", icon=":material/play_arrow:", on_click=_resume, args=(run,))
        if asked and not opened():
            _end_at_once(run, status)
        elif not status.ended_already and not opened():
            change_button("Cancel", key="cancel", icon=":material/stop:", on_click=_cancel, args=(run,))
        if not opened():
            st.button("Copy", key="copy_run", icon=":material/content_copy:", on_click=_copy, args=(run.id,))
    show_problem("run")
    if status.message:
        show = {"failed": st.error, "lost": st.warning, "damaged": st.warning}.get(status.state)
        (show or st.caption)(state.plain(status.message))
    if asked and status.state == "running":
        st.caption("It stops behind the step under way, and keeps a checkpoint of it.")
    for sentence in status.warnings:
        st.warning(state.plain(sentence), icon=":material/warning:")


def _end_at_once(run: Run, status: RunStatus) -> None:
    """A way not to wait for its step. In two clicks: the second of a double click on Cancel must not do it."""
    if elsewhere(status) or not status.detached:
        return  # its process can't be ended from here
    with st.popover("End at once", key="end_at_once", icon=":material/stop:"):
        st.markdown(f"Its process ends without waiting for its step: {status.kept}.")
        change_button("End it", key="end_it", on_click=_end, args=(run,))


def _trained(status: RunStatus, rows: list[dict[str, Any]]) -> float | None:
    """Seconds that the steps so far take at the pace of the latest ones; loading and evaluating are not steps."""
    pace = [row["seconds"] for row in rows if row.get("kind") == "train" and row.get("seconds")][-10:]
    return status.step * sum(pace) / len(pace) if pace else None


def _numbers(status: RunStatus, found: Mapping[str, Any]) -> None:
    before, after = found["bits_per_byte_before"], found["bits_per_byte_after"]
    teacher = found.get("teacher_bits_per_byte")
    now = after if after is not None else before
    shared: dict[str, Any] = {"border": True, "height": "stretch", "width": "stretch"}
    meaning = f"Held-out text, whatever the tokenizer; lower is better.  \n{explained('bits per byte')}"
    # In a narrow window they stand side by side as far as they fit: columns would fill it twice over.
    row = st.container(horizontal=True, gap="small", key="run_numbers")
    row.metric("bits per byte now", number(now), change(after, before), delta_color="inverse", **shared, help=meaning)
    row.metric("at the start", number(before), **shared, help="Before the first step.")
    row.metric("teacher", number(teacher), **shared, help="The teacher on the same text: what could be reached.")
    row.metric(
        "training loss",
        number(found["loss_last"]),
        change(found["loss_last"], found["loss_first"]),
        delta_color="inverse",
        **shared,
    )
    row.metric("time", duration(status.seconds) or "–", **shared)
    if text := held_out_text(found):
        st.caption(f"Bits per byte are measured on {text} of held-out answers.")


def _curves(frame: pd.DataFrame, teacher: float | None) -> None:
    kinds = any(column.startswith("by_kind.") for column in frame.columns)
    left, right, *third = st.columns(3 if kinds else 2)
    with left:
        if not len(frame) or not (frame["kind"] == "train").any():
            st.info(
                "No step has been trained yet; the curves appear with the first ones.",
                icon=":material/hourglass_empty:",
            )
        else:
            fig = training_curves(_terms(frame), title="Training loss and its terms")
            chart(fig, "loss_curve", "Training loss over steps")
    with right:
        if len(frame) and (frame["kind"] == "eval").any():
            fig = evaluation_curves({"student": frame}, teacher)
            chart(fig, "bits_curve", "Bits per byte over steps")
        else:
            st.info("Not evaluated yet.", icon=":material/hourglass_empty:")
    if kinds:
        with third[0]:
            chart(kind_curves(frame), "kind_curve", "Share of the loss by kind of group")


def _terms(frame: Any) -> dict[str, Any]:
    """The loss and each of its terms as lines of one figure."""
    terms = [c for c in frame.columns if c.startswith("terms.")]
    named = {"loss": frame}
    for term in terms:
        named[term.removeprefix("terms.")] = frame.drop(columns="loss").rename(columns={term: "loss"})
    return named


def _samples(run: Run) -> None:
    samples = run.samples()
    if not samples:
        st.caption("Samples of teacher and student appear at each evaluation.")
        return
    steps = sorted({row["step"] for row in samples})
    chosen = (
        st.select_slider("Samples at step", steps, value=steps[-1], key=f"sample_step_{len(steps)}")
        if len(steps) > 1
        else steps[0]
    )
    shown = [row for row in samples if row["step"] == chosen]
    st.dataframe(
        [{key: row.get(key, "") for key in ("prompt", "reference", "teacher", "student")} for row in shown],
        key="samples",
        hide_index=True,
        alt="Completions of held-out prompts by teacher and student",
    )


def _afterwards(run: Run) -> None:
    """The figures of the last `ctkd evaluate`, where there was one."""
    found = kept(run)
    if "bits_per_byte" not in found and "tasks" not in found:
        return
    with st.expander("Evaluated afterwards", icon=":material/fact_check:"):
        bits, teacher = found.get("bits_per_byte"), found.get("teacher_bits_per_byte")
        st.caption(
            f"`ctkd evaluate` on {counted(int(found.get('held_out', 0)), 'sample')} of "
            f"{state.plain(str(found.get('data', '')))}: "
            f"{'no' if bits is None else number(bits)} bits per byte"
            + (f", teacher {number(teacher)}." if teacher else ".")
        )
        for sentence in found.pop("notes", ()):
            st.caption(state.plain(sentence))
        of_tasks = found.pop("tasks", {})
        row = found | {"kind": "eval", "step": int(found.get("step", 0))}
        evaluation([row], metrics_frame([row]), key="later")
        tasks(of_tasks, key="later")


def _more(run: Run) -> None:
    if not opened():
        with st.expander("Log", icon=":material/terminal:"):
            st.code(run.log_tail(60) or "The log is empty.", language=None, height=260, wrap_lines=True)
    with st.expander("Config", icon=":material/settings:"):
        st.json(run.config.to_dict(), expanded=1)
        st.json(run.environment, expanded=False)


def _cancel(run: Run) -> None:
    attempt("run", lambda: run.cancel(wait=False))


def _end(run: Run) -> None:
    attempt("run", lambda: run.cancel(grace=AT_ONCE))


def _resume(run: Run) -> None:
    attempt("run", run.resume)


def _copy(run_id: str) -> None:
    show_view(FORM, copy=run_id)
