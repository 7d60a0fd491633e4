"""A run that has ended as one document: what pages, reports and comparisons show of it, without models or checkpoints.

A document from elsewhere is untrusted. Its shape, sizes and values are checked, nothing in it is code or a path that
would be written to, and what comes of it lies in a folder of its own, never among the runs of this machine: those are
what sweeps reuse, reports compare and evidence counts.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ctkd_core import files
from ctkd_core.background.status import write_status
from ctkd_core.distill import kept_config
from ctkd_core.distill.addresses import SERVERS, without_addresses
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.evaluation import saved
from ctkd_core.distill.further import as_recorded
from ctkd_core.distill.records import finite, read_part
from ctkd_core.distill.runs import CONFIG, ENVIRONMENT, METRICS, SAMPLES, Run
from ctkd_core.distill.status import RunStatus
from ctkd_core.errors import CtkdError, RunError, short
from ctkd_core.files import documents

MOST_FILE = 20_000_000  # bytes of one file of a run, unpacked
MOST_ALL = 100_000_000  # bytes of the files of all runs together
MOST_TABLE = 200_000  # bytes of a config or an environment as JSON
MOST_MESSAGE, MOST_WARNINGS = 4_000, 50
# What goes along of env.json; not where Python and the sources of this machine lie.
_ENVIRONMENT = frozenset(
    {
        *("time", "ctkd_core", "revision", "python", "platform", "packages", "device", "device_name", "cpu_cores"),
        "processes",
        *("tokenizers", "data", "eval_data", "config_fingerprint"),
    }
)
_SERVER = "https://server"  # stands for addresses of a network
_FREE = ("name", "lora_targets")  # words that are no path
_HUB = re.compile(r"(hf:)?[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(/[\w.-]+)?(@\S*)?")

RunId = Annotated[str, StringConstraints(pattern=r"^\d{8}-\d{6}-\d{3}-[a-z0-9]{5}$")]
Message = Annotated[str, StringConstraints(max_length=MOST_MESSAGE)]
Step = Annotated[int, Field(ge=0, le=2**53)]


class HeldRun(documents.Document):
    """One run. Times are seconds, `created` since 1970; `files` holds rows and figures as gzip in base64, by name."""

    id: RunId
    config: dict[str, Any]
    environment: Annotated[dict[str, Any], Field(default_factory=dict)]
    state: Literal["finished", "failed", "cancelled", "lost"]
    message: Message = ""
    warnings: Annotated[list[Message], Field(default_factory=list, max_length=MOST_WARNINGS)]
    step: Step = 0
    attempt: Annotated[int, Field(ge=1, le=2**31)] = 1
    created: Annotated[float, Field(ge=0, le=1e11)] = 0.0
    seconds: Annotated[float | None, Field(ge=0, le=1e11)] = None
    files: Annotated[
        dict[Literal["metrics.jsonl", "samples.jsonl", "evaluation.json"], str], Field(default_factory=dict)
    ]


def why_it_stays(run: Run) -> str:
    """Why a run can't be held, as a sentence; "" where it can."""
    status = run.status()
    if status.state == "damaged":
        return f"run {run.id!r} is {status.message}"
    if not status.ended_already:
        return f"run {run.id!r} is {status.state}; it can go along when it has ended."
    return ""


def hold(run: Run) -> HeldRun:
    """The run as a document. Folders of this machine and addresses of its network stay behind: of a path the last part
    goes along, and rows that are damaged don't.

    Raises RunError for a run that hasn't ended or is damaged, and for one with more rows than a document may have.
    """
    if reason := why_it_stays(run):
        raise RunError(reason)
    status = run.status()
    figures = saved.kept(run)
    if "data" in figures:
        figures["data"] = without_folders(figures["data"])
    contents = {
        METRICS: _lines(run.metric_rows()),
        SAMPLES: _lines(run.samples()),
        saved.FILE: json.dumps(figures, ensure_ascii=False).encode() if figures else b"",
    }
    for name, content in contents.items():
        if len(content) > MOST_FILE:
            raise RunError(
                f"run {run.id!r} has {len(content):,} bytes of {name}; {MOST_FILE:,} can go along. Take its report."
            )
    packed = {name: base64.b64encode(gzip.compress(data, mtime=0)).decode() for name, data in contents.items() if data}
    environment = {key: value for key, value in run.environment.items() if key in _ENVIRONMENT}
    config = run.config.to_dict()
    config["name"] = _without_addresses(config["name"], config)  # a sweep may have named it by what it lists
    document = {
        "id": run.id,
        "config": _table_without_folders(config),
        "environment": _table_without_folders(environment),
        "state": status.state,
        "message": _sentence_without_places(status.message, run, config),
        "warnings": [_sentence_without_places(each, run, config) for each in status.warnings[:MOST_WARNINGS]],
        "step": status.step,
        "attempt": status.attempt,
        "created": status.created,
        "seconds": status.seconds,
        "files": packed,
    }
    return documents.fitting(HeldRun, document, f"run {run.id!r} can't go along", RunError)


