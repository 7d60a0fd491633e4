"""A cached teacher stands for the live one: the losses are those of the live teacher, and nothing else is read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import ctkd_core
from ctkd_core import methods
from ctkd_core.background import attempt
from ctkd_core.distill import worker
from ctkd_core.distill.teachers.kept import open_cache
from ctkd_core.distill.teachers.manifest import read_manifest, write_manifest
from ctkd_core.distill.teachers.matching import check_cache
from ctkd_core.errors import RunError
from tests.distill.kit import cache_teacher
from tests.distill.teachers.kit import ABLE, batch_of, live_logits, loss_of, samples_of, teacher_of


@pytest.fixture(scope="module")
def whole(pair, tmp_path_factory):
    """Every token of every row, exactly."""
    folder = tmp_path_factory.mktemp("whole") / "cache"
    cache_teacher(pair.config(), folder, k=0, dtype="float32", rows="all")
    return folder


@pytest.fixture(scope="module")
def few(pair, tmp_path_factory):
    """Eight tokens of the rows of answers."""
    folder = tmp_path_factory.mktemp("few") / "cache"
    cache_teacher(pair.config(), folder, k=8, dtype="float32")
    return folder


def told(pair, method, variant="clean", **changes):
    own = {"student": str(pair.teacher)} if methods.get(method).same_tokenizer else {}
    return pair.config(method=method, variant=variant, **own, **changes)


@pytest.mark.parametrize(("method", "variant"), ABLE)
def test_with_the_whole_vocabulary_the_loss_is_the_live_one(pair, whole, method, variant):
    config = told(pair, method, variant, teacher_cache=str(whole))
    batch = batch_of(config)
    kept = open_cache(config, teacher_of(config), [])
    live = loss_of(config, batch, live_logits(config, batch))
    assert loss_of(config, batch, kept.logits(batch)) == pytest.approx(live, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("row", [row for row in methods.training() if row.cached_teacher == "exact"])
def test_what_the_table_calls_exact_is_so_with_few_tokens(pair, few, row):
    config = told(pair, row.name, teacher_cache=str(few))
    batch = batch_of(config)
    live = loss_of(config, batch, live_logits(config, batch))
    kept = open_cache(config, teacher_of(config), [])
    assert loss_of(config, batch, kept.logits(batch)) == pytest.approx(live, rel=1e-5)


def test_what_the_table_calls_approximate_is_near(pair, few):
    for method in ("kd", "gold", "uld"):
        config = told(pair, method, teacher_cache=str(few))
        batch = batch_of(config)
        live = loss_of(config, batch, live_logits(config, batch))
        kept = open_cache(config, teacher_of(config), [])
        assert loss_of(config, batch, kept.logits(batch)) == pytest.approx(live, rel=0.02)


@pytest.mark.parametrize("method", ["sedi", "sft"])
def test_a_run_trains_without_the_teachers_model(pair, whole, store, monkeypatch, method):
    live = ctkd_core.distill(pair.config(method=method, steps=4), store)

    def gone(*_, **__):
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr("ctkd_core.distill.models.teachers.load_model", gone)
    cached = ctkd_core.distill(pair.config(method=method, steps=4, teacher_cache=str(whole)), store)
    rows = [[r for r in run.metric_rows() if r["kind"] == "train"] for run in (live, cached)]
    assert [r["loss"] for r in rows[1]] == pytest.approx([r["loss"] for r in rows[0]], rel=1e-5)
    bits = [run.summary()["metrics"]["teacher_bits_per_byte"] for run in (live, cached)]
    assert bits[1] == pytest.approx(bits[0], rel=1e-5)
    assert [s["teacher"] for s in cached.samples()] == [s["teacher"] for s in live.samples()]
    assert not cached.status().warnings


def test_a_transplanted_student_needs_the_teacher_only_to_be_built(pair, whole, store):
    config = pair.config(method="alm", steps=2, student_model="transplant")
    losses = [
        [r["loss"] for r in ctkd_core.distill(c, store).metric_rows() if r["kind"] == "train"]
        for c in (config, config.replace(teacher_cache=str(whole)))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_figures_that_the_cache_lacks_are_told(pair, few, store):
    config = pair.config(method="alm", steps=1, teacher_cache=str(few), eval_samples=4, sample_tokens=5)
    config = config.replace(evaluations="agreement,exposure")
    run = ctkd_core.distill(config, store)
    assert any("no bits per byte and no completions" in sentence for sentence in run.status().warnings)
    assert any("agreement and exposure can't be measured" in sentence for sentence in run.status().warnings)
    assert "teacher_bits_per_byte" not in next(r for r in run.metric_rows() if r["kind"] == "eval")


def test_a_further_teacher_may_be_cached(pair, whole, store):
    entry = {"teacher": str(pair.teacher), "method": "gold", "weight": 0.5}
    live = pair.config(method="sedi", steps=3, teacher_weight=0.5, teachers=[entry])
    cached = live.replace(teachers=[entry | {"teacher_cache": str(whole)}], teacher_cache=str(whole))
    losses = [
        [r["loss"] for r in ctkd_core.distill(c, store).metric_rows() if r["kind"] == "train"] for c in (live, cached)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_length": 32}, "max_length was 48 and is 32 now"),
        ({"template": "none"}, "template was 'plain' and is 'none' now"),
        ({"teacher_precision": "bf16"}, "teacher_precision was 'fp32' and is 'bf16' now"),
        ({"data": "bundled"}, "the data file changed"),
        ({"method": "xtoken-pkl"}, "the teacher's rows of the prompt, too.*--rows all"),
    ],
)
def test_a_cache_of_something_else_is_refused(pair, few, changes, words):
    config = pair.config(teacher_cache=str(few)).replace(**changes)
    with pytest.raises(RunError, match=words):
        check_cache(config, teacher_of(config))


def test_other_weights_are_refused(pair, few, tmp_path):
    from tests.distill.kit import llama, save_tokenizer
    from tests.tiny import tiny_byte_level

    save_tokenizer(tiny_byte_level(340, 1), tmp_path)
    llama(340, seed=9).save_pretrained(tmp_path)
    config = pair.config(teacher_cache=str(few), teacher_path=str(tmp_path))
    both = f"the teacher's weights changed from {str(pair.teacher)!r} to {str(tmp_path)!r}"
    with pytest.raises(RunError, match=re.escape(both)):
        check_cache(config, teacher_of(config))


def test_a_cache_that_does_not_fit_is_refused_before_models_are_loaded(pair, few, store, monkeypatch):
    """Its samples are looked for in the worker, which must not load the student's teacher for nothing."""
    run = store.create(pair.config(method="uld", student_model="transplant", teacher_cache=str(few)))
    monkeypatch.setattr("ctkd_core.distill.teachers.store.Cache.find", lambda *_: None)
    monkeypatch.setattr("ctkd_core.distill.models.teachers.load_model", lambda *_, **__: pytest.fail("loaded"))
    assert worker.execute(run, lambda: False) == attempt.FAILED
    assert "lacks 44 of 44 samples" in run.status().message


