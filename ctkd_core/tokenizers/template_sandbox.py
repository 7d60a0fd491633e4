"""Filling in a chat template safely: a template is a program from a stranger.

It runs in a child process without the caller's environment, in Jinja's sandbox, with limits on time, memory and the
size of what comes out; `python -m ctkd_core.tokenizers.template_sandbox` is that child. What a template may use
(tojson, loop controls, `generation` blocks, raise_exception, strftime_now) is what transformers offers it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ctkd_core.background.processes import OWN_MODULES
from ctkd_core.errors import TerminatedError, TokenizerError
from ctkd_core.tokenizers.child import ENDED

TIME_LIMIT = 5.0  # seconds for all renderings of one template; real ones take milliseconds
MEMORY_LIMIT = 1 << 30  # bytes of address space of the child
MAX_TEMPLATE, MAX_OUTPUT = 200_000, 200_000  # characters; the longest template in use has about 20,000


def in_child(
    template: str, jobs: Sequence[Mapping[str, Any]], names: Mapping[str, str], time_limit: float = TIME_LIMIT
) -> list[str]:
    """The template filled in for each job (messages, add_generation_prompt), by a child process.

    Raises TokenizerError when the template refuses, fails, is too long, writes too much, or takes too long.
    """
    found = in_child_each(template, jobs, names, time_limit)
    for text in found:
        if isinstance(text, TokenizerError):
            raise text
    return [str(text) for text in found]


def in_child_each(
    template: str, jobs: Sequence[Mapping[str, Any]], names: Mapping[str, str], time_limit: float = TIME_LIMIT
) -> list[str | TokenizerError]:
    """As `in_child`, but a job that the template refuses has the error in its place.

    Raises TokenizerError for a template that is too long, and when the child ends without an answer or takes longer
    than `time_limit` seconds.
    """
    if len(template) > MAX_TEMPLATE:
        raise TokenizerError(
            f"the chat template has {len(template):,} characters; templates over {MAX_TEMPLATE:,} aren't tried."
        )
    # The child sees nothing of the caller's environment but what starts Python: no keys to read.
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
    root = str(Path(__file__).resolve().parents[2])
    asked = {"template": template, "jobs": list(jobs), "names": dict(names), "seconds": time_limit}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ctkd_core.tokenizers.template_sandbox"],
            input=json.dumps(asked, default=str),  # data files hold dates and the like
            env=kept | {"PYTHONPATH": root, "PYTHONIOENCODING": "utf-8"} | OWN_MODULES,
            capture_output=True,
            encoding="utf-8",
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TokenizerError(
            f"the chat template wasn't done after {time_limit:g} s and was stopped; does it loop for ever?"
        ) from None
    if done.returncode in ENDED:
        raise TerminatedError("the process that fills in the chat template was told to end; try again.")
    try:
        answers = json.loads(done.stdout)["answers"]
    except (ValueError, KeyError, TypeError):
        raise TokenizerError(
            f"the chat template ended the process that filled it in (code {done.returncode}); it asks for too much."
        ) from None
    return [str(one["text"]) if one["text"] is not None else TokenizerError(one["error"]) for one in answers]


def fill(template: str, values: Mapping[str, Any], limit: int = MAX_OUTPUT) -> str:
    """A template filled in, in this process, in the sandbox but without a time limit: for templates that are trusted.

    values: messages, add_generation_prompt, names of special tokens. Raises TokenizerError with the reason.
    """
    from jinja2 import TemplateError

    parts, size = [], 0
    try:
        for part in _compiled(template).generate({"tools": None, "documents": None} | _null_safe(values)):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TokenizerError(f"the chat template writes more than {limit:,} characters; it was stopped.")
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
        if isinstance(fault, TokenizerError):
            raise
        reason = str(fault).splitlines()[0][:300].rstrip(".") if str(fault) else type(fault).__name__
        raise TokenizerError(f"the chat template can't be applied: {reason}; give plain text instead.") from None
    except (MemoryError, RecursionError) as fault:
        raise TokenizerError(f"the chat template asks for too much ({type(fault).__name__}).") from None
    except (AssertionError, RuntimeError) as fault:  # what Jinja's own filters and helpers raise
        raise TokenizerError(f"the chat template can't be applied: {fault or type(fault).__name__}.") from None
    return "".join(parts)


class _Nothing(str):
    """A null content, as of a message that only calls tools: none to whoever asks, and nothing where it is written.

    Templates that never thought of it write its text; Jinja would write the word "None" there, or refuse.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None

    def __ne__(self, other: object) -> bool:
        return other is not None

    __hash__ = str.__hash__


def _null_safe(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with null contents of messages as `_Nothing`."""
    messages = values.get("messages")
    if not isinstance(messages, list):
        return dict(values)
    null = {"content": _Nothing()}
    given = [m | null if isinstance(m, dict) and "content" in m and m["content"] is None else m for m in messages]
    return {**values, "messages": given}


@lru_cache(maxsize=4)
def _compiled(template: str) -> Any:
    """The template, ready to be filled in often."""
    return _environment().from_string(template)


def _environment() -> Any:
    """Jinja's sandbox with what chat templates may use."""
    from datetime import datetime

    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant says; its text is written as it is."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: object) -> None:
        raise TokenizerError(f"the chat template refuses these messages: {str(message)[:300]}")

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **how: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **how)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    for name in ("string", "iterable", "sequence"):
        environment.tests[name] = _but_nothing(environment.tests[name])
    environment.tests["none"] = lambda value: value is None or isinstance(value, _Nothing)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _but_nothing(test: Any) -> Callable[[Any], bool]:
    """A test of Jinja that a null content doesn't pass, although it is a text here."""
    return lambda value: not isinstance(value, _Nothing) and bool(test(value))


def _limit_resources(seconds: float) -> None:
    """Caps memory and processor time of the child; where the system has no such limits, time alone is capped."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
        most = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))


def main() -> None:
    """The child: one JSON document on stdin, one on stdout."""
    asked = json.loads(sys.stdin.read())
    _limit_resources(asked["seconds"])
    answers: list[dict[str, Any]] = []
    for job in asked["jobs"]:
        try:
            answers.append({"text": fill(asked["template"], asked["names"] | job), "error": ""})
        except TokenizerError as fault:
            answers.append({"text": None, "error": str(fault)})
        except MemoryError:
            answers.append({"text": None, "error": "the chat template asks for too much memory."})
    sys.stdout.write(json.dumps({"answers": answers}))


if __name__ == "__main__":
    main()
