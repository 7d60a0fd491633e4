"""The loss lab: pictures hold the numbers that losses compare, what is kept is read back, refusals have a reason."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core import files, methods
from ctkd_core.errors import CtkdError, LossInputError
from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.question import Choice, Question
from ctkd_core.lab.records import LossView, Prediction, RowGradient, Scene, Target
from ctkd_core.tokenizers import catalog
from tests.patience import LONG, PATIENCE
from tests.tiny import tiny_byte_level

torch = pytest.importorskip("torch")
STUDENT = tiny_byte_level(700)
TEACHER = tiny_byte_level(400, digits=1)
BUNDLED = replace(TEACHER, name="smollm2", source=catalog.TOKENIZERS["smollm2"].source)
TEXT = " the 2024 llamas saw 201 of them."


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of each test's own; conversions are those of the shared test home."""
    shared = files.cache_dir()
    (tmp_path / "cache").mkdir()
    for name in ("models", "tokenizers", "hashes", "checks", "maps"):
        if (shared / name).is_dir():
            (tmp_path / "cache" / name).symlink_to(shared / name, target_is_directory=True)
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))


def question(**changes) -> Question:
    return Question(**{"student": STUDENT, "teacher": BUNDLED, "context": "In 2023", "text": TEXT} | changes)


def outputs(seed: int = 0, **changes):
    """Both sides with random logits: no model is needed to check what the lab makes of them."""
    from ctkd_core.lab.worker import ModelOutputs, make_scene

    made = ModelOutputs(question(**changes), lambda share, words: None)
    batch = made.batch()
    generator = torch.Generator().manual_seed(seed)
    widths = batch.student.n_ids, batch.teacher.n_ids
    made.student = torch.randn(1, batch.student_ids.shape[1], widths[0], generator=generator) * 2
    made.teacher = torch.randn(1, batch.teacher_ids.shape[1], widths[1], generator=generator) * 3
    return made, make_scene(made)


def view_of(name: str, monkeypatch=None, asked=None, **options) -> tuple[LossView, Scene]:
    from ctkd_core.lab.worker import compute
    from ctkd_core.losses.views import case

    if monkeypatch is not None:  # every entry, so that values can be worked out from them
        view = importlib.import_module(methods.get(name).view.partition(":")[0])
        for module in (case, view):
            monkeypatch.setattr(module, "TOP", 10_000, raising=False)
        monkeypatch.setattr(case, "SMALLEST", -1.0)
    made, scene = outputs(**(asked or {}))
    return compute(made, scene, Choice(name, "clean", tuple(sorted(options.items())))), scene


# The value that a method's loss puts on a group, worked out from what the picture shows of it.
def _kl(h: Target) -> float:
    return sum(v * (math.log(v) - math.log(u)) for v, u in zip(h.teacher, h.student) if v > 0)


def _l1(h: Target) -> float:
    width = max(len(h.teacher), len(h.student))
    pad = lambda x: [*x, *[0.0] * (width - len(x))]  # noqa: E731
    return sum(abs(a - b) for a, b in zip(pad(h.teacher), pad(h.student)))


def _jsd(h: Target) -> float:
    """The generalised Jensen-Shannon divergence at beta 0.5, without renormalising."""
    total = 0.0
    for q, p in zip(h.teacher, h.student):
        m = (p + q) / 2
        total += 0.5 * q * math.log(q / m) + 0.5 * p * math.log(p / m)
    return total