def write(held: HeldRun, folder: Path, room: int = MOST_ALL) -> int:
    """Write a document as a run's folder, which mustn't be there yet, and read it again as every reader does.

    Returns the bytes of its files, of which there may be `room`. Raises CtkdError for what isn't sound (what was
    written stays, for the caller to remove) and OSError.
    """
    whole = {"config": _json(held, held.config), "environment": _json(held, held.environment)}
    contents = {}
    for name, packed in held.files.items():
        contents[name] = _unpacked(held, name, packed, min(MOST_FILE, room))
        room -= len(contents[name])
    try:
        with as_recorded():  # earlier versions let options pass that have no effect
            config = RunConfig.from_dict(json.loads(whole["config"]))
        text = kept_config.written(config)
    except CtkdError as fault:
        raise RunError(f"run {held.id!r} has options that this version can't read: {fault}") from None
    except Exception as fault:  # whatever a file may hold, it ends no page
        raise RunError(f"run {held.id!r} has options that are none ({type(fault).__name__}: {short(fault)}).") from None
    folder.mkdir(parents=True)
    status = RunStatus(
        state=held.state,
        message=held.message,
        attempt=held.attempt,
        step=held.step,
        total_steps=config.steps,
        created=held.created,
        elapsed=held.seconds,
        warnings=tuple(held.warnings),
    )
    write_status(folder, status)
    files.write_atomic(folder / CONFIG, text.encode("utf-8", "backslashreplace"))
    files.write_atomic(folder / ENVIRONMENT, whole["environment"])
    for name, content in contents.items():
        files.write_atomic(folder / name, content)
    _check(Run(folder))
    return sum(map(len, contents.values()))


def _check(run: Run) -> None:
    run.config  # noqa: B018
    for name in (METRICS, SAMPLES):
        if damage := read_part(run.dir / name).damage:
            raise RunError(f"{name} of run {run.id!r} isn't sound: {damage}.")
    try:
        json.dumps(saved.kept(run), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RunError(f"{saved.FILE} of run {run.id!r} isn't text.") from None


def _unpacked(held: HeldRun, name: str, packed: str, limit: int) -> bytes:
    try:
        unpacking = zlib.decompressobj(31)
        data = unpacking.decompress(base64.b64decode(packed, validate=True), limit + 1)
    except (binascii.Error, zlib.error, ValueError) as fault:
        raise RunError(f"{name} of run {held.id!r} can't be unpacked: {fault}.") from None
    if len(data) > limit:
        raise RunError(f"{name} of run {held.id!r} is larger than the {limit:,} bytes that are left for it.")
    if not unpacking.eof:
        raise RunError(f"{name} of run {held.id!r} breaks off.")
    return data


def _json(held: HeldRun, table: Mapping[str, Any]) -> bytes:
    data = json.dumps(finite(dict(table)), ensure_ascii=False).encode("utf-8", "backslashreplace")
    if len(data) > MOST_TABLE:
        raise RunError(f"run {held.id!r} has a table of {len(data):,} bytes; {MOST_TABLE:,} may be there.")
    return data


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(finite(row), ensure_ascii=False).encode("utf-8", "replace") + b"\n" for row in rows)


def _table_without_folders(table: Any, key: str = "") -> Any:
    """Every value of a table, and of those in it, without the folders of this machine."""
    if isinstance(table, dict):
        return {name: _table_without_folders(value, str(name)) for name, value in table.items()}
    if isinstance(table, (list, tuple)):
        return [_table_without_folders(value, key) for value in table]
    if not isinstance(table, str) or key in _FREE:
        return table
    if key in SERVERS and table:
        return _SERVER
    return without_folders(table)


def without_folders(source: str) -> str:
    """Of a path its last part; names of the hub and other words as they are."""
    head, sep, _ = source.partition("://")
    if sep or (_HUB.fullmatch(source) and not Path(source).exists()):
        return source
    if head.startswith(("/", "~", ".")) or "\\" in source or ("/" in source and not source.startswith("hf:")):
        return PureWindowsPath(source).name or source
    return source


def _without_addresses(text: str, config: Mapping[str, Any]) -> str:
    return without_addresses(text, config, lambda *_: _SERVER)


def _sentence_without_places(text: str, run: Run, config: Mapping[str, Any]) -> str:
    """A message without the folders and the servers' addresses that this program wrote into it."""
    text = _without_addresses(text, config)
    for place in sorted({str(run.dir.parent), str(files.home()), str(Path.home())}, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, "…")
    return text[:MOST_MESSAGE]
