"""Page Pair: the report of two tokenizers, its tabs, states without something, one's own file."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from ctkd_core import files, methods
from ctkd_core.figures.pair_domains import MEASURES
from pages.parts import late_values
from tests.pages.app import figures, opened, texts
from tests.tiny import saved, tiny_byte_level, tiny_metaspace

pytestmark = pytest.mark.real
LIMIT = 2 * 2**20


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[str, str]:
    """Paths of two tiny tokenizers: pages open quickly with them."""
    return _saved(tmp_path_factory, tiny_byte_level(), "one"), _saved(tmp_path_factory, tiny_metaspace(), "two")


def _saved(factory, tokenizer, name: str, config: dict | None = None) -> str:
    folder = saved(tokenizer, factory.mktemp(name)).parent
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """A home without measurements of earlier runs; conversions are those of the shared test home."""
    shared = files.cache_dir()
    (tmp_path / "cache").mkdir()
    for name in ("models", "tokenizers", "hashes", "checks", "maps"):
        if (shared / name).is_dir():
            (tmp_path / "cache" / name).symlink_to(shared / name, target_is_directory=True)
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))


START = "Start a run with "


def measured(at):
    """The page after its measurement has ended."""
    assert at.session_state["corpus_job"][1].wait(600).ended_already
    return at.run()


def table(at, column: str):
    """The first table with this column."""
    return next(e.value for e in at.dataframe if column in e.value.columns)


def test_the_default_pair_gets_its_verdict_and_figures():
    at = opened("pair")
    assert not at.exception and not at.error
    said = texts(at)
    assert "**P-KL**" in said and "2-digit numbers 0 of 100" in said
    assert "This decides for P-KL" in said
    assert "ried on" in said and "(kind: uncommon numbers)" in said
    links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
    # Which method that is, rule and experiments decide; where it has no alignment, another's is looked at.
    (advised,) = [label.removeprefix(START) for label in links if label.startswith(START)]
    shown = methods.shown_on_a_text(advised).name
    (label,) = [label for label in links if label.startswith("See it on a text")]
    assert links[label] == f"see={shown}"
    assert shown == advised or label.endswith(f"({shown})"), "whose groups these are"
    found = figures(at)
    assert set(found) == {
        "Tokens the two vocabularies share",
        "Tokens the other side has too, by class",
        "Tokens per word by domain",
        "Tokens in 1-1 groups by domain",
    }
    assert all(len(json.dumps(spec)) < LIMIT for spec in found.values())
    assert at.query_params == {}


def test_the_address_brings_tab_measure_and_domain_back():
    at = opened("pair", student="qwen", measure="quality", domain="korean")
    (spec,) = [s for title, s in figures(at).items() if title.startswith("Quality")]
    assert [t["name"] for t in spec["data"]] == ["boundary F1", "same text", "bytes covered"]
    assert at.selectbox(key="domain").value == "korean"
    assert spec["layout"]["shapes"], "the domain is marked"
    lengths = opened("pair", student="qwen", look="Token lengths")
    assert "Length of tokens" in figures(lengths)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_is_drawn(small, measure):
    at = opened("pair", student=small[0], teacher=small[1], measure=measure)
    assert not at.exception
    assert any(title.lower().startswith(measure) for title in figures(at))


def test_an_unknown_measure_is_told(small):
    at = opened("pair", student=small[0], teacher=small[1], measure="qualty")
    assert "did you mean 'quality'" in at.warning[0].value.replace("\\", "")


def test_special_tokens_and_their_notes(small):
    at = opened("pair", student=small[0], teacher=small[1], look="Special tokens")
    assert not at.exception
    roles = table(at, "role")
    assert roles.set_index("role").loc["begin of text (BOS)", "student"] == "<bos>"
    assert "The teacher has no padding" in texts(at)


def test_an_unknown_tokenizer_offers_the_default_pair():
    at = opened("pair", student="no-such-tokenizer")
    assert not at.exception
    assert "no-such-tokenizer" in at.error[0].value
    at.button(key="default_pair").click().run()
    assert not at.error and "**P-KL**" in texts(at)


def test_equal_tokenizers_are_said_to_be_equal(small):
    at = opened("pair", student=small[0], teacher=small[0])
    assert not at.exception
    assert "same tokenizer" in at.success[0].value
    assert "**H-KL**" in texts(at)


def test_a_tokenizer_without_special_tokens(tmp_path_factory, small):
    backend = Backend(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("bare")
    backend.save(str(folder / "tokenizer.json"))
    at = opened("pair", student=str(folder), teacher=small[0], look="Special tokens")
    assert not at.exception
    assert set(table(at, "role")["student"][:4]) == {"none"}
    chat = opened("pair", student=str(folder), teacher=small[0], look="Chat templates")
    assert not chat.exception
    assert "Neither side has a template" in texts(chat)


def test_chat_templates_side_by_side(tmp_path_factory, small):
    template = "{% for m in messages %}<bos>{{ m.content }}<eos>{% endfor %}"
    folder = _saved(tmp_path_factory, tiny_byte_level(), "chat", {"chat_template": template})
    at = opened("pair", student=folder, teacher=small[1], look="Chat templates")
    assert not at.exception
    said = texts(at)
    assert "Only the student can write this conversation" in said
    assert "BOS twice" in said
    assert any("<bos>How many days" in c.value for c in at.code)
    assert "spells" in said  # what the markers are to the teacher
    at.button_group(key="conversation").set_value("own").run()
    at.text_area(key="conversation_text").set_value("no speaker").run()
    assert "no speaker for" in at.error[0].value
    at.text_area(key="conversation_text").set_value("user: <script>x</script>\nassistant: 7").run()
    assert not at.error and any("<script>" in c.value for c in at.code)


def test_an_endless_template_does_not_hang_the_page(tmp_path_factory, small, monkeypatch):
    from ctkd_core.tokenizers import chat_templates

    limit = chat_templates.render.__defaults__
    monkeypatch.setattr(chat_templates.render, "__defaults__", (1.0,))
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    folder = _saved(tmp_path_factory, tiny_byte_level(), "endless", {"chat_template": endless})
    at = opened("pair", student=folder, teacher=small[1], look="Chat templates")
    assert limit != (1.0,) and not at.exception
    assert "was stopped" in texts(at)


def test_all_pairs_are_compared_and_a_row_sets_the_pair(monkeypatch):
    from pages.parts import pair_data

    monkeypatch.setattr(pair_data, "offline_names", lambda: ["smollm2", "deepseek"])
    at = opened("pair", look="All pairs")
    assert not at.exception
    spec = figures(at)["Student tokens that the teacher has, %"]
    assert spec["data"][0]["x"] == ["smollm2", "deepseek"]
    rows = at.dataframe(key="pair_rows").value
    assert rows["canonical"].tolist() == pytest.approx([0.8717, 0.3321], abs=1e-3)


def test_ones_own_file_becomes_a_domain(small, own_home):
    at = opened("pair", student=small[0], teacher=small[1])
    at.file_uploader(key="corpus_file").set_value(("notes.txt", b"In 2024 we sold 201 units.", "text/plain")).run()
    measured(at)
    assert not at.exception and not at.error
    assert at.selectbox(key="domain").value == "your file: notes.txt"
    (spec,) = [s for title, s in figures(at).items() if title.startswith("Tokens per word")]
    assert spec["data"][0]["x"][-1].startswith("your file: notes.txt")
    assert "26 bytes" in texts(at)


def test_ones_own_file_stays_the_domain_though_the_one_before_is_late(small, own_home, monkeypatch):
    monkeypatch.setattr(late_values, "GRACE_SECONDS", 3600)
    at = opened("pair", student=small[0], teacher=small[1])
    before = at.selectbox(key="domain").value
    at.file_uploader(key="corpus_file").set_value(("notes.txt", b"In 2024 we sold 201 units.", "text/plain")).run()
    measured(at)
    at.selectbox(key="domain").set_value(before).run()
    assert at.selectbox(key="domain").value == "your file: notes.txt"


def test_a_file_that_is_taken_away_is_the_domain_no_more(small, own_home):
    at = opened("pair", student=small[0], teacher=small[1])
    at.file_uploader(key="corpus_file").set_value(("notes.txt", b"In 2024 we sold 201 units.", "text/plain")).run()
    measured(at)
    at.file_uploader(key="corpus_file").set_value([]).run()
    field = at.selectbox(key="domain")
    assert field.value == field.options[0] and field.proto.set_value, "a browser would go on showing the file"


def test_a_measurement_is_told_apart_with_intervals(small, own_home):
    at = opened("pair", student=small[0], teacher=small[1], slice_rate="bytes per token", slice_by="script")
    assert not at.exception and not at.error
    at.text_input(key="corpus_fields").set_value("language, language").run()
    lines = [{"text": f"In {k} we sold {k * 7} units.", "language": "en" if k % 3 else "de"} for k in range(1900, 1990)]
    data = "\n".join(map(json.dumps, lines)).encode()
    at.file_uploader(key="corpus_file").set_value(("rows.jsonl", data, "text/plain")).run()
    measured(at)
    assert not at.exception and not at.error
    shown = table(at, "student: bytes per token, low")
    assert {"Latin", "numbers"} <= set(shown["script"])
    assert (shown["student: bytes per token, low"] <= shown["student: bytes per token"]).all()
    (spec,) = [s for title, s in figures(at).items() if title.startswith("Bytes per token by script, your file: rows")]
    assert spec["data"][0]["x"] == shown["student: bytes per token"].tolist()
    assert max(spec["data"][0]["error_x"]["array"]) > 0
    at.selectbox(key="slice_by").set_value("field language").run()
    rows = table(at, "student: bytes per token, low").set_index("field language")
    assert rows["texts"].to_dict() == {"en": 60, "de": 30}
    at.selectbox(key="slice_by").set_value("domain").run()
    rows = table(at, "student: bytes per token, low").set_index("domain")
    assert rows["student: bytes per token, low"].notna().to_dict() == {
        name: name == "your file: rows.jsonl" for name in rows.index
    }
    at.text_input(key="corpus_fields").set_value("script").run()
    assert "can't be told apart by the field 'script'" in at.error[0].value.replace("\\", "")
    assert not at.exception


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.jsonl", b'{"text": "a"}\nnot json\n', "line 2"),
        ("bad.txt", b"caf\xe9 au lait", "UTF-8"),
        ("bad.txt", b"", "empty"),
        ("bad.md", b"\0\0\0", "binary"),
        ("bad.jsonl", b'{"other": 1}\n', "no text to measure"),
    ],
)
def test_a_wrong_file_is_a_sentence(small, own_home, name, content, said):
    at = opened("pair", student=small[0], teacher=small[1])
    at.file_uploader(key="corpus_file").set_value((name, content, "text/plain")).run()
    measured(at)
    assert not at.exception
    assert said in at.error[0].value.replace("\\", "")
    assert any(title.startswith("Tokens per word") for title in figures(at)), "the rest of the page stays"


def test_a_long_file_is_measured_in_the_background(small, own_home):
    at = opened("pair", student=small[0], teacher=small[1])
    line = "The year 2024 had 366 days, and 201 keepers crossed the tide.\n\n"
    data = (line * (400_000 // len(line))).encode()
    at.file_uploader(key="corpus_file").set_value(("long.txt", data, "text/plain")).run()
    assert not at.exception and not at.error
    assert at.button(key="corpus_cancel"), "the page is there at once, with progress"
    assert "your file: long.txt" not in table(at, "domain")["domain"].tolist()
    measured(at)
    rows = table(at, "domain").set_index("domain")
    assert rows.loc["your file: long.txt", "texts"] == len(data) // len(line)


def test_measuring_can_be_cancelled_and_begun_again(small, own_home):
    at = opened("pair", student=small[0], teacher=small[1])
    data = ("The year 2024 had 366 days.\n\n" * 480_000).encode()  # much: it must not be through before the click
    at.file_uploader(key="corpus_file").set_value(("long.txt", data, "text/plain")).run()
    at.button(key="corpus_cancel").click().run()
    job = at.session_state["corpus_job"][1]
    ended = job.wait(600)
    assert ended.state == "cancelled", ended
    at.run()
    assert "was cancelled" in texts(at) and not at.exception
    at.button(key="corpus_again").click().run()
    again = at.session_state["corpus_job"][1]
    assert again is not job and not again.status().ended_already
    again.job.cancel(wait=True)


def test_experiments_stand_beside_the_advice(monkeypatch):
    from ctkd_core.pair import advice
    from pages.parts import results
    from tests.pair.test_evidence import BETTER, MAYBE_WORSE, digest

    tried, worse = (c.model_copy(update={"student": "qwen", "teacher": "mistral-v3"}) for c in (BETTER, MAYBE_WORSE))
    monkeypatch.setattr(advice, "load", lambda: digest(tried, worse))
    results.RESULTS.clear()
    at = opened("pair", student="qwen", teacher="mistral-v3")
    results.RESULTS.clear()
    said = texts(at).replace("\\", "")
    assert "Train with bytes" in said
    assert "**Tried on this pair**" in said and "Bytes comes first, -0.05" in said
    assert "**Where bytes loses**" in said and "fresh text): Bytes is decidedly worse, +0.05" in said
