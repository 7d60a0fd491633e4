"""Tells Streamlit's browser side where the server is, instead of letting it try.

At the address of a page (".../align") it first asks ".../align/_stcore/health", gets a 404, and then asks at the right
place. The document says it at once: the address without the page's name, so that a proxy's path before it stays.
"""

from __future__ import annotations

import json

from pages.parts.asgi import App, Message, Receive, Send
from pages.parts.state import PAGES

NAMES = [name for name in PAGES if name != "start"]
SCRIPT = (
    "<script>(() => { const names = "
    + json.dumps(NAMES)
    + ', path = location.pathname.replace(/\\/+$/, ""), at = path.lastIndexOf("/") + 1;'
    + " if (names.includes(path.slice(at)))"
    + " window.__streamlit = { BACKEND_BASE_URL: location.origin + path.slice(0, at) }; })()</script>"
).encode()
HEAD = b"<head>"


class PageBase:
    """ASGI middleware that writes SCRIPT into the document of a page."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass everything on; the document of a page comes back with one script more."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"].rsplit("/", 1)[-1] not in NAMES:
            await self.app(scope, receive, send)
            return
        # As it is, not compressed, and whole: a stored copy may be one without the script.
        dropped = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
        plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() not in dropped]}
        begun: list[Message] = []
        parts: list[bytes] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts).replace(HEAD, HEAD + SCRIPT, 1)
            kept = [pair for pair in begun[0]["headers"] if pair[0].lower() != b"content-length"]
            await send({**begun[0], "headers": [*kept, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

        await self.app(plain, receive, sending)
