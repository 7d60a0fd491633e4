"""Building a vocabulary map in a process of its own, so that a page shows progress and can cancel.

One build a map: whoever asks for a map that is being built gets the same build. It has a folder under the cache:

    order.json   what is built and which attempt this is     launch.json  the process that was started
    status.json  how far it is (written by the process)      cancel       somebody asked it to stop
    log.txt      what the process printed

That the process died without a word is concluded by the reader, as for runs. The map itself goes into `store`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core import catalog
from ctkd_core.errors import ProjectionError
from ctkd_core.processes import child_environment, process_alive, process_created, start_detached, stop_process

if TYPE_CHECKING:
    from ctkd_core.encoding import Tokenizer
    from ctkd_core.vocabulary.projection import Projection

# What is under way: "starting", "running". What has ended:
ENDED = frozenset({"finished", "failed", "cancelled", "lost"})
CANCEL_GRACE = 1.0  # seconds to stop by itself before it is told to by a signal
LOCK_SECONDS = 10.0
SMALL = 20_000  # vocabularies up to this many ids are mapped in well under a second by any method


@dataclass(frozen=True)
class BuildStatus:
    """One moment of a build: state ("starting", "running" or one of ENDED), share done 0..1, and a sentence."""

    state: str
    share: float = 0.0
    sentence: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen unless somebody starts it again."""
        return self.state in ENDED


@dataclass(frozen=True, eq=False)
class Build:
    """A map that is being built or was built; any number of handles may look at one build."""

    folder: Path
    student: Tokenizer = field(repr=False)
    teacher: Tokenizer = field(repr=False)
    method: str
    options: dict[str, Any]

    def status(self) -> BuildStatus:
        """Where it stands now. "lost": the process is gone and said nothing."""
        order, launch, said = (_read(self.folder / f"{name}.json") for name in ("order", "launch", "status"))
        if said.get("attempt") != order.get("attempt"):
            said = {}
        now = BuildStatus(
            str(said.get("state", "starting")), float(said.get("share", 0.0)), str(said.get("sentence", "Starting"))
        )
        pid, created = said.get("pid", launch.get("pid")), said.get("created", launch.get("created"))
        if now.ended or pid is None or process_alive(pid, created):
            return now
        last = _read(self.folder / "status.json")  # it may have ended properly between the two looks
        if last.get("attempt") == order.get("attempt") and last.get("state") in ENDED:
            return BuildStatus(last["state"], last.get("share", 0.0), last.get("sentence", ""))
        if (self.folder / "cancel").exists():
            return BuildStatus("cancelled", now.share, "Cancelled; nothing was kept.")
        return BuildStatus(
            "lost",
            now.share,
            f"The process {pid} that built this map ended without a word at {now.share:.0%}: killed, or out of "
            "memory. Build it again.",
        )

    def progress(self) -> tuple[float, str]:
        """Share done, 0 to 1, and what is being done."""
        now = self.status()
        return now.share, now.sentence

    def cancel(self, wait: bool = False) -> None:
        """Ask the process to stop; after a second it is made to. With `wait`, return when it's gone."""
        (self.folder / "cancel").write_text("cancel\n")
        said, launch = _read(self.folder / "status.json"), _read(self.folder / "launch.json")
        pid, created = launch.get("pid", said.get("pid")), launch.get("created", said.get("created"))
        if pid is None or self.status().ended:
            return
        stopper = threading.Thread(
            target=stop_process, args=(pid, created, CANCEL_GRACE), name=f"stop-{pid}", daemon=True
        )
        stopper.start()
        if wait:
            stopper.join()

    def log_tail(self, most: int = 4000) -> str:
        """The last characters of what the process printed."""
        try:
            return (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-most:]
        except OSError:
            return ""

    def result(self) -> Projection:
        """The finished map. Raises ProjectionError when there's none, with the reason."""
        from ctkd_core.vocabulary.store import cached, load

        path = cached(self.student, self.teacher, self.method, **self.options)
        if path is not None:
            return load(path, self.student, self.teacher)
        now = self.status()
        if now.state == "finished":
            raise ProjectionError(
                "the map was built, but not for these tokenizers or it was deleted since; build it again."
            )
        raise ProjectionError(now.sentence if now.ended else f"the map is still being built ({now.share:.0%}).")


def is_quick(student: Tokenizer, teacher: Tokenizer, method: str) -> bool:
    """Whether a map takes so little time that it needn't a process of its own."""
    from ctkd_core.vocabulary import MAPS

    return MAPS[method].quick or max(student.n_ids, teacher.n_ids) <= SMALL


def start(student_source: str, teacher_source: str, method: str, options: Mapping[str, Any] | None = None) -> Build:
    """Build a map in the background, or join the build of the same map that is under way.

    Raises TokenizerError or ProjectionError for sources, methods or options that aren't known.
    """
    from filelock import FileLock, Timeout

    from ctkd_core.encoding import load_tokenizer

    build = handle(load_tokenizer(student_source), load_tokenizer(teacher_source), method, options)
    build.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(build.folder / "lock", timeout=LOCK_SECONDS):
            if (build.folder / "order.json").exists() and not build.status().ended:
                return build
            _launch(build, student_source, teacher_source)
    except Timeout:
        raise ProjectionError(
            f"another process has held the lock of this build for {LOCK_SECONDS:.0f} s; try again."
        ) from None
    return build


def find(student: Tokenizer, teacher: Tokenizer, method: str, options: Mapping[str, Any] | None = None) -> Build | None:
    """The build of a map that somebody started, ended or not; None if nobody did."""
    build = handle(student, teacher, method, options)
    return build if (build.folder / "order.json").exists() else None


def handle(student: Tokenizer, teacher: Tokenizer, method: str, options: Mapping[str, Any] | None = None) -> Build:
    """A handle for the build of this map, started or not. Raises ProjectionError for an unknown method or option."""
    from ctkd_core.vocabulary import map_options

    resolved = map_options(method, options or {})
    asked = json.dumps([student.fingerprint, teacher.fingerprint, method, resolved], sort_keys=True, default=str)
    key = hashlib.sha256(asked.encode()).hexdigest()[:32]
    return Build(catalog.cache_dir() / "builds" / key, student, teacher, method, resolved)


def _launch(build: Build, student_source: str, teacher_source: str) -> None:
    folder = build.folder
    for name in ("status.json", "launch.json", "cancel"):
        (folder / name).unlink(missing_ok=True)
    order = {
        "attempt": secrets.token_hex(8),
        "student": student_source,
        "teacher": teacher_source,
        "method": build.method,
        "options": build.options,
    }
    catalog.write_atomic(folder / "order.json", json.dumps(order, default=str))
    environment = child_environment() | {"CTKD_HOME": str(catalog.home())}
    pid = start_detached(["-m", "ctkd_core.vocabulary.build_worker", str(folder)], folder / "log.txt", environment)
    catalog.write_atomic(folder / "launch.json", json.dumps({"pid": pid, "created": process_created(pid)}))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
