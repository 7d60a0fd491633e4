"""Reports about runs: whole, small, closed to everything outside, and safe whatever a run says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from ctkd_core.distill.runs import RunStore
from ctkd_core.figures.report_runs import comparison_html, run_html
from tests.distill.comparison.make import in_processes, made
from tests.distill.test_held_runs import with_servers

EVIL = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs


def looked_at(text: str) -> Tags:
    found = Tags(text)
    assert "script" not in found.names
    assert "img" not in found.names
    assert not {name for name, _ in found.attributes} & {"src", "href", "onerror", "action", "srcset"}
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)
    assert len(text.encode()) < 10_000_000
    return found


def test_a_run_has_figures_curves_samples_config_and_source(store):
    run = made(store, 1.75, method="gold", name="mine")
    text = run_html(run)
    found = looked_at(text)
    assert found.names.count("svg") == 2  # loss and bits; no learning rate was noted
    for part in ("mine", "1.75", "2 + 2?", "learning_rate", "TRL", "Sources of the methods"):
        assert part in text


def test_no_two_of_many_terms_look_the_same(store):
    run = made(store)
    terms = {f"term{k}": float(k) for k in range(20)}
    rows = [{"kind": "train", "step": k, "time": float(k), "loss": 1.0, "terms": terms} for k in (1, 2)]
    (run.dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    looks = re.findall(r'<polyline [^>]*(stroke="[^"]*") stroke-width="2"( stroke-dasharray="[^"]*")?', run_html(run))
    assert len(looks) == len(set(looks)) == 21


def test_whatever_a_run_says_is_only_text(store):
    runs = [made(store, answer=EVIL, name=EVIL, seed=k, method=m) for k in range(2) for m in ("sft", "uld")]
    for text in (run_html(runs[0]), comparison_html(runs)):
        looked_at(text)
        assert "&lt;script&gt;alert(1)" in text
        assert "\u202e" not in text


def test_a_comparison_has_ranks_bands_and_every_run(store):
    runs = [made(store, 2.0 + k + (m == "uld"), seed=k, method=m) for k in range(3) for m in ("sft", "uld")]
    text = comparison_html(runs)
    found = looked_at(text)
    assert found.names.count("svg") == 6  # loss and bits over steps, tokens, seconds
    assert found.names.count("polygon") == 12
    assert "Boizard" in text
    for run in runs:
        assert run.id in text
    assert "0.25" in text


def test_no_interval_of_a_report_reaches_what_a_figure_cannot_be(store):
    runs = [made(store, 0.25 + 2 * k, seed=k, method=m) for k in range(2) for m in ("sft", "uld")]
    text = comparison_html(runs)
    assert "1.25 (0 to 13.96)" in text and "(-11" not in text
    assert "those of few seeds may reach beyond" in text, "the reason"


def test_addresses_of_servers_stay_behind(store):
    first = with_servers(store)
    other = with_servers(store, teacher_server="http://10.1.2.9:8000/v1", seed=1)
    for text in (run_html(first), comparison_html([first, other])):
        assert not [part for part in ("10.1.2", "secret", "deep/") if part in text]
        assert "https://student-server/v1" in text
    # Two kinds: another server may have another teacher. Their labels and the table have the same numbers.
    labels = re.findall(r"<th[^>]*>GOLD, teacher_server (server \d)</th>", text.partition("What differs")[2])
    assert " ".join(labels) == " ".join(cells(text, "teacher_server"))
    assert set(labels) == {"server 1", "server 2"}


def cells(text, option):
    found = re.search(rf"<tr><th[^>]*>{option}</th>.*?</tr>|<tr><td[^>]*>{option}</td>.*?</tr>", text)
    return re.sub("<[^>]*>", " ", found[0]).split()[1:] if found else []


def test_what_makes_two_kinds_is_what_differs(store):
    runs = [in_processes(made(store), number) for number in (1, 2)]
    text = comparison_html(runs).partition("What differs")[2].partition("Runs</h2>")[0]
    assert cells(text, "processes") == ["1", "2"]
    assert "Nothing but the seed" not in text
    runs = [made(store, lora_rank=rank) for rank in (0, 4)]
    assert cells(comparison_html(runs).partition("What differs")[2], "lora_rank") == ["0", "4"], "the default, too"
    alike = [made(store, threads=number, seed=number) for number in (1, 2)]
    assert "Nothing but the seed" in comparison_html(alike)


def test_environments_are_one_table_and_what_differs_by_run(store):
    runs = [made(store, seed=k) for k in range(3)]
    for run, torch in zip(runs, ("2.1", "2.2", "2.1")):
        (run.dir / "env.json").write_text(json.dumps({"python": "3.11", "packages": {"torch": torch}}))
    assert [run.environment for run in runs][1] == {"python": "3.11", "packages": {"torch": "2.2"}}
    text = comparison_html(runs).partition("<h2>Environment</h2>")[2]
    assert text.count("3.11") == 1
    assert cells(text, "packages.torch") == ["2.1", "2.2"]
    assert f"{runs[0].id}, {runs[2].id}" in text


def test_a_run_without_steps_has_a_report_too(store):
    from ctkd_core.distill.config import RunConfig

    assert "No step was trained" in run_html(store.create(RunConfig()))
