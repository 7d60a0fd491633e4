"""The upper part of page Pair: the advice with its rule, what the vocabularies share, and the files to take along."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from ctkd_core import methods
from ctkd_core.figures.evidence import setting_name
from ctkd_core.figures.pair import (
    class_figure,
    class_sentence,
    class_table,
    overlap_figure,
    overlap_table,
)
from ctkd_core.figures.pair_domains import domain_table
from ctkd_core.files import to_json
from ctkd_core.lab.question import Choice
from ctkd_core.markup.glossary import explained
from ctkd_core.methods.evidence.records import LEAST_RUNS
from ctkd_core.methods.options import option_words
from ctkd_core.pair.advice import VERDICTS, Advice
from ctkd_core.pair.evidence import LEAST_SEEDS
from ctkd_core.pair.report import PairReport, doubles_notes
from ctkd_core.tokenizers.tokenizer import Tokenizer
from pages.parts import carry, run_views, state
from pages.parts import pair_data as data
from pages.parts.downloads import download
from pages.parts.pair_file import report_button
from pages.parts.plots import plot
from pages.parts.terms import small_print
from pages.parts.twin import twin

SHARES = ("share of student", "share of teacher", "share of the smaller")


@dataclass(frozen=True, eq=False)
class View:
    """What the page shows."""

    report: PairReport
    student: Tokenizer
    teacher: Tokenizer


def verdict(view: View) -> None:
    """Which method, which reading of the vocabularies, and why; then where to go from here."""
    found, same = view.report.advice, view.report.vocabulary["same_tokenizer"]
    if same:
        st.success(
            "Student and teacher are the same tokenizer: every group is 1-1 and nothing is lost. Plain distillation, "
            "position by position, is enough.",
            icon=":material/done_all:",
        )
    with st.container(border=True, key="advice"):
        what, why, warned = st.columns([4, 6, 5], gap="medium")
        with what:
            advised = ", ".join([found.method, *option_words(found.options)])
            st.header(state.plain(f"Train with {advised}"), anchor=False)
            verdict_name, meaning = ("One vocabulary", "compare tokens by id") if same else (found.verdict, None)
            whose = "" if same or found.method == found.family else "The rule alone says "
            st.markdown(
                f"{whose}**{verdict_name}**: {meaning or VERDICTS[found.verdict]}.",
                help=None if same else explained("P-KL"),
            )
            st.caption(state.plain(methods.get(found.method).idea))
            with st.popover("The rule", icon=":material/gavel:"):
                st.markdown(RULE)
            _links(found.method)
        with why:
            st.markdown("**Why**  \n" + "\n".join(f"- {state.plain(sentence)}" for sentence in found.because))
        with warned:
            listed = [state.plain(warning) for warning in found.warnings] or ["Nothing special on these texts."]
            st.markdown("**Look out for**  \n" + "\n".join(f"- {warning}" for warning in listed))
        _tried(found)


def _tried(found: Advice) -> None:
    """How near experiments came to this pair, and what they found, over the whole width: sentences of many figures."""
    if not found.confidence:
        return
    icon = ":material/science:" if found.evidence else ":material/help:"
    st.markdown(f"{icon} **{found.confidence[:1].upper()}{found.confidence[1:]}** (kind: {found.kind})")
    if found.evidence:
        st.markdown("\n".join(f"- {state.plain(finding.sentence)}" for finding in found.evidence))
    if found.counter:
        told = "\n".join(f"- {state.plain(finding.sentence)}" for finding in found.counter)
        st.markdown(f":material/warning: **Where {state.plain(found.method)} loses**\n{told}")
    first = found.evidence[0] if found.evidence else None
    chosen = {"kind": first.kind if first else found.kind}
    if first:
        chosen |= {"regime": first.regime, "setting": setting_name(first.experiment, first.title)}
    st.page_link(state.PAGES["evidence"], label="The evidence", icon=":material/science:", query_params=chosen)


def _links(method: str) -> None:
    """Where to go from here; the pair goes along in the address."""
    st.page_link(
        state.PAGES["runs"],
        label=f"Start a run with {method}",
        icon=":material/model_training:",
        query_params={"view": run_views.FORM, carry.PARAMETER: carry.packed(Choice(method))},
    )
    shown, own = methods.shown_on_a_text(method), methods.get(method)
    label = "See it on a text"
    if shown.name != method:
        label += f": {own.label} trains on the groups of {shown.label} ({shown.name})"
    st.page_link(
        state.PAGES["align"],
        label=label,
        icon=":material/compare_arrows:",
        query_params=state.link_to_method(shown.name),
    )
    st.page_link(state.PAGES["vocabulary"], label="See it token by token", icon=":material/grid_on:")


RULE = f"""\
1. One tokenizer on both sides: plain forward KL, position by position.
2. Less than 49.8 % of the smaller vocabulary in common by canonical form: a method that compares groups of tokens.
3. Of the student's numbers of 1, 2 or 3 digits less than half are in the teacher's vocabulary: **P-KL**.
4. Otherwise **H-KL**.
5. Experiments on this pair, and where they decide nothing those on pairs of its kind, put another method in its place
   where they decide for one alone: in bits per byte, better than the rule's method (than SFT where that wasn't tried)
   at every one of {LEAST_SEEDS} seeds or more, and the 95 % interval of the difference leaves 0 out. A method that is
   decidedly worse in the same regime, for which {LEAST_RUNS} seeds are enough, or in another at {LEAST_SEEDS} seeds,
   doesn't take it; what is worse in another regime is told, whatever is advised.

