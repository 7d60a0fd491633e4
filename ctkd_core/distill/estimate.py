"""What a run will cost: memory and time, from its config and this machine's speed, without importing torch.

Counting operations: a forward pass takes 2 operations a parameter and token, a training step 6. How many of a
processor's operations arrive there was measured on two cores (SmolLM2-135M under DeepSeek's tokenizer, float32);
the processor's own speed is measured here, once a process, by multiplying two matrices.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core.distill.checkpoints import KEPT
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.devices import cpu_count, guess_device
from ctkd_core.distill.evaluation.table import chosen, tokens_of
from ctkd_core.distill.models.facts import layers_of
from ctkd_core.distill.teachers.access import Access
from ctkd_core.errors import RunError

if TYPE_CHECKING:
    from ctkd_core.distill.sources.bundled import BundledSet

FORWARD_SHARE = 0.70  # of the matrix speed that a forward pass of some 200 tokens reaches
BACKWARD_SHARE = 0.60
OPTIMISER_BYTES_PER_SECOND = 2.5e10  # AdamW reads and writes 28 bytes a parameter
CLIP_AND_REST_SECONDS = 0.2  # a step: gradient norm, logging, collating
LOADING_SECONDS = 12.0  # libraries, tokenizers, data, models, vocabulary map
CONVERTING_SECONDS = 20.0  # the bundled teacher, once
ALIGNED_BYTES_PER_SECOND = 150_000.0  # of a file of samples, read, encoded on both sides and aligned
BUNDLED_BYTES = 150_000  # of the bundled samples
LEAST, MOST = 0.7, 1.6  # of the likeliest duration
BUNDLED_TEACHER = (106_000_000, 28_311_552)  # body, embeddings
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}  # of a weight
CUDA_SPEED = 2.0e13  # operations a second, a cautious figure for any recent GPU


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model's body and of its embedding matrix (tied: it is the head too), and its vocabulary."""

    body: int
    embedding: int
    vocabulary: int

    @property
    def total(self) -> int:
        """All parameters."""
        return self.body + self.embedding


def model_sizes(config: RunConfig, student_vocab: int, teacher_vocab: int) -> tuple[ModelSize, ModelSize]:
    """Student and teacher. A model on the hub can't be looked at from here; the bundled one's size is assumed."""
    from ctkd_core.distill.models.teachers import student_source, teacher_source

    teacher = _known_size(teacher_source(config), teacher_vocab) or ModelSize(*BUNDLED_TEACHER, teacher_vocab)
    if config.student_model == "scratch":
        body = 12 * config.hidden_size**2 * config.layers  # attention 4 d^2, gated feed-forward 8 d^2 a layer
        return ModelSize(body, student_vocab * config.hidden_size, student_vocab), teacher
    if config.student_model == "pretrained" and (known := _known_size(student_source(config))):
        return known, teacher
    begins = (_known_size(student_source(config)) if config.student_path else None) or teacher
    width, body = begins.embedding // begins.vocabulary, begins.body
    if config.student_model == "prune" and (layers := layers_of(config.begins_with)):
        body = body * min(config.student_layers, layers) // layers
    return ModelSize(body, student_vocab * width, student_vocab), teacher


def further_sizes(config: RunConfig) -> list[ModelSize]:
    """The further teachers; one that can't be looked at is taken for the bundled one."""
    from ctkd_core.distill.models.teachers import weights_source

    return [
        _known_size(weights_source(entry["teacher"], entry["teacher_path"])) or ModelSize(*BUNDLED_TEACHER, 49_152)
        for entry in config.teachers
    ]


def _weight_bytes(config: RunConfig, teacher: ModelSize) -> int:
    """Of the teacher's weights, which are in memory where a run asks it, measures it or copies its body."""
    access = Access.of(config)
    if access.elsewhere:  # a student is made of it, and then it goes
        return 4 * teacher.total if config.copies_teacher else 0
    return _BYTES[access.precision] * teacher.total if config.needs_teacher or config.eval_samples else 0


def _student_bytes(config: RunConfig, student: ModelSize) -> int:
    """Of the student: four for each weight, and twelve more for one that learns, its gradient and AdamW's moments."""
    if not config.lora_rank:
        return 16 * student.total
    # LoRA beside square matrices, which most are; embeddings that were moved go on learning (`models.adapters`).
    added = 2 * config.lora_rank * student.body * student.vocabulary // max(1, student.embedding)
    moved = student.embedding if config.student_model in ("transplant", "prune") else 0
    return 4 * (student.total + added) + 12 * (added + moved)


