"""The table of methods: every row is complete, documented and has valid defaults."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from ctkd_core import methods
from ctkd_core.errors import AlignmentError, CtkdError, LossInputError
from ctkd_core.methods import METHODS, Method
from ctkd_core.methods.options import Option
from ctkd_core.methods.table import assemble

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = list(METHODS.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
class TestEveryRow:
    def test_is_complete(self, row: Method) -> None:
        assert row.name == row.name.lower()
        for text in (row.title, row.paper, row.idea, row.formula, row.cannot_see):
            assert text.strip()
        assert row.idea.endswith(".")
        assert row.cannot_see.endswith(".")
        assert row.can_align or row.can_train
        assert row.needs or not row.asks_teacher
        assert row.variants
        assert set(row.variants) <= set(methods.VARIANTS)
        assert row.variants[0] == "clean"
        assert bool(row.variant_note) == (len(row.variants) > 1)

    def test_formula_has_balanced_braces(self, row: Method) -> None:
        bare = row.formula.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
        assert bare.count(r"\left") == bare.count(r"\right")

    def test_has_a_page(self, row: Method) -> None:
        page = (DOCS / "methods" / f"{row.name}.md").read_text(encoding="utf-8")
        assert row.title.split()[0].rstrip(":") in page
        assert "## What it cannot see" in page
        assert "## Sources" in page
        for option in (*row.align_options, *row.loss_options):
            assert f"`{option.name}`" in page, f"docs/methods/{row.name}.md lacks `{option.name}`, with the backticks"

    def test_functions_exist(self, row: Method) -> None:
        for path in filter(None, (row.aligner, row.loss, row.state, row.view, *row.exports.values())):
            assert callable(methods.load(path))

    def test_defaults_are_valid(self, row: Method) -> None:
        for variant in row.variants:
            for options, resolve in (
                (row.align_options_of(variant), row.resolve_align),
                (row.loss_options_of(variant), row.resolve_loss),
            ):
                assert resolve({}, variant=variant) == {o.name: o.default for o in options}
                for option in options:
                    assert option.parse(option.default) == option.default
                    assert option.parse(str(option.default)) == option.default, "a default survives the command line"

    def test_option_names_are_unique_and_described(self, row: Method) -> None:
        names = [o.name for o in (*row.align_options, *row.loss_options)]
        assert len(names) == len(set(names))
        for option in (*row.align_options, *row.loss_options):
            assert option.help.strip()
            assert option.name.isidentifier()

    def test_dict_is_json(self, row: Method) -> None:
        data = json.loads(json.dumps(row.to_dict()))
        assert data["name"] == row.name
        assert set(data["loss_options"]) == {o.name for o in row.loss_options}

    def test_unknown_option_names_the_nearest(self, row: Method) -> None:
        for options, resolve in ((row.align_options, row.resolve_align), (row.loss_options, row.resolve_loss)):
            if options:
                wrong = options[0].name + "x"
                with pytest.raises(AlignmentError, match=f"did you mean .*{options[0].name}"):
                    resolve({wrong: 1}, AlignmentError)


def test_keys_are_names() -> None:
    assert all(key == row.name for key, row in METHODS.items())


def test_get_names_the_nearest() -> None:
    assert methods.get("sedi") is METHODS["sedi"]
    with pytest.raises(CtkdError, match=r"unknown method 'sedo'; did you mean 'sedi'"):
        methods.get("sedo")
    with pytest.raises(CtkdError, match="unknown method"):
        methods.get(["unhashable"])  # type: ignore[arg-type]


def test_unknown_variant() -> None:
    with pytest.raises(LossInputError, match="variant of 'sedi' 'relesed'"):
        METHODS["sedi"].check_variant("relesed", LossInputError)


def test_aligner_gives_a_row_that_aligns_or_says_which_do() -> None:
    assert methods.aligner("sedi") is METHODS["sedi"]
    with pytest.raises(AlignmentError, match=r"'sft' has no alignment; choose one of .*sedi"):
        methods.aligner("sft", AlignmentError)
    with pytest.raises(AlignmentError, match="unknown method"):
        methods.aligner("sedy", AlignmentError)


def test_aligning_and_training_follow_the_table() -> None:
    assert [m.name for m in methods.aligning()] == [
        name for name, m in METHODS.items() if m.aligner and not m.alignment_of
    ]
    assert [m.name for m in methods.training()] == [name for name, m in METHODS.items() if m.loss]
    assert {"sft", "uld", "sedi"} <= {m.name for m in methods.training()}
    assert {"uld", "cdm", "sedi"} <= {m.name for m in methods.aligning()}


def test_same_option_means_the_same_everywhere() -> None:
    """An option that several methods share has one kind, or forms would have to guess."""
    seen: dict[str, Option] = {}
    for row in ROWS:
        for option in (*row.align_options, *row.loss_options):
            other = seen.setdefault(option.name, option)
            assert other.kind == option.kind, option.name


class TestWhatARowAsksFor:
    """The fields that `needs` sums up, each with the one meaning it has."""

    def test_only_losses_ask_a_teacher(self) -> None:
        assert not METHODS["sft"].asks_teacher
        assert not METHODS["xtoken"].outputs
        assert METHODS["sft"].needs == ()
        assert METHODS["alm"].needs == ("logits", "space_probability", "hidden_states", "groups")

    @pytest.mark.parametrize("row", methods.training(), ids=lambda row: row.name)
    def test_what_it_asks_for_is_what_the_functions_take(self, row: Method) -> None:
        taken = set(inspect.signature(methods.load(row.loss or "")).parameters)
        assert ("hidden_states" in row.outputs) == ({"student_states", "teacher_states"} <= taken)
        assert "projection" in taken or "projection" not in row.uses
        assert ("state" in taken) == (row.state is not None)
        if row.aligner:
            taken = set(inspect.signature(methods.load(row.aligner)).parameters)
            assert ("entropy" in row.aligner_inputs) == ("teacher_entropy" in taken)
            assert ("space_probability" in row.aligner_inputs) == ("teacher_space_probability" in taken)

    @pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
    def test_a_call_without_options_is_what_a_form_shows_at_first(self, row: Method) -> None:
        for function, options in ((row.loss, row.loss_options), (row.aligner, row.align_options)):
            taken = inspect.signature(methods.load(function)).parameters if function else {}
            own = {name: taken[name].default for name in (option.name for option in options)}
            assert own == {option.name: option.default for option in options}

    def test_hidden_states_may_hang_on_an_option(self) -> None:
        alm = METHODS["alm"]
        assert not alm.reads_hidden_states({})
        assert alm.reads_hidden_states({"hidden_weight": 0.5})
        assert METHODS["dskd"].reads_hidden_states({})
        assert not METHODS["sedi"].reads_hidden_states({})

    def test_a_loss_on_the_groups_of_another_says_so_and_drops_no_option(self) -> None:
        uld = METHODS["uld"]
        assert "groups of 'sedi' at their defaults, not on those of its own aligner" in uld.groups_note
        assert "since it has no aligner" in METHODS["kd"].groups_note
        assert METHODS["gold"].groups_note == ""
        assert uld.resolve_groups({}) == {}
        with pytest.raises(AlignmentError, match=r"'uld' trains on the groups of 'sedi' .* leave out 'unit', 'window'"):
            uld.resolve_groups({"unit": "char", "window": 3}, AlignmentError)
        assert METHODS["sedi"].resolve_groups({"unit": "char"})["unit"] == "char"

    @pytest.mark.parametrize("row", methods.training(), ids=lambda row: row.name)
    def test_a_reader_is_told(self, row: Method) -> None:
        told = row.requirements()
        assert told["teacher"] == "not asked" or told["teacher"].startswith("asked for logits")
        assert (told["trains on"] == "its own groups") == (not row.groups_of)


class TestWrongRows:
    """A row that doesn't fit together is refused where it is written."""

    GIVEN: ClassVar = {
        "name": "mine",
        "title": "M",
        "paper": "P",
        "url": "",
        "idea": "I.",
        "formula": "L",
        "cannot_see": "N.",
    }

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({}, "has neither aligner nor loss"),
            ({"loss": "a.b:c"}, "must name the row whose groups it trains on: groups_of='sedi'"),
            ({"loss": "a.b.c", "groups_of": "sedi"}, "pattern"),
            ({"aligner": "a.b:c", "outputs": ("logits",)}, "has no loss that reads anything"),
            ({"aligner": "a.b:c", "exports": {"trl": "a.b:c"}}, "has no loss that another trainer could have"),
            ({"aligner": "a.b:c", "loss": "a.b:c", "outputs": ("logit",)}, "'logits' or 'hidden_states'"),
            ({"aligner": "a.b:c", "loss": "a.b:c", "hidden_states_if": "w"}, "by an option that it doesn't have"),
            ({"loss": "a.b:c", "groups_of": "sedi", "aligner_inputs": ("entropy",)}, "no aligner that takes anything"),
            ({"aligner": "a.b:c", "loss": "a.b:c", "view": "a.b:c"}, "view, view_entries and view_lost"),
            ({"aligner": "a.b:c", "los": "a.b:c"}, "unknown field of a method 'los'; did you mean 'loss'"),
        ],
    )
    def test_is_refused_with_a_sentence(self, changes: dict[str, object], said: str) -> None:
        with pytest.raises(ValueError, match=re.escape(said)):
            Method(**self.GIVEN | changes)

    def test_names_are_unique_and_lead_somewhere(self) -> None:
        row = Method(**self.GIVEN, loss="a.b:c", groups_of="golt")
        with pytest.raises(ValueError, match="'mine' has groups_of='golt', which is no method with an aligner"):
            assemble([*ROWS, row])
        with pytest.raises(ValueError, match="two methods are called 'sedi'"):
            assemble([*ROWS, ROWS[0].model_copy(update={"name": "sedi"})])


def test_labels_are_short_and_unique() -> None:
    labels = [row.label for row in ROWS]
    assert len(set(labels)) == len(labels)
    assert {"SFT", "DSKD v2", "X-Token P-KL", "GOLD-greedy"} <= set(labels)


def test_reading_the_table_loads_nothing_heavy() -> None:
    code = "import sys, ctkd_core.methods; print(*sorted({'numpy', 'torch', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    code = "import sys, ctkd_core; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_method_is_shown_on_a_text_by_the_groups_that_it_trains_on() -> None:
    for row in METHODS.values():
        shown = methods.shown_on_a_text(row.name)
        assert shown in methods.aligning()
        assert shown.name == (row.groups_of or row.alignment_of or row.name)
    assert methods.shown_on_a_text("xtoken-pkl").name == "xtoken"
    with pytest.raises(CtkdError, match="did you mean"):
        methods.shown_on_a_text("xtoken-pkk")