def test_a_teacher_that_is_elsewhere_is_taken_at_the_caches_word(pair, few, tmp_path):
    config = pair.config(teacher_cache=str(few), teacher_path=str(tmp_path / "nowhere"))
    assert check_cache(config, teacher_of(config)).complete


def test_damage_is_seen_before_a_row_is_read(pair, few, tmp_path):
    import shutil

    folder = Path(shutil.copytree(few, tmp_path / "copy"))
    rows = next(folder.glob("*.rows.npy"))
    data = bytearray(rows.read_bytes())
    data[-3] ^= 1
    rows.write_bytes(data)
    config = pair.config(teacher_cache=str(folder))
    with pytest.raises(RunError, match=r"damaged: .*SHA-256 differs"):
        open_cache(config, teacher_of(config), [])
    rows.write_bytes(data[:-1])
    with pytest.raises(RunError, match="bytes instead of"):
        check_cache(config, teacher_of(config))


def test_samples_that_a_cache_lacks_are_counted_before_training(pair, few):
    config = pair.config(teacher_cache=str(few))
    shorter = replace(samples_of(config, 1)[0], teacher_response_start=1)
    with pytest.raises(RunError, match="lacks 1 of 1 samples"):
        open_cache(config, teacher_of(config), [shorter])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "dskd"}, "'dskd' reads the teacher's hidden states"),
        ({"method": "alm", "method_options": {"hidden_weight": 0.5}}, "hidden_weight is above 0"),
        ({"method": "xtoken-pkl", "variant": "released"}, "rows of padding"),
        ({"method": "sedi", "on_policy_share": 0.5}, "a cache has no rows for text that the student writes"),
        ({"method": "sedi", "teacher_server": "http://localhost/v1", "teacher_server_model": "m"}, "not both"),
        ({"teachers": [{"teacher": "qwen", "method": "dskd", "teacher_cache": "c"}]}, "entry 1 of teachers: .*hidden"),
    ],
)
def test_what_a_cache_cannot_teach_is_refused_with_a_sentence(changes, words):
    with pytest.raises(RunError, match=words):
        ctkd_core.RunConfig(**{"teacher_cache": "somewhere"} | changes)


