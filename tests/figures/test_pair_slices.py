"""Figures told apart: dots and intervals are those that were measured, the table has all of them, names stay text."""

from __future__ import annotations

import numpy as np
import pytest

from ctkd_core.figures import pair_slices as slices
from ctkd_core.pair.corpus import measure_domains
from tests.tiny import CORPUS, tiny_byte_level, tiny_metaspace

EVIL = "<b>mine</b>"
RECORDS = 30


@pytest.fixture(scope="module")
def rows():
    texts = [f"{text} {number}" for number, text in enumerate((*CORPUS,) * 9)][:RECORDS]
    return measure_domains(tiny_byte_level(900), tiny_metaspace(), {EVIL: texts, "few": CORPUS[:2]})


def test_ways_are_the_domains_and_the_slices_of_the_chosen_one(rows):
    ways = slices.ways_of(rows, EVIL)
    assert list(ways) == ["domain", "script", "student_class", "teacher_class"]
    assert list(ways["domain"]) == [EVIL, "few"]
    assert ways["script"] == rows[EVIL]["slices"]["script"]
    with_field = {EVIL: rows[EVIL] | {"slices": rows[EVIL]["slices"] | {"<i>": ways["script"]}}}
    assert list(slices.ways_of(with_field, EVIL))[-1] == "<i>"
    assert slices.title_of("<i>") == "field <i>"


@pytest.mark.parametrize("way", ["domain", "script", "student_class", "teacher_class"])
@pytest.mark.parametrize("rate", list(slices.RATES))
def test_dots_stand_at_the_rates_with_their_intervals(rows, way, rate):
    parts = slices.ways_of(rows, EVIL)[way]
    fig = slices.slice_figure(parts, way, rate, EVIL)
    assert EVIL not in fig.to_json()
    sides = [trace.name for trace in fig.data]
    assert sides == {"student_class": ["student"], "teacher_class": ["teacher"]}.get(way, ["student", "teacher"])
    for trace in fig.data:
        key = f"{trace.name}_{slices.RATES[rate].key}"
        there = [row for row in parts.values() if key in row]
        assert list(trace.x) == [row[key] for row in there]
        for x, row, more, less in zip(trace.x, there, trace.error_x.array, trace.error_x.arrayminus):
            low, high = row["intervals"].get(key, (x, x))
            assert (x - less, x + more) == pytest.approx((min(low, x), max(high, x)))
    wide = [row for row in parts.values() if row["intervals"]]
    assert wide and (way != "domain" or len(wide) == 1), "of few texts there is no interval"


@pytest.mark.parametrize("way", ["domain", "script", "student_class", "teacher_class"])
def test_the_table_holds_every_rate_and_both_ends(rows, way):
    parts = slices.ways_of(rows, EVIL)[way]
    frame = slices.slice_table(parts, way)
    assert list(frame[slices.title_of(way)]) == list(parts)
    shares = slices.share_titles(parts)
    for name, rate in slices.RATES.items():
        for side in ("student", "teacher"):
            key, title = f"{side}_{rate.key}", f"{side}: {name}"
            if not any(key in row for row in parts.values()):
                assert title not in frame
                continue
            assert (title in shares) == rate.share
            for row, (_, shown) in zip(parts.values(), frame.iterrows()):
                wanted = [row[key], *row["intervals"].get(key, (np.nan, np.nan))]
                np.testing.assert_array_equal(shown[[title, f"{title}, low", f"{title}, high"]].astype(float), wanted)
    assert all(frame[name].dtype == "float64" for name in shares), "numbers sort as numbers"


def test_the_sentence_names_the_ends(rows):
    parts = rows[EVIL]["slices"]["script"]
    said = slices.slice_sentence(parts, "script", "tokens in 1-1 groups")
    lowest = min(parts, key=lambda name: parts[name]["student_tokens_1_1"])
    assert said.startswith("tokens in 1-1 groups, student, by script: from " + lowest)
    assert "(" in said
    assert "teacher" in slices.slice_sentence(rows[EVIL]["slices"]["teacher_class"], "teacher_class", "bytes per token")


def test_many_values_are_drawn_in_part_and_said_so(rows):
    one = rows["few"]
    parts = {f"value {k}": one for k in range(slices.MOST_DRAWN + 5)}
    fig = slices.slice_figure(parts, "language", "bytes per token", "few")
    assert f"({slices.MOST_DRAWN} of {slices.MOST_DRAWN + 5})" in fig.layout.title.text
    assert len(fig.data[0].x) == slices.MOST_DRAWN
    assert len(slices.slice_table(parts, "language")) == len(parts)
