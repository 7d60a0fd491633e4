"""A real text of a wanted length for the benchmarks: no download, no random letters."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def real_text(characters: int) -> str:
    """English, code and other scripts: this repository's own files and text samples, repeated to length."""
    from ctkd_core.tokenizers.sample_texts import TEXTS

    files = sorted([*ROOT.glob("ctkd_core/**/*.py"), *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    parts = [path.read_text(encoding="utf-8") for path in files] + [sample.text for sample in TEXTS.values()]
    whole = "\n".join(parts)
    return (whole * (characters // len(whole) + 1))[:characters]
