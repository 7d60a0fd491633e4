"""What kinds don't share besides their methods is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ctkd_core.background.status import write_status
from ctkd_core.distill.comparison.kinds import kinds_of
from ctkd_core.distill.comparison.table import compare
from ctkd_core.distill.comparison.unequal import unequal
from ctkd_core.distill.runs import compare_runs
from tests.distill.comparison.make import in_processes, made


def test_kinds_that_share_all_but_the_method_have_no_note(store):
    runs = [made(store, method=method, seed=seed, learning_rate=0.1) for method in ("sft", "uld") for seed in (0, 1)]
    assert unequal(kinds_of(runs)) == []
    assert unequal(kinds_of([*runs[:2]])) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steps": 8}, ["The kinds differ in steps (steps 4; steps 8), which moves figures, too."]),
        ({"batch_size": 3}, ["The kinds differ in samples of a step (batch_size 8; batch_size 3)"]),
        ({"teacher": "qwen"}, ["The kinds differ in pair of tokenizers (teacher smollm2; teacher qwen)"]),
        ({"data": "bundled:code", "eval_data": "bundled:prose"}, ["The kinds differ in training data (data bundled; "]),
    ],
)
def test_what_kinds_do_not_share_is_named(store, changes, told):
    shared = {"eval_data": changes["eval_data"]} if "eval_data" in changes else {}
    runs = [made(store, method="sft", **shared), made(store, method="uld", **changes)]
    notes = compare(runs).notes
    assert len(notes) == len(told) + 1, notes  # the last one is about the one seed
    assert all(part in note for part, note in zip(told, notes))


def test_as_many_samples_of_a_step_in_other_batches_are_no_difference(store):
    runs = [
        made(store, batch_size=4),
        made(store, batch_size=2, accumulation=2),
        in_processes(made(store, batch_size=2), 2),
    ]
    assert unequal(kinds_of(runs)) == []
    (note,) = unequal(kinds_of([*runs, made(store, batch_size=5)]))
    assert note.startswith("The kinds differ in samples of a step (batch_size 4, accumulation 1, processes 1; ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"eval_share": 0.5}, "(eval_share 0.0; eval_share 0.5)"),
        ({"data": "bundled:code"}, "(data bundled; data bundled:code)"),
        (
            {"data": "bundled:code", "eval_data": "bundled"},
            "(eval_data a share of data, data bundled; eval_data bundled, data bundled:code)",
        ),
    ],
)
def test_different_held_out_text_is_told_once(store, changes, told):
    runs = [made(store, method="sft"), made(store, method="uld", **changes)]
    (note,) = compare(runs).notes
    assert note.startswith(f"bits_per_byte is measured on held-out text, which the kinds don't share {told}: they have")
    *other, note, _ = compare(runs, "loss").notes  # the last one is about the one seed
    assert note == f"The kinds are measured on different held-out text {told}: figures of it can't be compared."
    assert len(other) == ("data" in changes) and all("in training data" in said for said in other), "it moves the loss"


def test_the_same_held_out_file_makes_figures_comparable(store):
    runs = [made(store, method="uld", data=data, eval_data="bundled") for data in ("bundled:code", "bundled:prose")]
    assert not [note for note in unequal(kinds_of(runs)) if "held-out" in note]


def test_figures_of_different_held_out_text_are_not_ranked(store):
    runs = [made(store, bits, method=m, eval_share=s) for bits, m, s in ((3.0, "sft", 0.5), (2.0, "uld", 0.25))]
    found = compare(runs)
    assert [(row.kind.config.method, row.rank) for row in found.rows] == [("sft", None), ("uld", None)]
    assert all(row.difference is None and row.against_next is None for row in found.rows)
    assert found.notes[-1].startswith("bits_per_byte is measured on held-out text, which the kinds don't share")
    assert [row.figures["bits_per_byte"].mean for row in found.rows] == [3.0, 2.0]
    alike = made(store, 2.5, eval_share=0.5)
    assert list(compare_runs([*runs, alike])["deltas"].values()) == [0.0, None, -0.5]
    by_loss = compare(runs, "loss")
    assert [row.rank for row in by_loss.rows] == [1, 1], "it isn't of held-out text; equal means share a rank"
    assert by_loss.rows[1].difference is not None


def test_finished_runs_without_the_figure_are_named(store):
    runs = [made(store, method="sft"), made(store, None, method="uld"), made(store, None, method="sedi")]
    write_status(runs[2].dir, replace(runs[2].status(), state="cancelled"))
    assert f"1 run didn't measure bits_per_byte: {runs[1].id}." in compare(runs).notes


def test_many_values_are_counted_and_long_ones_cut(store):
    runs = [made(store, steps=k) for k in range(1, 8)]
    (note,) = unequal(kinds_of(runs))
    assert "steps 4; 3 more" in note
    (long, _) = unequal(kinds_of([made(store), made(store, data="\x1b" * 90)]))
    assert "\x1b" not in long and len(long) < 200
    files = [made(store, data=f"/{'folder/' * 9}{name}{'-x' * 30}.jsonl") for name in ("one", "two")]
    assert all("one" in note and "two" in note for note in unequal(kinds_of(files))), "they differ in their middle"


def test_processes_and_unfinished_runs_are_told(store):
    runs = [made(store), in_processes(made(store, seed=1), 2)]
    write_status(runs[1].dir, replace(runs[1].status(), state="cancelled"))
    samples, early = unequal(kinds_of(runs))
    assert "(processes 1; processes 2)" in samples
    assert early == f"1 run hasn't finished: {runs[1].id}."


def test_a_file_that_was_edited_between_runs_is_told(store):
    runs = [made(store, method="sft", seed=seed, data="d.jsonl", eval_data="e.jsonl") for seed in range(3)]
    for run, content in zip(runs, ("a", "a", "b")):
        told = {"data": {"source": "d.jsonl", "fingerprint": content}, "eval_data": {"fingerprint": "e"}}
        (run.dir / "env.json").write_text(json.dumps(told))
    (note,) = [note for note in compare(runs).notes if "wasn't the same" in note]
    assert note.startswith("'d.jsonl' wasn't the same data in all runs (") and f"; {runs[2].id})" in note
    assert not [note for note in compare(runs[:2]).notes if "wasn't the same" in note]
    (runs[2].dir / "env.json").write_text('{"data": {"fingerprint": ["b"]}, "eval_data": 7}')
    assert not [note for note in compare(runs).notes if "wasn't the same" in note], "nothing is known of it"
