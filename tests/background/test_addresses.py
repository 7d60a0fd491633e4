"""Names under which a server may be asked, and the origins of pages that may ask it."""

from __future__ import annotations

import socket

import pytest

from ctkd_core.background.addresses import is_loopback, is_own_host, is_own_origin


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(address: str) -> None:
    assert is_loopback(address)
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8501", "localhost", "localhost:1", "LOCALHOST.:1", "[::1]:8501", "127.9.9.9"]
)
@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0", ""])
def test_loopback_names_always_count(host: str, listening: str) -> None:
    assert is_own_host(host, listening)


FOREIGN = [
    None,
    "",
    "evil.example",
    "evil.example:8501",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.localhost",
    "127.0.0.1@evil.example",
    "evil.example/127.0.0.1",
    "evil.example?localhost",
    "127.0.0.1:port",
    "127.0.0.1:99999",
    "[::1",
    "localhost localhost",
    "127.0.0.1, evil.example",
    "2130706433",
]


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("listening", ["127.0.0.1", "::1", "localhost", "0.0.0.0", ""])
def test_foreign_names_never_count(host: str | None, listening: str) -> None:
    assert not is_own_host(host, listening, names=["", "other.example", "*."])


def test_numbers_and_own_names_count_where_others_can_reach_the_server() -> None:
    own = socket.gethostname()
    for host in ("192.168.1.5:8501", "[fd00::5]:8501", own, f"{own}.local:80"):
        assert is_own_host(host, "0.0.0.0")
        assert is_own_host(host, "192.168.1.5")
        assert not is_own_host(host, "127.0.0.1")
    assert is_own_host("lab.example:80", "lab.example")


def test_names_that_were_allowed() -> None:
    names = ["Lab.Example", "*.team.example"]
    for host in ("lab.example:8501", "LAB.example.", "a.team.example", "a.b.team.example:1"):
        assert is_own_host(host, "127.0.0.1", names)
    for host in ("xlab.example", "team.example", "a.team.example.evil.example"):
        assert not is_own_host(host, "127.0.0.1", names)


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        (None, "127.0.0.1:8501", True),
        ("http://127.0.0.1:8501", "127.0.0.1:8501", True),
        ("http://LOCALHOST:8501", "localhost:8501", True),
        ("https://lab.example", "lab.example", True),
        ("http://lab.example:80", "lab.example", True),
        ("https://lab.example", "lab.example:443", True),
        ("http://[::1]:8501", "[::1]:8501", True),
        ("http://localhost:8501", "127.0.0.1:8501", False),
        ("http://127.0.0.1:9999", "127.0.0.1:8501", False),  # another program of this machine
        ("http://evil.example", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501.evil.example", "127.0.0.1:8501", False),
        ("null", "127.0.0.1:8501", False),
        ("", "127.0.0.1:8501", False),
        ("file://", "127.0.0.1:8501", False),
        ("http://", "127.0.0.1:8501", False),
        ("http://127.0.0.1:x", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501", None, False),
    ],
)
def test_origins(origin: str | None, host: str | None, own: bool) -> None:
    assert is_own_origin(origin, host) is own


def test_an_origin_that_was_allowed() -> None:
    assert is_own_origin("https://lab.example", "127.0.0.1:8501", ["https://lab.example"])
