"""Kinds of runs, their ranks and differences, frames for files."""

from __future__ import annotations

import math

import pytest

from ctkd_core.distill.comparison.figures import figures_in, limits_of
from ctkd_core.distill.comparison.kinds import kinds_of
from ctkd_core.distill.comparison.table import compare, run_frame
from ctkd_core.distill.runs import compare_runs
from ctkd_core.errors import RunError
from ctkd_core.figures.comparison import ranking
from tests.distill.comparison.make import in_processes, made


@pytest.fixture
def runs(store):
    """SFT, a better ULD and a worse one at three seeds; seeds differ more than methods."""
    found = []
    for seed, base in enumerate((2.0, 4.0, 3.0)):
        found.append(made(store, base, method="sft", seed=seed))
        found.append(made(store, base - 0.1 * (seed + 1), method="uld", seed=seed))
        found.append(made(store, base + 0.1, method="uld", seed=seed, learning_rate=0.1))
    return found


def test_options_of_the_trainer_make_kinds_columns_and_names(store):
    runs = [made(store, method="sft", trainer=table) for table in ({"optim": "adamw_torch"}, {"optim": "sgd"}, {})]
    assert [kind.label for kind in kinds_of(runs)] == ["SFT, optim adamw_torch", "SFT, optim sgd", "SFT"]
    assert list(run_frame(runs)["config.trainer.optim"])[:2] == ["adamw_torch", "sgd"]
    assert compare_runs(runs)["differences"] == {"trainer.optim": ["adamw_torch", "sgd", None]}


def test_an_option_that_others_leave_at_its_default_is_named(store):
    runs = [made(store, method="sft", state_learning_rate=rate) for rate in (0.0, 0.01)]
    assert compare_runs(runs)["differences"] == {"state_learning_rate": [0.0, 0.01]}
    assert [kind.label for kind in kinds_of(runs)] == ["SFT", "SFT, state_learning_rate 0.01"]


def test_runs_of_several_processes_are_another_kind(store):
    """Their steps have the samples of all of them."""
    runs = [in_processes(made(store, method="sft", seed=seed), number) for seed in (0, 1) for number in (1, 2)]
    kinds = kinds_of(runs)
    assert [(kind.label, len(kind.runs)) for kind in kinds] == [("SFT, processes 1", 2), ("SFT, processes 2", 2)]
    assert list(run_frame(runs)["processes"]) == [1, 2, 1, 2]
    assert "processes" not in run_frame([runs[0], runs[2]])
    assert compare_runs(runs[:2])["differences"] == {"processes": [1, 2]}
    assert [kind.label for kind in kinds_of([in_processes(runs[0], None), runs[2]])] == ["SFT"]  # of older versions


def test_runs_that_differ_in_the_seed_alone_are_one_kind(runs):
    kinds = kinds_of(runs)
    assert [kind.label for kind in kinds] == [
        "SFT, learning_rate 0.0002",
        "ULD, learning_rate 0.0002",
        "ULD, learning_rate 0.1",
    ]
    assert [sorted(kind.by_seed) for kind in kinds] == [[0, 1, 2]] * 3


def test_names_places_and_checkpoints_make_no_other_kind(store):
    runs = [made(store, seed=k, name=str(k), threads=k, save_every=k) for k in range(3)]
    (kind,) = kinds_of(runs)
    assert kind.label == "SeDi"
    assert kind.runs == runs


def test_options_of_a_method_are_named_within_the_method(store):
    runs = [
        made(store, method="sft"),
        made(store, method="uld"),
        made(store, method="uld", method_options={"temperature": 2.0}),
    ]
    assert [kind.label for kind in kinds_of(runs)] == ["SFT", "ULD, temperature 1", "ULD, temperature 2"]


def test_the_newest_finished_run_of_a_seed_counts(store):
    old, new = made(store, 9.0, seed=1), made(store, 1.0, seed=1)
    found = compare([new, old])
    assert found.rows[0].figures["bits_per_byte"].mean == 1.0
    assert found.rows[0].kind.repeated == (old,)
    assert "1 older runs" in found.notes[0]


def test_kinds_of_one_seed_have_no_probability(store, runs):
    pair = [made(store, bits, method=method) for bits, method in ((2.0, "sft"), (1.5, "uld"))]
    found = compare(pair)
    assert any("takes two or more seeds" in note for note in found.notes)
    assert {row["chance"] for row in ranking(found)} == {"–", "takes 2 seeds"}
    assert ranking(found)[0]["chance of the order"] == "takes 2 seeds"
    assert found.rows[0].difference.probability == 1.0, "what is printed as JSON stays"
    assert "seed" not in " ".join(compare(runs).notes)


def test_ranks_differences_and_their_chance(runs):
    found = compare(runs)
    assert found.baseline == "SFT, learning_rate 0.0002"
    best, middle, last = found.rows
    assert [row.rank for row in found.rows] == [1, 2, 3]
    assert (best.kind.label, last.kind.label) == ("ULD, learning_rate 0.0002", "ULD, learning_rate 0.1")
    assert best.difference.mean == pytest.approx(-0.2)
    assert best.difference.probability == pytest.approx(0.25)
    assert best.difference.adjusted == pytest.approx(0.5)
    assert last.difference.mean == pytest.approx(0.1)
    assert middle.difference is None
    assert best.against_next.mean == pytest.approx(-0.2)
    assert last.against_next is None
    # paired: the spread over seeds is 1, that of the differences 0.1
    assert best.difference.high - best.difference.low < 0.6
    assert best.figures["bits_per_byte"].high - best.figures["bits_per_byte"].low > 4.0


