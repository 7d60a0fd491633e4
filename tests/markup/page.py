"""What a browser makes of a block of HTML: its tags with their attributes, and its text."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "img", "input", "circle", "path", "polyline"}
# A text that would break out of HTML, an attribute, a line or the writing direction.
NASTY = "<script>alert('x')</script>\"' onload=x &amp; \u202eabc \u0000\u001b[31m שלום"


class Page(HTMLParser):
    """`tags`: (name, attributes) in order; `text`: what is read; `open`: tags that nothing closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def count(self, tag: str, **wanted: str) -> int:
        return sum(name == tag and all(a.get(k) == v for k, v in wanted.items()) for name, a in self.tags)


def harmless(html: str) -> Page:
    """Check that a block runs, loads and hides nothing; its page."""
    page = Page(html)
    assert not page.open
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "embed", "link", "a"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href")]
    assert not [c for c in html if not c.isprintable() and c != "\n"]
    return page
