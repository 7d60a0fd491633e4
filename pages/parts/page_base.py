"""What the document of every page carries beside Streamlit's own: shared styles, where the server is, its history.

The styles stand in the document because elements that Streamlit draws come late: a style that is sent as one reaches a
page after the words that it is for, which had other colours and places till then.

Where the server is: at the address of a page (".../align") Streamlit's browser side first asks
".../align/_stcore/health", gets a 404, and then asks at the right place. The document says it at once: the address
without the page's name, so that a proxy's path before it stays.

Which changes of the address are steps of the browser's history is `history.js`.
"""

from __future__ import annotations

import json
from pathlib import Path

from ctkd_core.markup.hover import STYLE as TERMS
from pages.parts.asgi import App, Message, Receive, Send
from pages.parts.state import PAGES

NAMES = [name for name in PAGES if name != "start"]
HISTORY = Path(__file__).with_name("history.js").read_text(encoding="utf-8")
SCRIPT = (
    "<script>(() => { const names = "
    + json.dumps(NAMES)
    + ', path = location.pathname.replace(/\\/+$/, ""), at = path.lastIndexOf("/") + 1;'
    + " if (names.includes(path.slice(at)))"
    + " window.__streamlit = { BACKEND_BASE_URL: location.origin + path.slice(0, at) }; })()</script>"
    + f"<script>{HISTORY}</script>"
).encode()
SHARED = Path(__file__).with_name("shared.css").read_text(encoding="utf-8")
STYLES = f"<style>{SHARED}{TERMS}</style>".encode()
FILES = ("/static/", "/media/", "/component/", "/_stcore/")  # below these Streamlit serves no page
HEAD, END = b"<head>", b"</body>"  # styles stand at the end, behind those that Streamlit adds to the head


class PageBase:
    """ASGI middleware that writes SCRIPT and STYLES into the documents of pages."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass everything on; a document comes back with both."""
        if scope["type"] != "http" or scope["method"] != "GET" or not may_be_document(scope["path"]):
            await self.app(scope, receive, send)
            return
        # As it is, not compressed, and whole: a stored copy may be one without them.
        dropped = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
        plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() not in dropped]}
        begun: list[Message] = []
        parts: list[bytes] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and is_html(message):
                begun.append(message)
                return
            if not begun:
                await send(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            body = b"".join(parts).replace(HEAD, HEAD + SCRIPT, 1).replace(END, STYLES + END, 1)
            kept = [pair for pair in begun[0]["headers"] if pair[0].lower() != b"content-length"]
            await send({**begun[0], "headers": [*kept, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

        await self.app(plain, receive, sending)


def may_be_document(path: str) -> bool:
    """Whether a page's document may stand there: Streamlit gives it under every other name, known or not."""
    return not any(folder in path for folder in FILES)


def is_html(start: Message) -> bool:
    """Whether an answer that begins so is a document."""
    return any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in start["headers"])
