"""A teacher behind a server: its loss is the live one, a wrong model or tokenizer is refused, a cache fills from it."""

from __future__ import annotations

import pytest

import ctkd_core
from ctkd_core.distill.models.teachers import load_frozen
from ctkd_core.distill.teachers.access import KEY
from ctkd_core.distill.teachers.client import Server
from ctkd_core.distill.teachers.kept import open_cache
from ctkd_core.distill.teachers.served import open_server
from ctkd_core.distill.teachers.served_model import choices_of
from ctkd_core.errors import RunError
from ctkd_core.tokenizers.load import load_tokenizer
from tests.distill.kit import cache_teacher
from tests.distill.teachers.kit import batch_of, live_logits, loss_of, teacher_of
from tests.distill.teachers.stub_server import NAME, serving
from tests.tiny import tiny_byte_level


@pytest.fixture
def server(pair):
    with serving(load_frozen(str(pair.teacher)), load_tokenizer(str(pair.teacher)), "ids") as found:
        yield found


def behind(pair, server, **changes):
    settings = {"teacher_server": server.address, "teacher_server_model": NAME, "teacher_server_k": 340}
    return pair.config(**settings | changes)


@pytest.mark.parametrize("dialect", ["ids", "named", "text"])
@pytest.mark.parametrize("method", ["sedi", "gold", "alm", "uld"])
def test_with_the_whole_vocabulary_the_loss_is_the_live_one(pair, server, dialect, method):
    server.dialect = dialect
    config = behind(pair, server, method=method)
    batch = batch_of(config)
    if dialect == "text":  # bytes of half a character have no text of their own, so not all tokens can be told apart
        config = config.replace(teacher_server_k=150)
    kept = open_server(teacher_of(config))
    live = loss_of(config, batch, live_logits(config, batch))
    near = {"rel": 0.02} if dialect == "text" else {"rel": 1e-4, "abs": 1e-4}
    assert loss_of(config, batch, kept.logits(batch)) == pytest.approx(live, **near)


def test_a_cache_that_a_server_filled_gives_the_live_loss(pair, server, tmp_path):
    config = behind(pair, server, method="gold")
    manifest = cache_teacher(config, tmp_path / "cache", k=0, dtype="float32")
    assert max(server.prompts) == config.batch_size  # prompts go together
    assert manifest.whose.weights == ""
    assert not manifest.kept.logits
    cached = pair.config(method="gold", teacher_cache=str(tmp_path / "cache"))
    batch = batch_of(cached)
    live = loss_of(cached, batch, live_logits(cached, batch))
    kept = open_cache(cached, teacher_of(cached), [])
    assert loss_of(cached, batch, kept.logits(batch)) == pytest.approx(live, rel=1e-4, abs=1e-4)
    assert kept.figures.answers == ("7 red", "7 red")
    raw = cached.replace(method="cdm", variant="released")
    with pytest.raises(RunError, match="before the soft-max"):
        open_cache(raw, teacher_of(raw), [])


def test_a_run_asks_the_server_and_tells_the_teachers_bits(pair, server, store, monkeypatch):
    live = ctkd_core.distill(pair.config(method="gold", steps=2), store)
    monkeypatch.setattr(
        "ctkd_core.distill.models.teachers.load_model", lambda *_, **__: pytest.fail("a model was loaded")
    )
    run = ctkd_core.distill(behind(pair, server, method="gold", steps=2), store)
    rows = [[r["loss"] for r in found.metric_rows() if r["kind"] == "train"] for found in (live, run)]
    assert rows[1] == pytest.approx(rows[0], rel=1e-4)
    bits = [found.summary()["metrics"]["teacher_bits_per_byte"] for found in (live, run)]
    assert bits[1] == pytest.approx(bits[0], rel=1e-4)


