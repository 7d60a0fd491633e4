"""`ctkd tokenizers`: what the catalog offers without a network, or the facts of named sources."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import Output
from ctkd_core.cli.display import styled, table

if TYPE_CHECKING:
    from rich.console import RenderableType

_KEYS = ("name", "vocab_size", "kind", "licence", "offline", "source")


def run(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Load these and describe them: catalog name, hub id, folder or file.",
            autocompletion=complete.tokenizers,
        ),
    ] = None,
) -> Output:
    """One row per catalog entry, nothing loaded; with sources given, one row per loaded source."""
    from ctkd_core.tokenizers.assets import is_installed
    from ctkd_core.tokenizers.catalog import TOKENIZERS

    if not source:
        rows: list[dict[str, Any]] = [asdict(row) | {"offline": is_installed(row)} for row in TOKENIZERS.values()]
        rows = [{key: row[key] for key in ("title", *_KEYS, "install")} for row in rows]
        return Output(lambda: rows, lambda: _catalog(rows))
    rows = [_loaded(name) for name in dict.fromkeys(source)]
    return Output(lambda: rows, lambda: [part for row in rows for part in _facts(row)])


def _catalog(rows: list[dict[str, Any]]) -> list[RenderableType]:
    missing = [f"{row['name']} is not installed: {row['install']}" for row in rows if not row["offline"]]
    cells = [[styled(row["name"], "cyan"), *(row[key] for key in _KEYS[1:])] for row in rows]
    return [table(_KEYS, cells), *(["\n".join(missing)] if missing else [])]


def _loaded(source: str) -> dict[str, Any]:
    from ctkd_core.tokenizers.catalog import TOKENIZERS
    from ctkd_core.tokenizers.load import load_tokenizer

    tokenizer = load_tokenizer(source)
    entry = TOKENIZERS.get(source)
    return {
        "name": tokenizer.name,
        "title": entry.title if entry else tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "kind": tokenizer.kind,
        "source": tokenizer.source,
        "licence": tokenizer.licence,
        "offline": not tokenizer.source.startswith("hub:"),
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "pad_id": tokenizer.pad_id,
        "unk_id": tokenizer.unk_id,
        "special_tokens": len(tokenizer.special_ids),
        "chat_template": tokenizer.chat_template is not None,
        "fingerprint": tokenizer.fingerprint,
        "warnings": list(tokenizer.warnings),
    }


def _facts(row: dict[str, Any]) -> list[RenderableType]:
    cells = [[key, str(v)] for key, v in row.items() if key not in {"name", "warnings"}]
    return [table(["fact", row["name"]], cells), *(f"warning: {warning}" for warning in row["warnings"])]
