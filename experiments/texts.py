"""Real text for experiments: paragraphs from documentation packages of Debian, fetched here and never committed.

    python -m experiments texts ru-desktop

Two domains a language: `desktop` (GNOME's help, CC-BY-SA 3.0) and `system` (Debian's manuals, each under the free
licence that its package names in /usr/share/doc/PACKAGE/copyright). One page in four is held out, whole. A record is
{"text", "language", "domain", "source"}.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from ctkd_core import files
from ctkd_core.errors import CtkdError

DESKTOP = "gnome-user-docs"
# Packages of Debian's manuals by language; where a language has none, there's no domain `system`.
SYSTEM = {
    "ru": ("debian-faq-ru", "developers-reference-ru", "aptitude-doc-ru"),
    "de": ("debian-faq-de", "developers-reference-de", "debian-reference-de"),
    "ko": ("debian-faq-ko",),
    "ja": ("debian-faq-ja", "developers-reference-ja", "debian-reference-ja"),
    "zh_CN": ("debian-faq-zh-cn", "debian-reference-zh-cn"),
    "en": ("debian-faq", "developers-reference", "debian-reference-en"),
}
LANGUAGES = tuple(SYSTEM)
# A paragraph that wasn't translated has few letters of its language's script.
_SCRIPTS = {"ru": "[Ѐ-ӿ]", "ko": "[가-힣]", "ja": "[぀-ヿ一-鿿]", "zh_CN": "[一-鿿]"}
_GERMAN = re.compile(r"\b(der|die|das|und|nicht|ein|eine|ist|werden|mit|auf|von|zu|sie|den|im)\b", re.IGNORECASE)
SHORTEST = 60  # characters of a paragraph; shorter ones are headings and items
DOMAINS = ("desktop", "system")
LONGEST = 120  # characters of a text
VERSION = 2


class TextsError(CtkdError):
    """Text can't be fetched or read."""


class _Paragraphs(HTMLParser):
    """Texts of <p> elements, in HTML and in Mallard pages alike, without what lies in <pre>, <screen> and the like."""

    _ASIDE = frozenset({"pre", "screen", "script", "style", "info", "table"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._aside = 0
        self._open: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Enter a paragraph, or what is set aside."""
        if tag in self._ASIDE:
            self._aside += 1
        elif tag == "p":
            self._open = []

    def handle_endtag(self, tag: str) -> None:
        """Leave it."""
        if tag in self._ASIDE:
            self._aside = max(0, self._aside - 1)
        elif tag == "p" and self._open is not None:
            self.found.append(" ".join("".join(self._open).split()))
            self._open = None

    def handle_data(self, data: str) -> None:
        """Collect text."""
        if self._open is not None and not self._aside:
            self._open.append(data)


def paragraphs(document: str) -> list[str]:
    """The paragraphs of an HTML or Mallard document, blanks unified."""
    parser = _Paragraphs()
    parser.feed(document)
    parser.close()
    return [text for text in parser.found if text]


def in_language(text: str, language: str) -> bool:
    """Whether a paragraph is in this language, as far as its letters and commonest words tell."""
    if language in _SCRIPTS:
        letters = sum(character.isalpha() for character in text)
        return letters > 0 and len(re.findall(_SCRIPTS[language], text)) > 0.6 * letters
    if language == "de":
        return len(_GERMAN.findall(text)) >= 3
    return text.isascii()


def pieces(text: str, longest: int) -> Iterator[str]:
    """A paragraph cut between words into pieces of at most `longest` characters, without scraps of a third and less."""
    piece = ""
    words = text.split(" ") if " " in text else list(text)
    blank = " " if " " in text else ""
    for word in words:
        if piece and len(piece) + len(blank) + len(word) > longest:
            yield piece
            piece = ""
        piece = f"{piece}{blank}{word}" if piece else word[:longest]
    if len(piece) > longest / 3:
        yield piece


def folder() -> Path:
    """Where the texts lie: CTKD_HOME/cache/experiments/texts."""
    return files.cache_dir() / "experiments" / "texts"


def fetch(language: str, domain: str, longest: int = LONGEST) -> tuple[Path, Path]:
    """Fetch the packages of a language's domain, and return the JSON-lines files to train on and to hold out.

    What was written before is taken as it is. `longest`: characters of a text. Raises TextsError where packages can't
    be had (no `apt-get`, no network).
    """
    if language not in LANGUAGES or domain not in DOMAINS:
        raise TextsError(
            f"there is no text {language}-{domain}; languages are {', '.join(LANGUAGES)}, domains {', '.join(DOMAINS)}."
        )
    paths = tuple(
        folder() / f"v{VERSION}" / f"{language}-{domain}-{longest}-{part}.jsonl" for part in ("train", "held")
    )
    if not all(path.exists() for path in paths):
        packages = (DESKTOP,) if domain == "desktop" else SYSTEM[language]
        parts: tuple[list[dict[str, str]], list[dict[str, str]]] = ([], [])
        for held_out, record in _records(language, domain, packages, longest):
            parts[held_out].append(record)
        for path, records in zip(paths, parts):
            random.Random(0).shuffle(records)  # neighbours tell much about each other
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomic(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return paths[0], paths[1]


def _records(
    language: str, domain: str, packages: tuple[str, ...], longest: int
) -> Iterator[tuple[bool, dict[str, str]]]:
    """Each text once, and whether the page that it comes from is held out."""
    seen: set[str] = set()
    for package in packages:
        for path in _documents(unpacked(package), package, language):
            held_out = hashlib.sha256(path.name.encode()).digest()[0] % 4 == 0
            text = path.read_text(encoding="utf-8", errors="replace")
            for paragraph in paragraphs(text):
                if len(paragraph) < SHORTEST or not in_language(paragraph, language):
                    continue
                for piece in pieces(paragraph, longest):
                    if piece not in seen:
                        seen.add(piece)
                        record = {"text": piece, "language": language, "domain": domain, "source": package}
                        yield held_out, record


def _documents(root: Path, package: str, language: str) -> list[Path]:
    if package == DESKTOP:
        return sorted((root / "usr/share/help" / ("C" if language == "en" else language)).rglob("*.page"))
    return sorted(p for p in root.rglob("*.html") if _language_of(p, language))


def _language_of(path: Path, language: str) -> bool:
    """Whether a file's name, as `ch01.de.html`, names no other language."""
    parts = path.name.split(".")
    return len(parts) == 2 or parts[-2].lower().replace("-", "_") == language.lower()


def unpacked(package: str) -> Path:
    """The folder in which a package's files lie; fetched and unpacked when they aren't there. Raises TextsError."""
    target = folder() / "packages" / package
    if target.is_dir():
        return target
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise TextsError("text for experiments comes from Debian packages: run this where apt-get and dpkg are.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as there:
        print(f"Fetching {package}.", file=sys.stderr)
        done = subprocess.run(["apt-get", "download", package], cwd=there, capture_output=True, text=True)
        archives = list(Path(there).glob("*.deb"))
        if done.returncode or len(archives) != 1:
            raise TextsError(f"{package} can't be fetched: {(done.stderr or done.stdout).strip()[-300:]}")
        with files.replacing(target) as part:
            subprocess.run(["dpkg", "-x", str(archives[0]), str(part)], check=True)
    return target
