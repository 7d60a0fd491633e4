"""How a teacher is reached: its model in some precision, rows that a cache keeps, or a server; and what goes together.

Read from the fields of the same names of a run and of a further teacher. A method that needs more of a teacher than
cache or server have is refused here, before anything is loaded.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ctkd_core.distill.settings import setting
from ctkd_core.errors import RunError, short

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
LOADINGS = ("device", "offload")
KEY = "CTKD_TEACHER_API_KEY"  # environment variable with a server's key, which is written nowhere
FIELDS = (
    *("teacher_cache", "teacher_precision", "teacher_loading"),
    *("teacher_server", "teacher_server_model", "teacher_server_k"),
)
TEXTS = ("teacher_cache", "teacher_server", "teacher_server_model")
CHOSEN = ("teacher_precision", "teacher_loading", "teacher_server_k")
_PRIVATE_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def cache_setting() -> Any:
    """The field `teacher_cache`."""
    return setting(
        "",
        "Folder with the teacher's rows that `ctkd cache-teacher` filled; the teacher's model isn't loaded then.",
        advanced=True,
    )


def precision_setting() -> Any:
    """The field `teacher_precision`."""
    return setting(
        "fp32",
        "Numbers that the teacher computes in; int8: its weights in 8 bits, by bitsandbytes.",
        choices=PRECISIONS,
        advanced=True,
    )


def loading_setting() -> Any:
    """The field `teacher_loading`."""
    return setting(
        "device",
        "Where the teacher's weights lie: all on the device, or as transformers parts them (GPUs, memory, disk).",
        choices=LOADINGS,
        advanced=True,
    )


def server_setting() -> Any:
    """The field `teacher_server`."""
    return setting(
        "",
        "Address of an OpenAI-compatible server that tells the log-probabilities of prompts, like "
        f"http://localhost:8000/v1; its key is read from {KEY}.",
        advanced=True,
    )


def server_model_setting() -> Any:
    """The field `teacher_server_model`."""
    return setting("", "Name by which the server knows the teacher.", advanced=True)


def server_k_setting() -> Any:
    """The field `teacher_server_k`."""
    return setting(
        20,
        "Most probable tokens that the server is asked for at each position.",
        low=1,
        high=1_000_000,
        source="vLLM gives up to 20 unless it is started with --max-logprobs",
        advanced=True,
    )


@dataclass(frozen=True)
class Access:
    """The fields of a run, or of a further teacher, that say how its teacher is reached; see `RunConfig`."""

    cache: str = ""
    precision: str = "fp32"
    loading: str = "device"
    server: str = ""
    server_model: str = ""
    server_k: int = 20

    @classmethod
    def of(cls, entry: Any) -> Access:
        """Of a RunConfig, a FurtherTeacher, or a table of the latter."""
        values: list[Any] = [entry[n] if isinstance(entry, Mapping) else getattr(entry, n) for n in FIELDS]
        return cls(*values)

    @property
    def elsewhere(self) -> bool:
        """Whether its rows come from a cache or a server, so that no model is loaded."""
        return bool(self.cache or self.server)

    @property
    def plain(self) -> bool:
        """Whether a loaded model is an ordinary one on one device, whose weights can be copied."""
        return self.loading == "device" and self.precision != "int8"


def check_access(entry: Any, method: str, variant: str, options: Mapping[str, Any], on_policy: float = 0.0) -> None:
    """Raise RunError where a method, or what else a run wants, can't have this teacher."""
    access = Access.of(entry)
    if access.server_model and not access.server:
        raise RunError(f"teacher_server_model {short(access.server_model)} is only read with teacher_server.")
    if access.server:
        check_address(access.server)
        if not access.server_model:
            raise RunError("teacher_server needs teacher_server_model: the name by which the server knows the teacher.")
    if not access.elsewhere:
        return
    if access.cache and access.server:
        raise RunError(
            "a teacher has teacher_cache or teacher_server, not both; `ctkd cache-teacher` fills a cache from a server."
        )
    what = "teacher_cache" if access.cache else "teacher_server"
    from ctkd_core import methods  # it loads pydantic, which looking at this machine does without

    row = methods.get(method, RunError)
    if why := row.not_from_cache(options, variant):
        raise RunError(f"{why}, so {what} can't stand for the teacher; leave it out or choose another method.")
    if access.cache and on_policy > 0.0:
        raise RunError(
            "on_policy_share is above 0, but a cache has no rows for text that the student writes; set it to 0, or "
            "leave teacher_cache out."
        )
    if access.server:
        check_probabilities(method, variant, what)


def check_probabilities(method: str, variant: str, what: str) -> None:
    """Raise RunError for a method that reads what a server doesn't tell: raw logits, and rows behind the text."""
    from ctkd_core import methods

    besides = methods.get(method, RunError).reads_besides(variant)
    for name, words in (("raw_logits", "logits before the soft-max"), ("last_row", "the row behind the answer")):
        if name in besides:
            raise RunError(
                f"method {method!r} ({variant}) reads {words}, and a server tells only probabilities of the text's "
                f"tokens, so {what} can't stand for the teacher; choose another method."
            )


def check_address(url: str, option: str = "teacher_server", key: str = KEY) -> None:
    """Raise RunError unless `url` is https, or http to this machine or a private network, without a key in it.

    option: what gives the address; key: the environment variable with its key.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise RunError(f"{option} {short(url)} is no address; give one like http://localhost:8000/v1.") from None
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() or not c.isprintable() for c in url):
        raise RunError(f"{option} {short(url)} is no address; give one like http://localhost:8000/v1.")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise RunError(
            f"{option} is only scheme, host, port and path: {host!r} came with a name, a key or a query. Keys "
            f"are read from the environment variable {key} and kept nowhere."
        )
    if parts.scheme == "http" and not is_private(host):
        raise RunError(
            f"{option} {short(url)}: http is taken for this machine and private networks only, because texts "
            "and key would travel open; use https."
        )


def is_private(host: str) -> bool:
    """Whether a host is this machine or in a private network, by its address or its name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_ENDINGS)
    return address.is_loopback or (address.is_private and not address.is_link_local and not address.is_unspecified)
