"""`ctkd app`: the browser app, on this machine only unless another address is asked for."""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import ctkd_core
from ctkd_core.background.addresses import is_loopback
from ctkd_core.cli.common import OK, Answer, UsageError, say
from ctkd_core.errors import CtkdError
from ctkd_core.files import to_json

DEFAULT_PORT = 8501


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `ctkd app`."""
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}; 0 takes a free one")
    parser.add_argument("--address", default="127.0.0.1", help="default 127.0.0.1: reachable from this machine only")
    parser.add_argument(
        "--allow-launch",
        action="store_true",
        help="let pages start runs although the address is reachable from other machines",
    )


def run(args: argparse.Namespace) -> Answer:
    """Check address, port and app files, then become the Streamlit server (this returns only on Windows)."""
    port = free_port(args.address, args.port)
    script = find_app()
    if importlib.util.find_spec("streamlit") is None:
        raise CtkdError("streamlit is not installed; run `make setup` (or `pip install streamlit`).")
    local = is_loopback(args.address)
    url = f"http://{f'[{args.address}]' if ':' in args.address else args.address}:{port}"
    environment = {
        **os.environ,
        "CTKD_ALLOW_LAUNCH": "1" if local or args.allow_launch else "0",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    }
    say(f"CTKD Lab: {url}  (Ctrl-C ends it)")
    if not local and not args.allow_launch:
        say("Other machines can reach this address, so pages do not start runs; --allow-launch changes that.")
    code = serve(command(script, args.address, port), environment, {"url": url, "script": str(script)}, args.json)
    return Answer(lambda: {"url": url, "script": str(script)}, lambda: "", code)


def find_app() -> Path:
    """app.py inside the package in an installed wheel, beside it in a checkout."""
    package = Path(ctkd_core.__file__).resolve().parent
    for folder in (package / "_app", package.parent):
        if (folder / "app.py").is_file() and (folder / "pages").is_dir():
            return folder / "app.py"
    raise CtkdError(f"the app's files are missing from {str(package)!r}; install CTKD Lab again.")


def command(script: Path, address: str, port: int) -> list[str]:
    """The Streamlit command line; other settings come from .streamlit/config.toml beside the script."""
    return [
        *(sys.executable, "-m", "streamlit", "run", str(script)),
        *("--server.address", address, "--server.port", str(port)),
        *("--server.headless", "true", "--server.fileWatcherType", "none"),
    ]


def serve(words: list[str], environment: dict[str, str], data: dict[str, Any], as_json: bool) -> int:
    """Replace this process by the server, so that signals reach it and nothing is left behind."""
    if os.name == "nt":
        return subprocess.call(words, env=environment)
    if as_json:
        sys.__stdout__.write(to_json(data) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]
    sys.stderr.flush()
    os.dup2(2, 1)  # what the server prints is a log
    os.execve(words[0], words, environment)  # noqa: S606
    return OK


def free_port(address: str, port: int) -> int:
    """`port` if it can be bound (0: any free one); raises UsageError with what to do otherwise."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port takes a number from 0 to 65535; got {port}.")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"can't listen on {address} port {port}: {reason}; choose another with --port, or --port 0 for any."
            ) from None
        return int(probe.getsockname()[1])
