"""Figures and component data: what they show is what the alignment says, nothing is markup, nothing is too large."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES, KINDS
from ctkd_core.alignment.metrics import agreement, alignment_metrics, kind_counts
from ctkd_core.errors import AlignmentError
from ctkd_core.figures import card, chips, curves, dtw, groups, metrics, tables, theme
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace

STUDENT, TEACHER = tiny_byte_level(), tiny_byte_level(700, digits=1)
TEXT = "The student reads <b>bold</b> & 2024 façade 👩‍🚀 units; the teacher reads 1234567 of them."
LIMIT = 2 * 2**20


def made(method: str = "sedi", text: str = TEXT, **options: object) -> Alignment:
    return align(text, student=STUDENT, teacher=TEACHER, method=method, **options)


def trace(fig, name: str):
    return next(t for t in fig.data if t.name == name)


def test_labels_hold_no_markup():
    assert theme.escape("<b>&</b>") == "&lt;b&gt;&amp;&lt;/b&gt;"
    assert theme.escape('"don\'t"') == '"don\'t"'  # plotly would draw &quot; as it stands
    fig = dtw.dtw_figure(made("cdm"))
    labels = [*fig.layout.xaxis.ticktext, *fig.layout.yaxis.ticktext]
    assert any("&lt;" in label for label in labels)
    assert not any("<" in label for label in labels)


def test_staircase_is_on_the_diagonal_exactly_for_byte_groups():
    ends = groups.boundary_bytes(made("sedi"))
    assert (ends[:, 0] == ends[:, 1]).all()
    drifting = groups.boundary_bytes(made("uld"))
    assert (drifting[:, 0] != drifting[:, 1]).any()
    fig = groups.staircase(made("sedi"), 2, (made("uld"),))
    assert [t.name for t in fig.data][1:] == ["sedi", "uld", "group 2"]
    assert [int(v) for v in trace(fig, "sedi").customdata[:, 0]] == list(range(len(made("sedi"))))


def test_staircase_of_a_long_text_is_thinned():
    fig = groups.staircase(made("sedi", " ".join(CORPUS * 12)))
    assert len(trace(fig, "sedi").x) <= groups.MAX_POINTS
    assert theme.message_bytes(fig) < LIMIT


def test_histogram_counts_every_group_once():
    a = made()
    fig = groups.size_histogram(a)
    assert sum(int(np.sum(t.y)) for t in fig.data) == len(a)
    assert {t.name for t in fig.data} == {a.kind(g) for g in range(len(a))}
    patterns = [KIND_STYLES[name].pattern for name in KINDS]
    borders = {(KIND_STYLES[name].border, KIND_STYLES[name].colour) for name in KINDS}
    assert len(set(patterns)) == len(KINDS) == len(borders)


def test_pages_of_chips_hold_whole_groups_once():
    a = made("sedi", " ".join(CORPUS))
    starts = chips.page_starts(a, 50)
    assert len(starts) > 3
    seen: list[int] = []
    for page in range(len(starts)):
        data = chips.chip_page(a, page, tokens=50)
        assert max(sum(g["sn"] for g in data["groups"]), sum(g["tn"] for g in data["groups"])) <= 50
        for g in data["groups"]:
            s0, s1, t0, t1 = a.groups[g["g"]]
            assert [token[0] for token in g["s"]] == list(range(s0, s1))
            assert [token[0] for token in g["t"]] == list(range(t0, t1))
            assert chips.page_of(starts, g["g"]) == page
        seen += [g["g"] for g in data["groups"]]
    assert seen == list(range(len(a)))


def test_a_super_group_is_drawn_in_part():
    a = made()
    whole = Alignment(
        a.student, a.teacher, "one", np.array([[0, len(a.student), 0, len(a.teacher)]] * 1, dtype=np.int32)
    )
    (group,) = chips.chip_page(whole)["groups"]
    assert len(group["s"]) == min(len(a.student), chips.MAX_TOKENS_OF_A_GROUP)
    assert group["sn"] == len(a.student)


def test_chip_data_is_plain_json_and_carries_text_as_text():
    data = chips.chip_page(made(text="a <script>alert(1)</script> b"))
    text = json.dumps(data)
    assert json.loads(text) == data
    assert "".join(t[2] for g in data["groups"] for t in g["s"]).count("script") == 2
    assert len(text) < 50_000


def test_differences_are_those_of_a_plain_comparison():
    a, b = made("sedi"), made("cdm")
    rows = {tuple(r) for r in b.groups.tolist()}
    expected = [tuple(r) not in rows for r in a.groups.tolist()]
    assert chips.differing_groups(a, b).tolist() == expected
    data = chips.chip_page(a, 0, b)
    assert [g["d"] for g in data["groups"]] == expected
    assert {tuple(r) for r in data["b"]} == rows - {tuple(r) for r in a.groups.tolist()}
    assert chips.chip_page(a, 0, made("sedi"))["b"] == []


def test_empty_text_gives_empty_pictures():
    a = made(text="")
    assert chips.chip_page(a)["groups"] == []
    assert len(tables.shown_groups(a)) == 0
    groups.size_histogram(a)
    assert dtw.window_around(a, 0, 40) == (slice(0, 0), slice(0, 0))


def test_card_tells_both_sides_and_who_agrees():
    a, others = made("sedi"), [made("sedi"), made("uld")]
    number = next(g for g in range(len(a)) if a.student_bytes(g).isdigit() and a.kind(g) != "1-1")
    shown = card.group_card(a, number, others)
    text = a.teacher_bytes(number)
    assert (shown.kind, shown.same_text) == (a.kind(number), True)
    assert shown.teacher.tokens == tuple(text.decode())  # this teacher reads digit by digit
    assert bytes.fromhex(shown.student.hex) == text
    assert [v.agrees for v in shown.verdicts] == [True, False]
    assert [v.methods for v in shown.verdicts] == [("sedi",), ("uld",)]
    assert " ~ " in shown.verdicts[1].sentence
    with pytest.raises(AlignmentError, match="there is no group 9999; this alignment has"):
        card.group_card(a, 9999)


def test_next_difference_goes_round():
    a, b = made("sedi"), made("cdm")
    differing = agreement(a, b).differing
    first = card.next_difference(differing, a, None)
    seen, at = [], first
    for _ in range(len(differing)):
        seen.append(at)
        at = card.next_difference(differing, a, at)
    assert seen == sorted(seen)
    assert at == first
    assert chips.differing_groups(a, b)[seen].all()
    assert card.next_difference(differing[:0], a, 3) is None


def test_tables_twin_the_pictures():
    a, b = made("sedi"), made("uld")
    table = tables.shown_groups(a, b)
    assert table["kind"].value_counts().to_dict() == kind_counts(a)
    assert table["differs"].tolist() == chips.differing_groups(a, b).tolist()
    regions = agreement(a, b).differing
    assert len(tables.disagreements(a, b, regions)) == len(regions)


def test_metric_bars_and_table_agree():
    rates = {name: alignment_metrics(made(name)) for name in ("sedi", "cdm", "uld")}
    fig = metrics.metric_bars(rates, rates["sedi"])
    assert [t.name for t in fig.data] == ["sedi", "cdm", "uld", "byte-exact"]
    assert trace(fig, "uld").x[0] == pytest.approx(rates["uld"]["boundary_f1"])
    table = metrics.metric_table(rates, rates["sedi"]).set_index("metric")
    assert len(table) == len(rates["sedi"])  # no metric is left out
    assert table.loc["boundary F1", "byte-exact"] == "100.0 %"


def test_curves_show_train_and_eval_rows_apart():
    rows = pd.DataFrame(
        [{"step": k, "kind": "train", "loss": 5.0 - k} for k in range(3)]
        + [{"step": k, "kind": "eval", "bits_per_byte": 2.0 - k / 10} for k in (0, 3)]
    )
    fig = curves.training_curves({"<i>a": rows})
    assert list(fig.data[0].y) == [5.0, 4.0, 3.0]
    assert fig.data[0].name == "&lt;i&gt;a"
    evaluated = curves.evaluation_curves({"a": rows}, teacher=0.8)
    assert list(evaluated.data[0].y) == [2.0, 1.7]
    assert list(trace(evaluated, "teacher").y) == [0.8, 0.8]
    assert len(curves.training_curves({"none": rows.iloc[:0]}).data[0].x) == 0


def test_long_runs_stay_under_the_message_limit():
    rows = pd.DataFrame({"step": range(100_000), "kind": "train", "loss": np.linspace(5, 1, 100_000)})
    fig = curves.training_curves({f"run {k}": rows for k in range(4)})
    assert theme.message_bytes(fig) < LIMIT


def test_other_tokenizers_draw_too():
    a = align(TEXT, student=tiny_metaspace(), teacher=STUDENT, method="cdm")
    data = chips.chip_page(a)
    assert sum(g["sn"] for g in data["groups"]) == int((~a.student.special).sum())
    assert np.shape(dtw.dtw_figure(a).data[0].z)[0] <= 40


def test_a_lone_accent_can_be_seen():
    from ctkd_core.markup.visible import visible, visible_bytes

    assert visible("\u0301") == "◌\u0301"
    assert visible_bytes("e\u0301".encode()) == "e\u0301"
