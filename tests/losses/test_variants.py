"""Every option of every method and variant: it makes a difference, or is refused; none is passed over in silence."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any

import pytest
import torch

from ctkd_core import losses, methods
from ctkd_core.alignment import align
from ctkd_core.errors import AlignmentError, CtkdError, LossInputError
from ctkd_core.losses.base import StateContext
from ctkd_core.losses.batch import AlignedBatch, align_sample, collate
from ctkd_core.methods import Method
from ctkd_core.methods.options import Option
from tests.losses.cases import (
    WIDTHS,
    batch_of,
    logits_for,
    pair,
    plain_sample,
    same_sides,
    samples,
    seeded,
    states_for,
)
from tests.losses.test_xtoken import random_map

TRAINING = [(row, variant) for row in methods.training() for variant in row.variants]
ALIGNING = [(row, variant) for row in methods.METHODS.values() if row.can_align for variant in row.variants]
NAMES = {"ids": lambda x: x.name if isinstance(x, Method) else x}

# What the public entry can't give a loss, so that the option has nothing to choose from there.
OUT_OF_REACH = {"pairs": "answers with reasoning go to `cot2align_loss` itself"}


def others(option: Option) -> list[Any]:
    """Values of an option apart from its default."""
    if option.kind == "choice":
        return [c for c in option.choices if c != option.default]
    if option.kind == "bool":
        return [not option.default]
    if option.kind == "str":
        return {"layers": ["first"], "pairs": ["std-std"], "chunk_sizes": ["2", "1,3"]}[option.name]
    base = 1 if option.default is None else option.default
    low, high = (base if edge is None else edge for edge in (option.low, option.high))
    values = [min(max(x, low), high) for x in (2 * base, base / 4, base + 1, low, min(high, 10 * base + 3))]
    parsed = [option.parse(int(x) if option.kind == "int" else x) for x in values]
    return [x for x in dict.fromkeys(parsed) if x != option.default]


def settings_around(options: tuple[Option, ...], option: Option) -> Iterator[dict[str, Any]]:
    """Nothing else changed, then one other option, then two choices or switches: an option may need company."""
    rest = [o for o in options if o.name != option.name]
    rest.sort(key=lambda o: o.kind not in ("choice", "bool"))  # switches are the company that most need
    yield {}
    yield from ({o.name: value} for o in rest for value in others(o))
    switches = [(o.name, value) for o in rest if o.kind in ("choice", "bool") for value in others(o)]
    yield from (dict(two) for k, one in enumerate(switches) for two in [(one, s) for s in switches[k + 1 :]])


def given_batch() -> AlignedBatch:
    """Groups of every kind, one whose sides differ, end tokens, padding, an answer of the student's that is longer, and
    a sample without one."""
    batch = batch_of(
        [
            *samples([" 1234 cats", " 🦙 é"]),
            plain_sample([0, 5], [0, 7, 9], 2, 3),
            plain_sample([0, 50, 61, 72], [0, 60, 61], 1, 1, [[1, 2, 1, 2], [2, 3, 2, 3]]),
        ]
    )
    groups = batch.groups.clone()
    several = int((groups[:, 4] - groups[:, 3] > 1).nonzero()[0])
    groups[several, 4] -= 1
    return replace(batch, groups=groups)


@dataclass(frozen=True)
class Scene:
    """A batch with logits of both models, and what a method takes besides."""

    row: Method
    batch: AlignedBatch
    student: torch.Tensor
    teacher: torch.Tensor
    given: dict[str, Any]

    def result(self, variant: str, options: dict[str, Any]) -> list[float]:
        """Loss, and sums of the gradients of logits and of the method's own module."""
        z = self.student.detach().clone().requires_grad_()
        states = [self.given.get(f"{side}_states") for side in ("student", "teacher")]
        heads = [None if x is None else x.head for x in states]
        widths = z.shape[-1], self.teacher.shape[-1]
        hidden = [None if x is None else x.hidden[-1].shape[-1] for x in states]
        context = StateContext(*widths, *hidden, *heads, student=self.batch.student, teacher=self.batch.teacher)
        seeded(0)
        name, given = self.row.name, self.given
        state = losses.make_state(name, widths[0], context=context, variant=variant, **options)
        if state is not None:
            given = given | {"state": state.double()}
        out = losses.loss(name, z, self.teacher, self.batch, variant, **given, **options)
        if out.loss.requires_grad:
            out.loss.backward()
        gradients = [z.grad, *([] if state is None else [p.grad for p in state.parameters()])]
        return [float(out.loss.detach()), *(0.0 if g is None else float(g.abs().sum()) for g in gradients)]


