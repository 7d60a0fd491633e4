"""The process that answers for page Losses: `python -m ctkd_core.lab.worker FOLDER`.

It lets both models read context and text (their logits are kept, so that a changed option doesn't wait for them), then
computes each method that isn't known yet. Exit codes as in `background.attempt`.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import files, methods
from ctkd_core.background.attempt import work
from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError, LossInputError
from ctkd_core.lab import question as loss_lab
from ctkd_core.lab.question import Choice, Order, Question
from ctkd_core.lab.records import LossView, Prediction, RowGradient, Scene
from ctkd_core.losses.views.target import Target
from ctkd_core.methods.row import without_data

if TYPE_CHECKING:
    from ctkd_core.losses.views.case import Case

CANDIDATES = 10  # kept of each prediction
STUDENT_TOP, TEACHER_TOP, LARGEST = 6, 6, 6  # tokens whose gradient is kept, by why
MODELS_READY, READ = 0.55, 0.65  # shares of the bar
LOGITS = "logits.safetensors"
SEED = 0


def answer(order: Order, folder: Path, report: Progress) -> str:
    """Read the models where that is needed, compute each choice, write the files; returns a sentence."""
    report(0.02, "Loading both tokenizers")
    question = Question(order.student.load(), order.teacher.load(), order.context, order.text, order.named)
    choices = [Choice(c.method, c.variant, tuple(sorted(c.options.items()))) for c in order.choices]
    if question.folder != folder.parent:
        raise CtkdError("the question of this job isn't the one that its folder is named by; ask again.")
    report(0.05, "Loading the model library")
    outputs = ModelOutputs(question, report)
    outputs.load()
    scene = make_scene(outputs)
    loss_lab.write_scene(question, scene)
    missing = loss_lab.ask(question, choices, packaged=False).missing
    for k, choice in enumerate(missing):
        report(READ + (1 - READ) * k / len(missing), f"Computing {choice.method}")
        loss_lab.write_view(question, choice, compute(outputs, scene, choice))
    prune(question.folder.parent, question.folder)
    return f"{len(scene.groups)} groups, {len(choices)} methods."


@dataclass
class ModelOutputs:
    """The logits of both models on one question; the models themselves only where a method reads hidden states."""

    question: Question
    report: Progress
    student: Any = None  # float32 [1, Ts, Vs]
    teacher: Any = None
    models: tuple[Any, Any] | None = None
    states: tuple[Any, Any] | None = field(default=None, repr=False)

    def load(self) -> None:
        """The logits, from the disk when this text was read before."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        file = self.question.folder / LOGITS
        try:
            kept = load_file(file) if file.is_file() else {}
        except (SafetensorError, OSError):
            kept = {}
        if set(kept) == {"student", "teacher"}:
            self.student, self.teacher = kept["student"], kept["teacher"]
        else:
            self.run()

    def batch(self, method: str = "sedi", variant: str = "clean") -> Any:
        """The aligned batch of one sample, as training would make it."""
        from ctkd_core.losses.batch import align_sample, collate

        q = self.question
        sample = align_sample(q.context, q.text, q.student, q.teacher, method, variant=variant)
        return collate([sample], q.student, q.teacher)

    def run(self, deep: bool = False) -> None:
        """Run both models on the text; with `deep`, keep their hidden states too."""
        import torch
        from safetensors.torch import save_file

        from ctkd_core.losses.base import States

        student, teacher = self.models = self.models or self._load_models()
        batch = self.batch()
        self.report(MODELS_READY, "Both models read the text")
        outs, states = [], []
        with torch.inference_mode():
            for model, ids in ((student, batch.student_ids), (teacher, batch.teacher_ids)):
                out = model(input_ids=ids, use_cache=False, output_hidden_states=deep)
                outs.append(out.logits.float())
                head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
                states.append(States(tuple(out.hidden_states), head, embeddings) if deep else None)
        self.student, self.teacher = (logits.clone() for logits in outs)  # a plain tensor, gradients allowed
        if deep:
            self.states = (states[0], states[1])
            return
        with files.replacing(self.question.folder / LOGITS) as part:
            save_file({"student": self.student.contiguous(), "teacher": self.teacher.contiguous()}, part)

    def _load_models(self) -> tuple[Any, Any]:
        from ctkd_core.distill.checks import NAME_ITS_OWN
        from ctkd_core.distill.models import facts, students, teachers

        if fault := facts.of_another_model(self.question.teacher, facts.BUNDLED):
            raise CtkdError(f"{fault} {NAME_ITS_OWN.format(repr(facts.name_of(facts.BUNDLED)))}")
        folder = teachers.prepare(lambda share, words: self.report(0.1 + 0.2 * share, words))
        self.report(0.3, "Loading the teacher")
        teacher: Any = teachers.load_model(folder, role="teacher").eval()
        self.report(0.4, "Moving the teacher's body to the student's tokenizer")
        student: Any = students.transplant(teacher, self.question.student, self.question.teacher).eval()
        return student.requires_grad_(False), teacher.requires_grad_(False)