SEEN = {
    "uld": (_l1, {"pairing": "groups"}),
    "xtoken-pkl": (_kl, {}),
    "xtoken-hkl": (_kl, {"tail_weight": 0.0}),
    "gold": (_jsd, {"weights": "fixed", "unmatched_weight": 0.0}),
    "alm": (_kl, {"temperature": 1.0, "debias": "none"}),
    "mined": (_kl, {"temperature": 1.0}),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_is_drawn_is_what_the_loss_compares(name, monkeypatch):
    worth, options = SEEN[name]
    view, scene = view_of(name, monkeypatch, **options)
    assert view.problem == ""
    compared = [h for h in view.targets if scene.groups[h.group][1] - scene.groups[h.group][0] == 1]
    assert len(compared) > 3
    for target in compared:
        assert worth(target) == pytest.approx(view.distil[target.group], rel=2e-4, abs=2e-6)


def test_sedis_slots_hold_the_teachers_mass_once(monkeypatch):
    view, scene = view_of("sedi", monkeypatch)
    assert len(view.targets) == len(scene.groups)
    for target in view.targets:
        assert len(set(target.ids)) == len(target.ids)
        assert sum(target.teacher) + sum(p for _, p in target.lost) == pytest.approx(1.0, abs=1e-4)


def test_lost_and_kept_mass_add_up(monkeypatch):
    for name in ("gold", "xtoken-hkl"):
        view, _ = view_of(name, monkeypatch)
        for target in view.targets:
            assert sum(target.teacher) + sum(p for _, p in target.lost) == pytest.approx(1.0, abs=1e-4)
    view, _ = view_of("xtoken-pkl", monkeypatch)
    lost = dict(view.targets[1].lost)
    assert sum(view.targets[1].teacher) + lost["mean of the group's rows"] == pytest.approx(1.0, abs=1e-4)
    assert all(len(c) <= 4 for c in view.targets[1].sources)


@pytest.mark.parametrize("lump", ["outcome", "left_out"])
def test_a_byte_has_all_the_probability_of_both_sides(lump, monkeypatch):
    view, _ = view_of("bytes", monkeypatch, lump=lump)
    assert len(view.targets) > 3
    assert any(target.lost for target in view.targets) == (lump == "left_out")
    for target in view.targets:
        assert sum(target.teacher) + sum(p for _, p in target.lost) == pytest.approx(1.0, abs=1e-4)
        if lump == "outcome":
            assert sum(target.student) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(("name", "student"), [("alm", STUDENT), ("kd", TEACHER)])
def test_what_nothing_predicts_has_no_picture(name, student):
    """The first token of a text without a context and BOS has no row before it."""
    unbegun = {"student": replace(student, bos_id=None), "teacher": replace(BUNDLED, bos_id=None)}
    view, scene = view_of(name, asked={"context": "", **unbegun})
    assert view.problem == ""
    assert scene.groups[0][0] == scene.groups[0][2] == 0
    assert [target.group for target in view.targets] == list(range(1, len(scene.groups)))


@pytest.mark.parametrize("name", ["gold", "xtoken-pkl", "xtoken-hkl", "sedi", "alm", "multilevel_ot"])
def test_a_gradient_is_the_slope_of_the_distillation(name):
    from ctkd_core.lab.worker import _run, compute
    from ctkd_core.methods.row import without_data

    made, scene = outputs()
    choice = Choice(name)
    view = compute(made, scene, choice)
    options = without_data(methods.get(name), choice.resolved(), off=("ce_weight",))
    batch = made.batch(name)
    gradient = max(view.gradients, key=lambda one: one.distil_norm)
    at = max(range(len(gradient.ids)), key=lambda k: abs(gradient.distil[k]))
    made.student, made.teacher = made.student.double(), made.teacher.double()
    values = []
    for step in (1e-3, -1e-3):
        made.student[0, gradient.position - 1, gradient.ids[at]] += step
        values.append(_run(made, batch, choice, options)[0].loss.item())
        made.student[0, gradient.position - 1, gradient.ids[at]] -= step
    assert (values[0] - values[1]) / 2e-3 == pytest.approx(gradient.distil[at], rel=2e-3, abs=1e-7)


@pytest.mark.parametrize("row", methods.training(), ids=lambda row: row.name)
def test_every_method_has_values_or_a_sentence(row, monkeypatch):
    from ctkd_core.distill.models import students
    from ctkd_core.lab.worker import ModelOutputs, compute, make_scene

    made = ModelOutputs(question(), lambda share, words: None)
    made.models = (students.scratch(STUDENT, 64, 1, 128, 0).eval(), students.scratch(TEACHER, 64, 2, 128, 1).eval())
    made.run()
    scene = make_scene(made)
    view = compute(made, scene, Choice(row.name))
    if view.problem:
        assert view.problem.endswith(".")
        assert not view.whole
        return
    assert math.isfinite(view.loss)
    assert len(view.whole) == len(view.distil) == len(scene.groups)
    assert np.isfinite([*view.whole, *view.distil]).all()
    assert [gradient.position for gradient in view.gradients] == [one.position for one in scene.student_predictions]
    assert all(gradient.ids[0] == scene.student_ids[gradient.position] for gradient in view.gradients)
    if not row.asks_teacher:
        assert not any(view.distil)
    assert bool(view.targets) == bool(row.view)
    assert LossView.from_dict(json.loads(json.dumps(view.to_dict()))) == view


def test_without_cross_entropy_the_rest_is_the_distillation():
    view, _ = view_of("gold", ce_weight=0.25)
    assert view.loss == pytest.approx(0.25 * view.terms["ce"] + 0.75 * view.distil_loss, rel=1e-5)
    assert view.options == {"ce_weight": 0.25}


def test_a_refusal_of_the_loss_is_the_views_problem():
    view, _ = view_of("cot2align", layers="middle") if "cot2align" in methods.METHODS else pytest.skip("no such loss")
    assert view.problem


@given(
    values=st.lists(st.floats(-5, 5), min_size=1, max_size=6),
    widths=st.lists(st.integers(1, 4), min_size=6, max_size=6),
)
def test_sharing_out_keeps_the_sum(values, widths):
    from ctkd_core.lab.worker import share_out

    ends = np.cumsum([1, *widths])
    own = [[0, int(a), int(b), 0, 1] for a, b in itertools.pairwise(ends[: len(values) + 1])]
    last = int(ends[len(values)])
    # the scene's groups cut the same tokens into single ones
    scene = replace(SCENE, student_ids=tuple(range(last)), groups=tuple((i, i + 1, i, i + 1) for i in range(1, last)))
    assert sum(share_out(values, own, scene)) == pytest.approx(sum(values), abs=1e-4)


PREDICTION = Prediction(1, (3, 4), (0.5, 0.25), 4, 0.25, 2, 1.2)
SCENE = Scene("s", "t", "a", "b", (0, 3, 4), (0, 5), 1, 1, ((1, 3, 1, 2),), (PREDICTION,), (PREDICTION,), ("“note”",))
VIEW = LossView(
    "gold",
    "clean",
    {"beta": 0.9},
    loss=1.5,
    terms={"ce": 2.0},
    whole=(1.0,),
    distil=(-0.5,),
    gradients=(RowGradient(1, (3, 4), (0.1, -0.1), (0.2, -0.2), 1.0, 2.0),),
    targets=(Target(0, "teacher", (5,), (0.9,), (0.1,), (("lost", 0.1),), (((3, 0.2),),), (7,), "note", 2),),
)


def test_records_survive_json():
    assert Scene.from_dict(json.loads(json.dumps(SCENE.to_dict()))) == SCENE
    assert LossView.from_dict(json.loads(json.dumps(VIEW.to_dict()))) == VIEW
    assert SCENE.prediction("teacher", 1) == PREDICTION
    assert SCENE.prediction("student", 2) is None
    assert (VIEW.gradient(9), VIEW.target(9)) == (None, None)


def test_what_was_computed_is_found_again_and_damage_counts_as_nothing():
    asked, choice = question(), Choice("gold", "clean", (("beta", 0.9),))
    assert loss_lab.ask(asked, [choice]).missing == (choice,)
    loss_lab.write_scene(asked, SCENE)
    loss_lab.write_view(asked, choice, VIEW)
    answer = loss_lab.ask(asked, [choice, Choice("sedi")])
    assert answer.scene == SCENE
    assert answer.views == {choice: VIEW}
    assert answer.missing == (Choice("sedi"),)
    assert not answer.stored
    for path in asked.folder.glob("view-*.json"):
        path.write_text('{"method": 1}')
    assert loss_lab.ask(asked, [choice]).missing == (choice,)
    (asked.folder / "scene.json").write_text("[")
    assert loss_lab.ask(asked, [choice]).scene is None


ANYTHING = (None, True, 3, -0.5, "no", [], [1, "x"], {}, {"loss": "no"}, [[[]]])


def changed(document: dict, path: tuple, value: object) -> dict:
    """A copy with something else at one place."""
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("kind", "whole", "path", "value"),
    [
        (LossView, VIEW, ("loss",), "no"),
        (LossView, VIEW, ("loss",), "1.5"),
        (LossView, VIEW, ("method",), 3),
        (LossView, VIEW, ("own_groups",), True),
        (LossView, VIEW, ("terms",), {"ce": None}),
        (LossView, VIEW, ("whole",), "12"),
        (LossView, VIEW, ("gradients", 0, "ids"), [1, "<b>"]),
        (LossView, VIEW, ("gradients", 0, "norm"), [1.0]),
        (LossView, VIEW, ("targets", 0, "sources"), [[[3]]]),
        (LossView, VIEW, ("targets", 0, "lost"), [["lost", "much"]]),
        (LossView, VIEW, ("whole",), [1.0, 2.0]),
        (LossView, VIEW, ("gradients", 0, "whole"), [0.1]),
        (Scene, SCENE, ("student_predictions", 0, "p"), [0.5]),
        (Scene, SCENE, ("groups",), [[1, 2, 3]]),
        (Scene, SCENE, ("student_ids",), [0.5]),
        (Scene, SCENE, ("student_predictions", 0, "rank"), None),
        (Scene, SCENE, ("notes",), {"a": 1}),
    ],
)
def test_a_record_with_something_else_in_it_is_refused_by_name(kind, whole, path, value):
    with pytest.raises(CtkdError, match=f"{path[0]}|columns of 1 and 2 values"):
        kind.from_dict(changed(whole.to_dict(), path, value))


