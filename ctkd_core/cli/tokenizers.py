"""`ctkd tokenizers`: what the catalog offers without a network, or the facts of named sources."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from ctkd_core.cli.common import Answer
from ctkd_core.cli.display import table

_KEYS = ("name", "vocab_size", "kind", "licence", "offline", "source")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd tokenizers`."""
    parser.add_argument("source", nargs="*", help="load these and describe them: catalog name, hub id, folder or file")


def run(args: argparse.Namespace) -> Answer:
    """One row per catalog entry, nothing loaded; with sources given, one row per loaded source."""
    from ctkd_core.tokenizers.assets import is_installed
    from ctkd_core.tokenizers.catalog import TOKENIZERS

    if not args.source:
        rows: list[dict[str, Any]] = [asdict(row) | {"offline": is_installed(row)} for row in TOKENIZERS.values()]
        rows = [{key: row[key] for key in ("title", *_KEYS, "install")} for row in rows]
        return Answer(lambda: rows, lambda: _catalog(rows))
    rows = [_loaded(source) for source in dict.fromkeys(args.source)]
    return Answer(lambda: rows, lambda: "\n\n".join(map(_facts, rows)))


def _catalog(rows: list[dict[str, Any]]) -> str:
    missing = [f"{row['name']} is not installed: {row['install']}" for row in rows if not row["offline"]]
    return "\n".join([table(_KEYS, [[row[key] for key in _KEYS] for row in rows]), *missing])


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


def _facts(row: dict[str, Any]) -> str:
    lines = [table(["fact", row["name"]], [[key, str(v)] for key, v in row.items() if key not in {"name", "warnings"}])]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in row["warnings"])])
