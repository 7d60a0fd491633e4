"""Maps for other programs: what comes out is what the map holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.sparse import csr_matrix

from ctkd_core.errors import ProjectionError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import project
from ctkd_core.vocabulary.export import LAYOUTS, dense, export
from tests.tiny import tiny_byte_level
from tests.vocabulary.test_matches import VOCABULARIES


def matrix_of(indices: np.ndarray, likelihoods: np.ndarray, width: int) -> csr_matrix:
    rows, slots = np.nonzero(indices >= 0)
    return csr_matrix((likelihoods[rows, slots], (rows, indices[rows, slots])), shape=(len(indices), width))


@settings(max_examples=25, deadline=None)
@given(VOCABULARIES, VOCABULARIES, st.integers(0, 5))
def test_dense_form(s: Tokenizer, t: Tokenizer, top_k: int) -> None:
    p = project(s, t, top_k=0)
    indices, likelihoods = dense(p, top_k)
    assert indices.dtype == np.int64
    assert likelihoods.dtype == np.float32
    assert indices.shape == likelihoods.shape == (s.n_ids, top_k or max(p.fan_out().max(), 1))
    assert ((indices == -1) == (likelihoods == 0)).all()
    assert (np.diff(likelihoods, axis=1) <= 0).all(), "heaviest first"
    assert np.allclose(likelihoods.sum(axis=1), p.row_sums(), atol=1e-6)
    if not top_k:
        assert (matrix_of(indices, likelihoods, t.n_ids) != p.matrix).nnz == 0
    kept = np.minimum(p.fan_out(), indices.shape[1])
    assert ((indices >= 0).sum(axis=1) == kept).all()


@pytest.mark.parametrize("layout", ["nemo-rl", "trl"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_arrays_in_files(tmp_path: Path, layout: str, suffix: str) -> None:
    p = project(tiny_byte_level(), tiny_byte_level(320, 1))
    path = export(p, tmp_path / "deep" / f"w{suffix}", layout)
    if suffix == ".pt":
        tensors = torch.load(path, weights_only=True)
        assert [t.dtype for t in tensors.values()] == [torch.int64, torch.float32]
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    else:
        arrays = load_file(path)
    assert set(arrays) == {"indices", "likelihoods"}
    assert (matrix_of(arrays["indices"], arrays["likelihoods"], p.shape[1]) != p.matrix).nnz == 0


def test_pairs(tmp_path: Path) -> None:
    p = project(tiny_byte_level(), tiny_byte_level(320, 1))
    lines = [json.loads(line) for line in export(p, tmp_path / "w.jsonl", "pairs").read_text().splitlines()]
    assert len(lines) == p.matrix.nnz
    coo = p.matrix.tocoo()
    want = {(int(s), int(t)): float(w) for s, t, w in zip(coo.row, coo.col, coo.data)}
    assert {(line["student"], line["teacher"]): line["weight"] for line in lines} == want


def test_an_empty_map_has_one_unused_slot() -> None:
    tokenizer = tiny_byte_level()
    p = project(tokenizer, tokenizer)
    nothing = type(p)(csr_matrix(p.shape, dtype=np.float32), p.reason[:0], "none", tokenizer, tokenizer)
    indices, likelihoods = dense(nothing)
    assert indices.shape == (tokenizer.n_ids, 1)
    assert (indices == -1).all()
    assert not likelihoods.any()


def test_refusals(tmp_path: Path) -> None:
    p = project(tiny_byte_level(), tiny_byte_level(320, 1))
    with pytest.raises(ProjectionError, match="did you mean 'nemo-rl'"):
        export(p, tmp_path / "w.pt", "nemo")
    for layout, row in LAYOUTS.items():
        with pytest.raises(ProjectionError, match=f"ends in {row.suffixes[0]}"):
            export(p, tmp_path / "w.txt", layout)
    (tmp_path / "file").touch()
    with pytest.raises(ProjectionError, match="can't write"):
        export(p, tmp_path / "file" / "w.pt")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = project(tiny_byte_level(), tiny_byte_level(320, 1))
    path = export(p, tmp_path / "w.pt")
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProjectionError, match="No space left"):
        export(p, path, top_k=1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_ids_and_widths_that_make_no_sense_are_refused():
    p = project(tiny_byte_level(400, 3), tiny_byte_level(300, 1), method="exact")
    for wrong in (1.5, "201"):
        with pytest.raises(ProjectionError, match="whole number"):
            p.explain(wrong)
        with pytest.raises(ProjectionError, match="whole number"):
            p.column(wrong)
    with pytest.raises(ProjectionError, match="above 4,000,000"):
        p.widen(student_width=99_999_999_999)
