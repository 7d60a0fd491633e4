"""The evidence that comes with the package: read, empty where there is none, refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core.methods import evidence
from ctkd_core.methods.evidence import store


def test_the_packaged_evidence_is_read_once() -> None:
    assert evidence.load() is evidence.load()
    for _, condition in evidence.load().conditions:
        assert condition.kind in evidence.KINDS
        assert condition.regime in evidence.REGIMES


def test_no_file_is_no_evidence(tmp_path: Path) -> None:
    assert evidence.read(tmp_path / "nothing.json").experiments == []


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', '{"version": "1", "experiments": []}'])
def test_a_damaged_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(evidence.EvidenceError, match="python -m experiments digest"):
        evidence.read(path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps({"version": store.VERSION + 1, "experiments": []}), encoding="utf-8")
    with pytest.raises(evidence.EvidenceError, match="version 2"):
        evidence.read(path)
