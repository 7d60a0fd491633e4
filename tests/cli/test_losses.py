"""`ctkd losses`: the table without a text, the lab's answer with one, and what is refused."""

from __future__ import annotations

import pytest

from ctkd_core import methods
from ctkd_core.lab.question import EXAMPLES
from tests.cli.test_main import Ctkd


@pytest.mark.real
def test_losses_of_a_sentence(ctkd: Ctkd) -> None:
    """The packaged example is answered at once."""
    example = EXAMPLES["number"]
    words = ["losses", "--text", example.text, "--context", example.context, "-m", "gold", "-m", "sedi"]
    data = ctkd.json(*words)
    assert list(data["methods"]) == ["gold", "sedi"]
    for row in data["methods"].values():
        assert len(row["distil"]) == len(row["whole"]) == len(data["groups"])
        assert sum(row["whole"]) != 0
    _, out, _ = ctkd(*words)
    assert "gradient norm" in out and "gold share" in out


def test_without_a_text_it_is_the_table(ctkd: Ctkd) -> None:
    assert [row["name"] for row in ctkd.json("losses")] == [row.name for row in methods.training()]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-m", "gold"], "-m goes with --text"),
        (["--text", "x", "-m", "gld"], "did you mean 'gold'"),
        (["--text", "x", "-m", "gold-greedy"], "has no loss"),
        (["--text", "x", "-m", "gold", "-o", "sedi.top_k=2"], "-o takes METHOD.NAME=VALUE with one of gold"),
        (["--text", "x", "-m", "gold", "-o", "gold.temprature=2"], "unknown option of method 'gold'"),
        (["--text", "x", "-m", "gold", "--variant", "gold=old"], "variant"),
        (["--text", "x", "--variant", "sft=clean"], "isn't one of the methods"),
        (["--text", ""], "empty"),
    ],
)
def test_bad_input_is_told_before_tokenizers_load(ctkd: Ctkd, words: list[str], sentence: str) -> None:
    assert sentence in ctkd.error("losses", *words)
