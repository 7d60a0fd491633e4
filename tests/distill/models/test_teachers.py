"""Where teachers come from, and models that can't be loaded."""

from __future__ import annotations

import pytest
import torch

from ctkd_core.distill.models import teachers as teacher
from ctkd_core.errors import RunError
from tests.distill.kit import llama


@pytest.mark.parametrize("kind", ["missing", "empty", "pickle"])
def test_models_that_cannot_be_loaded(tmp_path, kind):
    folder = tmp_path / "model"
    if kind != "missing":
        folder.mkdir()
    if kind == "pickle":
        llama(50).config.save_pretrained(folder)
        torch.save(llama(50).state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(RunError, match="can't be loaded"):
        teacher.load_model(folder, role="teacher")


def test_teacher_source_follows_the_tokenizer(pair):
    assert teacher.teacher_source(pair.config(teacher_path="", teacher="smollm2")) == "bundled"
    assert teacher.teacher_source(pair.config(teacher_path="")) == str(pair.teacher)
