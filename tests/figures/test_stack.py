"""Methods stacked under one text: every token once, cells as wide as groups, a lane that counts opinions."""

from __future__ import annotations

import json

import numpy as np

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.opinions import disputed, opinions
from ctkd_core.figures import stack
from tests.figures.samples import TEXT, made
from tests.tiny import CORPUS

NAMES = ("sedi", "uld", "cdm", "mined")


def lanes(text: str = TEXT) -> list[Alignment]:
    return [made(name, text) for name in NAMES]


def test_pages_hold_whole_units_and_every_token_once():
    every = lanes(" ".join(CORPUS))
    pages = stack.unit_pages(every)
    assert len(pages) > 3
    seen = []
    for page in range(len(pages) - 1):
        data = stack.stack_page(every, page)
        tokens = [token[0] for unit in data["units"] for token in unit["s"]]
        assert len(tokens) <= stack.PAGE_TOKENS
        assert (data["first"], data["last"]) == (tokens[0], tokens[-1] + 1)
        assert all(stack.page_of_token(pages, token) == page for token in tokens)
        seen += tokens
        assert len(json.dumps(data)) < 150_000
    assert seen == list(range(len(every[0].student)))


def test_cells_say_which_methods_have_the_same_group():
    every = lanes()
    found = opinions(every)
    data = stack.stack_page(every)
    assert data["methods"] == list(NAMES)
    for unit in data["units"]:
        tokens = [token[0] for token in unit["s"]]
        assert unit["o"] == [len(set(found[k][found[k] >= 0])) for k in tokens]
        for lane, cells in enumerate(unit["lanes"]):
            assert sum(cell["w"] for cell in cells) == len(tokens)
            at = tokens[0]
            for cell in cells:
                mine = found[at, lane]
                if mine >= 0:
                    same = {NAMES[m] for m in range(len(NAMES)) if m != lane and found[at, m] == mine}
                    assert set(cell["same"]) == same
                at += cell["w"]
    assert any(unit["o"] != [1] * len(unit["o"]) for unit in data["units"])


def test_the_table_has_a_row_for_each_stretch_of_dispute():
    every = lanes()
    table = stack.stack_table(every)
    stretches = disputed(opinions(every))
    assert len(table) == len(stretches)
    assert list(table.columns) == ["group", "bytes", "opinions", *NAMES]
    for row, (a, _) in zip(table.itertuples(), stretches.tolist()):
        s0, s1, _, _ = every[0].groups[row.group]
        assert s0 <= a < s1
    assert table["opinions"].min() >= 2
    said = stack.stack_sentence(every)
    assert (
        said.startswith("The 4 methods disagree on ")
        and f"in {len(table)} run" in said
        and "neighbouring tokens" in said
    )


def test_methods_that_agree_say_so_and_empty_texts_are_drawn():
    assert stack.stack_sentence([made(), made()]) == "All 2 methods make the same groups of this text."
    assert not len(stack.stack_table([made(), made()]))
    empty = [made(text=""), made("cdm", "")]
    assert stack.stack_page(empty)["units"] == []
    assert stack.unit_pages(empty).tolist() == [0, 0]


def test_a_group_of_everything_is_drawn_in_part():
    a = made(text=" ".join(CORPUS))
    everything = np.array([[0, len(a.student), 0, len(a.teacher)]], dtype=np.int32)
    whole = Alignment(a.student, a.teacher, "one", everything)
    (unit,) = stack.stack_page([a, whole])["units"]
    assert len(unit["s"]) == stack.MOST_OF_A_UNIT
    assert unit["more"] == len(a.student) - stack.MOST_OF_A_UNIT
    assert [cell["w"] for cell in unit["lanes"][1]] == [stack.MOST_OF_A_UNIT]