def test_the_students_own_words_can_be_read_by_a_server(pair, server, store):
    config = behind(pair, server, method="gold", steps=2, on_policy_share=1.0, on_policy_max_new_tokens=4)
    rows = [r for r in ctkd_core.distill(config, store).metric_rows() if r["kind"] == "train"]
    assert all(r["diagnostics"]["on_policy"] == 1 for r in rows)


def test_another_model_is_refused_with_the_nearest_name(pair, server):
    with pytest.raises(RunError, match="did you mean 'tiny'"):
        open_server(teacher_of(behind(pair, server, teacher_server_model="tinny")))


@pytest.mark.parametrize("dialect", ["ids", "text"])
@pytest.mark.parametrize("tokenizes", [True, False])
def test_another_tokenizer_is_refused(pair, server, dialect, tokenizes):
    server.tokenizer, server.tokenizes, server.dialect = tiny_byte_level(340, 3), tokenizes, dialect
    config = behind(pair, server, teacher_server_k=5)
    with pytest.raises(RunError, match="has another tokenizer than"):
        open_server(teacher_of(config)).logits(batch_of(config))


def test_a_server_that_tells_too_few_says_what_to_do(pair, server):
    server.most = 5
    config = behind(pair, server, teacher_server_k=20)
    with pytest.raises(RunError, match=r"tells [56] of the 20 most probable tokens"):
        open_server(teacher_of(config)).logits(batch_of(config))


def test_a_server_without_log_probabilities_is_no_teacher(pair, server):
    server.most = 0
    config = behind(pair, server)
    with pytest.raises(RunError, match="tells no log-probabilities of prompts"):
        open_server(teacher_of(config)).logits(batch_of(config))


def test_the_key_goes_to_the_server_and_nowhere_else(pair, server, store, monkeypatch):
    monkeypatch.setenv(KEY, "secret-1234")
    run = ctkd_core.distill(behind(pair, server, method="alm", steps=1, save_student=False), store)
    assert {headers.get("Authorization") for headers in server.seen} == {"Bearer secret-1234"}
    written = [p for p in run.dir.rglob("*") if p.is_file() and b"secret-1234" in p.read_bytes()]
    assert not written


@pytest.mark.parametrize("numbers", [["0", "1"], [None, None], [0, "1"], [[], {}]])
def test_choices_without_numbers_are_taken_as_they_come(numbers):
    found = [{"index": number, "text": str(at)} for at, number in enumerate(numbers)]
    assert choices_of(Server("http://127.0.0.1:1/v1"), {"choices": found}, 2) == found


def test_many_choices_that_texts_number_stay_in_their_order():
    found = [{"index": str(at)} for at in range(12)]  # as texts, "10" comes before "2"
    assert choices_of(Server("http://127.0.0.1:1/v1"), {"choices": found}, 12) == found
    numbered = [{"index": at} for at in reversed(range(12))]
    assert choices_of(Server("http://127.0.0.1:1/v1"), {"choices": numbered}, 12) == numbered[::-1]


def test_a_whole_number_beyond_any_float_is_no_chance(pair, server, monkeypatch):
    choice = server.choice

    def strange(*given):
        found = choice(*given)
        for table in found["prompt_logprobs"][1:]:
            least = min(table, key=lambda i: table[i]["logprob"])
            table[least]["logprob"] = -(10**400)
        return found

    config = behind(pair, server, teacher_server_k=339)
    batch = batch_of(config)
    monkeypatch.setattr(server, "choice", strange)
    assert open_server(teacher_of(config)).logits(batch).isfinite().all()


def test_an_id_below_zero_is_refused(pair, server, monkeypatch):
    choice = server.choice

    def strange(*given):
        found = choice(*given)
        for table in found["prompt_logprobs"][1:]:
            table["-1"] = {"logprob": -0.1, "rank": 1, "decoded_token": None}
        return found

    monkeypatch.setattr(server, "choice", strange)
    config = behind(pair, server, teacher_server_k=5)
    with pytest.raises(RunError, match="in a form that isn't known"):
        open_server(teacher_of(config)).logits(batch_of(config))
