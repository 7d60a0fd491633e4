"""A tiny pair with models: two tokenizers and two Llamas that train in milliseconds, in folders as users have them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ctkd_core.background.progress import Progress, silent
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.teachers.fill import fill, plan
from ctkd_core.distill.teachers.manifest import CacheManifest
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.tiny import tiny_byte_level

WORDS = ["red", "green", "blue", "cats", "flag", "year", "teacher", "student"]


@dataclass(frozen=True)
class Pair:
    """Folders of a student tokenizer, a teacher with weights, and a data file of 48 pairs."""

    student: Path
    teacher: Path
    data: Path

    def config(self, **changes: object) -> RunConfig:
        settings: dict[str, object] = {
            "student": str(self.student),
            "teacher": str(self.teacher),
            "teacher_path": str(self.teacher),
            "data": str(self.data),
            "student_model": "scratch",
            "hidden_size": 32,
            "layers": 1,
            "steps": 12,
            "batch_size": 4,
            "learning_rate": 0.01,
            "max_length": 48,
            "eval_samples": 3,
            "sample_prompts": 2,
            "sample_tokens": 4,
            "threads": 1,
            "device": "cpu",
        }
        return RunConfig(**settings | changes)  # type: ignore[arg-type]


def make_pair(folder: Path) -> Pair:
    student, teacher = tiny_byte_level(400, 3), tiny_byte_level(340, 1)
    save_tokenizer(student, folder / "student")
    save_tokenizer(teacher, folder / "teacher")
    llama(teacher.n_ids, seed=1).save_pretrained(folder / "teacher")
    rows = [
        {"prompt": f"What is {a} + {b}?", "completion": f"{a + b} {WORDS[(a * b) % 8]}"}
        for a in range(8)
        for b in range(6)
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Pair(folder / "student", folder / "teacher", data)


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | names
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def llama(vocabulary: int, seed: int = 0, tied: bool = True):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=tied,
        )
    ).eval()


def cache_teacher(
    config: RunConfig,
    folder: str | Path,
    *,
    number: int = 1,
    k: int = 64,
    dtype: str = "float16",
    rows: str = "",
    progress: Progress | None = None,
) -> CacheManifest:
    """Keep the rows of a run's teacher in `folder`; a run with `teacher_cache` set to it doesn't load the teacher.

    The options are those of `plan`. `progress` gets the share done and a sentence, and may raise Cancelled: whole parts
    stay, and the same call goes on. Raises RunError for a folder of something else, no room, or no teacher.
    """
    report = progress or silent
    return fill(plan(config, number=number, k=k, dtype=dtype, rows=rows, progress=report), folder, report)
