"""Documents about tokenizers, and about texts under them."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeInt

from ctkd_core.cli.printed.base import Metrics, Printed, Region


class NamedTokenizer(Printed):
    """A tokenizer. `offline`: whether it is here."""

    name: str
    vocab_size: NonNegativeInt
    kind: str
    source: str
    licence: str
    offline: bool


class CatalogRow(NamedTokenizer):
    """A tokenizer that is known by name. `install`: the command that brings it."""

    title: str
    install: str


class TokenizerFacts(NamedTokenizer):
    """A tokenizer that was loaded; ids are null where it has no such token, `special_tokens` is how many it has."""

    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    unk_id: int | None
    special_tokens: NonNegativeInt
    chat_template: bool
    fingerprint: str
    warnings: list[str]


class TokensDocument(Printed):
    """A text under one tokenizer; a span is where a token begins and ends, in bytes of the text."""

    name: str
    ids: list[int]
    tokens: list[str]
    spans: list[list[int]]
    notes: list[str]


class Aligned(Printed):
    """One text under two tokenizers.

    groups  regions whose tokens belong together
    pairs   of tokens, where a method pairs them one by one; flags: which groups it takes for correct itself
    """

    student: TokensDocument
    teacher: TokensDocument
    method: str
    variant: str
    options: dict[str, Any]
    groups: list[Region]
    pairs: list[list[int]] | None
    flags: list[bool] | None
    metrics: Metrics
    notes: list[str]


class SideDocument(Printed):
    """A tokenizer and how many tokens it makes of the text."""

    name: str
    tokens: NonNegativeInt


class AgreementDocument(Printed):
    """How far two methods, a and b, agree; `share` of tokens in equal groups, `disagreements` where they differ."""

    a: str
    b: str
    boundary_f1: float
    share: float
    disagreements: list[Region]


class ComparedDocument(Printed):
    """Several methods on one text; `disagreements` are regions where not all have the same groups."""

    student: SideDocument
    teacher: SideDocument
    methods: dict[str, Metrics]
    agreement: list[AgreementDocument]
    disagreements: list[Region]
    notes: list[str]
