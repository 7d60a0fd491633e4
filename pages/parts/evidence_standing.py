"""Page Evidence, methods: a kind of pair and a regime, the ranking there, and one run of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.figures.evidence import (
    MEASURES,
    curve_figure,
    curve_rows,
    domain_rows,
    has_values,
    ranking_figure,
    ranking_rows,
    ranking_sentence,
    run_rows,
    setting_name,
)
from ctkd_core.lab.code import evidence_code, tried_code
from ctkd_core.markup.glossary import explained
from ctkd_core.markup.visible import counted
from ctkd_core.methods.evidence import KINDS, REGIMES, Condition, Digest, Experiment, Tried, TriedRun
from pages.parts import late_values, loaders, state
from pages.parts.evidence_answers import answer
from pages.parts.plots import plot
from pages.parts.selections import clicked
from pages.parts.share import share
from pages.parts.twin import twin

Found = tuple[Experiment, Condition]
NEVER = "never tried"


def standing(found: Digest) -> None:
    """The choice, and what was found there."""
    # what was tried most comes first, for the pair of the bar above if it was tried
    tried = sorted(found.conditions, key=lambda each: (not _of_the_pair(each), -_runs(each)))
    _this_pair(tried)
    settings = {name: [each for each in tried if each[1].kind == name] for name in KINDS}

    def first_regime() -> None:
        there = settings[st.session_state["kind"]]
        late_values.put("regime", there[0][1].regime if there else next(iter(REGIMES)))

    kind_cell, regime_cell, setting_cell = st.columns(3)
    kind = kind_cell.selectbox(
        "Kind of pair",
        list(KINDS),
        list(KINDS).index(tried[0][1].kind) if tried else 0,
        key="kind",
        bind="query-params",
        on_change=first_regime,
    )
    regimes = {name: [each for each in settings[kind] if each[1].regime == name] for name in REGIMES}
    regime = regime_cell.selectbox(
        "Regime",
        list(REGIMES),
        list(REGIMES).index(settings[kind][0][1].regime) if settings[kind] else 0,
        key="regime",
        bind="query-params",
        on_change=late_values.put_back,
        args=("regime",),
    )
    st.caption(f"**{kind}**: {KINDS[kind]} **{regime}**: {REGIMES[regime]}")
    if not regimes[regime]:
        there = ", ".join(dict.fromkeys(f"{c.kind} ({c.regime})" for _, c in tried)) or "nothing yet"
        st.info(
            f"Never tried: no experiment has a pair of the kind “{kind}” in the regime “{regime}”. Tried so far: "
            f"{there}.",
            icon=":material/science:",
        )
        share("evidence", tried_code())
        return
    there = {setting_name(each.name, condition.title): (each, condition) for each, condition in regimes[regime]}
    late_values.put_known("setting", there)
    title = setting_cell.selectbox("Setting", list(there), key="setting", bind="query-params")
    _condition(*there[title])


def _this_pair(tried: list[Found]) -> None:
    """Whether the pair of the bar above was tried."""
    student, teacher = state.pair()
    # some experiments share a setting
    own = dict.fromkeys((c.title, c.kind, c.regime) for _, c in filter(_of_the_pair, tried))
    pair = state.plain(f"{teacher} → {student}")
    if own:
        kinds = Counter(f"{kind}, {regime}" for _, kind, regime in own).most_common()
        where = "; ".join(f"{name} ({n})" if len(own) > 1 else name for name, n in kinds)
        st.success(
            f"The pair above, {pair}, was tried in {counted(len(own), 'setting')}: {state.plain(where)}.",
            icon=":material/check_circle:",
        )
    else:
        st.caption(f":material/info: The pair above, {pair}, was {NEVER}; page Pair says what kind it is.")


def _of_the_pair(each: Found) -> bool:
    return (each[1].student, each[1].teacher) == state.pair()


def _runs(each: Found) -> int:
    return sum(len(method.runs) for method in each[1].methods)


def _condition(experiment: Experiment, condition: Condition) -> None:
    st.header(state.plain(condition.title), anchor=False)
    samples = f"{condition.samples} samples of" if condition.samples else "all samples of"
    texts = f"{samples} {', '.join(condition.train)}"
    measured = ", ".join(condition.held_out) or "text of the same set"
    held_out = f"; measured on {measured} ({condition.held_out_text})" if condition.held_out_text else ""
    st.caption(
        state.plain(
            f"{experiment.question} Teacher {condition.teacher}, student {condition.student} "
            f"({condition.student_model}); {condition.steps} steps of {condition.batch_size}, learning rate "
            f"{condition.learning_rate:g}; {texts}{held_out}."
        )
    )
    if experiment.answer:
        with st.expander("The answer to this question", icon=":material/chat:"):
            answer(experiment)
    st.markdown(f"**{state.plain(ranking_sentence(condition))}**")
    measure = st.segmented_control(
        "Show",
        list(MEASURES),
        default="difference",
        key="by",
        required=True,
        bind="query-params",
        help=explained("gap closed", "SFT", "bits per byte"),
    )
    measure = measure or "difference"
    runs = {f"{tried.title}, seed {run.seed}": (tried, run) for tried in condition.done for run in tried.runs}
    late_values.put_known("tried", runs)

    def selected() -> None:
        if points := clicked("ranking"):
            label, seed = points[0]
            found = next(n for n, (t, r) in runs.items() if (t.label, r.seed) == (label, seed))
            late_values.put("tried", found)

    chosen = runs.get(st.session_state.get("tried", next(iter(runs))))
    if has_values(condition, measure):
        plot(
            lambda: ranking_figure(condition, measure, chosen and (chosen[0].label, chosen[1].seed)),
            key="ranking",
            on_select=selected,
            selection_mode="points",
            alt=f"Methods ranked by {measure}. {ranking_sentence(condition)}",
        )
        st.caption(f"{MEASURES[measure].meaning} Click a dot to open its run, or choose one below.")
    else:
        st.info(f"No run of this setting has a value to show. {MEASURES[measure].meaning}", icon=":material/science:")
    twin(ranking_rows(condition), "ranking_table", "The ranking with all its figures")
    for note in condition.notes:
        st.caption(state.plain(note))
    if domains := domain_rows(condition):
        with st.expander("By domain of the held-out text", icon=":material/category:"):
            st.dataframe(domains, key="domain_rows", hide_index=True, alt="The figure by domain")
    name = st.selectbox(
        "Run", list(runs), key="tried", bind="query-params", on_change=late_values.put_back, args=("tried",)
    )
    if name is not None:
        _run(condition, *runs[name])
    st.markdown("Do it again:")
    st.code(experiment.reproduce, language=None, wrap_lines=True)
    share("evidence", evidence_code(experiment.name, condition.name))


def _run(condition: Condition, tried: Tried, run: TriedRun) -> None:
    """One run: its curve, what it cost, its config; a link where it lies in the store of this machine."""
    with st.container(border=True, key="tried_run"):
        plot(
            lambda: curve_figure(condition, tried.label, run.seed),
            key="tried_curve",
            alt=f"{tried.title}, seed {run.seed}: {run.curve[0].value if run.curve else '–'} to {run.value}",
        )
        twin(curve_rows(condition, tried.label, run.seed), "tried_curve_table", "The curve of this run")
        cost = (
            "" if tried.seconds_per_step is None else f", {tried.seconds_per_step:.3g} s a step (median of this method)"
        )
        whole = "" if run.seconds is None else f"; {run.seconds:.0f} s with loading and measuring"
        st.caption(
            state.plain(
                f"{tried.title}, seed {run.seed}: {run.value:.4f}{cost}{whole}. Run {run.run}, finished "
                f"{run.finished}, revision {run.revision[:9]}."
            )
        )
        if _is_here(run.run):
            st.page_link(
                state.PAGES["runs"], label="Open the run", icon=":material/monitoring:", query_params={"run": run.run}
            )
        with st.expander("Config", icon=":material/settings:"):
            st.json(_config(condition, tried, run), expanded=False)
    with st.expander("All runs as a table", icon=":material/table:"):
        st.dataframe(run_rows(condition), key="run_rows", hide_index=True, alt="All runs of this setting")


def _config(condition: Condition, tried: Tried, run: TriedRun) -> dict[str, Any]:
    return {**condition.config, **tried.config, "seed": run.seed}


def _is_here(name: str) -> bool:
    try:
        return bool(name) and loaders.store().get(name) is not None
    except CtkdError:
        return False