def test_old_configs_keep_their_fingerprint():
    config = ctkd_core.RunConfig(teachers=[{"teacher": "qwen"}])
    data = config.to_dict()
    new = ("teacher_cache", "teacher_precision", "teacher_loading", "teacher_server")
    assert not [key for table in (data, *data["teachers"]) for key in table if key.startswith(new)]
    changed = config.replace(teacher_precision="bf16", teachers=[{"teacher": "qwen", "teacher_cache": "x"}])
    again = ctkd_core.RunConfig.from_dict(json.loads(json.dumps(changed.to_dict())))
    assert again == changed


def test_rows_go_with_their_samples_in_any_order(pair, few):
    config = pair.config(teacher_cache=str(few))
    kept = open_cache(config, teacher_of(config), [])
    batch = batch_of(config)
    order = [3, 2, 1, 0]
    turned = replace(
        batch,
        teacher_ids=batch.teacher_ids[order],
        teacher_attention=batch.teacher_attention[order],
        teacher_labels=batch.teacher_labels[order],
    )
    assert (kept.logits(turned) == kept.logits(batch)[order]).all()


def test_preflight_and_estimates_know_of_the_cache(pair, few, whole):
    from ctkd_core.distill.checks import preflight
    from ctkd_core.distill.estimate import estimate, estimate_bytes

    plain, cached = pair.config(method="gold"), pair.config(method="gold", teacher_cache=str(few))
    checks = {c.name: c for c in preflight(cached)}
    assert checks["teacher's cache"].ok
    assert "8 of 340 tokens" in checks["teacher's cache"].detail
    assert "teacher" not in checks
    other = {c.name: c for c in preflight(cached.replace(max_length=40))}
    assert not other["teacher's cache"].ok
    assert estimate_bytes(cached)["teacher"] == 0 < estimate_bytes(plain)["teacher"]
    assert estimate(cached).training < estimate(plain).training