def make_scene(outputs: ModelOutputs) -> Scene:
    """What all methods share: tokens, groups, and what both models predict."""
    q, batch = outputs.question, outputs.batch()
    starts = [int((labels != -100).int().argmax()) for labels in (batch.student_labels, batch.teacher_labels)]
    groups = tuple((a, b, c, d) for _, a, b, c, d in batch.groups.tolist())
    return Scene(
        student=q.student.name,
        teacher=q.teacher.name,
        context=q.context,
        text=q.text,
        student_ids=tuple(batch.student_ids[0].tolist()),
        teacher_ids=tuple(batch.teacher_ids[0].tolist()),
        student_start=starts[0],
        teacher_start=starts[1],
        groups=groups,
        student_predictions=_predictions(outputs.student[0], batch.student_ids[0].tolist(), starts[0]),
        teacher_predictions=_predictions(outputs.teacher[0], batch.teacher_ids[0].tolist(), starts[1]),
        notes=(
            "Teacher: the bundled SmolLM2 135M Instruct (4-bit weights). Student: its body with embeddings moved to "
            f"{q.student.name}'s tokens, before any training.",
        ),
    )


def _predictions(logits: Any, ids: list[int], start: int) -> tuple[Prediction, ...]:
    found = []
    for position in range(max(1, start), len(ids)):
        log_p = logits[position - 1].log_softmax(-1)
        best = log_p.topk(CANDIDATES)
        token = ids[position]
        found.append(
            Prediction(
                position=position,
                ids=tuple(best.indices.tolist()),
                p=_short(best.values.exp().tolist()),
                token=token,
                token_p=_short([float(log_p[token].exp())])[0],
                rank=int((log_p > log_p[token]).sum()) + 1,
                entropy=_short([float(-(log_p.exp() * log_p).sum())])[0],
            )
        )
    return tuple(found)


def compute(outputs: ModelOutputs, scene: Scene, choice: Choice) -> LossView:
    """One method on the scene; a method that refuses the input has its sentence as `problem`."""
    view = LossView(choice.method, choice.variant, dict(choice.options))
    try:
        return _compute(outputs, scene, choice, view)
    except CtkdError as fault:
        return replace(view, problem=str(fault))


def _compute(outputs: ModelOutputs, scene: Scene, choice: Choice, view: LossView) -> LossView:
    from ctkd_core.losses.views.case import Case

    options = choice.resolved()
    batch = outputs.batch(choice.method, choice.variant)
    began = time.perf_counter()
    out, gradient, notes, given = _run(outputs, batch, choice, options)
    seconds = time.perf_counter() - began
    row = methods.get(choice.method)
    # without its cross-entropy on the text; a fallback on the text belongs to the distillation
    apart = without_data(row, options, choice.variant, off=("ce_weight",)) if "ce_weight" in options else None
    distil, distil_gradient = (out, gradient) if apart is None else _run(outputs, batch, choice, apart)[:2]
    taught = row.asks_teacher  # SFT asks no teacher: nothing is distilled
    own = batch.groups.tolist()
    table = row.loss_table(options, LossInputError, choice.variant)
    case = Case(batch, outputs.student, outputs.teacher, table, choice.variant, scene.groups, given)
    return replace(
        view,
        loss=float(out.loss.detach()),
        distil_loss=float(distil.loss.detach()) if taught else 0.0,
        terms={name: float(value) for name, value in out.terms.items()},
        diagnostics={name: float(value) for name, value in out.diagnostics.items()},
        norm=float(gradient.norm()),
        own_groups=len(own),
        whole=share_out(out.per_group.tolist(), own, scene),
        distil=share_out((distil.per_group * taught).tolist(), own, scene),
        gradients=_row_gradients(outputs, scene, gradient, distil_gradient * taught),
        targets=_targets(choice, case),
        notes=tuple(notes),
        seconds=round(seconds, 3),
    )