The audit is X-Token's (arXiv 2605.21699); the limits in 2 and 3 are explained in docs/pair.md. The rule reads
tokenizers, not models: take it as a place to start.
"""


def overview(view: View) -> None:
    """Overlap counted three ways, and class by class."""
    report = view.report
    left, right = st.columns([5, 6], gap="medium")
    with left:
        shared = data.shared(view.student, view.teacher)
        facts = report.vocabulary
        plot(
            lambda: overlap_figure(shared),
            key="pair_overlap",
            alt=f"Shared tokens: {facts['exact']} raw strings, {facts['canonical']} canonical forms, {facts['bytes']} "
            f"byte strings, of {facts['student_size']} student and {facts['teacher_size']} teacher tokens",
        )
        small_print(
            f"Student {report.student}: {facts['student_size']:,} tokens. "
            f"Teacher {report.teacher}: {facts['teacher_size']:,} tokens. Canonical: equal once marks of "
            "spaces and newlines are read."
        )
        twin(overlap_table(shared), "overlap_table", "Shared tokens counted three ways", shares=SHARES)
    with right:
        plot(
            lambda: class_figure(report),
            key="pair_classes",
            alt=f"Student tokens that the teacher has, by class: {class_sentence(report)}",
        )
        classes = class_table(report)
        lost = classes["class"][classes["critical gap"]].tolist()
        if lost:
            missing = f":material/warning: Missing from the teacher: {', '.join(lost)}. This decides for P-KL."
            st.caption(missing, help=explained("P-KL"))
        for note in doubles_notes(facts):
            st.caption(state.plain(note))
        twin(classes, "class_table", "Shared tokens by class, with examples of missing ones")


def export(view: View) -> None:
    """The report as files; they are only made when somebody asks for them."""
    report = view.report
    with st.container(horizontal=True, key="pair_export"):
        download("Report as JSON", lambda: to_json(report.to_dict()), "pair.json", "application/json", "pair_json")
        download(
            "Domains as CSV",
            lambda: domain_table(report.corpus).to_csv(index=False),
            "domains.csv",
            "text/csv",
            "pair_csv",
        )
        download(
            "Classes as CSV",
            lambda: class_table(report).to_csv(index=False),
            "classes.csv",
            "text/csv",
            "pair_class_csv",
        )
        report_button(view.student, view.teacher)
        st.caption("The JSON is that of `ctkd pair --json`, the HTML that of `ctkd report`.")
