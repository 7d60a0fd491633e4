"""Cross-entropy of the data against its slow twin."""

from __future__ import annotations

import math

import pytest
import torch

from ctkd_core import losses
from tests.losses import twins
from tests.losses.cases import batch_of, check_against_twin, logits_for, samples


class TestSft:
    def test_twin(self):
        batch = batch_of(samples())
        s, t = logits_for(batch, dtype=torch.float64)
        out = check_against_twin("sft", lambda z: twins.sft(z, batch), batch, s, t)
        rows = twins.ce_rows(s, batch)
        for value, (b, s0, s1, _, _) in zip(out.per_group, batch.groups.tolist()):
            torch.testing.assert_close(value, sum(rows[b, i] for i in range(s0, s1)).detach())

    def test_uniform_logits_cost_the_logarithm_of_the_vocabulary(self):
        batch = batch_of(samples())
        s, _ = logits_for(batch)
        assert float(losses.loss("sft", torch.zeros_like(s), None, batch).loss) == pytest.approx(math.log(403))