@cache
def scenes(name: str) -> list[Scene]:
    """Two tokenizers, where the method takes them, one on both sides, and two of which the student's is the finer."""
    row = methods.get(name)
    batch = given_batch()
    s, t = logits_for(batch, dtype=torch.float64)
    one, same = same_sides(batch, t)
    if row.same_tokenizer:
        return [Scene(row, one, s, same, {})]
    if "hidden_states" in row.outputs:
        return [_with_states(row, batch, WIDTHS), _with_states(row, one, (WIDTHS[0], WIDTHS[0]))]
    given: dict[str, Any] = {}
    if "projection" in inspect.signature(methods.load(row.loss or "")).parameters:
        given["projection"] = _map_of(batch)
    fine, coarse = pair()[::-1]
    turned = collate(
        [align_sample("It says:", text, fine, coarse) for text in (" 1234 cats", " naïve é")], fine, coarse
    )
    found = [Scene(row, batch, s, t, given), Scene(row, one, s, same, {})]
    return [*found, Scene(row, turned, *logits_for(turned, dtype=torch.float64, widths=(305, 403)), {})]


def _map_of(batch: AlignedBatch) -> Any:
    """A map of every kind of row in which tokens that face each other alone are each other's."""
    table = random_map().tolil()
    for b, s0, s1, t0, t1 in batch.groups.tolist():
        if s1 - s0 == t1 - t0 == 1:
            own, other = int(batch.student_ids[b, s0]), int(batch.teacher_ids[b, t0])
            if other < table.shape[1]:
                table[:, other] = 0.0
                table[own, other] = 1.0
    return table.tocsr()


def _with_states(row: Method, batch: AlignedBatch, widths: tuple[int, int]) -> Scene:
    """Logits that the states give, and some noise: with one width both heads are one, and nearly agree."""
    sizes = (403, 403 if batch.teacher is batch.student else 305)
    ids = batch.student_ids, batch.teacher_ids
    states = [states_for(i, width, size, torch.float64) for i, width, size in zip(ids, widths, sizes)]
    generator = torch.Generator().manual_seed(2)
    logits = [x.hidden[-1] @ x.head.T for x in states]
    logits = [z + torch.randn(z.shape, generator=generator, dtype=z.dtype) for z in logits]
    return Scene(row, batch, *logits, {"student_states": states[0], "teacher_states": states[1]})


