"""Training data: JSONL or Parquet with `text`, `prompt`/`completion` or chat `messages`, and the bundled set.

Everything becomes an Example, a rendered prompt and what should follow it; both models read the same text. Which
examples are held out depends on a hash of the prompt alone, so equal prompts never lie on both sides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctkd_core.errors import RunError

BUNDLED_FILE = Path(__file__).parent / "data" / "bundled.jsonl"
HELD_OUT_SHARE = 1 / 12
MAX_BYTES = 2_000_000_000  # of one file: everything is held in memory


@dataclass(frozen=True)
class Example:
    """One rendered prompt and its completion.

    `kind` names the sort of task where the data says so; `question` is the prompt before it was rendered.
    """

    prompt: str
    completion: str
    kind: str = ""
    question: str = ""


@dataclass(frozen=True)
class Split:
    """Examples to learn from and examples kept apart for measuring."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]


def data_file(source: str) -> Path:
    """The file behind "bundled" or a path; raises RunError when there is none."""
    path = BUNDLED_FILE if source == "bundled" else Path(source).expanduser()
    if not path.is_file():
        raise RunError(f"data {source!r} isn't there; give 'bundled' or a .jsonl or .parquet file.")
    return path


def load_split(source: str, template: str = "plain") -> Split:
    """The examples of a source, split. Raises RunError, with the line, for records that can't be used."""
    examples = load_examples(source, template)
    keys = [hashlib.sha256((e.prompt or e.completion).encode("utf-8", "surrogatepass")).digest() for e in examples]
    wanted = max(1, round(len(examples) * HELD_OUT_SHARE))
    border = sorted(keys)[wanted - 1]
    train = tuple(e for e, key in zip(examples, keys) if key > border)
    held_out = tuple(e for e, key in sorted(zip(examples, keys), key=lambda pair: pair[1]) if key <= border)
    if not train:
        raise RunError(f"data {source!r} has {len(examples)} usable example; give at least two with different prompts.")
    return Split(train, held_out)


def load_examples(source: str, template: str = "plain") -> list[Example]:
    """All examples of a source in file order. Raises RunError for an empty file or a record that can't be used."""
    path = data_file(source)
    if path.stat().st_size > MAX_BYTES:
        raise RunError(f"data {path.name!r} has {path.stat().st_size / 1e9:.1f} GB; files up to 2 GB are read whole.")
    examples = [_example(record, f"{path.name}, record {n}", template) for n, record in _records(path)]
    if not examples:
        raise RunError(f"data {path.name!r} holds no examples.")
    return examples


def fingerprint(source: str) -> str:
    """SHA-256 of the data file in hex."""
    with data_file(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def render(question: str, template: str = "plain") -> str:
    """A question as both models read it: "Question: ...\\nAnswer:", or as it is with template "none"."""
    return f"Question: {question}\nAnswer:" if template == "plain" else question


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Number (from 1) and content of each record."""
    if path.suffix == ".parquet":
        import pandas as pd

        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError, ImportError) as fault:
            raise RunError(f"data {path.name!r} isn't a readable Parquet file: {fault}.") from None
        yield from enumerate(frame.to_dict(orient="records"), start=1)
        return
    if path.suffix not in {".jsonl", ".json"}:
        raise RunError(f"data {path.name!r} ends in {path.suffix!r}; use .jsonl or .parquet.")
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except UnicodeDecodeError as fault:
        raise RunError(f"data {path.name!r} isn't UTF-8 text near line {number + 1}: {fault.reason}.") from None
    except json.JSONDecodeError as fault:
        raise RunError(f"data {path.name!r}, line {number} isn't JSON: {fault.msg} at column {fault.colno}.") from None
    except (ValueError, RecursionError):  # a number of thousands of digits
        raise RunError(f"data {path.name!r}, line {number} is nested too deeply, or a number is too long.") from None


def _example(record: Any, where: str, template: str) -> Example:
    if not isinstance(record, Mapping):
        raise RunError(f"{where}: expected a table with text, prompt/completion or messages; got {_kind(record)}.")
    if record.get("messages") is not None:
        return _from_messages(record["messages"], where, template)
    if "prompt" in record and "completion" in record:
        question, answer = _text(record, "prompt", where), _text(record, "completion", where)
        if not answer:
            raise RunError(f"{where}: the completion is empty; there's nothing to learn.")
        return Example(*_joined(question, answer, template), str(record.get("kind") or ""), question)
    if "text" in record:
        text = _text(record, "text", where)
        if not text:
            raise RunError(f"{where}: the text is empty; there's nothing to learn.")
        return Example("", text)
    raise RunError(
        f"{where}: has {', '.join(map(str, record)) or 'nothing'}; expected text, prompt/completion or messages."
    )


def _from_messages(messages: Any, where: str, template: str) -> Example:
    if hasattr(messages, "tolist"):  # an array, from Parquet
        messages = messages.tolist()
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise RunError(f"{where}: messages must be a list of tables with role and content (text).")
    for message in messages:
        _text(message, "content", where)
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"]:
        raise RunError(f"{where}: the last message must be the assistant's and not empty; it is what's learnt.")
    *context, last = messages
    if template == "none":
        question = "".join(f"{m['content']}\n" for m in context)
        return Example(question, last["content"], "chat", question)
    names = {"user": "Question: ", "assistant": "Answer: ", "system": ""}
    lines = [names.get(m["role"], "") + m["content"] for m in context]
    return Example(
        "\n".join([*lines, "Answer:"]), f" {last['content']}", "chat", context[-1]["content"] if context else ""
    )


def _joined(question: str, answer: str, template: str) -> tuple[str, str]:
    # The space belongs to the completion: in most tokenizers it is part of the next word's token.
    return (render(question), f" {answer}") if template == "plain" else (question, answer)


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise RunError(f"{where}: {key} must be text; got {_kind(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as fault:
        raise RunError(f"{where}: {key} holds half a character at position {fault.start}; remove it.") from None
    return value


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
