"""Page Align beyond the first look: options, graph, models, long texts, export, faults of both tokenizers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ctkd_core import methods
from ctkd_core.lab import evidence
from ctkd_core.tokenizers import snapshots
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.sample_texts import TEXTS
from tests.pages.app import chips, components, figures, opened, texts

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def own_answers(tmp_path, monkeypatch):
    """What models said in other tests or runs isn't seen here."""
    from ctkd_core.background.lifecycle import Job

    asked = evidence.job

    def job(text, student, teacher):
        return Job(tmp_path / asked(text, student, teacher).folder.name)

    monkeypatch.setattr(evidence, "job", job)


def answer(text: str) -> None:
    """Put a made-up answer of the models where the page looks for it."""
    student, teacher = load_tokenizer("deepseek"), load_tokenizer("smollm2")
    n, m = (len(side.encode(text, special_tokens=False).ids) for side in (teacher, student))
    rng = np.random.default_rng(0)
    found = evidence.Evidence(
        rng.uniform(0, 6, n).astype(np.float32),
        rng.uniform(0, 6, m).astype(np.float32),
        rng.integers(0, 9000, (n, 5)).astype(np.int32),
        np.log(np.tile(np.float32([0.4, 0.2, 0.1, 0.1, 0.1]), (n, 1))),
        rng.integers(0, 9000, (m, 5)).astype(np.int32),
        np.log(np.tile(np.float32([0.4, 0.2, 0.1, 0.1, 0.1]), (m, 1))),
        rng.uniform(0, 1, n).astype(np.float32),
        ("Made up for a test.",),
    )
    folder = evidence.job(text, student, teacher).folder
    folder.mkdir(parents=True)
    evidence.write(folder / evidence.FILE, found)


@pytest.mark.parametrize("method", [m.name for m in methods.aligning()])
def test_every_method_is_shown_against_every_other_kind(method):
    at = opened("align", method=method, against="sedi" if method != "sedi" else "cdm", group="9", tab="Graph")
    assert not at.exception
    assert not at.error or "**: " in at.error[0].value  # the verdict
    assert chips(at)["methods"][0] == method
    assert "**Group 9**" in texts(at)
    assert len(figures(at)) == 1


def test_an_option_changes_the_view_and_the_address_brings_it_back():
    at = opened("align", method="alm", against="sedi")
    before = chips(at)
    at.selectbox(key="a_alm_chunking").set_value("space").run()
    after = chips(at)
    assert after["methods"][0] == "alm (chunking space)"
    assert after["total"] < before["total"]
    again = opened("align", method="alm", against="sedi", a_alm_chunking="space")
    assert chips(again)["groups"] == after["groups"]


def test_variants_of_one_method_can_be_compared():
    at = opened("align", method="cdm", against="cdm", b_cdm_variant="released", text="emoji")
    assert chips(at)["methods"] == ["cdm", "cdm (released)"]
    assert chips(at)["b"]
    assert "released: rows that share an alignment list" in texts(at).replace("\\", "")


def test_unknown_variants_and_options_in_the_address_are_named():
    at = opened("align", method="alm", a_alm_variant="relaesed", a_alm_chunking="<b>")
    said = " ".join(w.value for w in at.warning)
    assert "'relaesed'; did you mean 'released'?" in said
    assert "\\<b\\>" in said
    assert chips(at)["methods"][0] == "alm"


def test_health_of_both_methods_stands_side_by_side():
    at = opened("align", method="cdm", against="uld")
    table = at.table[0].value
    assert list(table.columns) == ["figure", "cdm", "uld"]
    assert {"largest group", "uncovered", "without a partner", "boundary F1"} <= set(table["figure"])


def test_the_graph_shows_the_pinned_group_and_its_table():
    at = opened("align", tab="Graph", method="cdm", group="9")
    (spec,) = figures(at).values()
    pinned = {c[0] for t in spec["data"] if "customdata" in t for c in t["customdata"]}
    assert 9 in pinned
    assert max(pinned) - min(pinned) <= 12
    table = at.dataframe[0].value
    assert {"paired", "bytes"} <= set(table.columns)
    assert 9 in set(table["group"])


