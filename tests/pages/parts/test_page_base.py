"""The document of a page says where the server is and has the shared styles; everything else passes as it was."""

from __future__ import annotations

from typing import Any

import pytest

from pages.parts.page_base import SCRIPT, STYLES, PageBase
from tests.coroutines import completed

DOCUMENT = b"<!DOCTYPE html><html><head><title>x</title></head><body></body></html>"


def answered(
    path: str, method: str = "GET", body: bytes = DOCUMENT, kind: bytes = b"text/html; charset=utf-8"
) -> tuple[dict[str, Any], bytes, list[Any]]:
    """Start of the answer, its body, and the headers that the app behind saw."""
    sent: list[dict[str, Any]] = []
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])
        length = (b"content-length", str(len(body)).encode())
        headers = [length, (b"etag", b"a"), (b"Content-Type", kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:20], "more_body": True})
        await send({"type": "http.response.body", "body": body[20:]})

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"accept-encoding", b"gzip"), (b"if-none-match", b"a"), (b"host", b"h")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    completed(PageBase(app)(scope, None, send))  # type: ignore[arg-type]
    return sent[0], b"".join(part.get("body", b"") for part in sent[1:]), seen


@pytest.mark.parametrize(
    "path", ["/", "/align", "/proxy/8501/", "/proxy/8501/runs", "/losses", "/nothing", "/user/ann.b", "/index.html"]
)
def test_a_document_gets_the_script_and_the_styles(path):
    start, body, seen = answered(path)
    with_both = DOCUMENT.replace(b"<head>", b"<head>" + SCRIPT).replace(b"</body>", STYLES + b"</body>")
    assert body == with_both
    assert dict(start["headers"])[b"content-length"] == str(len(body)).encode()
    assert seen == [(b"host", b"h")], "not compressed, and never an old copy"


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/static/js/index.js", "GET"),
        ("/align", "POST"),
        ("/align/_stcore/health", "GET"),
        ("/media/a.html", "GET"),
        ("/component/name/index.html", "GET"),
    ],
)
def test_everything_else_passes(path, method):
    start, body, seen = answered(path, method)
    assert body == DOCUMENT
    assert dict(start["headers"])[b"content-length"] == str(len(DOCUMENT)).encode()
    assert len(seen) == 3


def test_an_answer_that_is_no_document_passes():
    start, body, _ = answered("/favicon.png", kind=b"image/png")
    assert body == DOCUMENT
    assert dict(start["headers"])[b"content-length"] == str(len(DOCUMENT)).encode()


def test_the_styles_are_whole():
    assert STYLES.count(b"</") == 1, "nothing in them ends them early"
    assert STYLES.count(b"{") == STYLES.count(b"}")
    assert b"stCaptionContainer" in STYLES
    assert b".terms" in STYLES
