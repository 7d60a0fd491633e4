"""A source of an uploaded tokenizer: it names the file and its hash, tells no path, and leads nowhere else."""

from __future__ import annotations

import re

import pytest

from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers import snapshots, uploads
from ctkd_core.tokenizers.handover import hand_over
from ctkd_core.tokenizers.load import load_tokenizer
from tests.tiny import tiny_byte_level


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))


def test_an_upload_is_named_without_its_place(tmp_path):
    original = tiny_byte_level()
    path = snapshots.save_tokenizer(original.backend.to_str().encode(), "../my tokenizer.json")
    source = uploads.source_of(path)
    assert re.fullmatch(r"upload:my_tokenizer-[0-9a-f]{12}", source)
    found = load_tokenizer(source)
    assert re.fullmatch(r"my_tokenizer [0-9a-f]{8}", found.name)
    assert str(tmp_path) not in f"{found.name} {found.source} {found!r}"
    assert found.encode("201 cats").ids.tolist() == original.encode("201 cats").ids.tolist()
    assert hand_over(found).load().fingerprint == found.fingerprint


@pytest.mark.parametrize(
    "name", ["", "x", "../../etc/passwd", "tokenizer-0123456789ab", "a/b-0123456789ab", "..-0123456789ab", "x" * 400]
)
def test_other_names_are_refused(name):
    with pytest.raises(TokenizerError, match="there is no uploaded tokenizer"):
        load_tokenizer(f"{uploads.PREFIX}{name}")


def test_errors_about_an_upload_tell_no_path(tmp_path):
    path = snapshots.save_tokenizer(tiny_byte_level().backend.to_str().encode(), "mine.json")
    path.write_text("{broken", encoding="utf-8")
    with pytest.raises(TokenizerError) as fault:
        load_tokenizer(uploads.source_of(path))
    assert str(tmp_path) not in str(fault.value)
    assert "upload:mine-" in str(fault.value)
