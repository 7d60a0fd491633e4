"""Roles that special tokens have: a tokenizer has the id of each, `bos_id` and so on, or None."""

from __future__ import annotations

ROLES = ("bos", "eos", "pad", "unk")
