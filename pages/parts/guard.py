"""What stands before the server: requests under a foreign name or from a foreign page are refused, and who may change
nothing can't send files either. No answer may be shown inside another page.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st

from ctkd_core.background.addresses import is_own_host, is_own_origin
from ctkd_core.markup.terminal import guard_process
from pages.parts.asgi import App, Message, Receive, Send
from pages.parts.launching import REFUSAL, may_change

READING = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # addresses name tokenizers and texts
)
FOREIGN = (
    "This server was asked under a name or from a page that isn't its own, so it doesn't answer. Open it under the "
    "address that it told when it started; to allow another name start it with `ctkd app --allow-host NAME` (or set "
    "CTKD_ALLOWED_HOSTS).\n"
)


class Guard:
    """ASGI middleware around the whole app: pages, files, uploads, websocket."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer or refuse one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if not is_own(scope["headers"]):
            await _refuse(scope, receive, send, FOREIGN)
        elif scope["type"] == "http" and scope["method"] not in READING and not may_change():
            await _refuse(scope, receive, send, REFUSAL + "\n")
        else:
            await self.app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)


@asynccontextmanager
async def guarded_output(_app: object) -> AsyncIterator[dict[str, Any]]:
    """While the server runs: what it writes on the terminal, log lines included, can't do anything to it."""
    guard_process()
    yield {}


def is_own(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether Host and Origin of a request are this server's own; each may be there once."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name.lower() in (b"host", b"origin"):
            if name.lower() in found:
                return False
            found[name.lower()] = value.decode("latin-1")
    host = found.get(b"host")
    names = (*os.environ.get("CTKD_ALLOWED_HOSTS", "").split(","), *(st.get_option("server.allowedHosts") or ()))
    return is_own_host(host, st.get_option("server.address") or "", names) and is_own_origin(
        found.get(b"origin"), host, st.get_option("server.corsAllowedOrigins") or ()
    )


async def _refuse(scope: Message, receive: Receive, send: Send, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    body = reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in HEADERS[1:]}
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in own]
            message = {**message, "headers": [*kept, *HEADERS]}
        await send(message)

    return sending
