"""How much text a figure is measured on, in words: pieces and bytes of that text alone which the figure is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments import results
from experiments.definition import Condition
from experiments.shared_settings import Records
from experiments.standing import BY_DOMAIN

# Bytes by domain, for each file of held-out text and number of samples taken of it.
BytesOf = Mapping[tuple[str, int], Mapping[str, int]]


def held_out_text(condition: Condition, records: Records, most: int, bytes_of: BytesOf) -> str:
    """Pieces, and bytes where runs noted them; of a figure of one domain that domain's.

    most       samples of held-out text that a run measures at most
    bytes_of   what runs noted by domain (`bytes_by_domain`); a file of samples is named by its content, so what one run
               noted holds for all that were measured on it
    """
    wanted = condition.held_out
    domain = condition.figure.removeprefix(BY_DOMAIN) if condition.figure.startswith(BY_DOMAIN) else ""
    texts = [name for name in wanted.texts if domain in ("", name.removesuffix("-held"))] if wanted else []
    pieces = wanted.count * len(texts) if wanted else 0
    # Where fewer pieces are measured than there are, nobody noted how many of them are of one domain.
    known = bool(pieces) and (not domain or (wanted is not None and wanted.count * len(wanted.texts) <= most))
    said = f"{min(pieces, most)} pieces" if known else f"at most {min(pieces or most, most)} pieces"
    said += f" of {domain}" if domain else ""
    measured = {_bytes(record, domain, bytes_of) for by_seed in records.values() for record in by_seed.values()} - {0}
    if measured:
        low, high = min(measured), max(measured)
        said += f", {low:,} bytes" if low == high else f", {low:,} to {high:,} bytes"
    if wanted is None:
        said += ", held out of the same set"
        if condition.train.by_seed:
            return f"{said}, other ones for each seed"
    return f"{said}, the same for all seeds"


def bytes_by_domain(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], dict[str, int]]:
    """What runs noted of held-out text that is a file of its own: bytes by domain."""
    return {key: noted for record in records if (key := _measured_on(record))[0] and (noted := _noted(record))}


def _measured_on(record: Mapping[str, Any]) -> tuple[str, int]:
    config = record["config"]
    return str(config.get("eval_data") or ""), int(config.get("eval_samples") or 0)


def _noted(record: Mapping[str, Any]) -> dict[str, int]:
    """Bytes by domain that a run noted, in its figures if it is an older one."""
    return record.get("held_out_bytes_by_domain") or results.held_out_bytes(record["figures"])


def _bytes(record: Mapping[str, Any], domain: str, bytes_of: BytesOf) -> int:
    """Bytes of held-out text, of a domain or of all; 0 where nobody noted them."""
    if domain:
        return (_noted(record) or bytes_of.get(_measured_on(record), {})).get(domain, 0)
    return int(record.get("held_out_bytes") or sum(_noted(record).values()))
