"""`ctkd app`: the browser app, on this machine only unless another address is asked for."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ctkd_core.background.addresses import is_loopback
from ctkd_core.background.processes import OWN_MODULES
from ctkd_core.cli.common import OK, Json, Output, UsageError, inform, whole
from ctkd_core.errors import CtkdError
from ctkd_core.files import to_json

DEFAULT_PORT = 8501


def run(
    port: Annotated[
        int, typer.Option("--port", metavar="N", parser=whole, help="The port; 0 takes a free one.")
    ] = DEFAULT_PORT,
    address: Annotated[
        str, typer.Option("--address", metavar="A", help="127.0.0.1 is reachable from this machine only.")
    ] = "127.0.0.1",
    allow_launch: Annotated[
        bool,
        typer.Option(
            "--allow-launch",
            help="Let pages start runs and change things although the address is reachable from other machines.",
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A further name that browsers may ask for, such as a proxy's; *.example.org allows all that end so. "
            "May be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> Output:
    """Check address, port and app files, then become the Streamlit server (this returns only on Windows)."""
    port = free_port(address, port)
    script = find_app()
    if importlib.util.find_spec("streamlit") is None:
        raise CtkdError("streamlit is not installed; run `make setup` (or `pip install streamlit`).")
    local = is_loopback(address)
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    environment = {
        **os.environ,
        **OWN_MODULES,
        "CTKD_ALLOW_LAUNCH": "1" if local or allow_launch else "0",
        "CTKD_ALLOWED_HOSTS": ",".join(allow_host or ()) or os.environ.get("CTKD_ALLOWED_HOSTS", ""),
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    }
    inform(f"CTKD Lab: {url}  (Ctrl-C ends it)")
    if not local and not allow_launch:
        inform(
            "Other machines can reach this address, so pages do not start runs and change nothing; "
            "--allow-launch changes that."
        )
    code = serve(command(script, address, port), environment, {"url": url, "script": str(script)}, json)
    return Output(lambda: {"url": url, "script": str(script)}, list, code)


def find_app() -> Path:
    """app.py inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
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