def test_another_figure_another_baseline(runs):
    found = compare(runs, "loss", "uld")
    assert found.baseline == "ULD, learning_rate 0.0002"
    assert found.to_dict()["higher_is_better"] is False
    assert [row.figures["loss"].mean for row in found.rows] == [1.0] * 3
    with pytest.raises(RunError, match="figure"):
        compare(runs, "bits")
    with pytest.raises(RunError, match="baseline"):
        compare(runs, baseline="gold")


def test_without_sft_there_is_no_baseline_and_without_figures_no_rank(store):
    found = compare([made(store, None, method="uld"), made(store, 2.0, method="sedi")])
    assert found.baseline is None
    assert [(row.kind.label, row.rank) for row in found.rows] == [("SeDi", 1), ("ULD", None)]
    assert all(row.difference is None for row in found.rows)


def test_more_is_better_for_some_figures(store):
    from ctkd_core.distill.comparison.figures import higher_is_better

    assert [higher_is_better(x) for x in ("exact_match", "rouge_l", "teacher_top1_agreement")] == [True] * 3
    assert [higher_is_better(x) for x in ("bits_per_byte", "loss", "repetition", "agreement.kl")] == [False] * 4
    rows = [{"kind": "eval", "step": 4, "by_language": {"de": 1.5}, "held_out": 3}]
    assert figures_in(rows) == {"by_language.de": 1.5}


def test_results_by_length_have_one_figure_of_all_lengths():
    row = {"kind": "eval", "step": 4, "arithmetic": {"1": 1.0, "2": 0.5}, "arithmetic_counts": {"1": 1, "2": 8}}
    found = figures_in([row | {"teacher_arithmetic": {"1": 0.0, "2": 1.0}}])
    assert found["arithmetic"] == pytest.approx(5 / 9) and found["teacher_arithmetic"] == pytest.approx(8 / 9)
    assert found["arithmetic.2"] == 0.5
    assert "arithmetic" not in figures_in([row | {"arithmetic_counts": None}])


def test_a_table_that_is_asked_for_is_answered_with_the_names_of_its_figures(store):
    runs = [made(store, method=method) for method in ("sft", "uld")]
    figures = {"bits_per_byte": 1.0, "agreement.top1": 0.5, "agreement.byte_kl": 1.5}
    with pytest.raises(RunError, match=r"is a table; name one of its figures: agreement.top1, agreement.byte_kl\."):
        compare(runs, "agreement", figures=lambda run: figures)
    figures |= {"completions.rouge_l": 0.5}
    for word, name in (("top1", "agreement.top1"), ("ROUGE-L", "completions.rouge_l")):
        with pytest.raises(RunError, match=f"unknown figure '{word}'; did you mean '{name}'"):
            compare(runs, word, figures=lambda run: figures)


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        ((0, 1), ["arithmetic", "teacher_arithmetic.12", "agreement.next_byte_top1", "completions.exact_match"]),
        ((0, 1), ["completions.rouge_l", "teacher_completions.rouge_l", "mass_by_class.letters", "repetition"]),
        ((0, math.inf), ["bits_per_byte", "teacher_bits_by_domain.a.b", "bits_by_domain.top1", "agreement.byte_kl"]),
        ((0, math.inf), ["arithmetic_counts.3", "agreement.boundaries", "bytes_by_class.letters"]),
        ((-100, math.inf), ["exposure.4"]),
        ((-math.inf, math.inf), ["loss", "terms.kl_or_so", "unknown"]),
    ],
)
def test_what_a_figure_can_be(limits, names):
    assert {name: limits_of(name) for name in names} == dict.fromkeys(names, limits)


def test_intervals_for_people_end_where_the_figure_does(store):
    runs = [made(store, method=m, seed=k) for k in range(2) for m in ("sft", "uld")]
    values = {run.id: {"arithmetic": float(run.config.seed), "bits_per_byte": 0.5 + k} for k, run in enumerate(runs)}
    found = compare(runs, "arithmetic", figures=lambda run: values[run.id])
    assert "0.5 (0 to 1)" in ranking(found)[0].values()
    assert found.rows[0].figures["arithmetic"].low < -5, "what is computed stays"
    by_bits = ranking(compare(runs, figures=lambda run: values[run.id]))
    assert by_bits[0]["bits_per_byte, mean (95 %)"].startswith("1.5 (0 to 1")
    assert all(row["minus SFT"].startswith(("1 (", "–")) for row in by_bits)


def test_frames_have_every_run_and_kind(runs):
    frame = compare(runs).frame()
    assert frame["kind"].tolist()[0] == "ULD, learning_rate 0.0002"
    assert {"bits_per_byte", "bits_per_byte.low", "difference.probability"} <= set(frame.columns)
    every = run_frame(runs)
    assert every["run_id"].tolist() == [run.id for run in runs]
    assert every["config.learning_rate"].tolist()[2] == 0.1
    assert every["training_tokens"].tolist() == [200.0] * 9


def test_a_total_that_a_step_lacks_is_left_out():
    rows = [{"kind": "train", "step": k, "seconds": 2.0, "cpu_seconds": 3.0, "joules": 5.0} for k in (1, 2)]
    found = figures_in(rows)
    assert (found["training_seconds"], found["training_cpu_seconds"], found["training_joules"]) == (4.0, 6.0, 10.0)
    del rows[0]["joules"]  # resumed where the counter can be read
    found = figures_in(rows)
    assert "training_joules" not in found and found["training_cpu_seconds"] == 6.0
