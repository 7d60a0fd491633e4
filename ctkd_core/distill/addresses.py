"""Addresses of servers in what leaves this machine (cards, reports, files of runs): another text stands for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ctkd_core.errors import short

# Options that hold an address, of the run and of its further teachers, and what stands for it.
SERVERS = {"teacher_server": "https://teacher-server/v1", "on_policy_server": "https://student-server/v1"}


def with_stand_ins(table: Any, stand_in: Callable[[str, str], str] = lambda option, _: SERVERS[option]) -> Any:
    """A table, and those in it, with `stand_in` of option and address in place of each address that is set."""
    if isinstance(table, Mapping):
        return {
            key: stand_in(key, value)
            if key in SERVERS and isinstance(value, str) and value
            else with_stand_ins(value, stand_in)
            for key, value in table.items()
        }
    if isinstance(table, (list, tuple)):
        return [with_stand_ins(value, stand_in) for value in table]
    return table


def without_addresses(
    text: str, table: Mapping[str, Any], stand_in: Callable[[str, str], str] = lambda option, _: SERVERS[option]
) -> str:
    """A sentence without the addresses that a config's table holds, in the ways that messages write them."""
    found = {address: option for option, address in addresses_in(table)}
    for address in sorted(found, key=len, reverse=True):  # one may be the beginning of another
        instead = stand_in(found[address], address)
        for form in (address, address.rstrip("/"), short(address)[1:-1]):  # a long one is cut
            text = text.replace(form, instead)
    for address in found:
        host = urlsplit(address).hostname or ""
        if "." in host or ":" in host:  # a certificate's fault tells the name alone; one word may be any word
            text = re.sub(rf"(?<![\w.:-]){re.escape(host)}(?![\w-])", "server", text, flags=re.IGNORECASE)
    return text


def addresses_in(table: Any) -> Iterator[tuple[str, str]]:
    """Option and address of each address in a table."""
    if isinstance(table, Mapping):
        for key, value in table.items():
            if key in SERVERS and isinstance(value, str) and value:
                yield key, value
            else:
                yield from addresses_in(value)
    elif isinstance(table, (list, tuple)):
        for value in table:
            yield from addresses_in(value)
