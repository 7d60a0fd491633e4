"""The guard before the server: foreign names and pages, frames, files from those who may change nothing."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pages.parts import guard
from pages.parts.guard import Guard
from tests.coroutines import completed
from tests.homes import own_home
from tests.patience import PATIENCE, is_healthy, wait_for

ROOT = Path(__file__).resolve().parents[3]


async def _inner(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"ALLOW")]})
    await send({"type": "http.response.body", "body": b"inside"})


def asked(kind: str = "http", method: str = "GET", headers: dict[str, str] | None = None, **more: Any) -> list[Any]:
    """What the guarded application sends back."""
    given = {"host": "127.0.0.1:8501"} | (headers or {})
    pairs = more.get("pairs") or [(k.encode(), v.encode()) for k, v in given.items()]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    completed(Guard(_inner)({"type": kind, "method": method, "headers": pairs}, receive, send))
    return sent


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    options: dict[str, Any] = {
        "server.address": "127.0.0.1",
        "server.allowedHosts": [],
        "server.corsAllowedOrigins": [],
    }
    monkeypatch.setattr(guard.st, "get_option", options.__getitem__)
    monkeypatch.delenv("CTKD_ALLOW_LAUNCH", raising=False)
    monkeypatch.delenv("CTKD_ALLOWED_HOSTS", raising=False)
    return options


def test_an_own_request_is_answered_and_may_not_be_framed() -> None:
    start, body = asked()
    assert (start["status"], body["body"]) == (200, b"inside")
    headers = start["headers"]
    assert (b"content-security-policy", b"frame-ancestors 'none'") in headers
    assert [value for name, value in headers if name == b"x-frame-options"] == [b"DENY"]


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": ""}, {"origin": "http://evil.example"}, {"origin": "null"}],
    ids=["host", "no host", "origin", "null"],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS"])
def test_foreign_requests_are_refused(headers: dict[str, str], method: str) -> None:
    start, body = asked(method=method, headers=headers)
    assert start["status"] == 403
    assert b"inside" not in body["body"]
    assert b"--allow-host NAME" in body["body"]
    assert dict(start["headers"])[b"content-security-policy"] == b"frame-ancestors 'none'"
    assert asked("websocket", headers=headers)[0]["type"] == "websocket.close"


def test_two_hosts_are_none() -> None:
    pairs = [(b"Host", b"127.0.0.1"), (b"host", b"evil.example")]
    assert asked(pairs=pairs)[0]["status"] == 403


def test_names_may_be_allowed(loopback: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"host": "lab.example", "origin": "https://lab.example"}
    assert asked(headers=own)[0]["status"] == 403
    monkeypatch.setenv("CTKD_ALLOWED_HOSTS", "other.example,lab.example")
    assert asked(headers=own)[0]["status"] == 200
    assert asked("websocket", headers=own)[0]["type"] == "websocket.accept"
    monkeypatch.delenv("CTKD_ALLOWED_HOSTS")
    loopback["server.allowedHosts"] = ["*.example"]
    assert asked(headers=own)[0]["status"] == 200


def test_who_may_change_nothing_sends_no_files(loopback: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(method="PUT")[0]["status"] == 200
    loopback["server.address"] = "0.0.0.0"
    start, body = asked(method="PUT")
    assert start["status"] == 403
    assert b"--allow-launch" in body["body"]
    assert asked(method="GET")[0]["status"] == 200
    monkeypatch.setenv("CTKD_ALLOW_LAUNCH", "1")
    assert asked(method="PUT")[0]["status"] == 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The real app on a free port."""
    home = own_home(tmp_path_factory.mktemp("home"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    environment = {k: v for k, v in os.environ.items() if k not in ("CTKD_ALLOW_LAUNCH", "CTKD_ALLOWED_HOSTS")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment | {"CTKD_HOME": str(home)},
        )
        try:

            def answers() -> bool:
                assert process.poll() is None, log.read_text()[-2000:]
                return is_healthy(f"http://127.0.0.1:{port}")

            wait_for(answers, what="an answer of the server")
            yield port
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def answer(port: int, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        found = connection.getresponse()
        return found.status, {k.lower(): v for k, v in found.getheaders()}, found.read()
    finally:
        connection.close()


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def handshake(port: int, **headers: str) -> int:
    """The status that the server answers a websocket with."""
    lines = ["GET /_stcore/stream HTTP/1.1", *(f"{k}: {v}" for k, v in (WEBSOCKET | headers).items()), "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as channel:
        channel.sendall("\r\n".join(lines).encode())
        return int(channel.recv(64).split()[1])


def test_the_server_refuses_foreign_names_and_pages_everywhere(server: int) -> None:
    own = f"127.0.0.1:{server}"
    upload = "/_stcore/upload_file/session/file"
    for method, path in (
        ("GET", "/"),
        ("GET", "/align"),
        ("GET", "/_stcore/health"),
        ("PUT", upload),
        ("DELETE", upload),
    ):
        for headers in ({"Host": f"evil.example:{server}"}, {"Host": own, "Origin": "http://evil.example"}):
            status, seen, _ = answer(server, method, path, **headers)
            assert (method, path, status) == (method, path, 403)
            assert "frame-ancestors 'none'" in seen["content-security-policy"]
    for path in ("/", "/align", "/_stcore/health"):
        status, seen, _ = answer(server, "GET", path, Host=own, Origin=f"http://{own}")
        assert (path, status) == (path, 200)
        assert "frame-ancestors 'none'" in seen["content-security-policy"]
    assert handshake(server, Host=own, Origin=f"http://{own}") == 101
    assert handshake(server, Host=own) == 101
    assert handshake(server, Host=own, Origin="http://evil.example") == 403
    assert handshake(server, Host=f"evil.example:{server}", Origin=f"http://evil.example:{server}") == 403
    assert handshake(server, Host=f"localhost:{server}", Origin=f"http://localhost:{server}") == 101
