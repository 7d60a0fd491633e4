"""The check-up: what it prints has the shape that its classes name."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from ctkd_core.distill.checkup import Checkup, examine
from ctkd_core.files import documents, to_json


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