@pytest.mark.parametrize("field", ["loss", "gradients", "problem", "notes"])
def test_a_view_that_lost_a_figure_isnt_shown_with_its_default(field):
    with pytest.raises(CtkdError, match=f"lacks '{field}'"):
        LossView.from_dict({key: value for key, value in VIEW.to_dict().items() if key != field})


@pytest.mark.parametrize("value", ANYTHING, ids=repr)
def test_a_damaged_answer_is_asked_again_whatever_stands_in_it(value):
    asked, choice = question(), Choice("gold", "clean", (("beta", 0.9),))
    loss_lab.write_scene(asked, SCENE)
    loss_lab.write_view(asked, choice, VIEW)
    (kept,) = asked.folder.glob("view-*.json")
    for content in (value, *(VIEW.to_dict() | {key: value} for key in ("targets", "loss", "gradients", "whole"))):
        kept.write_text(json.dumps(content))
        answer = loss_lab.ask(asked, [choice])
        assert answer.missing == (choice,) or answer.views[choice] == LossView.from_dict(content)
    kept.write_text(json.dumps(VIEW.to_dict()))
    for content in (value, *(SCENE.to_dict() | {key: value} for key in ("groups", "text", "student_predictions"))):
        (asked.folder / "scene.json").write_text(json.dumps(content))
        answer = loss_lab.ask(asked, [choice])
        assert answer.missing == (choice,) or answer.scene == Scene.from_dict(content)
    loss_lab.write_scene(asked, SCENE)
    kept.write_text(json.dumps(VIEW.to_dict() | {"whole": [], "distil": []}))
    assert loss_lab.ask(asked, [choice]).missing == (choice,), "a value for each group is missing"
    kept.write_text(json.dumps(VIEW.to_dict()))
    assert loss_lab.ask(asked, [choice]).missing == (), "made anew"


