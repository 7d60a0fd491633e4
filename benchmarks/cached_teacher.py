"""A cached teacher against the live one, on the bundled pair: seconds a step, size on the disk, error of every loss.

    python benchmarks/cached_teacher.py            errors at k = 16, 64, 256 and bytes a row
    python benchmarks/cached_teacher.py --steps 6  and CPU seconds of steps of the quick preset, live and cached

A loss's error is |cached - live| / |live| on one batch of the bundled data, the student being the quick preset's before
its first step; its gradient's is the relative L2 distance. Figures of process time, not of the clock.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _record import arguments, save

from ctkd_core import methods
from ctkd_core.distill.config import PRESETS, RunConfig
from ctkd_core.distill.models.students import build_student
from ctkd_core.distill.models.teachers import align_all, load_teacher, planned_teachers
from ctkd_core.distill.teachers.kept import KeptTeacher
from ctkd_core.distill.teachers.reader import ModelReader
from ctkd_core.distill.teachers.rows import RowLayout
from ctkd_core.losses import loss, make_state
from ctkd_core.losses.base import StateContext
from ctkd_core.losses.batch import collate
from ctkd_core.tokenizers.load import load_tokenizer

BATCH = 6
SAMPLES = 120  # of the bundled data, for the timed steps
TOP = (16, 64, 256)


def errors() -> list[dict[str, Any]]:
    """One row a method and k."""
    quick = PRESETS["quick"]
    teacher_model = load_teacher(quick)
    students: dict[str, Any] = {}
    found = []
    for row in methods.training():
        if not row.asks_teacher or row.not_from_cache({}, "clean"):
            continue
        config = quick.replace(method=row.name, **({"student": "smollm2"} if row.same_tokenizer else {}))
        tokenizer, teacher = load_tokenizer(config.student), load_tokenizer(config.teacher)
        if config.student not in students:
            # An untrained student that isn't the teacher itself: its head's rows, turned a little.
            torch.manual_seed(0)
            model = build_student(config, tokenizer, teacher, teacher_model)
            weight = model.get_output_embeddings().weight
            with torch.no_grad():
                weight.add_(0.2 * weight.std() * torch.randn_like(weight))
            students[config.student] = model
        found += _errors_of(config, students[config.student], teacher_model, (tokenizer, teacher))
    return found


def _errors_of(config: RunConfig, model: Any, teacher_model: Any, pair: Any) -> list[dict[str, Any]]:
    from ctkd_core.distill.data import load_split

    (planned,) = planned_teachers(config, pair[1])
    chosen = load_split(config.data, config.template).train[:BATCH]
    samples = [align_all([planned], pair[0], e, e.completion, config.max_length)[0] for e in chosen]
    batch = collate(samples, *pair)
    with torch.no_grad():
        student = model(input_ids=batch.student_ids, attention_mask=batch.student_attention).logits
        live = teacher_model(input_ids=batch.teacher_ids, attention_mask=batch.teacher_attention).logits
    context = StateContext(student.shape[-1], student=pair[0], teacher=pair[1])
    state = make_state(config.method, student.shape[-1], context=context, variant=config.variant)
    fixed = {"scaling": "fixed"} if any(o.name == "scaling" for o in methods.get(config.method).loss_options) else {}

    def value(teacher_logits: torch.Tensor) -> tuple[float, torch.Tensor]:
        leaf = student.clone().requires_grad_()
        out = loss(config.method, leaf, teacher_logits, batch, state=state, **fixed)
        out.loss.backward()
        assert leaf.grad is not None
        return float(out.loss.detach()), leaf.grad

    exact, gradient = value(live)
    reader = ModelReader(teacher_model, pair[1])
    rows = "all" if "prompt_rows" in methods.get(config.method).reads_besides("clean") else "answer"
    found = []
    for k, dtype in [*((k, "float16") for k in TOP), (64, "float32"), (reader.width, "float32")]:
        layout = RowLayout(k, reader.width, dtype)
        kept = KeptTeacher(pair[1], reader.width, rows, lambda readings, at=layout: reader.read(readings, rows, at))
        near, other = value(kept.logits(batch))
        found.append(
            {
                "method": config.method,
                "k": k,
                "dtype": dtype,
                "bytes_per_row": layout.record.itemsize,
                "loss": exact,
                "loss_error": abs(near - exact) / abs(exact),
                "gradient_error": float((other - gradient).norm() / gradient.norm()),
            }
        )
        print(
            f"{config.method:14} k {k:6} {dtype}: loss {exact:.4f}, off by {found[-1]['loss_error']:.1e}, "
            f"gradient by {found[-1]['gradient_error']:.1e}",
            flush=True,
        )
    return found


def steps(count: int) -> dict[str, Any]:
    """CPU seconds of filling a cache and of a step of the quick preset, live and cached, in this process."""
    import ctkd_core
    from ctkd_core.distill.data import BUNDLED_FILE
    from ctkd_core.distill.runs import RunStore
    from ctkd_core.distill.teachers.fill import fill, plan

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name) / "cache", Path(name) / "some.jsonl"
        data.write_text("".join(BUNDLED_FILE.read_text(encoding="utf-8").splitlines(keepends=True)[:SAMPLES]))
        config = PRESETS["quick"].replace(steps=count, data=str(data), sample_prompts=0, eval_samples=0)
        planned = plan(config)
        found |= {"samples": len(planned.readings), "rows": planned.rows, "bytes": planned.bytes}
        begun = time.process_time()
        fill(planned, folder)
        found["fill_cpu_seconds"] = time.process_time() - begun
        for kind, changes in (("live", {}), ("cached", {"teacher_cache": str(folder)})):
            run = ctkd_core.distill(config.replace(**changes), RunStore(Path(name) / kind))
            found[f"{kind}_losses"] = [r["loss"] for r in run.metric_rows() if r["kind"] == "train"]
            found[f"{kind}_step_cpu_seconds"] = MEASURED.pop("step")
            found[f"{kind}_teacher_cpu_seconds"] = MEASURED.pop("teacher")
            print(kind, found[f"{kind}_step_cpu_seconds"], found[f"{kind}_teacher_cpu_seconds"], flush=True)
    return found


MEASURED: dict[str, float] = {}


def _measure() -> None:
    """Median process seconds of training steps and of asking the teacher in them."""
    from ctkd_core.distill.trainer import DistillTrainer

    taken: dict[str, list[float]] = {"step": [], "teacher": []}

    def timed(name: str, method: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            begun = time.process_time()
            try:
                return method(*given, **named)
            finally:
                taken[name].append(time.process_time() - begun)
                MEASURED[name] = sorted(taken[name])[len(taken[name]) // 2]

        return run

    plain = DistillTrainer.__init__

    def fresh(self: Any, *given: Any, **named: Any) -> None:
        for values in taken.values():
            values.clear()
        plain(self, *given, **named)

    DistillTrainer.__init__ = fresh  # type: ignore[method-assign]
    DistillTrainer.training_step = timed("step", DistillTrainer.training_step)  # type: ignore[method-assign]
    DistillTrainer._ask = timed("teacher", DistillTrainer._ask)  # type: ignore[method-assign]


def main() -> None:
    """Measure and record."""
    parser = arguments((__doc__ or "").splitlines()[0], "cached_teacher.json")
    parser.add_argument("--steps", type=int, default=0)
    args = parser.parse_args()
    rows = errors()
    more = {}
    if args.steps:
        _measure()
        more["steps"] = steps(args.steps)
    save(args.out, rows, **more)


if __name__ == "__main__":
    main()
