"""Errors of alignments on tiny tokenizers, and their price from made-up runs."""

from __future__ import annotations

import math

import pytest

from experiments.analyses import alignment_error as error
from experiments.analyses import alignment_price as price
from tests.tiny import tiny_byte_level, tiny_metaspace

MANY, FEW = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
TEXT = "In 2024 we sold 1234567 units, naïve façade, 東京."


def records(*texts, student=MANY, teacher=FEW):
    return {("teacher", "student"): [{"language": "en"} | error.count(text, student, teacher) for text in texts]}


def test_byte_exact_methods_have_no_error_and_the_index_has():
    (texts,) = records(TEXT, TEXT[3:]).values()
    for method in ("SeDi, bytes", "GOLD", "ALM"):
        found = [error.figure(texts, method, name).value for name in error.FIGURES]
        assert found == [1.0, 1.0, 1.0], method
    assert error.figure(texts, "ULD, by index", "f1").value < 0.7
    assert error.figure(texts, "ULD, by index", "matched").value < 0.7
    assert error.gap(texts, "GOLD", "ULD, by index").sign == 1


def test_f1_is_that_of_the_alignments_metrics():
    from ctkd_core.alignment import align

    (texts,) = records(TEXT).values()
    for name in ("CDM", "MinED", "ULD, by index", "ALM, by words"):
        metrics = align(TEXT, student=MANY, teacher=FEW, **error.METHODS[name]).metrics()
        assert error.figure(texts, name, "f1").value == pytest.approx(metrics["boundary_f1"])
        assert error.figure(texts, name, "matched").value == pytest.approx(metrics["byte_match_rate"])
        assert error.figure(texts, name, "covered").value == pytest.approx(metrics["byte_coverage"])


def test_one_tokenizer_on_both_sides_has_no_error_by_any_method():
    (texts,) = records(TEXT, student=MANY, teacher=MANY).values()
    # Words and characters are coarser than tokens may be; a decoded piece of a character is U+FFFD whatever it was.
    for method in set(error.METHODS) - {"ALM, by words", "SeDi, characters", "GOLD-greedy as released"}:
        assert error.figure(texts, method, "f1").value == 1.0, method


def test_every_pair_and_language_has_a_row_in_the_tables():
    found = records(TEXT, student=tiny_metaspace(), teacher=FEW)
    weighted = {pair: [t | {error.ENTROPY: t["CDM"]} for t in texts] for pair, texts in found.items()}
    tables = error.tables_of(found, weighted)
    assert all(len(row) == len(t["columns"]) for t in tables for row in t["rows"])
    claims = {c["claim"]: c["verdict"] for c in error.claims_of(found, weighted)}
    assert claims["Entropy weights make the path of time warping more exact."] == "undecided"
    f1 = error.f1_of(found)
    assert f1["teacher", "student", "en", "GOLD"] == 1.0
    assert math.isnan(f1["teacher", "student", "ru", "GOLD"])


def test_pairs_of_one_text_are_added_before_texts_are_drawn():
    (texts,) = records(TEXT, TEXT[3:]).values()
    alone, many = {("a", "b"): texts}, {("a", name): texts for name in "bcdef"}
    for method in ("CDM", "ULD, by index", "ALM, by words"):
        (one, five) = (error._in(of, "en", method, "f1") for of in (alone, many))
        assert len(five) == len(texts)
        assert error.figure(five, method, "f1") == error.figure(one, method, "f1")
    refused = {("a", "b"): [t | {"CDM": None} for t in texts]}
    assert error._in(refused, "en", "CDM", "f1") == [{"CDM": None}, {"CDM": None}]
    assert error._in(refused | {("c", "d"): texts}, "en", "CDM", "f1") == error._in(alone, "en", "CDM", "f1")


def test_both_directions_of_a_pair_are_one_where_the_figure_is_the_same():
    (texts,) = records(TEXT).values()
    other = [t | {"CDM": t["ULD, by index"]} for t in texts]
    both = {("a", "b"): texts, ("b", "a"): texts, ("a", "c"): texts}
    assert len(error.once(both, ["CDM", "GOLD"], "f1")) == 2
    assert len(error.once(both | {("b", "a"): other}, ["CDM", "GOLD"], "f1")) == 3
    assert len(error.once(both | {("b", "a"): other}, ["GOLD"], "f1")) == 2
    claims = error.claims_of(both, {pair: [t | {error.ENTROPY: t["CDM"]} for t in of] for pair, of in both.items()})
    assert all("of 2 pairs" in c["ours"] for c in claims)


def test_what_is_kept_depends_on_methods_and_tokenizers(monkeypatch):
    monkeypatch.setattr(error, "fingerprints", lambda pair: ["x", "y"])
    keys = [str(error.depends(("a", "b"), "texts", []))]
    monkeypatch.setitem(error.METHODS, "CDM", {"method": "cdm", "variant": "released"})
    keys.append(str(error.depends(("a", "b"), "texts", [])))
    monkeypatch.setattr(error, "fingerprints", lambda pair: ["x", "z"])
    keys.append(str(error.depends(("a", "b"), "texts", [])))
    assert len(set(keys)) == 3


def run(label, seed, bits, condition="ru-few"):
    config = {"teacher": "gemma3-270m", "student": "smollm2"}
    return {"condition": condition, "label": label, "seed": seed, "figures": {"bits_per_byte": bits}, "config": config}


F1 = {
    ("gemma3-270m", "smollm2", "ru", "GOLD"): 1.0,
    ("gemma3-270m", "smollm2", "ru", "MinED"): 0.5,
    ("gemma3-270m", "smollm2", "ru", "ULD, by index"): 0.1,
    ("gemma3-270m", "smollm2", "ru", "SeDi, bytes"): 1.0,
}


def test_the_price_is_the_difference_at_equal_seeds():
    bits = {"gold-bytes": 1.0, "gold-dtw": 1.1, "gold-positional": 1.18}
    runs = [run(label, seed, value + 0.01 * seed) for label, value in bits.items() for seed in range(3)]
    runs += [run("sft", seed, 1.3) for seed in range(3)]
    (table, slopes), (claim,) = price.priced(runs, F1)
    assert slopes["rows"] == [["ru-few", 2, 3, "0.2000 (0.2000 to 0.2000)"], ["all", 2, 3, "0.2000 (0.2000 to 0.2000)"]]
    assert [row[1] for row in table["rows"]] == list(bits)
    assert [row[2] for row in table["rows"]] == ["100.0", "50.0", "10.0"]
    assert table["rows"][0][5] == "-"
    assert table["rows"][1][5] == "0.1000 (0.1000 to 0.1000)"
    assert claim["verdict"] == "reproduced"
    assert "0.200 bits per byte" in claim["ours"]
    better = [run(label, seed, 2.0 - value) for label, value in bits.items() for seed in range(3)]
    assert price.priced(better, F1)[1][0]["verdict"] == "contradicted"


def test_one_seed_decides_nothing_and_no_runs_are_no_table():
    runs = [run("gold-bytes", 0, 1.0), run("gold-dtw", 0, 1.2)]
    (table, slopes), (claim,) = price.priced(runs, F1)
    assert slopes["rows"][0] == ["ru-few", 1, 1, "0.4000"]
    assert table["rows"][1][5] == "0.2000"
    assert claim["verdict"] == "undecided"
    assert math.isnan(price.slope([], []))
    assert price.slope([0.5, 1.0], [0.1, 0.2]) == pytest.approx(0.2)