def test_names_of_answers_follow_what_is_asked():
    asked = question()
    default = methods.get("gold").resolve_loss({})["beta"]
    assert asked.view_key(Choice("gold")) == asked.view_key(Choice("gold", "clean", (("beta", default),)))
    keys = {
        asked.view_key(Choice("gold")),
        asked.view_key(Choice("gold", "released")),
        asked.view_key(Choice("gold", "clean", (("beta", 0.9),))),
        question(named=(3,)).view_key(Choice("gold")),
    }
    assert len(keys) == 4
    assert question(named=(3,)).key == asked.key
    assert question(context="").key != asked.key
    others = [replace(STUDENT, eos_id=None), replace(STUDENT, add_bos=True), replace(STUDENT, chat_template="{{ 1 }}")]
    assert len({asked.key, *(question(student=other).key for other in others)}) == 4  # of one tokenizer.json
    with pytest.raises(LossInputError, match="from 0 to 1"):
        asked.view_key(Choice("gold", "clean", (("beta", 7.0),)))
    with pytest.raises(LossInputError, match="did you mean"):
        asked.view_key(Choice("golt"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": TEACHER}, "no model of"),
        ({"text": ""}, "the text is empty"),
        ({"text": "  \n "}, "the text is blank"),
        ({"text": "a" * 1500, "context": "b" * 600}, "have 2,100 characters"),
        ({"text": "x y " * 90}, "at most 60 are explained"),
        ({"context": "x y " * 90}, "the context has"),
    ],
)
def test_refusals_name_the_reason(changes, said):
    asked = question(**changes)
    assert said in loss_lab.problem(asked)
    with pytest.raises(CtkdError, match=said.replace("(", r"\(")):
        loss_lab.start(asked, [Choice("gold")])


def test_a_good_question_has_no_problem_but_needs_methods():
    assert loss_lab.problem(question()) == ""
    with pytest.raises(CtkdError, match="choose 1 to 4 methods; got 0"):
        loss_lab.start(question(), [])


