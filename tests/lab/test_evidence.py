"""Evidence: what is kept is what was written, refusals have a reason, and the models are really asked (slow)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ctkd_core.alignment import align
from ctkd_core.errors import CtkdError
from ctkd_core.lab import evidence
from ctkd_core.tokenizers import catalog
from ctkd_core.tokenizers.load import load_tokenizer
from tests.homes import own_home
from tests.tiny import tiny_byte_level

TINY = tiny_byte_level()


def made(n: int = 5, m: int = 4, k: int = 3) -> evidence.Evidence:
    rng = np.random.default_rng(0)
    rows = {"teacher": n, "student": m}
    arrays = {f"{side}_entropy": rng.random(size).astype(np.float32) for side, size in rows.items()}
    arrays |= {f"{side}_top_ids": rng.integers(0, 9, (size, k)).astype(np.int32) for side, size in rows.items()}
    arrays |= {f"{side}_top_logprobs": -rng.random((size, k)).astype(np.float32) for side, size in rows.items()}
    return evidence.Evidence(**arrays, teacher_space_probability=rng.random(n).astype(np.float32), notes=("“a”",))


@pytest.fixture
def bundled() -> object:
    """A stand-in for the bundled teacher's tokenizer."""
    return replace(TINY, name="smollm2", source=catalog.TOKENIZERS["smollm2"].source)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of this test; conversions are those of the shared test home."""
    own_home(tmp_path, monkeypatch)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / evidence.FILE
    evidence.write(path, made())
    found = evidence.read(path)
    for name in evidence.ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(made(), name))
        assert getattr(found, name).dtype == getattr(made(), name).dtype
    assert found.notes == ("“a”",)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b"", lambda b: b"{}" * 40])
def test_a_damaged_file_counts_as_none(tmp_path, damage):
    path = tmp_path / evidence.FILE
    evidence.write(path, made())
    path.write_bytes(damage(path.read_bytes()))
    assert evidence.read(path) is None
    assert evidence.read(tmp_path / "other") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher_entropy": np.zeros(5, np.float64)},
        {"teacher_entropy": np.zeros((5, 1), np.float32)},
        {"teacher_entropy": np.zeros(4, np.float32)},
        {"student_top_ids": np.zeros((4, 2), np.int32)},
        {"student_top_ids": np.zeros((4, 3), np.int64)},
        {"student_top_logprobs": np.zeros((3, 3), np.float32), "student_top_ids": np.zeros((3, 3), np.int32)},
        {"teacher_space_probability": np.zeros(1, np.float32)},
        {"notes": {"a": 1}},
        {"notes": [1]},
        {"notes": "text"},
    ],
)
def test_arrays_of_another_shape_or_type_count_as_none(tmp_path, changes):
    path = tmp_path / evidence.FILE
    evidence.write(path, replace(made(), **changes))
    assert evidence.read(path) is None


def test_refusals_say_why(bundled, own_cache):
    assert "no model of" in evidence.problem("a", TINY)
    assert "is empty" in evidence.problem("", bundled)
    assert "at most 40,000 characters" in evidence.problem("a" * 40_001, bundled)
    assert evidence.problem("a", bundled) == ""
    with pytest.raises(CtkdError, match="no model of"):
        evidence.evidence("a", TINY, TINY)
    with pytest.raises(CtkdError, match="has no file that another process could load"):
        evidence.start("a", replace(TINY, source=""), bundled)


def test_the_folder_is_named_by_text_and_tokenizers(bundled, own_cache):
    jobs = {
        evidence.job(text, student, bundled).folder
        for text in ("a", "b")
        for student in (TINY, tiny_byte_level(700, digits=1))
    }
    assert len(jobs) == 4
    assert evidence.job("a", TINY, bundled).folder in jobs
    assert evidence.cached("a", TINY, bundled) is None


def test_what_was_asked_before_is_not_asked_again(bundled, own_cache):
    folder = evidence.job("a", TINY, bundled).folder
    folder.mkdir(parents=True)
    evidence.write(folder / evidence.FILE, made())
    found = evidence.evidence("a", TINY, bundled)
    np.testing.assert_array_equal(found.teacher_entropy, made().teacher_entropy)
    assert not (folder / "order.json").exists()


@pytest.mark.real
@pytest.mark.slow
def test_the_bundled_model_is_asked(own_cache):
    from ctkd_core.distill.models import teachers

    if not teachers.is_prepared():
        pytest.skip("the bundled teacher isn't converted (`ctkd prepare`)")
    text = "The capital of France is Paris, and 2024 had 366 days."
    student, teacher = load_tokenizer("deepseek"), load_tokenizer("smollm2")
    shares: list[float] = []
    found = evidence.evidence(text, student, teacher, progress=lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    s, t = (side.encode(text, special_tokens=False).ids for side in (student, teacher))
    for side, ids, size in (("teacher", t, teacher.n_ids), ("student", s, student.n_ids)):
        entropy, top, logp = (getattr(found, f"{side}_{name}") for name in ("entropy", "top_ids", "top_logprobs"))
        assert entropy.shape == (len(ids),)
        assert top.shape == logp.shape == (len(ids), evidence.TOP_K)
        assert ((entropy >= 0) & (entropy <= np.log(size))).all()
        assert (np.diff(logp, axis=1) <= 0).all()
        assert (np.exp(logp).sum(axis=1) <= 1 + 1e-4).all()
    # row i predicts token i + 1: a model that has learnt English knows "Paris" and " days"
    assert (found.teacher_top_ids[:-1, 0] == t[1:]).mean() > 0.3
    _same_as_plain_torch(found, t, Path(teachers.prepared_folder()))
    a = align(
        text,
        student=student,
        teacher=teacher,
        method="cdm",
        student_entropy=found.student_entropy,
        teacher_entropy=found.teacher_entropy,
    )
    assert set(np.unique(a.cost.teacher_weights)) <= {3, 4, 5}
    biased = {"chunking": "bias", "teacher_space_probability": found.teacher_space_probability}
    assert len(align(text, student=student, teacher=teacher, method="alm", **biased)) > 1


def _same_as_plain_torch(found: evidence.Evidence, ids: np.ndarray, folder: Path) -> None:
    """The whole text at once, the obvious way."""
    import torch

    from ctkd_core.distill.models.teachers import load_model

    with torch.inference_mode():
        logits = load_model(str(folder)).eval()(torch.tensor([[int(i) for i in ids]])).logits[0].double()
    p = logits.softmax(-1)
    plain = -(p * p.log()).sum(-1).numpy()
    np.testing.assert_allclose(found.teacher_entropy, plain, atol=2e-3)
