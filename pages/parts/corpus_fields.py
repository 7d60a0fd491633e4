"""The two fields that name a corpus of one's own: a file to upload, or a path on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from ctkd_core.pair.corpora.uploads import MAX_BYTES
from pages.parts.launching import may_change

ENDINGS = ["txt", "md", "jsonl", "ndjson", "json", "parquet", "gz"]
MAX_MB = MAX_BYTES // 1_000_000


def file_field(name: str, on_change: Callable[[], None]) -> Any:
    """The upload, None without one. `name` tells the fields of pages apart."""
    return st.file_uploader(
        f"UTF-8 text, JSON or Parquet (.txt, .md, .jsonl, .json, each with .gz, too; .parquet), at most {MAX_MB} MB",
        type=ENDINGS,
        key=f"{name}_file",
        max_upload_size=MAX_MB,
        on_change=on_change,
    )


def path_field(name: str, on_change: Callable[[], None]) -> str:
    """The path as it was typed, "" without one."""
    return st.text_input(
        "or a file or folder on this machine, of any size",
        key=f"{name}_path",
        placeholder="/data/corpus",
        on_change=on_change,
        disabled=not may_change(),
    ).strip()
