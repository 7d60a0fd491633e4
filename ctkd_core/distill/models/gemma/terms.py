"""The Gemma Terms of Use, which come with the package as the web page that Google publishes, as plain text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from ctkd_core.distill.models.gemma import packages
from ctkd_core.errors import CtkdError

ADDRESS = "https://ai.google.dev/gemma/terms"
TITLE = "Gemma Terms of Use"
BODY = "devsite-article-body"  # class of the page's part that holds the terms
MOST_BYTES = 2_000_000
_BLOCKS = frozenset({"p", "h1", "h2", "h3", "h4", "li", "ul", "ol", "div", "aside", "table", "tr"})


def page(folder: Path) -> bytes:
    """The page as it comes. Raises CtkdError when the package isn't there."""
    with packages.opened(packages.MAIN, folder) as file:
        return file.read(MOST_BYTES)


def text_of(document: bytes) -> str:
    """The terms on the page, paragraphs apart, without what stands around them. Raises CtkdError without any."""
    reader = _Reader()
    reader.feed(document.decode("utf-8", errors="replace"))
    paragraphs = [" ".join(part.split()) for part in "".join(reader.found).split("\n")]
    said = "\n\n".join(part for part in paragraphs if part)
    if len(said) < 1000:
        raise CtkdError(f"the package's page of terms can't be read; see {ADDRESS}.")
    return f"{TITLE}\n\n{said}"


class _Reader(HTMLParser):
    """Collects the text inside the part of the page that holds the terms."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._depth = 0  # of divisions inside that part
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = re.split(r"\s+", dict(attrs).get("class") or "")
        if tag == "div" and (self._depth or BODY in classes):
            self._depth += 1
        self._hidden += tag in ("script", "style")
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        self._break(tag)
        self._hidden -= tag in ("script", "style") and self._hidden > 0
        if tag == "div" and self._depth:
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        if self._depth and not self._hidden:
            self.found.append(data.replace("\n", " "))

    def _break(self, tag: str) -> None:
        if self._depth and tag in _BLOCKS:
            self.found.append("\n")
