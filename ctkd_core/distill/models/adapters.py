"""LoRA by peft: small matrices learn beside the student's frozen weights, and are merged into them at the end.

They are put into the model itself, so that checkpoints hold everything and resuming needs nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import files
from ctkd_core.distill.config import RunConfig
from ctkd_core.errors import RunError
from ctkd_core.markup.visible import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Adapters:
    """What was put into a model, so that it can be merged again."""

    wrapper: Any

    def merged(self) -> PreTrainedModel:
        """The model with what was learnt added to its weights, without adapters; the model itself is changed."""
        model: PreTrainedModel = self.wrapper.merge_and_unload()
        return model

    def save(self, folder: Path) -> None:
        """Keep the matrices alone, as a folder that PEFT and vLLM open. Raises OSError."""
        from peft.utils import get_peft_model_state_dict
        from safetensors.torch import save_file

        found = get_peft_model_state_dict(self.wrapper, save_embedding_layers=False)
        # A PeftModel, which there is none here, would hold the wrapper under this name.
        state = {f"base_model.{name}": value.detach().cpu().contiguous() for name, value in found.items()}
        with files.replacing(folder, sync=True) as part:
            self.wrapper.peft_config["default"].save_pretrained(part)
            save_file(state, part / "adapter_model.safetensors")


def add_adapters(model: PreTrainedModel, config: RunConfig) -> Adapters | None:
    """Freeze `model` and put LoRA matrices into it, as the run's options say; None where they don't.

    A transplanted student's embeddings, which nobody has trained yet, go on learning whole.
    Raises RunError without peft, and for targets that the model doesn't have.
    """
    if not config.lora_rank:
        return None
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError:
        raise RunError("lora_rank needs the package peft: install `ctkd-lab[lora]`, or set lora_rank to 0.") from None
    import torch

    torch.manual_seed(config.seed)
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=config.lora_dropout,
        target_modules=targets(config.lora_targets),
        task_type="CAUSAL_LM",
    )
    try:
        wrapper = LoraModel(model, {"default": settings}, "default")
    except ValueError as fault:
        raise RunError(
            f"lora_targets {config.lora_targets!r} doesn't fit the student: {one_line(str(fault))}"
        ) from None
    if config.student_model in ("transplant", "prune"):
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                layer.requires_grad_(True)
    return Adapters(wrapper)


def targets(text: str) -> str | list[str]:
    """ "all-linear", or the names between the commas."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return "all-linear" if names == ["all-linear"] else names
