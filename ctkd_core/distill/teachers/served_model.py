"""Whether a server has the model that it is asked for and the tokenizer that it should, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ctkd_core.distill.teachers.client import Server
from ctkd_core.errors import RunError, short, unknown

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

NAMED = "token_id:"
PROBE = "The teacher reads 1,234 words: naïve café, 東京!\n"


def models_of(server: Server) -> list[str]:
    """The names in the server's list of models; none where it has no list. Raises RunError."""
    listed = server.get("models")
    data = listed.get("data") if isinstance(listed, dict) else None
    entries = data if isinstance(data, list) else []
    return [e["id"] for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)]


def check_model(server: Server, model: str) -> None:
    """Raise RunError where the server has a list of models, and not this one in it."""
    names = models_of(server)
    if names and model not in names:
        raise unknown("model of the server", model, names, RunError)


def check_tokenizer(server: Server, model: str, tokenizer: Tokenizer) -> None:
    """Compare how the server cuts a text, where it tells that (vLLM: /tokenize, beside /v1). Raises RunError."""
    beside = replace(server, address=server.address.rstrip("/").removesuffix("/v1"), tries=1)
    try:
        found = beside.post("tokenize", {"model": model, "prompt": PROBE, "add_special_tokens": False})
    except RunError:  # it needn't have this
        return
    ids = found.get("tokens") if isinstance(found, dict) else None
    (own,) = tokenizer.encode_batch([PROBE])
    if isinstance(ids, list) and ids and ids != list(own):
        at = next((n for n, (a, b) in enumerate(zip(ids, own)) if a != b), min(len(ids), len(own)))
        raise RunError(
            f"the server's model {short(model)} has another tokenizer than {tokenizer.name!r}: token "
            f"{at} of a text is {ids[at : at + 1]} there and {list(own)[at : at + 1]} here. Name the tokenizer "
            "that belongs to the server's model."
        )


def id_named(name: str) -> int | None:
    """N of the text "token_id:N", by which servers name a token; None for any other text.

    Digits are those of ASCII, and fewer than ten: no vocabulary has more, and `int` refuses very many.
    """
    digits = name.removeprefix(NAMED)
    told = digits != name and digits.isascii() and digits.isdecimal() and len(digits) < 10
    return int(digits) if told else None


def choices_of(server: Server, answer: Any, count: int) -> list[dict[str, Any]]:
    """The choices of an answer to `count` prompts, in their order. Raises RunError.

    They are numbered from 0; where these numbers are none (a text, null), the choices are taken as they come.
    """
    if answer is None:
        raise RunError(f"the server {short(server.address)} has no /completions; its address often ends in /v1.")
    found = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(choice, dict) for choice in found) or len(found) != count:
        raise RunError(f"the server {short(server.address)} didn't answer {count} prompts with {count} choices.")
    numbers = [choice.get("index", 0) for choice in found]
    numbered = all(type(number) is int for number in numbers)
    return sorted(found, key=lambda choice: choice.get("index", 0)) if numbered else found
