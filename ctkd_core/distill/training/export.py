"""The trained student as a folder: weights, its tokenizer in AutoTokenizer's own files, generation settings, a card.

What losses learn isn't part of it. The tokenizer keeps every special token and is the same, id for id; texts end where
the data's do, and at the ends that the tokenizer's own model has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import files
from ctkd_core.tokenizers.checks import PROBES
from ctkd_core.tokenizers.faults import first_line
from ctkd_core.tokenizers.roles import ROLES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ctkd_core.tokenizers.tokenizer import Tokenizer

STATE = "loss_state"  # begins the names of the submodules that hold what losses learn


def save_student(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    folder: Path,
    card: str = "",
    ends: Iterable[int] = (),
    dtype: str = "float32",
    terms: Mapping[str, bytes] | None = None,
) -> str:
    """Keep the trained student as a folder that AutoModelForCausalLM and AutoTokenizer open.

    card: README.md; ends: further ids, beside EOS, that end a text; dtype: of the weights on the disk; terms: files
    that go along, by their names. Returns a sentence where AutoTokenizer makes another tokenizer of it, else "".
    Raises OSError.
    """
    with _without_states(model), files.replacing(folder, sync=True) as part:
        _end_texts(model, tokenizer, ends)
        _save_weights(model, part, dtype)
        save_tokenizer(tokenizer, part, model)
        otherwise = _opened_otherwise(tokenizer, part, model.config.model_type)
        if card:
            told = f"\n## Tokenizer\n\n{otherwise}\n" if otherwise else ""
            (part / "README.md").write_text(card + told, encoding="utf-8")
        for name, content in (terms or {}).items():
            (part / name).write_bytes(content)
    return otherwise


def save_tokenizer(tokenizer: Tokenizer, folder: Path, model: Any = None) -> None:
    """Write the files from which AutoTokenizer makes this tokenizer."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    roles = {f"{role}_token": _token(tokenizer, role) for role in ROLES}
    roles = {name: token for name, token in roles.items() if token is not None}
    others = [tokenizer.token(index) for index in sorted(tokenizer.special_ids)]
    settings: dict[str, Any] = {"clean_up_tokenization_spaces": False}
    longest = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if isinstance(longest, int):
        settings["model_max_length"] = longest
    if tokenizer.add_bos:
        settings["add_bos_token"] = True
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(tokenizer.backend.to_str()),
        extra_special_tokens=[token for token in others if token not in roles.values()],
        **roles,
        **settings,
    )
    if tokenizer.named_templates:
        named = dict(tokenizer.named_templates)
        made.chat_template = named["default"] if list(named) == ["default"] else named
    elif tokenizer.chat_template:
        made.chat_template = tokenizer.chat_template
    made.save_pretrained(folder)
    # The document as it is, whatever the library made of it on the way; and a class that older versions know.
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    path = folder / "tokenizer_config.json"
    written = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False), encoding="utf-8")


def _opened_otherwise(tokenizer: Tokenizer, folder: Path, model_type: str) -> str:
    """A sentence where AutoTokenizer makes another tokenizer of the folder, "" where it makes the same.

    For some types of models (qwen2 among them) transformers 5 takes a class that has its own way of cutting texts,
    whatever the files say, and no setting in them changes that.
    """
    from transformers import AutoTokenizer

    instead = "Load it with `PreTrainedTokenizerFast.from_pretrained`, which takes tokenizer.json as it is."
    try:
        found = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        ours = [tokenizer.backend.encode(text, add_special_tokens=False).ids for text in PROBES]
        same = [found(text, add_special_tokens=False)["input_ids"] for text in PROBES] == ours
    except Exception as fault:  # whatever that class makes of a vocabulary it wasn't written for
        return f"AutoTokenizer can't read this student's tokenizer ({first_line(fault)}). {instead}"
    if same:
        return ""
    return (
        f"AutoTokenizer takes a {type(found).__name__} for every {model_type}, which cuts texts otherwise than this "
        f"student's tokenizer. {instead}"
    )


def _token(tokenizer: Tokenizer, role: str) -> str | None:
    index = getattr(tokenizer, f"{role}_id")
    return None if index is None else tokenizer.token(index)


def _end_texts(model: Any, tokenizer: Tokenizer, ends: Iterable[int]) -> None:
    found = [index for index in (tokenizer.eos_id, *ends, *tokenizer.end_ids) if index is not None]
    known = list(dict.fromkeys(index for index in found if index < model.get_input_embeddings().weight.shape[0]))
    settings = model.generation_config
    settings.bos_token_id, settings.pad_token_id = tokenizer.bos_id, tokenizer.pad_id
    settings.eos_token_id = known if len(known) > 1 else (known[0] if known else None)
    for role in ("bos", "eos", "pad"):
        setattr(model.config, f"{role}_token_id", getattr(tokenizer, f"{role}_id"))


def _save_weights(model: Any, folder: Path, dtype: str) -> None:
    import torch

    wanted = getattr(torch, dtype)
    if wanted == model.dtype:
        model.save_pretrained(folder)
        return
    state = {
        name: value.to(wanted) if value.is_floating_point() else value for name, value in model.state_dict().items()
    }
    model.save_pretrained(folder, state_dict=state)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"dtype": dtype}, indent=2))


@contextmanager
def _without_states(model: Any) -> Iterator[None]:
    states = {name: model._modules.pop(name) for name in list(model._modules) if name.startswith(STATE)}
    try:
        yield
    finally:
        for name, state in states.items():
            model.add_module(name, state)


def stored_dtype(source: str) -> str:
    """The floating-point type in which a model's weights lie at its source, "float32" where that isn't known."""
    from ctkd_core.distill.models.facts import raw_config

    table = raw_config(source)
    for found in (table, table.get("text_config")):
        if isinstance(found, dict) and (name := found.get("dtype", found.get("torch_dtype"))) is not None:
            return str(name) if name in ("float32", "bfloat16", "float16") else "float32"
    return "float32"