def test_methods_without_a_loss_say_why():
    out = loss_lab.unusable(STUDENT, TEACHER)
    assert out["gold-greedy"] == "it has an alignment but no loss"
    names = loss_lab.usable(STUDENT, TEACHER)
    assert set(names) | set(out) == set(methods.METHODS)
    assert not set(names) & set(out)
    gone = set(loss_lab.DEFAULT_METHODS) - set(names)
    assert not gone, f"DEFAULT_METHODS in ctkd_core/lab/question.py names {sorted(gone)}, which no pair here can use"
    assert 0 < len(loss_lab.DEFAULT_METHODS) <= loss_lab.MAX_METHODS


def test_old_questions_are_removed(tmp_path, monkeypatch):
    import os

    from ctkd_core.lab.worker import LOGITS, prune

    monkeypatch.setattr(loss_lab, "KEPT_QUESTIONS", 3)
    monkeypatch.setattr(loss_lab, "KEPT_LOGITS", 1)
    root = tmp_path / "losses"
    for k in range(5):
        (root / str(k)).mkdir(parents=True)
        (root / str(k) / LOGITS).write_text("x")
        os.utime(root / str(k), (k, k))
    prune(root, root / "0")
    assert sorted(p.name for p in root.iterdir()) == ["0", "2", "3", "4"]
    assert sorted(p.parent.name for p in root.glob(f"*/{LOGITS}")) == ["0", "4"]


@pytest.mark.real
def test_the_stored_example_answers_the_first_question_and_shows_the_failure():
    from ctkd_core.lab.example import question as first

    asked = first()
    answer = loss_lab.ask(asked, [Choice(name) for name in loss_lab.DEFAULT_METHODS])
    assert answer.stored, "losses changed? python -m ctkd_core.lab.example"
    assert answer.missing == ()
    token = asked.student.encode_pieces(["201"])[0][0]
    group = next(group for group in answer.scene.groups if answer.scene.student_ids[group[0]] == token)
    assert group[3] - group[2] == 3, "the teacher reads digit by digit"
    ways = {}
    for choice, view in answer.views.items():
        gradient = view.gradient(group[0])
        ways[choice.method] = -gradient.distil[gradient.ids.index(token)] > 0
    assert ways == {"gold": False, "xtoken-hkl": False, "xtoken-pkl": True, "sedi": True}
    assert loss_lab.EXAMPLE.stat().st_size < 300_000


@pytest.mark.real
@pytest.mark.slow
def test_the_worker_gives_the_stored_example(monkeypatch):
    from ctkd_core.distill.models import teachers
    from ctkd_core.lab.example import question as first

    if not teachers.is_prepared():
        pytest.skip("the bundled teacher isn't converted (`ctkd prepare`)")
    asked, choices = first(), [Choice(name) for name in loss_lab.DEFAULT_METHODS]
    shares: list[float] = []
    status = loss_lab.start(asked, choices).wait(LONG, lambda share, _: shares.append(share))
    assert status.state == "finished", status.message
    assert shares == sorted(shares)
    fresh, stored = loss_lab.ask(asked, choices, packaged=False), loss_lab.ask(asked, choices)
    assert fresh.scene.groups == stored.scene.groups
    for choice in choices:
        np.testing.assert_allclose(fresh.views[choice].distil, stored.views[choice].distil, rtol=2e-2, atol=1e-4)
        assert fresh.views[choice].loss == pytest.approx(stored.views[choice].loss, rel=1e-2)


@pytest.mark.real
def test_a_job_can_be_cancelled():
    asked = Question(*map(_loaded, catalog.DEFAULT_PAIR), context="", text=" Nobody asked this.")
    job = loss_lab.start(asked, [Choice("gold")])
    job.cancel(wait=True)
    status = job.wait(PATIENCE)
    assert status.state == "cancelled"
    assert loss_lab.ask(asked, [Choice("gold")]).missing == (Choice("gold"),)


def _loaded(name: str):
    from ctkd_core.tokenizers.load import load_tokenizer

    return load_tokenizer(name)


def test_a_tokenizer_that_is_not_the_models_is_refused_as_a_run_refuses_it():
    """Whatever a file calls itself: its tokens are compared with the model's own before models load."""
    from ctkd_core.distill.models.facts import BUNDLED, of_another_model
    from ctkd_core.errors import CtkdError
    from ctkd_core.lab.worker import ModelOutputs

    fault = of_another_model(question().teacher, BUNDLED)
    assert "isn't the tokenizer of 'smollm2'" in fault
    made = ModelOutputs(question(), lambda share, words: None)
    with pytest.raises(CtkdError) as caught:
        made._load_models()
    assert str(caught.value) == f"{fault} Name the tokenizer that lies with the weights, 'smollm2'."
