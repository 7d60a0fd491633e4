"""What is known of a model before its weights are loaded, and whether a tokenizer is its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from ctkd_core.distill import checks
from ctkd_core.distill.models.facts import (
    ModelFacts,
    compared,
    facts_in,
    facts_of,
    fetch_config,
    layers_of,
    own_tokenizer,
)
from ctkd_core.errors import PreflightError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import llama, save_tokenizer
from tests.tiny import tiny_byte_level, tiny_metaspace


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"vocab_size": 10, "max_position_embeddings": 20}, ModelFacts(10, 20)),
        ({"vocab_size": 10, "n_positions": 30}, ModelFacts(10, 30)),
        ({"text_config": {"vocab_size": 262208, "max_position_embeddings": 131072}}, ModelFacts(262208, 131072)),
        ({"vocab_size": "10", "n_positions": True, "text_config": 3}, ModelFacts()),
        ({}, ModelFacts()),
    ],
)
def test_what_configs_say(config, found):
    assert facts_in(config) == found


def test_facts_of_folders_and_of_the_bundled_model(pair, tmp_path):
    assert facts_of(str(pair.teacher)) == ModelFacts(340, 256)
    assert layers_of(str(pair.teacher)) == 1
    assert layers_of(str(tmp_path)) is None
    assert facts_of("bundled") == ModelFacts(49_152, 8_192)
    assert facts_of(str(tmp_path)) == facts_of("x" * 5000) == facts_of("a\0b") == facts_of("no/model") == ModelFacts()
    (tmp_path / "config.json").write_text("[" * 200_000)
    assert facts_of(str(tmp_path)) == ModelFacts()
    assert own_tokenizer(str(tmp_path)) is None
    assert own_tokenizer(str(pair.teacher)) is load_tokenizer(str(pair.teacher))


def test_tokenizers_of_one_model_and_of_another():
    tokenizer = tiny_byte_level(400, 3)
    assert compared(tokenizer, tokenizer).share == 0
    assert not compared(tokenizer, tiny_byte_level(400, 3)).other
    found = compared(tiny_metaspace(), tokenizer)
    assert found.other and found.first == 0 and (found.given, found.own) == ("<unk>", "<bos>")


def of(config, store, name):
    return next(c for c in checks.preflight(config, store.root) if c.name == name)


def test_a_tokenizer_of_another_model_is_refused(pair, store, tmp_path):
    save_tokenizer(tiny_metaspace(), tmp_path / "other")
    config = pair.config(teacher=str(tmp_path / "other"))
    found = of(config, store, "teacher's tokenizer")
    assert not found.ok and found.fatal
    assert "'other' isn't the tokenizer of" in found.detail and "% of their ids have another meaning" in found.detail
    with pytest.raises(PreflightError, match="isn't the tokenizer of"):
        checks.require(config, store.root)
    student = pair.config(student_model="pretrained", student_path=str(pair.teacher), student=str(tmp_path / "other"))
    assert not of(student, store, "student's tokenizer").ok
    assert of(pair.config(), store, "teacher's tokenizer").ok


def test_nothing_to_compare_with_is_a_warning(pair, store, tmp_path):
    shutil.copytree(pair.teacher, tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    found = of(pair.config(teacher_path=str(tmp_path / "bare")), store, "teacher's tokenizer")
    assert (found.ok, found.fatal) == (False, False)
    assert "has no tokenizer.json to compare with" in found.detail


def test_ids_beyond_the_rows_matter_only_where_the_data_has_them(pair, store, tmp_path):
    """As Gemma 3, whose tokenizer has one marker of pictures more than its model has rows."""
    from tokenizers import Tokenizer as Backend

    from ctkd_core.tokenizers.tokenizer import Tokenizer

    backend = Backend.from_str(load_tokenizer(str(pair.teacher)).backend.to_str())
    backend.add_special_tokens(["<image>"])
    folder = tmp_path / "wide"
    save_tokenizer(Tokenizer.from_backend(backend, "wide"), folder)
    llama(340, seed=1).save_pretrained(folder)
    config = pair.config(teacher=str(folder), teacher_path=str(folder), student_model="transplant", steps=2)
    found = of(config, store, "teacher's tokenizer")
    assert found.ok and "ids from 340 on have no row in the model; the data has none" in found.detail
    import ctkd_core

    assert ctkd_core.distill(config, store).status().state == "finished"
    assert ctkd_core.distill(config.replace(method="gold", student_model="scratch"), store).status().state == "finished"
    rows = [{"prompt": f"<image> {n}?", "completion": "red"} for n in range(24)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = replace(config, data=str(tmp_path / "d.jsonl"))
    with pytest.raises(PreflightError, match=r"340 embedding rows .* the data has id 340"):
        checks.require(config, store.root)


def test_a_length_beyond_the_models_positions_is_refused(pair, store):
    config = pair.config(max_length=300)
    with pytest.raises(
        PreflightError, match=r"max_length is 300, but .* reads texts of up to 256 tokens. Set max_length"
    ):
        checks.require(config, store.root)
    assert not [c for c in checks.preflight(pair.config(max_length=256), store.root) if "positions" in c.name]


def test_the_config_of_a_hubs_model_is_fetched_before_it_is_planned_with(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name, **_: asked.append((repo, name)))
    for source in ("bundled", str(tmp_path), "./nowhere", "smollm2", "owner/name"):
        fetch_config(source)
    assert asked == [("owner/name", "config.json")]