def test_without_answers_the_page_offers_to_ask():
    at = opened("align", method="cdm")
    assert at.button(key="ask_models")
    assert "No logits" in texts(at)


def test_answers_weigh_the_path_and_appear_in_strips_and_card():
    plain = opened("align", method="cdm", tab="Path", group="9")
    answer(TEXTS["prose"].text)
    at = opened("align", method="cdm", tab="Path", group="9")
    assert "No logits" not in texts(at)
    (spec,) = figures(at).values()
    assert {"student entropy", "teacher entropy"} <= {t.get("name") for t in spec["data"]}
    assert "Made up for a test" in texts(at)
    assert "nats · expects after it" in texts(at)
    assert chips(at)["groups"] != chips(plain)["groups"]
    at.toggle(key="use_models").set_value(False).run()
    assert chips(at)["groups"] == chips(plain)["groups"]


def test_a_teacher_without_a_model_says_so():
    at = opened("align", teacher="qwen", method="cdm")
    assert "no model of 'qwen' is at hand" in texts(at)
    assert not [b for b in at.button if b.key == "ask_models"]


def test_asking_starts_one_job_with_progress(monkeypatch):
    started: list[str] = []
    monkeypatch.setattr(evidence, "start", lambda text, student, teacher: started.append(text))
    at = opened("align", method="cdm")
    at.button(key="ask_models").click().run()
    assert started == [TEXTS["prose"].text]


