"""What a terminal gets of texts from strangers."""

from __future__ import annotations

import io
import logging
import sys
import warnings

import pytest

from ctkd_core.markup.terminal import SafeStream, guard_process, guarded, guarded_stderr, safe, unguarded

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202e\b\x00\x7f"
SHOWN = "<U+001B>[31mred<U+001B>]0;title<U+0007> <U+009B>2J <U+202E><U+0008><U+0000><U+007F>"


def test_safe_shows_what_a_terminal_would_obey() -> None:
    assert safe(HOSTILE).replace("·", " ") == SHOWN
    assert safe("a\r\nb\tc") == "a␍↵b→c"
    assert safe("a\nb", lines=True) == "a\nb"
    assert safe("\ud800") == "<U+D800>"
    assert safe("\u0301x") == "◌\u0301x"


def test_whatever_is_written_on_standard_error_is_made_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with guarded_stderr(), guarded_stderr():
        print("one", HOSTILE, file=sys.stderr)
        sys.stderr.write(warnings.formatwarning(HOSTILE, UserWarning, f"a\x1bfile{HOSTILE}", 1))
        handler = logging.StreamHandler()
        handler.emit(logging.LogRecord("x", logging.ERROR, "p", 1, "said %s", (HOSTILE,), None))
        sys.stderr.writelines(["two\n", HOSTILE])
        assert unguarded(sys.stderr) is screen
    assert sys.stderr is screen
    seen = screen.getvalue()
    assert all(c.isprintable() or c == "\n" for c in seen), repr(seen)
    assert seen.startswith(f"one {SHOWN}\n")
    assert seen.count("<U+001B>[31mred") == 5


def test_a_bar_may_return_to_the_beginning_of_its_line_and_a_text_may_not() -> None:
    screen = io.StringIO()
    stream = guarded(screen)
    assert guarded(stream) is stream
    assert stream.write("\r 12%|###   |") == 13
    stream.write("\n")
    stream.write("name\rok\ttab\r\n")
    assert screen.getvalue() == "\r 12%|###   |\nname␍ok\ttab\r\n"


def test_characters_that_the_terminal_lacks_are_escaped() -> None:
    raw = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("東京 \x1b[1m")
    stream.flush()
    assert raw.getvalue() == rb"\u6771\u4eac <U+001B>[1m"


def test_a_server_guards_its_handlers_of_log_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    handler = logging.StreamHandler(screen)
    logger = logging.getLogger("tests.terminal")
    monkeypatch.setattr(logger, "handlers", [handler])
    kept = {
        h: h.stream
        for name in ("root", *logging.root.manager.loggerDict)
        for h in logging.getLogger(name).handlers
        if isinstance(h, logging.StreamHandler) and "stream" in vars(h)
    }
    try:
        guard_process()
        logger.error("page %s", HOSTILE)
        print(HOSTILE)
        assert isinstance(sys.stdout, SafeStream)
    finally:
        for other, stream in kept.items():
            other.setStream(stream)
    assert "<U+001B>[31mred" in screen.getvalue()
    assert "\x1b" not in screen.getvalue() + sys.stdout.getvalue()