@pytest.mark.parametrize(
    ("row", "variant"),
    [
        (row, variant)
        for row in methods.training()
        if row.asks_teacher and (row.hidden_states_if or "hidden_states" not in row.outputs)
        for variant in row.variants
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_loss_reads_no_more_than_its_row_says(pair, row, variant):
    """Rows of the prompt, of padding and behind the answer, and shifts of logits change nothing that is undeclared."""
    import torch

    own = {"top_k": 20} if row.name == "xtoken-pkl" else {}
    config = told(pair, row.name, variant)
    batch = batch_of(config)
    logits = 3 * torch.randn(*batch.teacher_ids.shape, 340, generator=torch.Generator().manual_seed(1))
    place = torch.arange(batch.teacher_ids.shape[1])[None]
    first = torch.where(batch.teacher_labels >= 0, place, 10**6).amin(dim=1, keepdim=True) - 1
    masks = {
        "prompt_rows": (place < first) & (batch.teacher_attention > 0),
        "padding_rows": batch.teacher_attention == 0,
        "last_row": place == batch.teacher_attention.sum(dim=1, keepdim=True) - 1,
    }
    changed = {name: torch.where(mask[..., None], 7 * logits.flip(-1), logits) for name, mask in masks.items()}
    shifts = torch.linspace(-3, 3, logits[..., 0].numel()).reshape(*logits.shape[:2], 1)
    changed["raw_logits"] = logits + shifts
    before = loss_of(config, batch, logits, **own)
    reads = {
        name
        for name, other in changed.items()
        if loss_of(config, batch, other, **own) != pytest.approx(before, rel=1e-5, abs=1e-6)
    }
    assert reads <= set(row.reads_besides(variant))
    if row.name == "xtoken-pkl":
        assert {"prompt_rows", "raw_logits"} <= reads


@pytest.mark.parametrize("method", ["sedi", "uld"])  # their units need the logits; the batch alone
def test_steps_of_several_batches_take_a_cached_teacher(pair, whole, store, method):
    live = pair.config(method=method, steps=2, batch_size=2, accumulation=2, eval_samples=0, sample_prompts=0)
    losses = [
        [r["loss"] for r in ctkd_core.distill(c, store).metric_rows() if r["kind"] == "train"]
        for c in (live, live.replace(teacher_cache=str(whole)))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_figures_of_other_held_out_text_are_not_taken(pair, few, store, tmp_path):
    from ctkd_core.distill.data import load_split

    # What the data itself holds out, answered otherwise; the cache has all the rest.
    rows = [{"prompt": e.question, "completion": "It is red"} for e in load_split(str(pair.data)).held_out]
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = pair.config(method="alm", steps=1, teacher_cache=str(few), eval_data=str(held_out))
    run = ctkd_core.distill(config, store)
    assert any("no bits per byte and no completions" in sentence for sentence in run.status().warnings)
    assert "teacher_bits_per_byte" not in next(r for r in run.metric_rows() if r["kind"] == "eval")


def test_a_cache_of_unknown_weights_is_one_of_the_named_teacher(pair, few, tmp_path):
    import shutil

    folder = Path(shutil.copytree(few, tmp_path / "copy"))
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, whose=replace(manifest.whose, weights="")))
    config = pair.config(teacher_cache=str(folder))
    assert check_cache(config, teacher_of(config)).complete
    other = config.replace(teacher_path=str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match=r"the teacher was .* and is '.*nowhere' now"):
        check_cache(other, teacher_of(other))
    halved = config.replace(teacher_precision="bf16")
    with pytest.raises(RunError, match="teacher_precision was 'fp32' and is 'bf16' now"):
        check_cache(halved, teacher_of(halved))


def test_preflight_fetches_no_data_for_a_cache(pair, few, monkeypatch):
    from ctkd_core.distill.checks import preflight

    monkeypatch.setattr("ctkd_core.distill.data.fetched", lambda source: pytest.fail("fetched"))
    config = pair.config(data="hf:nobody/nothing", teacher_cache=str(few))
    checks = {c.name: c for c in preflight(config)}
    assert "compared when the run starts" in checks["teacher's cache"].detail


@pytest.mark.parametrize("made", ["transplant", "prune"])
def test_preflight_looks_at_a_cached_teacher_that_the_student_is_made_of(pair, few, made):
    from ctkd_core.distill.checks import preflight
    from ctkd_core.distill.estimate import estimate_bytes

    config = pair.config(teacher_cache=str(few), student_model=made)
    assert "teacher" in {c.name for c in preflight(config)}
    assert estimate_bytes(config)["teacher"] > 0


def test_a_cache_that_keeps_fewer_tokens_than_the_method_reads_is_warned_of(pair, few, whole, store):
    from ctkd_core.distill.checks import preflight

    def said(config):
        return next((c for c in preflight(config) if c.name == "teacher's top tokens"), None)

    config = pair.config(method="sedi", teacher_cache=str(few), steps=1)
    found = said(config)
    assert found is not None and not found.ok and not found.fatal
    assert "100 most probable" in found.detail and "--k 100" in found.detail and "set top_k to 8" in found.detail
    assert said(config.replace(method_options={"top_k": 8})) is None
    assert said(config.replace(teacher_cache=str(whole))) is None, "the whole vocabulary is there"
    assert said(pair.config(method="gold", teacher_cache=str(few))) is None, "it has no top_k"
    assert said(config.replace(teacher_cache="nowhere")) is None, "the check of the cache says it"
    served = {"teacher_server": "http://localhost:9/v1", "teacher_server_model": "tiny"}
    own = said(pair.config(method="sedi", **served))
    assert own is not None and "set teacher_server_k to 100" in own.detail
    run = ctkd_core.distill(config, store)
    assert found.detail in run.status().warnings
