"""`ctkd evidence`: what the page shows, narrowed by filters, and what is refused."""

from __future__ import annotations

import pytest

from ctkd_core.figures.evidence import glance_rows, ranking_sentence
from ctkd_core.methods.evidence import Digest, load, store
from tests.cli.test_main import Ctkd


def test_it_has_what_the_page_shows(ctkd: Ctkd) -> None:
    found, data = load(), ctkd.json("evidence")
    assert list(data) == ["glance", "settings", "claims"]
    assert [row["title"] for row in data["glance"]] == [row["method"] for row in glance_rows(found)]
    for row in data["glance"]:
        assert row["settings"] == row["better"] + row["undecided"] + row["worse"] and row["lowest"] <= row["highest"]
    assert len(data["settings"]) == len(found.conditions) and len(data["claims"]) == len(found.claims)
    for row, (experiment, condition) in zip(data["settings"], found.conditions):
        assert (row["experiment"], row["condition"]) == (experiment.name, condition.name)
        assert row["found"] == ranking_sentence(condition)
        for own, tried in zip(row["methods"], condition.done, strict=True):
            assert (own["rank"], own["label"]) == (tried.rank, tried.label)
            assert own["seeds"] == [run.seed for run in tried.runs]
            assert (own["to_baseline"] or {}).get("decided") == (
                tried.to_baseline.decided if tried.to_baseline else None
            )
    code, out, err = ctkd("evidence")
    assert (code, err) == (0, "")
    assert all(title in out for title in ("At a glance", "Settings", "Claims", "--experiment NAME"))


def test_filters(ctkd: Ctkd) -> None:
    found = load()
    experiment, condition = next((e, c) for e, c in found.conditions if len(c.ranked) > 2)
    data = ctkd.json("evidence", "--experiment", experiment.name)
    assert list(data) == ["answers", "settings", "claims", "analyses"]
    assert {row["experiment"] for row in data["settings"]} == {experiment.name}
    words = ("--experiment", experiment.name, "--condition", condition.name)
    (setting,) = ctkd.json("evidence", *words)["settings"]
    assert setting["title"] == condition.title
    _, out, _ = ctkd("evidence", *words)
    assert "minus " in out and "chance (Holm)" in out and condition.ranked[0].title in out
    data = ctkd.json("evidence", "--kind", condition.kind, "--regime", condition.regime)
    assert {(row["kind"], row["regime"]) for row in data["settings"]} == {(condition.kind, condition.regime)}
    assert {(row["kind"], row["regime"]) for row in data["glance"]} <= {(condition.kind, condition.regime)}
    data = ctkd.json("evidence", "-m", "alm")
    assert data["settings"] and {row["method"] for row in data["glance"]} == {"alm"}
    assert all("alm" in {own["method"] for own in row["methods"]} for row in data["settings"])
    claims = ctkd.json("evidence", "--part", "claims", "--verdict", "undecided")["claims"]
    assert claims and {row["verdict"] for row in claims} == {"undecided"}


def test_analyses_and_experiments(ctkd: Ctkd) -> None:
    words = ("evidence", "--part", "analyses", "--part", "experiments")
    data = ctkd.json(*words)
    assert [row["reproduce"] for row in data["experiments"]] == [each.reproduce for each in load().experiments]
    _, out, _ = ctkd(*words)
    assert data["analyses"][0]["title"] in out and data["experiments"][0]["reproduce"] in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--part", "glanse"), "'glance'"),
        (("--kind", "cross familly"), "'cross-family'"),
        (("--regime", "freshtext"), "'fresh text'"),
        (("--verdict", "undecide"), "'undecided'"),
        (("--experiment", "another-domian"), "'another-domain'"),
        (("--condition", "nosuch"), "condition"),
        (("-m", "almm"), "'alm'"),
    ],
)
def test_unknown_names(ctkd: Ctkd, words: tuple[str, ...], message: str) -> None:
    assert message in ctkd.error("evidence", *words)


def test_an_installation_without_evidence(ctkd: Ctkd, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Digest(version=load().version, experiments=[])
    monkeypatch.setattr(store, "read", lambda *_: empty)
    store.load.cache_clear()
    try:
        assert ctkd.json("evidence") == {"glance": [], "settings": [], "claims": []}
        assert "make evidence" in ctkd("evidence")[1]
    finally:
        store.load.cache_clear()
