"""Asking an OpenAI-compatible server over HTTP: time-outs, tries with growing pauses, and errors that say what to do.

The key is read from the environment when a question is sent, and is in no message, no record and no log. Redirects
aren't followed, because they would take the key along.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ctkd_core.distill.teachers.access import KEY, check_address, is_private
from ctkd_core.errors import RunError, short
from ctkd_core.markup.visible import one_line, shorten

TIMEOUT = 120.0  # seconds without a byte
MOMENT = 0.1  # seconds that a try has at least
TRIES = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds; each pause is twice the one before
MOST_BYTES = 2**30  # of an answer
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # answers after which a server may be asked again


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:  # type: ignore[override]
        return None


@dataclass(frozen=True)
class Server:
    """A server's address, like "http://localhost:8000/v1". `between` is called between tries and may raise to stop.

    option, key  the option that gives the address, and the environment variable with its key
    then         what goes on when the server can be reached again
    within       seconds for all tries of a question together; None: each try has `timeout` for itself
    """

    address: str
    timeout: float = TIMEOUT
    tries: int = TRIES
    pause: float = FIRST_PAUSE
    between: Callable[[], None] | None = None
    option: str = "teacher_server"
    key: str = KEY
    then: str = "whole parts of a cache stay, the same command goes on"
    within: float | None = None

    def __post_init__(self) -> None:
        check_address(self.address, self.option, self.key)

    def get(self, path: str) -> Any:
        """The JSON document at a path below the address; None where there is no such path. Raises RunError."""
        return self._read(path, self._ask(path, None))

    def post(self, path: str, question: dict[str, Any]) -> Any:
        """The JSON answer to a question; None where there is no such path. Raises RunError."""
        return self._read(path, self._ask(path, json.dumps(question).encode()))

    def tell(self, path: str, question: dict[str, Any]) -> str | None:
        """The answer in words, which needn't be JSON; None where there is no such path. Raises RunError."""
        body = self._ask(path, json.dumps(question).encode())
        return None if body is None else body.decode(errors="replace")

    def _ask(self, path: str, data: bytes | None) -> bytes | None:
        pause = self.pause
        end = math.inf if self.within is None else time.monotonic() + self.within
        for number in range(1, self.tries + 1):
            try:
                return self._once(path, data, min(self.timeout, max(MOMENT, end - time.monotonic())))
            except _Again as fault:
                wait = min(LONGEST_PAUSE, max(pause, fault.after))
                if number == self.tries or time.monotonic() + wait >= end:
                    tries = "1 try" if number == 1 else f"{number} tries"
                    raise RunError(
                        f"the server {short(self.address)} gave no answer in {tries}: {fault}. See whether it runs and "
                        f"is reachable; {self.then}."
                    ) from None
            if self.between:
                self.between()
            time.sleep(wait)
            pause *= 2
        raise AssertionError("unreachable")

    def _once(self, path: str, data: bytes | None, timeout: float) -> bytes | None:
        request = urllib.request.Request(  # noqa: S310 - the address was checked
            self._url(path), data=data, headers={"Accept": "application/json"} | self._key()
        )
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self._opener().open(request, timeout=timeout) as answer:
                body = answer.read(MOST_BYTES + 1)
                if answer.length and len(body) <= MOST_BYTES:  # read(n) says nothing of what it didn't get
                    raise http.client.IncompleteRead(body, answer.length)
        except urllib.error.HTTPError as fault:
            with fault:
                self._refused(fault)
            return None
        except (OSError, http.client.HTTPException) as fault:  # refused, reset, too slow, cut off
            raise _Again(one_line(str(getattr(fault, "reason", fault)) or type(fault).__name__)) from None
        if len(body) > MOST_BYTES:
            raise RunError(f"the server {short(self.address)} sent over {MOST_BYTES:,} bytes; ask for fewer tokens.")
        return bytes(body)

    def _read(self, path: str, body: bytes | None) -> Any:
        try:
            return None if body is None else json.loads(body)
        except (ValueError, RecursionError):
            raise RunError(
                f"what the server {short(self.address)} sent for {path} isn't JSON; is it a server of models, and does "
                "the address end as its documentation says (often /v1)?"
            ) from None

    def _refused(self, fault: urllib.error.HTTPError) -> None:
        said = _message(fault)
        if fault.code in AGAIN:
            after = fault.headers.get("Retry-After", "")
            raise _Again(f"it answered {fault.code}{said}", float(after) if after.isdecimal() else 0.0)
        if fault.code == 404 and not said:
            return
        if fault.code in (401, 403):
            has = "has one that it doesn't take" if os.environ.get(self.key) else "isn't set"
            raise RunError(f"the server {short(self.address)} wants a key ({fault.code}{said}); {self.key} {has}.")
        if 300 <= fault.code < 400:
            raise RunError(f"the server {short(self.address)} sends on to another address; give that one itself.")
        raise RunError(f"the server {short(self.address)} refused the question ({fault.code}{said}).")

    def _url(self, path: str) -> str:
        return f"{self.address.rstrip('/')}/{path}"

    def _key(self) -> dict[str, str]:
        key = os.environ.get(self.key, "").strip()
        if not key.isascii() or not key.isprintable():
            raise RunError(f"{self.key} holds characters that no key has.")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _opener(self) -> urllib.request.OpenerDirector:
        # What is in a private network isn't reached through a proxy.
        own = is_private(urlsplit(self.address).hostname or "")
        return urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if own else []))


class _Again(Exception):  # noqa: N818 - the next try may succeed
    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


def _message(fault: urllib.error.HTTPError) -> str:
    """What the server says about it, as ": ..."; "" where it says nothing that can be read."""
    try:
        document = json.loads(fault.read(100_000))
        inner = document.get("error", document) if isinstance(document, dict) else {}
        said = inner.get("message") or inner.get("detail") or "" if isinstance(inner, dict) else inner
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return ""
    if said in ("Not Found", ""):
        return ""
    return f": {shorten(one_line(str(said)), 300)}"