def test_a_fault_of_starting_is_told(monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(evidence, "start", full)
    at = opened("align", method="cdm")
    at.button(key="ask_models").click().run()
    assert any("No space left" in error.value for error in at.error)  # the verdict on cdm is another one


def test_both_unknown_tokenizers_are_named():
    at = opened("align", student="deapseek", teacher="smolm2")
    assert not at.exception
    assert "deapseek" in at.error[0].value
    assert "smolm2" in at.error[0].value


def test_a_long_text_that_cannot_be_saved_stays(monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(snapshots, "save_text", full)
    text = "".join(f"{k} keepers saw the tide. " for k in range(1200))
    at = opened("align")
    at.file_uploader(key="text_file").set_value(("long.txt", text.encode(), "text/plain")).run()
    for method in ("cdm", "uld", "cdm"):
        at.selectbox(key="method").set_value(method).run()
        assert at.text_area(key="typed_part_1").value == text[:4000]


def test_a_text_that_cannot_be_saved_is_there_again_after_another_page(monkeypatch):
    """Not the one before, which could be saved."""
    at = opened("align")
    at.text_area(key="typed").set_value("one 201").run()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(snapshots, "save_text", full)
    at.text_area(key="typed").set_value("two 202").run()
    for page in ("losses", "align"):
        for key in ("text", "snapshot"):
            at.query_params.pop(key, None)
        at.switch_page(f"pages/{page}.py").run()
    assert at.pills(key="text").value == "own"
    assert at.text_area(key="typed").value == "two 202"
    assert not at.exception


def test_an_edit_of_a_part_keeps_the_rest():
    text = "".join(f"{k} keepers saw the tide. " for k in range(1200))
    at = opened("align")
    at.file_uploader(key="text_file").set_value(("long.txt", text.encode(), "text/plain")).run()
    at.pagination(key="text_part").set_value(3).run()
    part = at.text_area(key="typed_part_3")
    assert part.value == text[8000:12_000]
    part.set_value("Zwölf 🦙 " + part.value[10:]).run()
    assert at.session_state["typed"] == text[:8000] + "Zwölf 🦙 " + text[8010:]
    assert at.text_area(key="typed_part_3").value.startswith("Zwölf 🦙 ")
    assert not at.exception


def test_the_table_of_groups_turns_to_the_pinned_one():
    at = opened("align", tab="Groups", group="40")
    shown = at.dataframe[0].value["group"].tolist()
    assert 40 in shown
    assert len(shown) == 12
    at.button(key="unpin").click().run()
    assert at.dataframe[0].value["group"].tolist() == shown  # nothing jumps
    at.button(key="next_difference").click().run()
    assert int(at.query_params["group"]) in at.dataframe[0].value["group"].tolist()


def test_disagreements_show_where_tokens_end():
    at = opened("align", tab="Disagreements", method="cdm", against="sedi")
    table = at.dataframe[0].value
    assert list(table.columns) == ["group", "cdm", "sedi"]
    assert table["sedi"].str.contains("│").any()


def test_cut_characters_are_written_as_on_the_command_line():
    from ctkd_core.cli.display import visible_bytes

    data = chips(opened("align"))
    shown = "".join(t[2] for g in data["groups"] for t in g["t"])
    assert visible_bytes(b"\xf0\x9f") in shown
    assert "⟨" not in json.dumps(data, ensure_ascii=False)


def test_export_offers_three_files_beside_that_of_the_view():
    at = opened("align", tab="Export", method="cdm")
    labels = [b.label for b in at.get("download_button")]
    assert labels == ["Alignment as JSON", "Groups as CSV", "Report as HTML (5 MB)", "As a file"]


def test_metrics_with_logits_appear_once_the_models_have_answered():
    before = opened("align", tab="Metrics", against="cdm")
    assert not any("candidates matched" in str(t.value.to_numpy()) for t in before.dataframe)
    answer(TEXTS["prose"].text)
    at = opened("align", tab="Metrics", against="cdm")
    assert not at.exception
    (table,) = [t.value for t in at.dataframe if "candidates matched" in t.value["metric"].tolist()]
    assert {"sedi", "cdm"} <= set(table.columns)
    share = table.set_index("metric").loc["candidates matched", "sedi"]
    assert 0 < float(share.removesuffix(" %")) <= 100


def test_methods_are_stacked_and_disagreements_listed():
    at = opened("align", tab="Methods", group="10")
    data = components(at)["stack_lanes"]
    assert data["methods"] == ["sedi", "uld", "cdm", "gold"]
    assert data["pinned"] == 10
    assert "The 4 methods disagree on" in texts(at)
    assert {"bytes", "opinions", "sedi", "gold"} <= set(at.dataframe[0].value.columns)
    again = opened("align", tab="Methods", against="sedi", stacked=["alm", "mined"])
    assert components(again)["stack_lanes"]["methods"] == ["sedi", "alm", "mined"]


def test_the_path_is_walked_step_by_step_on_the_page_of_the_pinned_group():
    at = opened("align", tab="Path", method="cdm", cost="step by step", group="40")
    assert not at.exception
    data = components(at)["path_steps"]
    at_group = [cell for row in data["cells"] for cell in row if cell[0] == 40]
    assert at_group
    assert data["first"] > 0
    assert "pages, and a pinned group opens its own" in texts(at)
    table = at.dataframe[0].value
    assert {"both", "teacher alone", "student alone", "taken", "accumulated"} <= set(table.columns)
    at.pagination(key="steps_page").set_value(1).run()
    assert components(at)["path_steps"]["first"] == 0


def test_a_long_text_stacks_the_two_methods_of_the_bar():
    at = opened("align", tab="Methods")
    at.file_uploader(key="text_file").set_value(("long.txt", b"The year 2024 had 366 days. " * 900, "text/plain")).run()
    assert not at.exception
    data = components(at)["stack_lanes"]
    assert data["methods"] == ["sedi", "uld"]
    assert sum(len(unit["s"]) for unit in data["units"]) <= 100 < data["total"]
    assert "only the two methods of the bar are stacked" in texts(at)


def test_a_link_names_method_a_whatever_the_bar_holds():
    at = opened("align", see="uld")
    assert chips(at)["methods"] == ["uld", "sedi"], "a method isn't compared with itself"
    assert at.query_params == {"method": "uld", "against": "sedi"}
    at = opened("align", see="ulb")
    assert "did you mean 'uld'" in at.warning[0].value
    assert "see" not in at.query_params
