"""Configs for NeMo-RL: read back as YAML, and the map that goes along replayed with our loss.

NeMo-RL isn't a package that can be installed, so nothing of it runs here.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from ctkd_core.distill.exports import nemo_rl
from ctkd_core.distill.exports.folder import write
from ctkd_core.errors import RunError

PKL, HKL = {"method": "xtoken-pkl"}, {"method": "xtoken-hkl"}


def test_the_config_reads_back_as_what_the_run_says(pair, tmp_path):
    config = pair.config(**PKL, warmup=0.25, accumulation=2)
    found = write(config, "nemo-rl", tmp_path / "out")
    table = yaml.safe_load((tmp_path / "out" / "nemo_rl.yaml").read_text())
    loss = table["loss_fn"]
    assert (loss["gold_loss"], loss["vocab_topk"], loss["dynamic_loss_scaling"]) == (False, 8192, True)
    assert table["policy"]["train_global_batch_size"] == 8
    assert table["policy"]["optimizer"]["kwargs"]["lr"] == 0.01
    assert table["policy"]["scheduler"][0]["kwargs"]["total_iters"] == 3
    assert table["teachers"][0]["aligner"]["projection_matrix_path"] == "projection.pt"
    assert table["teachers"][0]["model_name"] == str(pair.teacher)
    for name in (table["policy"]["model_name"], table["policy"]["tokenizer"]["name"]):
        assert (tmp_path / "out" / name).is_dir()
    assert any("wasn't run" in note for note in found.notes)
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 44
    assert all(row["text"] == row["prompt"] + row["completion"] for row in rows)


def test_the_map_that_goes_along_gives_our_loss(pair, tmp_path):
    import scipy.sparse
    import torch

    import ctkd_core
    from ctkd_core.losses.batch import AlignedBatch
    from ctkd_core.tokenizers.load import load_tokenizer

    config = pair.config(**PKL)
    write(config, "nemo-rl", tmp_path / "out", student=False)
    stored = torch.load(tmp_path / "out" / "projection.pt", weights_only=True)
    indices, weights = stored["indices"].numpy(), stored["likelihoods"].numpy()
    student, teacher = load_tokenizer(str(pair.student)), load_tokenizer(str(pair.teacher))
    rows, slots = np.nonzero(indices >= 0)
    matrix = scipy.sparse.csr_matrix(
        (weights[rows, slots], (rows, indices[rows, slots])), shape=(student.n_ids, teacher.n_ids)
    )
    text = "What is 2 + 3?"
    ids = [torch.from_numpy(t.encode(text).ids.astype(np.int64))[None] for t in (student, teacher)]
    batch = AlignedBatch.from_ids(*ids, *ids, student=student, teacher=teacher, method=config.method)
    torch.manual_seed(0)
    logits = [torch.randn(1, i.shape[1], t.n_ids) for i, t in zip(ids, (student, teacher))]
    replayed = ctkd_core.loss(config.method, *logits, batch, projection=matrix, **config.method_options)
    direct = ctkd_core.loss(config.method, *logits, batch, **config.method_options)
    terms = {name: float(value) for name, value in direct.terms.items()}
    assert {name: float(value) for name, value in replayed.terms.items()} == pytest.approx(terms, rel=1e-5)
    distilled = [value for name, value in terms.items() if name not in ("ce", "kd_scale")]
    assert distilled
    assert min(distilled) > 0.01


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (HKL, {"gold_loss": True, "xtoken_loss": True, "uncommon_topk": 8192}),
        ({**HKL, "method_options": {"common": "strict"}}, {"gold_loss": True, "xtoken_loss": False}),
        (
            {**PKL, "method_options": {"scaling": "fixed", "ce_weight": 0.25, "reverse": True}},
            {"dynamic_loss_scaling": False, "kl_loss_weight": 0.75, "ce_loss_scale": 0.25, "reverse_kl": True},
        ),
    ],
)
def test_losses_by_their_names_there(pair, given, expected):
    found, notes = nemo_rl.loss_settings(pair.config(**given))
    assert not notes
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({**PKL, "method_options": {"merge": "chain"}}, "merge is 'chain'"),
        ({**PKL, "method_options": {"learn_projection": True}}, "map is fixed"),
        ({**HKL, "method_options": {"threshold": 0.5}}, "threshold is 0.5"),
        ({**HKL, "method_options": {"tail_weight": 2.0}}, "tail_weight is 2.0"),
        ({**PKL, "on_policy_share": 0.5}, "off-policy"),
        ({"method": "gold"}, "--to trl"),
    ],
)
def test_what_nemo_rl_has_not_is_refused(pair, tmp_path, given, sentence):
    with pytest.raises(RunError, match=sentence):
        write(pair.config(**given), "nemo-rl", tmp_path / "out")


def test_how_groups_are_made_is_noted_where_it_cannot_be_said(pair):
    def notes(**options):
        config = pair.config(**PKL, align_options=options)
        return [note for note in nemo_rl.settings(config, "student")[1] if "align_options" in note]

    assert notes(max_span=3) == []
    (note,) = notes(repair=False)
    assert "repair=false isn't written" in note