def close(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(abs(x - y) <= 1e-9 * (1 + abs(x)) for x, y in zip(a, b))


@pytest.mark.parametrize(("row", "variant"), TRAINING, **NAMES)
def test_every_option_of_a_loss_makes_a_difference(row: Method, variant: str) -> None:
    options = row.loss_options_of(variant)
    places = scenes(row.name)
    kept: dict[tuple[int, str], list[float] | None] = {}

    def value(place: int, chosen: dict[str, Any]) -> list[float] | None:
        key = place, json.dumps(chosen, sort_keys=True)
        if key not in kept:
            try:
                kept[key] = places[place].result(variant, chosen)
            except LossInputError:  # two options that exclude each other, or one vocabulary where there are two
                kept[key] = None
        return kept[key]

    helped: list[dict[str, Any]] = []  # company that another option needed is tried first

    def differs(option: Option) -> bool:
        for around in chain((a for a in helped if option.name not in a), settings_around(options, option)):
            for place in range(len(places)):
                before = value(place, around)
                if before is None:
                    continue
                for other in others(option):
                    after = value(place, around | {option.name: other})
                    if after is not None and not close(before, after):
                        if around not in helped:
                            helped.append(around)
                        return True
        return False

    silent = [option.name for option in options if option.name not in OUT_OF_REACH and not differs(option)]
    assert not silent, f"{row.name} ({variant}) reads {', '.join(silent)} in vain: name the variants that read them"


class TouchedError(Exception):
    """Something looked at the value."""


class Untouchable:
    """A value that may be handed on and kept, but not looked at."""

    def _touch(self, *_: Any) -> Any:
        raise TouchedError

    __bool__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = __int__ = __index__ = _touch  # type: ignore[assignment]
    __float__ = __add__ = __radd__ = __sub__ = __mul__ = __rmul__ = __str__ = __iter__ = __len__ = _touch  # type: ignore[assignment]


@pytest.mark.parametrize(("row", "variant"), ALIGNING, **NAMES)
def test_every_option_of_an_aligner_is_looked_at_or_refused(row: Method, variant: str) -> None:
    student, teacher = pair()
    text = " In 2024 we sold 1234567 units." + " cats" * 40
    encodings = student.encode(text), teacher.encode(text)
    for option in row.align_options:
        options = row.resolve_align({}, AlignmentError, variant) | {option.name: Untouchable()}
        looked = False
        try:
            methods.load(row.aligner or "")(*encodings, variant=variant, **options)
        except CtkdError:
            pass
        except Exception:  # numba's and numpy's own refusals of the value, too
            looked = True
        if option.read_by(variant):
            assert looked or _read_with_company(row, variant, option, encodings), option.name


def _read_with_company(row: Method, variant: str, option: Option, encodings: Any) -> bool:
    """Whether some other option makes the aligner look at this one."""
    rest = [o for o in row.align_options_of(variant) if o.name != option.name]
    for other, value in ((o, v) for o in rest for v in others(o)):
        options = row.resolve_align({}, AlignmentError, variant) | {other.name: value, option.name: Untouchable()}
        inputs = {}
        if "space_probability" in row.aligner_inputs:
            inputs["teacher_space_probability"] = [0.05] * len(encodings[1])
        try:
            methods.load(row.aligner or "")(*encodings, variant=variant, **options, **inputs)
        except CtkdError:
            continue
        except Exception:
            return True
    return False


@pytest.mark.parametrize(("row", "variant"), list(dict.fromkeys(chain(TRAINING, ALIGNING))), **NAMES)
def test_what_a_variant_does_not_read_is_refused(row: Method, variant: str) -> None:
    batch = None
    student, teacher = pair()
    for options, resolve, kind in (
        (row.loss_options, row.resolve_loss, "loss"),
        (row.align_options, row.resolve_align, "align"),
    ):
        for option in options:
            if option.read_by(variant):
                assert option.name in resolve({}, LossInputError, variant)
                continue
            assert option.name not in resolve({}, LossInputError, variant)
            for value in (option.default, *others(option)):
                with pytest.raises(
                    LossInputError, match=rf"variant '{variant}' .* doesn't read option '{option.name}'"
                ):
                    resolve({option.name: value}, LossInputError, variant)
            if kind == "loss":
                batch = batch or given_batch()
                s, t = logits_for(batch)
                with pytest.raises(LossInputError, match="would have no effect"):
                    losses.loss(row.name, s, t, batch, variant, **{option.name: option.default})
            elif not row.groups_of:
                with pytest.raises(AlignmentError, match="would have no effect"):
                    align(
                        " a text",
                        student=student,
                        teacher=teacher,
                        method=row.name,
                        variant=variant,
                        **{option.name: option.default},
                    )


def _unmet(options: tuple[Option, ...], option: Option, variant: str) -> Iterator[dict[str, Any]]:
    """For each condition of an option, a setting of others that doesn't meet it."""
    table = {o.name: o for o in options}
    for condition in option.conditions:
        asked = [c for c in condition if c.variant in ("", variant)]
        found = {}
        for c in asked if len(asked) == len(condition) else []:
            other = table[c.option]
            away = list(c.values) if c.but else [v for v in (other.default, *others(other)) if v not in c.values]
            found[c.option] = away[0]
        if found:
            yield found


CONDITIONED = [
    (row, variant)
    for row in methods.METHODS.values()
    for variant in row.variants
    if any(o.read_if for o in (*row.loss_options_of(variant), *row.align_options_of(variant)))
]


@pytest.mark.parametrize(("row", "variant"), CONDITIONED, **NAMES)
def test_what_another_option_leaves_without_effect_is_refused(
    row: Method, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it has an effect where it is read, `test_every_option_of_a_loss_makes_a_difference` shows: elsewhere it is
    refused, so the setting that it found is one that meets the conditions."""
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.errors import RunError

    seen = 0
    for key, options, resolve in (
        ("method_options", row.loss_options_of(variant), row.resolve_loss),
        ("align_options", row.align_options_of(variant), row.resolve_align),
    ):
        for option in options:
            for unmet in _unmet(options, option, variant):
                seen += 1
                assert resolve(unmet | {option.name: option.default}, LossInputError, variant)
                for value in others(option):
                    first = next(iter(unmet))  # two options that need each other: either is named first
                    words = rf"option '({option.name}|{first})' .* is read only where .* no effect"
                    with pytest.raises(LossInputError, match=words):
                        resolve(unmet | {option.name: value}, LossInputError, variant)
                if row.can_train and not (key == "align_options" and row.groups_of):
                    with pytest.raises(RunError, match=f"option '{option.name}' .* is read only where"):
                        RunConfig(method=row.name, variant=variant, **{key: unmet | {option.name: others(option)[0]}})
                    RunConfig(method=row.name, variant=variant, **{key: unmet | {option.name: option.default}})
                if key == "method_options" and option.name not in OUT_OF_REACH:
                    _has_no_effect(row, variant, option, unmet, monkeypatch)
    assert seen or variant == "clean", "the conditions of another variant alone"


def _has_no_effect(
    row: Method, variant: str, option: Option, unmet: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scenes(row.name)[0]
    options = {o.name for o in row.loss_options_of(variant)}
    whole = unmet | ({"hidden_weight": 0.5} if "hidden_weight" in options else {})
    before = scene.result(variant, whole)
    with monkeypatch.context() as patched:
        patched.setattr(Option, "unmet", lambda *_: ())
        for value in others(option):
            try:
                assert close(before, scene.result(variant, whole | {option.name: value})), (option.name, value)
            except LossInputError:
                continue  # the released program refuses it itself


def test_a_method_whose_condition_is_on_nothing_is_refused() -> None:
    from ctkd_core.methods.options import Is

    row = methods.get("kd")
    for wrong in (Is("divergenze", ("jsd",)), Is("divergence", ("jsdd",)), Is("divergence", ()), Is("skew", (0.5,))):
        with pytest.raises(ValueError, match="has an option with a condition on one that isn't there"):
            Method(**row.model_dump() | {"loss_options": [
                replace(o, read_if=(wrong,)) if o.name == "skew" else o for o in row.loss_options
            ]})  # fmt: skip


def test_what_became_idle_goes_back_to_its_default() -> None:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.methods.row import without_data

    row = methods.get("xtoken-pkl")
    options = without_data(row, row.resolve_loss({"max_scale": 3.0, "top_k": 7}))
    assert (options["scaling"], options["ce_weight"], options["max_scale"], options["top_k"]) == ("fixed", 0.0, 10.0, 7)
    assert row.resolve_loss(options) == options
    config = RunConfig(method="mined", method_options={"accept": "map", "top_k": 5, "temperature": 1.5})
    released = config.replace(variant="released").method_options
    assert (released["accept"], released["top_k"], released["temperature"]) == ("map", 0, 1.5)


def test_the_schema_tells_where_an_option_is_read() -> None:
    beta = methods.get("gold").to_dict()["loss_options"]["matched_weight"]["read_if"]
    assert beta == [[{"option": "hybrid", "in": [True]}], [{"option": "weights", "in": ["fixed"]}]]
    assert (
        "Read only where divergence is jsd."
        in next(o for o in methods.get("kd").loss_options if o.name == "beta").about()
    )


def test_the_released_trainer_of_gold_sets_what_it_sets() -> None:
    resolved = methods.get("gold").resolve_loss({}, variant="released")
    assert (resolved["merge"], resolved["empty_samples"]) == ("observed", "count")
    assert methods.get("gold").resolve_loss({})["merge"] == "bayesian"
    assert methods.get("gold").resolve_loss({"merge": "bayesian"}, variant="released")["merge"] == "bayesian"


def test_a_run_drops_what_its_variant_does_not_read_and_keeps_what_was_chosen() -> None:
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.errors import RunError

    clean = RunConfig(method="uld", method_options={"pairing": "groups", "temperature": 1.5})
    released = clean.replace(variant="released")
    assert released.method_options["temperature"] == 1.5
    assert released.method_options["pairing"] == "positional"
    assert RunConfig.from_dict(released.to_dict()) == released
    with pytest.raises(RunError, match="doesn't read option 'pairing'"):
        RunConfig(method="uld", variant="released", method_options={"pairing": "groups"})
    gold = RunConfig(method="gold").replace(variant="released")
    assert gold.method_options["merge"] == "observed"
    assert gold.replace(variant="clean").method_options["merge"] == "bayesian"
    assert "teacher_temperature" not in clean.to_dict()["method_options"], "what came later is left out at its default"
