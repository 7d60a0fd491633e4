"""Page Evidence, methods: a kind of pair and a regime, the ranking there, and one run of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
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
from pages.parts import address, late_values, loaders, state
from pages.parts.evidence_answers import answer
from pages.parts.plots import plot
from pages.parts.selections import clicked
from pages.parts.share import share
from pages.parts.twin import twin

Found = tuple[Experiment, Condition]
NEVER = "never tried"
FIELDS = ("kind", "regime", "setting", "tried")  # parameters of the address; each leaves others of the next ones


def standing(found: Digest) -> None:
    """The choice, and what was found there."""
    # what was tried most comes first, for the pair of the bar above if it was tried
    tried = sorted(found.conditions, key=lambda each: (not _of_the_pair(each), -_runs(each)))
    _this_pair(tried)
    settings = {name: [each for each in tried if each[1].kind == name] for name in KINDS}
    _recall()
    named = {setting_name(each.name, condition.title): condition for each, condition in tried}
    state.tell_unknown({"kind": ("kind of pair", KINDS), "regime": ("regime", REGIMES), "setting": ("setting", named)})
    # a setting that the address names is shown whatever the pair is
    first = named.get(st.query_params.get("setting", "")) or (tried[0][1] if tried else None)
    kind_cell, regime_cell = st.columns(2)
    with kind_cell:
        kind = _field("Kind of pair", "kind", KINDS, first.kind if first else None)
    regimes = {name: [each for each in settings[kind] if each[1].regime == name] for name in REGIMES}
    if first is None or first.kind != kind:
        first = settings[kind][0][1] if settings[kind] else None
    with regime_cell:
        regime = _field("Regime", "regime", REGIMES, first.regime if first else None)
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
    # over the whole width, the experiment first: titles are long, and several begin in the same way
    title = _field("Setting", "setting", there, words=lambda name: f"{there[name][0].name} · {there[name][1].title}")
    _condition(*there[title])


def _recall() -> None:
    """On the way from another page, whose address has dropped what was chosen here, choose it again."""
    named = {key: st.query_params[key] for key in FIELDS if key in st.query_params}
    if not named and not address.came_back():
        address.change(st.session_state.get("evidence_chosen", {}))
    else:
        st.session_state["evidence_chosen"] = named


def _field(
    label: str, key: str, options: Collection[str], default: str | None = None, words: Callable[[str], str] = str
) -> str:
    """A field of FIELDS, drawn, and what it shows; `words`: what an option is called there."""
    shown = _show(key, options, default)
    st.selectbox(label, list(options), key=key, format_func=words, on_change=_chosen, args=(key,))
    return shown


def _show(key: str, options: Collection[str], default: str | None = None) -> str:
    """What a field of FIELDS shows, before it is drawn: what the address names, also after Back; else the default, or
    the first of its options."""
    named = st.query_params.get(key)
    shown = named if named in options else default or next(iter(options))
    late_values.put(key, shown)
    return shown


def _chosen(key: str) -> None:
    if not late_values.put_back(key):
        _choose(key, st.session_state[key])


def _choose(key: str, name: str) -> None:
    """Put a choice into the address, without what depends on it, as one step of the browser's history.

    A field that is bound to the address would change it before the rest, and Back would stop between.
    """
    own = {"setting": st.session_state["setting"]} if key == "tried" else {}  # another pair may open another one
    address.change({key: name} | own | dict.fromkeys(FIELDS[FIELDS.index(key) + 1 :]))


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
    chosen = runs[_show("tried", runs)]

    def selected() -> None:
        if points := clicked("ranking"):
            label, seed = points[0]
            _choose("tried", next(n for n, (t, r) in runs.items() if (t.label, r.seed) == (label, seed)))

    if has_values(condition, measure):
        plot(
            lambda: ranking_figure(condition, measure, (chosen[0].label, chosen[1].seed)),
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
    st.selectbox("Run", list(runs), key="tried", on_change=_chosen, args=("tried",))
    _run(condition, *chosen)
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