def _loaded_besides(config: RunConfig) -> list[int]:
    """Bytes of the further teachers' models that aren't loaded already: one source in one precision is loaded once."""
    from ctkd_core.distill.models.teachers import teacher_source, weights_source

    sizes: dict[tuple[str, str], int] = {}
    for entry, size in zip(config.teachers, further_sizes(config)):
        access = Access.of(entry)
        if not access.elsewhere:
            key = weights_source(entry["teacher"], entry["teacher_path"]), access.precision
            sizes.setdefault(key, _BYTES[access.precision] * size.total)
    if not Access.of(config).elsewhere:
        sizes.pop((teacher_source(config), config.teacher_precision), None)
    return list(sizes.values())


def _known_size(source: str, vocabulary: int = 49_152) -> ModelSize | None:
    """Size of the bundled model, or of the one in a folder."""
    return ModelSize(*BUNDLED_TEACHER, vocabulary) if source == "bundled" else _folder_size(source)


def _folder_size(source: str) -> ModelSize | None:
    """Size of the model in a folder, from its config and the bytes of its weights; None without such a folder."""
    if not source:  # not the current folder, which may hold a model by chance
        return None
    try:
        folder = Path(source).expanduser()
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        embedding = int(settings["vocab_size"]) * int(settings["hidden_size"])
        width = 2 if "16" in str(settings.get("dtype", settings.get("torch_dtype", "float32"))) else 4
        return ModelSize(max(0, stored // width - embedding), embedding, int(settings["vocab_size"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # RuntimeError: no such home folder
        return None


@dataclass(frozen=True)
class Duration:
    """Wall-clock seconds of a run: before its first step, then all steps and evaluations; and how far it may be off."""

    preparation: float
    training: float

    @property
    def seconds(self) -> float:
        """The likeliest duration of the whole."""
        return self.preparation + self.training

    @property
    def between(self) -> tuple[float, float]:
        """Shortest and longest that is to be expected; other busy programs make it the longest, or more."""
        return spread(self.seconds)


def spread(seconds: float) -> tuple[float, float]:
    """Shortest and longest time to expect where so many seconds are the likeliest."""
    return LEAST * seconds, MOST * seconds


def estimate_seconds(config: RunConfig, student_vocab: int = 129_280, teacher_vocab: int = 49_152) -> float:
    """Wall-clock seconds that a run will take on this machine, preparation included: the middle of `estimate`."""
    return estimate(config, student_vocab, teacher_vocab).seconds


def estimate(config: RunConfig, student_vocab: int = 129_280, teacher_vocab: int = 49_152) -> Duration:
    """How long a run will take on this machine."""
    student, teacher = model_sizes(config, student_vocab, teacher_vocab)
    speed = _speed(config)
    tokens = config.batch_size * _tokens(config)
    step = 2 * student.total * tokens / (FORWARD_SHARE * speed) + 4 * student.total * tokens / (BACKWARD_SHARE * speed)
    if config.needs_teacher:
        read = [config, *config.teachers]
        asked = [size for size, entry in zip([teacher, *further_sizes(config)], read) if not Access.of(entry).elsewhere]
        step += sum(2 * size.total * tokens * 1.2 / (FORWARD_SHARE * speed) for size in asked)
    # One token at a time, the weights are read anew for each: about three times the operations' own time.
    # What a server takes to write them isn't known here.
    written_here = 0.0 if config.on_policy_server else config.on_policy_share
    drawn = written_here * config.batch_size * config.on_policy_max_new_tokens * 3
    step += 2 * student.total * drawn / (FORWARD_SHARE * speed)
    step = config.accumulation * step + 28 * student.total / OPTIMISER_BYTES_PER_SECOND + CLIP_AND_REST_SECONDS
    scored = config.eval_samples * _tokens(config)
    written = config.sample_prompts * config.sample_tokens * 3
    look = 2 * (scored + written) * student.total / (FORWARD_SHARE * speed)
    looks = 2 + (config.steps // config.eval_every if config.eval_every else 0)
    elsewhere = Access.of(config).elsewhere
    teacher_look = 0.0 if elsewhere else 2 * (scored + written) * teacher.total / (FORWARD_SHARE * speed)
    if config.eval_samples:
        look += sum(cost.each for cost in _costs(config, student, teacher).values())
        teacher_look += 0.0 if elsewhere else sum(cost.once for cost in _costs(config, student, teacher).values())
    preparation = LOADING_SECONDS + _converting(config) + _aligning(config)
    return Duration(preparation, config.steps * step + looks * look + teacher_look)


def reading_seconds(config: RunConfig, source: str, tokens: int) -> float:
    """Wall-clock seconds in which a teacher's model reads so many tokens here, with what a run tells of it besides.

    source  as `teacher_source` gives it; a model that can't be looked at is taken for the bundled one
    """
    size = _known_size(source) or ModelSize(*BUNDLED_TEACHER, 49_152)
    tokens += config.eval_samples * _tokens(config) + config.sample_prompts * config.sample_tokens * 3
    return LOADING_SECONDS + _converting(config) + 2 * size.total * tokens / (FORWARD_SHARE * _speed(config))


@dataclass(frozen=True)
class EvaluationCost:
    """Seconds that an evaluation takes each time, and those that its first time takes besides."""

    each: float
    once: float


def evaluation_costs(
    config: RunConfig, names: Iterable[str] | None = None, student_vocab: int = 129_280, teacher_vocab: int = 49_152
) -> dict[str, EvaluationCost]:
    """What evaluations (default: the config's) take on this machine, bits per byte aside."""
    return _costs(config, *model_sizes(config, student_vocab, teacher_vocab), names)


def scoring_cost(config: RunConfig, student_vocab: int = 129_280, teacher_vocab: int = 49_152) -> EvaluationCost:
    """What bits per byte of the held-out samples take on this machine."""
    student, teacher = model_sizes(config, student_vocab, teacher_vocab)
    each = 2 * config.eval_samples * _tokens(config) / (FORWARD_SHARE * _speed(config))
    return EvaluationCost(each * student.total, each * teacher.total)


def _costs(
    config: RunConfig, student: ModelSize, teacher: ModelSize, names: Iterable[str] | None = None
) -> dict[str, EvaluationCost]:
    speed = FORWARD_SHARE * _speed(config)
    tokens = tokens_of(config, chosen(config.evaluations) if names is None else names, _tokens(config))
    return {
        name: EvaluationCost(
            2 * (read.student * student.total + read.teacher * teacher.total) / speed,
            2 * read.teacher_once * teacher.total / speed,
        )
        for name, read in tokens.items()
    }


def estimate_bytes(config: RunConfig, student_vocab: int = 129_280, teacher_vocab: int = 49_152) -> dict[str, int]:
    """Bytes of memory by part, float32: student (weights; gradient and two moments of what learns), teacher, logits
    [B, T, V], other."""
    student, teacher = model_sizes(config, student_vocab, teacher_vocab)
    positions = config.batch_size * config.max_length
    parts = {
        "student": _student_bytes(config, student),
        "teacher": _weight_bytes(config, teacher) + sum(_loaded_besides(config)),
        # The logits, their gradient, and one more copy inside the head's backward pass.
        "logits": 4
        * positions
        * (
            3 * student.vocabulary
            + (teacher.vocabulary if config.needs_teacher else 0)
            + sum(size.vocabulary for size in further_sizes(config))
        ),
        "other": 900_000_000,  # libraries, tokenizers, activations of short samples
    }
    return parts | {"total": sum(parts.values())}


def checkpoint_bytes(config: RunConfig, student_vocab: int = 129_280) -> int:
    """Bytes on the disk at the worst moment: kept checkpoints, one being written, and the student itself."""
    student, _ = model_sizes(config, student_vocab, 49_152)
    kept = max(config.keep_checkpoints, KEPT) + 1 if config.save_every else 1  # cancelling keeps one, too
    return 12 * student.total * kept + 4 * student.total * config.save_student


def _tokens(config: RunConfig) -> int:
    known = _bundled(config.data)
    return config.max_length if known is None else min(config.max_length, known.tokens)


def _bundled(source: str) -> BundledSet | None:
    from ctkd_core.distill.sources.bundled import bundled_set

    with suppress(RunError):  # a name that isn't known is told elsewhere
        return bundled_set(source)
    return None


def _aligning(config: RunConfig) -> float:
    """Seconds to read the data and to align every sample, once for each teacher."""
    known = _bundled(config.data)
    try:
        path = Path(config.data).expanduser() if known is None else known.path
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError):
        return 0.0  # on the hub: its size isn't known from here
    if config.data == "bundled":
        size = BUNDLED_BYTES
    return size * (1 + len(config.teachers)) / ALIGNED_BYTES_PER_SECOND


def _converting(config: RunConfig) -> float:
    from ctkd_core.distill.models import teachers as teacher

    return CONVERTING_SECONDS if teacher.teacher_source(config) == "bundled" and not teacher.is_prepared() else 0.0


def _speed(config: RunConfig) -> float:
    if guess_device(config.device).startswith("cuda"):
        return CUDA_SPEED
    share = min(1.0, (config.threads or cpu_count()) / cpu_count())
    return matrix_speed() * share


@lru_cache(maxsize=1)
def matrix_speed() -> float:
    """float32 operations a second of this machine's cores together (30 ms, once).

    One core's best of many tiny products, which the matrix library doesn't spread over threads: what else runs hardly
    disturbs it, whereas threads that wait for each other on a busy machine would look fifty times too slow.
    """
    import numpy as np

    n = 64
    a, out = np.ones((n, n), dtype=np.float32), np.empty((n, n), dtype=np.float32)
    shortest = float("inf")
    for _ in range(3000):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        shortest = min(shortest, time.perf_counter() - start)
    return 2 * n**3 / shortest * cpu_count()
