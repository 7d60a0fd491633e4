"""The table of methods: every row is complete, documented and has valid defaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ctkd_core import methods
from ctkd_core.errors import AlignmentError, CtkdError, LossInputError
from ctkd_core.methods import METHODS, Method
from ctkd_core.methods.options import Option

DOCS = Path(__file__).resolve().parents[2] / "docs"
NEEDS = {"logits", "entropy", "space_probability", "top_k", "hidden_states", "projection", "pairs", "groups"}
NEEDS |= {"same_tokenizer"}
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
        assert set(row.needs) <= NEEDS
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
            assert f"`{option.name}`" in page, option.name

    def test_functions_exist(self, row: Method) -> None:
        for path in filter(None, (row.aligner, row.loss)):
            assert callable(methods.load(path))

    def test_defaults_are_valid(self, row: Method) -> None:
        for options, resolve in ((row.align_options, row.resolve_align), (row.loss_options, row.resolve_loss)):
            assert resolve({}) == {o.name: o.default for o in options}
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
