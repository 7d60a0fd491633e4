"""The check-up: what it prints has the shape that its classes name."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from ctkd_core.distill.checkup import Checkup, _as_made, examine
from ctkd_core.files import documents, to_json
from tests import anything


def test_what_is_printed_has_its_shape():
    printed = json.loads(to_json(examine()))
    assert list(printed) == list(Checkup.__dataclass_fields__)
    report = documents.fitting(Checkup, printed, "check-up")
    assert report.fatal is any(problem.fatal for problem in report.problems)
    assert {asset.kind for asset in report.assets} == {"tokenizer", "teacher"}


def test_another_shape_would_be_seen():
    printed = json.loads(to_json(examine()))
    with pytest.raises(ValidationError, match="assets"):
        documents.adapter(Checkup).validate_python(printed | {"assets": [{"name": "x"}]})


def test_a_prepared_model_with_a_damaged_note_isnt_called_whole(tmp_path):
    (tmp_path / "model").write_bytes(b"weights")
    whole = {"source": "a", "terms": "b", "accepted": 1.5, "files": {"model": hashlib.sha256(b"weights").hexdigest()}}
    note = tmp_path / "prepared.json"
    note.write_text(json.dumps(whole))
    assert _as_made(tmp_path, True)
    for content in anything.contents(whole):
        note.write_bytes(content)
        assert not _as_made(tmp_path, True) or json.loads(content)["files"] == whole["files"], content[:200]
    note.unlink()
    assert not _as_made(tmp_path, True)
