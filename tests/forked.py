"""Processes of tests, forked from one that has imported the libraries already.

The worker of a run or of page Losses imports torch, transformers' trainer, datasets and more: ten CPU seconds. The
tests start dozens of them, and hundreds of small processes that read a tokenizer's file. Here one process for all of
pytest's imports these once, while the first of them are started anew, and forks the others. What is forked finds what
it would have found if it had been started anew: arguments, environment, folder, output, a session of its own, and the
code of `ctkd_core`, which nobody has imported before. With the fixture `started_anew` (conftest) a test starts its
processes as they are started in use; the app and the command lines of tests always do.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = "CTKD_TEST_FORKS"  # in the environment: where the sockets lie
SMALL, LARGE = "small", "large"  # who forks: the one without torch, the one with it
# Nothing of ctkd_core, which reads the environment.
_SMALL = ("numpy", "pydantic", "filelock", "psutil", "yaml", "tokenizers", "regex")
_LARGE = (
    *("pandas", "numba", "pyarrow", "safetensors.torch", "torch", "torch._dynamo", "transformers", "accelerate"),
    *("transformers.trainer", "transformers.generation", "datasets", "jinja2.sandbox"),
    *("transformers.models.llama.modeling_llama", "transformers.models.gemma3.modeling_gemma3"),
)
_ASKED: set[str] = set()  # to import its libraries, by this process of pytest's
LIBRARIES = {SMALL: _SMALL, LARGE: (*_SMALL, *_LARGE)}


class Servers:
    """The processes that fork; they end with the one that made them, however that ends."""

    def __init__(self) -> None:
        """Start them; they import nothing before they are asked."""
        self._folder = tempfile.TemporaryDirectory(prefix="ctkd-forks-")
        self._processes = [self._start(name) for name in LIBRARIES]
        os.environ[FOLDER] = self._folder.name

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{self._folder.name}/{name}")
            listener.listen(64)
            number = listener.fileno()
            return subprocess.Popen(
                [sys.executable, "-c", "from tests.forked import serve; serve()", name, str(number)],
                stdin=subprocess.PIPE,  # this process holds the other end open
                pass_fds=[number],
                cwd=Path(__file__).resolve().parents[1],
            )

    def close(self) -> None:
        """End them. What they forked lives on."""
        os.environ.pop(FOLDER, None)
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        self._folder.cleanup()


def begin() -> None:
    """Have them import their libraries while the tests are collected, for what would else be started anew meanwhile."""
    for who in LIBRARIES:
        _is_ready(who)


def start_detached(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> int:
    """What `background.processes.start_detached` does for `-m module argument ...`, by a fork."""
    from ctkd_core.background import processes

    if not _is_ready(LARGE):
        return processes.start_detached(words, log, environment)
    log.open("ab").close()  # as there, an OSError before anything is started
    env = processes._without_launch(os.environ) | dict(environment)
    with _ask(LARGE, words, env, (log, log)) as connection, connection.makefile() as answer:
        return int(answer.readline())


def run(
    command: Sequence[str], *, env: Mapping[str, str], timeout: float, who: str = LARGE, **as_text: Any
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` does for `python -m module argument ...`, by a fork if there is who forks.

    A signal's number isn't told.
    """
    assert as_text == {"capture_output": True, "text": True, "check": False}, as_text
    assert list(command[:2]) == [sys.executable, "-m"], command
    if FOLDER not in os.environ or not _is_ready(who):
        return subprocess.run(command, env=env, timeout=timeout, **as_text)
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / "out", Path(folder) / "err"]
        with _ask(who, command[1:], env, said) as connection, connection.makefile() as answer:
            pid = int(answer.readline())
            connection.settimeout(timeout)
            try:
                code = answer.readline()
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(command), timeout) from None
        out, err = (path.read_text() if path.exists() else "" for path in said)
        return subprocess.CompletedProcess(list(command), int(code or -signal.SIGKILL), out, err)


class Subprocess:
    """What `tokenizers.child` takes from `subprocess`."""

    TimeoutExpired = subprocess.TimeoutExpired

    @staticmethod
    def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """As `run`; only what asks AutoTokenizer needs the large libraries."""
        return run(command, who=LARGE if "auto" in command else SMALL, **options)


def workers_of(folder: Path) -> list[int]:
    """Processes that were started for this folder, either way, and still run."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        words = process.info["cmdline"] or ()
        if str(folder) in words or _writes_into(process.info["pid"], folder):
            found.append(process.info["pid"])
    return found


def kill_workers_of(folder: Path) -> None:
    """End them; one may be gone already."""
    for pid in workers_of(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _writes_into(pid: int, folder: Path) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/fd/1").readlink().is_relative_to(folder.resolve())
    return False


def _is_ready(who: str) -> bool:
    """Whether it has imported its libraries; if not, it begins: whoever asks starts anew, and holds no lock longer."""
    if Path(f"{os.environ[FOLDER]}/{who}.ready").exists():
        return True
    if who in _ASKED:
        return False
    _ASKED.add(who)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{os.environ[FOLDER]}/{who}")
    return False


def _ask(who: str, words: Sequence[str], env: Mapping[str, str], said: Sequence[Path]) -> socket.socket:
    """A connection on which the process's id arrives, then, when it ends by itself, its exit code."""
    told = {
        "words": list(words),
        "said": [str(path.absolute()) for path in said],
        "folder": str(Path.cwd()),
        "environment": dict(env),
    }
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"{os.environ[FOLDER]}/{who}")
        connection.sendall(json.dumps(told).encode() + b"\n")
    except BaseException:
        connection.close()
        raise
    return connection


def serve() -> None:
    """The life of a process that forks; its arguments are its name and the number of the listening socket."""
    name, number = sys.argv[1:]
    listener = socket.socket(fileno=int(number))
    ready = False
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [], 0.2)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if sys.stdin in readable:
            os._exit(0)
        if listener not in readable:
            continue
        connection, _ = listener.accept()
        with connection, connection.makefile() as lines:
            told = lines.readline()
            if told:
                _fork(json.loads(told), listener, connection)
            elif not ready:
                _import_libraries(LIBRARIES[name])
                ready = True
                Path(f"{listener.getsockname()}.ready").touch()


def _import_libraries(names: Sequence[str]) -> None:
    import gc
    import importlib

    for name in names:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every page that is shared with what is forked


def _fork(told: dict[str, Any], listener: socket.socket, connection: socket.socket) -> None:
    if os.fork():
        return
    code = 1
    try:
        os.setsid()  # whoever stops it signals its group
        listener.close()
        connection.sendall(f"{os.getpid()}\n".encode())
        code = _work(told)
        with suppress(OSError):
            connection.sendall(f"{code}\n".encode())
    finally:
        os._exit(code)


def _work(told: dict[str, Any]) -> int:
    """Be the process: what the interpreter does for `-m module`, and what it does at the end. Returns the exit code."""
    import atexit
    import runpy
    import threading
    import traceback

    for path, number in zip([os.devnull, *told["said"]], range(3)):
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT if number else os.O_RDONLY, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(told["environment"])
    os.chdir(told["folder"])
    own = [] if os.environ.get("PYTHONSAFEPATH") else [told["folder"]]
    sys.path[:] = [*own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    first, module, *sys.argv[1:] = told["words"]
    assert first == "-m", told["words"]
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that aren't daemons
        atexit._run_exitfuncs()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    return code
