"""What a word on the command line means among runs: ids, parts of ids, names, "latest"."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from ctkd_core.background.processes import process_start
from ctkd_core.background.status import LAUNCH, Launch, write_record, write_status
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.lookup import MOST_IDS, latest, named
from ctkd_core.distill.sweeps import queue
from ctkd_core.errors import RunError


def meant(word, **names):
    return named("run", word, names, lambda name: name)


def in_state(run, state):
    write_status(run.dir, replace(run.status(), state=state, pid=os.getpid() if state == "running" else None))
    return run


def with_process(run):
    """The run, as if this process were its worker that waits."""
    write_record(run.dir / LAUNCH, Launch(pid=os.getpid(), pid_start=process_start(os.getpid()), attempt=1))
    return run


def test_a_whole_id_then_a_part_of_one_or_a_name():
    assert meant("abc", abc="x", abcd="abc") == "x"
    assert meant("ab", abc="x", bcd="y") == "x"
    assert meant("d", abc="x", bcd="y") == "y"
    assert meant("first look", abc="first look", bcd="y") == "first look"


@pytest.mark.parametrize(
    ("word", "names", "said"),
    [
        ("a", {"abc": "x", "acd": "y"}, r"'a' fits 2 runs \(abc, acd\); name one by its id"),
        ("same", {"abc": "same", "bcd": "same"}, r"'same' fits 2 runs \(abc, bcd\)"),
        ("d", {"abc": "d", "bcd": "y"}, r"'d' fits 2 runs \(abc, bcd\)"),  # rm must not take the other one
        ("zzz", {"abc": "first", "bcd": ""}, "unknown run 'zzz'; known: abc, bcd, first"),
        ("frist", {"abc": "first"}, "did you mean 'first'"),
        ("", {"abc": ""}, "unknown run ''"),
    ],
)
def test_what_means_none_or_several_is_refused(word, names, said):
    with pytest.raises(RunError, match=said):
        meant(word, **names)


def test_of_many_ids_some_are_listed():
    with pytest.raises(RunError, match=r"fits 20 runs .*, \.\.\."):
        meant("same", **{f"run{k}": "same" for k in range(20)})
    assert MOST_IDS < 20


def test_a_name_cannot_write_to_the_terminal():
    with pytest.raises(RunError) as caught:
        meant("zzz", abc="\x1b[31mred\nline")
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_is_found_by_its_name(store):
    run, other = store.create(RunConfig(name="first look")), store.create(RunConfig(seed=1))
    assert store.get("first look") == run
    assert [found.id for found in store.get_all(["first look", other.id])] == [run.id, other.id]
    config = run.dir / "config.json"
    config.chmod(0o644)
    config.write_text("{")  # a damaged run has no name, and hides no other
    third = store.create(RunConfig(name="first look"))
    assert store.get("first look") == third


def test_latest_is_what_the_command_can_use(store):
    finished = in_state(store.create(RunConfig()), "finished")
    failed = in_state(store.create(RunConfig()), "failed")
    running = in_state(store.create(RunConfig()), "running")
    waiting = [queue.enqueue(store.create(RunConfig(seed=k)), time.time() + k) for k in range(2)]
    with_process(waiting[0])  # of a sweep, the next one waits with a process
    runs = store.list()
    assert latest(runs) == running
    assert latest(runs, "finished") == finished
    assert latest(runs, "active") == running
    assert latest(runs, "stopped") == failed
    assert latest(runs, "waiting") == waiting[1]
    in_state(running, "finished")
    assert latest(runs, "active") == waiting[1]


def test_latest_where_nothing_fits_is_the_newest_that_has_begun(store):
    assert latest([]) is None
    made = store.create(RunConfig())
    assert latest(store.list()) == made
    run = in_state(store.create(RunConfig()), "failed")
    store.create(RunConfig())
    assert latest(store.list(), "finished") == run
    alone = with_process(store.create(RunConfig()))  # `ctkd distill` started it a moment ago
    assert latest(store.list()) == alone


def test_latest_passes_over_damaged_runs_where_there_is_another(store):
    whole = in_state(store.create(RunConfig()), "finished")
    for file in ("config.json", "status.json"):
        (in_state(store.create(RunConfig()), "finished").dir / file).unlink()
    (store.root / "20990101-000000-000-aaaaa").mkdir()
    (store.root / "20990101-000000-000-aaaaa" / "status.json").write_text("{")
    assert latest(store.list()) == latest(store.list(), "finished") == whole
    (whole.dir / "config.json").unlink()
    assert latest(store.list()) == store.list()[0]


def test_a_run_that_was_made_and_not_started_does_not_wait(store):
    waiting = queue.enqueue(store.create(RunConfig()))
    made = store.create(RunConfig(seed=1))
    assert latest(store.list(), "waiting") == latest(store.list(), "active") == waiting
    with pytest.raises(RunError, match="was made and not started; only runs that wait have an order"):
        queue.move(store.root, [made.id], "first")
