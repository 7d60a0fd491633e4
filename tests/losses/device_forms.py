"""Every loss on a pretended device: no tensor of the other device, no copy to the CPU's arrays, the same numbers.

    python -m tests.losses.device_forms

A process of its own, for libraries may take the pretended device for a real one.
"""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from typing import Any

import pytest
import torch

from ctkd_core import losses, methods
from ctkd_core.losses.base import States
from ctkd_core.losses.batch import AlignedBatch
from tests.losses.cases import FORMS, batch_of, extras, logits_for, same_sides, samples
from tests.pretend_device import DEVICE, Elsewhere, PretendDevice, elsewhere


def moved(batch: AlignedBatch) -> AlignedBatch:
    names = ("student_ids", "teacher_ids", "student_labels", "teacher_labels", "groups")
    parts = {name: elsewhere(getattr(batch, name)) for name in (*names, "student_attention", "teacher_attention")}
    return replace(batch, **parts, pairs=None if batch.pairs is None else elsewhere(batch.pairs))


def carried(value: Any) -> Any:
    if isinstance(value, States):
        return States(tuple(map(elsewhere, value.hidden)), elsewhere(value.head), elsewhere(value.embeddings))
    if isinstance(value, torch.nn.Module):
        for module in value.modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None:
                    module._parameters[name] = torch.nn.Parameter(elsewhere(parameter.data))
            for name, buffer in list(module._buffers.items()):
                if buffer is not None:
                    module._buffers[name] = elsewhere(buffer)
    return value


def check_device() -> None:
    """The pretended device refuses what a real one refuses."""
    x = elsewhere(torch.arange(6.0).view(2, 3))
    assert x.device == DEVICE
    assert (x @ x.T).device == DEVICE
    assert torch.zeros(2, device=x.device).device == DEVICE
    assert x.cpu().device.type == "cpu"
    assert (x + torch.tensor(1.0)).sum().item() == 21
    assert x[torch.tensor([1])].tolist() == [[3.0, 4.0, 5.0]]
    with pytest.raises(RuntimeError, match=r"shape \[3\] is on cpu"):
        x + torch.ones(3)
    with pytest.raises(TypeError, match="cpu"):
        x.numpy()


def check_loss(name: str, variant: str, **options: Any) -> None:
    """One loss there gives what it gives here."""
    batch = batch_of(samples())
    s, t = logits_for(batch)
    if methods.get(name).same_tokenizer:
        batch, t = same_sides(batch, t)
    given = extras(name, batch)
    expected = losses.loss(name, s, t, batch, variant, **given, **options)
    (gradient,) = torch.autograd.grad(expected.loss, [s])
    z = elsewhere(s)
    given = {k: carried(v) for k, v in given.items()}
    out = losses.loss(name, z, elsewhere(t), moved(batch), variant, **given, **options)
    (there,) = torch.autograd.grad(out.loss, [z])
    assert isinstance(out.loss, Elsewhere)
    assert isinstance(there, Elsewhere)
    torch.testing.assert_close(out.loss.detach().cpu(), expected.loss.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(there.cpu(), gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out.per_group.cpu(), expected.per_group, rtol=1e-4, atol=1e-5)


def main() -> None:
    """Print what went wrong with each form, "" where nothing did, as JSON."""
    found = {}
    with PretendDevice():
        check_device()
        for form, (name, variant, options) in FORMS.items():
            try:
                check_loss(name, variant, **options)
                found[form] = ""
            except Exception:
                found[form] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
