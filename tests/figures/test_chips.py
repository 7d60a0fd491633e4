"""Token chips: pages of whole groups, plain data, differences, other tokenizers."""

from __future__ import annotations

import json

import numpy as np

from ctkd_core.alignment import align
from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.metrics import agreement
from ctkd_core.figures import card, chips, dtw, groups, tables
from tests.figures.samples import STUDENT, TEXT, made
from tests.tiny import CORPUS, tiny_metaspace


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


def test_other_tokenizers_draw_too():
    a = align(TEXT, student=tiny_metaspace(), teacher=STUDENT, method="cdm")
    data = chips.chip_page(a)
    assert sum(g["sn"] for g in data["groups"]) == int((~a.student.special).sum())
    assert np.shape(dtw.dtw_figure(a).data[0].z)[0] <= 40


def test_groups_that_spell_different_bytes_are_marked():
    a = made("uld")
    data = chips.chip_page(a)
    assert [g["x"] for g in data["groups"]] == a.unequal[data["first"] : data["last"]].tolist()
    assert a.unequal.any()
    assert data["unequal"] == {"mark": "≠", "why": "the two sides spell different bytes"}
    assert {kind["name"]: kind["label"] for kind in data["kinds"]}["1-n"] == "1 student : n teacher"
    assert not any(g["x"] for g in chips.chip_page(made("sedi"))["groups"])
