"""Terms of art: every name is found, each once, and nothing that only looks like one."""

from __future__ import annotations

import pytest

from ctkd_core.markup import glossary


def names_in(text: str) -> list[str]:
    return [text[start:end] for start, end, _ in glossary.found(text)]


def test_names_mean_one_term_each() -> None:
    every = [name for term in glossary.TERMS for name in (*term.names, *term.also)]
    assert len(every) == len(set(every))
    assert all(glossary.term(name) is term for term in glossary.TERMS for name in (*term.names, *term.also))


def test_meanings_are_one_line_that_ends_without_a_stop() -> None:
    for term in glossary.TERMS:
        assert "\n" not in term.meaning and "|" not in term.meaning
        assert not term.meaning.endswith(".")
        assert not set("*`") & set(term.plain)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Groups, groups and a super-group", ["Groups", "super-group"]),
        ("Boundary F1 0.973; a boundary", ["Boundary F1", "boundary"]),
        ("P-KL, H-KL and p-kl", ["P-KL"]),
        ("rows of logits, 3 bins", ["rows", "logits", "bins"]),
        ("a browser, an arrow, grouped, pathology, sft", []),
        ("the student's token", []),
        ("bın model, groupſ, a \u212al", []),  # letters that Unicode folds to i, s and k
        ("", []),
    ],
)
def test_terms_are_found_once_where_they_stand(text: str, found: list[str]) -> None:
    assert names_in(text) == found


def test_help_lists_each_meaning_once() -> None:
    said = glossary.explained("P-KL", "H-KL", "row")
    assert said.count("\n") == 1
    assert said.startswith("**H-KL, P-KL**: X-Token's two losses")
    assert glossary.explained_in("omega of the group").count("**") == 4
    assert glossary.explained_in("learning rate") == ""
    with pytest.raises(KeyError):
        glossary.explained("phlogiston")