def _run(
    outputs: ModelOutputs, batch: Any, choice: Choice, options: dict[str, Any]
) -> tuple[Any, Any, list[str], dict[str, Any]]:
    """LossOutput, its gradient [Ts, Vs], what one should know, what the loss got besides.

    Models are loaded where hidden states are read.
    """
    import torch

    from ctkd_core.losses import loss, make_state
    from ctkd_core.losses.base import StateContext

    q, row = outputs.question, methods.get(choice.method)
    deep = row.reads_hidden_states(options)
    if deep and outputs.states is None:
        outputs.run(deep=True)
    leaf = outputs.student.clone().requires_grad_()
    torch.manual_seed(SEED)
    widths: dict[str, Any] = {"student_vocab": leaf.shape[-1], "teacher_vocab": outputs.teacher.shape[-1]}
    given: dict[str, Any] = {}
    if deep and outputs.states is not None:
        given = {"student_states": outputs.states[0], "teacher_states": outputs.states[1]}
        for side, states in zip(("student", "teacher"), outputs.states):
            widths |= {f"{side}_width": states.head.shape[1], f"{side}_head": states.head.detach()}
    context = StateContext(**widths, student=q.student, teacher=q.teacher)
    state = make_state(choice.method, leaf.shape[-1], context=context, variant=choice.variant, **options)
    given |= {} if state is None else {"state": state}
    out = loss(choice.method, leaf, outputs.teacher, batch, variant=choice.variant, **given, **options)
    if out.loss.requires_grad:
        out.loss.backward()
    gradient = torch.zeros_like(leaf[0]) if leaf.grad is None else leaf.grad[0]
    notes = []
    if deep:
        untrained = "The gradient that reaches hidden states isn't shown."
        if not getattr(state, "keeps_logits", False):
            untrained += " Projectors between hidden states are untrained here, so their terms say little."
        notes.append(untrained)
    return out, gradient.detach(), notes, given


def share_out(values: Sequence[float], own: Sequence[Sequence[int]], scene: Scene) -> tuple[float, ...]:
    """Values of a method's groups (sample, s0, s1, t0, t1), by student token, added up over the scene's groups."""
    by_token = [0.0] * len(scene.student_ids)
    for value, (_, s0, s1, _, _) in zip(values, own):
        for i in range(s0, s1):
            by_token[i] += value / (s1 - s0)
    return _short([sum(by_token[s0:s1]) for s0, s1, _, _ in scene.groups])


def _row_gradients(outputs: ModelOutputs, scene: Scene, whole: Any, distil: Any) -> tuple[RowGradient, ...]:
    written = _first_pieces(outputs.question, scene)
    found = []
    for one in scene.student_predictions:
        g, d = whole[one.position - 1], distil[one.position - 1]
        largest = _largest(d, LARGEST) + _largest(g, 2)
        ids = [one.token, *outputs.question.named, *one.ids[:STUDENT_TOP], *written.get(one.position, ()), *largest]
        kept = tuple(i for i in dict.fromkeys(ids) if 0 <= i < len(g))
        at = list(kept)
        norms = _short([float(g.norm()), float(d.norm())])
        found.append(RowGradient(one.position, kept, _short(g[at].tolist()), _short(d[at].tolist()), *norms))
    return tuple(found)


def _largest(gradient: Any, count: int) -> list[int]:
    """Ids of the largest entries that aren't 0: of a row without a gradient, none is."""
    best = gradient.abs().topk(count)
    return best.indices[best.values > 0].tolist()  # type: ignore[no-any-return]


def _first_pieces(question: Question, scene: Scene) -> dict[int, list[int]]:
    """For the first student token of each group, the teacher's best candidates as student tokens (first pieces)."""
    table = question.teacher.all_token_bytes()
    found: dict[int, list[int]] = {}
    for s0, _, t0, _ in scene.groups:
        prediction = scene.prediction("teacher", t0)
        if prediction is None:
            continue
        texts = [
            table[i] for i in prediction.ids[:TEACHER_TOP] if i < len(table) and i not in question.teacher.special_ids
        ]
        found[s0] = [pieces[0] for pieces in question.student.encode_pieces(texts) if pieces]
    return found


def _targets(choice: Choice, case: Case) -> tuple[Target, ...]:
    """What the method's view shows, one for each group of the scene in which it compares something."""
    path = methods.get(choice.method).view
    found = methods.load(path)(case) if path else []
    short = [(one, tuple((what, _short([p])[0]) for what, p in one.lost)) for one in found if one is not None]
    return tuple(replace(one, lost=lost) for one, lost in short)


def _short(values: Sequence[float]) -> tuple[float, ...]:
    """Six digits are enough to draw, and half the file."""
    return tuple(float(f"{v:.6g}") for v in values)


def prune(root: Path, current: Path) -> None:
    """Keep the folders of the last questions; each holds up to 90 MB of logits."""
    folders = [p for p in root.iterdir() if p.is_dir() and p != current]
    folders.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for old in folders[loss_lab.KEPT_QUESTIONS :]:
        shutil.rmtree(old, ignore_errors=True)
    for old in folders[loss_lab.KEPT_LOGITS :]:
        (old / LOGITS).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(work(sys.argv[1:], answer, Order))
