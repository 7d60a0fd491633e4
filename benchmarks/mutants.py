"""Do the tests notice faults? Small faults are put into alignment, vocabulary and losses, one at a time.

    python benchmarks/mutants.py record tests/{alignment,vocabulary,losses,golden,figures,lab}
    python benchmarks/mutants.py record --slow tests/losses/kernels    # lines that only Triton's kernels use
    python benchmarks/mutants.py run --count 300 --seed 1     # goes on where it was interrupted
    python benchmarks/mutants.py run --again                  # survivors only, after tests were added and recorded
    python benchmarks/mutants.py equivalent 17 "why no test can see it"
    python benchmarks/mutants.py show

`record` runs tests once under coverage (`pip install coverage`) and keeps which test reaches which line, and how long
each takes. `run` draws faults (`_mutations.py`), and for each runs the tests that reach its line, then others of their
files that reach its module, until one fails. A process that has torch, numba and pytest loaded, but none of the three
packages, forks for every fault, so that only these are imported anew. Compiled kernels are compiled again where they
were changed. Left out: kernels in Triton, and lines of `released` that no test reaches.

A test that takes ten times as long as before and 30 seconds more has noticed the fault, too. Tests that draw examples
draw the same ones every time, so that the same faults are noticed again.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import importlib.metadata
import itertools
import json
import marshal
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before torch: a forked process can't use threads that its parent started
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import _mutant_hook  # noqa: E402
import pytest  # noqa: E402
from _mutations import Mutation, found_again, mutated, mutations, sample  # noqa: E402
from _record import environment  # noqa: E402

PACKAGES = ("alignment", "vocabulary", "losses")
START = 20.0  # seconds that imports and collection may take before the first test
LINKED = ("cache/tokenizers", "cache/models", "cache/hashes", "cache/downloads")  # of a home; maps are built anew
FIRST_FILES, FIRST_SECONDS = 3, 1.0  # what is tried first: so many files, and of them tests that take less
MOST = 400  # tests that reach one line, and are all run whatever package they are of
SLOW = 60.0  # seconds of one test
FEW = 40  # tests that reach a line, and may be helped by others of their files
MEMORY = 6 * 2**30  # bytes that a fault may make a process take


class Plugin:
    """What pytest is told and tells: the tests of one process in a wanted order, their times, the first that failed."""

    def __init__(self, wanted: list[str] | None = None, coverage: Any = None) -> None:
        self.wanted = None if wanted is None else {test: place for place, test in enumerate(wanted)}
        self.coverage = coverage
        self.seconds: Counter[str] = Counter()
        self.not_passed: dict[str, str] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Keep the wanted tests only, in their order."""
        if self.wanted is not None:
            config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in self.wanted])
            items[:] = sorted(
                (item for item in items if item.nodeid in self.wanted), key=lambda i: self.wanted[i.nodeid]
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: Any) -> None:
        """Lines that fixtures reach count for the test that asked first; so do those of processes that it starts."""
        if self.coverage is not None:
            self.coverage.switch_context(item.nodeid)
            os.environ["CTKD_MUTANT_TEST"] = item.nodeid

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add up the phases of a test."""
        self.seconds[report.nodeid] += report.duration
        if report.outcome != "passed":
            self.not_passed.setdefault(report.nodeid, report.outcome)

    def pytest_collectreport(self, report: Any) -> None:
        """A file of tests that can't be imported fails as a whole."""
        if report.outcome == "failed":
            self.not_passed.setdefault(report.nodeid, "failed")


def pytest_main(arguments: list[str], plugin: Plugin, temporary: Path) -> int:
    """Run tests in this process, none in a browser."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutants",
        deadline=None,
        max_examples=40,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    shown = ["-q", "-m", "not browser", "-p", "no:cacheprovider", "--hypothesis-profile", "mutants", "-p", "no:xdist"]
    return int(pytest.main([*shown, f"--basetemp={temporary}", *arguments], plugins=[plugin]))


def home(work: Path) -> Path:
    """A CTKD_HOME of its own with the converted tokenizers and models: faults mustn't reach what others keep."""
    folder = work / "home"
    shutil.rmtree(folder, ignore_errors=True)
    given = Path(os.environ.get("CTKD_TEST_HOME", ROOT / ".ctkd" / "tests"))
    if work in given.parents:
        raise SystemExit("CTKD_TEST_HOME must not lie in the working folder.")
    for part in LINKED:
        if (given / part).is_dir():
            shutil.copytree(given / part, folder / part, copy_function=os.link)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# What reaches what


def record(work: Path, paths: list[str], slow: bool) -> None:
    """Run these tests once, the slow ones too if they are wanted, and add to the map what they reach."""
    import coverage

    _measure_processes(work)
    meter = coverage.Coverage(data_file=str(work / "coverage"), source=[str(ROOT / "ctkd_core")], config_file=False)
    plugin = Plugin(coverage=meter)
    os.environ["CTKD_TEST_HOME"] = str(home(work))
    meter.erase()
    meter.start()
    selection = [] if slow else ["-m", "not browser and not slow"]
    code = pytest_main(["-rf", *selection, *paths], plugin, work / "temporary")
    meter.stop()
    meter.save()
    found = read_map(work)
    for test in plugin.seconds:
        found["seconds"][test] = round(plugin.seconds[test], 3)
    for test in plugin.not_passed:
        found["seconds"].pop(test, None)
    again = set(plugin.seconds)
    hits: dict[str, dict[str, list[str]]] = found["hits"]
    for lines in hits.values():
        for line in lines:
            lines[line] = [test for test in lines[line] if test not in again]
    measured = meter.get_data()
    for file, line, tests in _lines(measured):
        hits.setdefault(file, {}).setdefault(line, []).extend(tests & found["seconds"].keys())
    for path in (work / "processes").glob("coverage.*"):
        part = coverage.CoverageData(basename=str(path))
        part.read()
        for file, line, tests in _lines(part):  # what a fixture started, every test of the file may look at
            files = {_file(test) for test in tests}
            all_of_them = [test for test in again if _file(test) in files and test in found["seconds"]]
            hits.setdefault(file, {}).setdefault(line, []).extend(all_of_them)
    (work / "map.json").write_text(json.dumps(found))
    outcomes = Counter(plugin.not_passed.values())
    print(f"pytest's exit code {code}; {len(plugin.seconds)} tests, not passed: {dict(outcomes)}")


def _measure_processes(work: Path) -> None:
    """Have processes that tests start measure themselves."""
    folder = work / "processes"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "hook").mkdir(parents=True)
    shutil.copy(_mutant_hook.__file__, folder / "hook" / "sitecustomize.py")
    settings = folder / "coveragerc"
    said = {"source": ROOT / "ctkd_core", "data_file": folder / "coverage", "context": "${CTKD_MUTANT_TEST}"}
    shown = "\n".join(f"{name} = {value}" for name, value in said.items())
    settings.write_text(f"[run]\nparallel = true\nsigterm = true\n{shown}\n")
    os.environ["COVERAGE_PROCESS_START"] = str(settings)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder / "hook"), os.environ.get("PYTHONPATH", str(ROOT))])


def _lines(measured: Any) -> Iterator[tuple[str, str, set[str]]]:
    """File, line and tests of what was measured."""
    for file in measured.measured_files():
        for line, tests in measured.contexts_by_lineno(file).items():
            yield str(Path(file).relative_to(ROOT)), str(line), set(tests)


def read_map(work: Path) -> dict[str, Any]:
    """{"seconds": {test: float}, "hits": {file: {line: [test]}}}; lines as text."""
    path = work / "map.json"
    return json.loads(path.read_text()) if path.is_file() else {"seconds": {}, "hits": {}}


def tests_for(found: dict[str, Any], file: str, line: int, longest: float) -> list[list[str]]:
    """Tests in the stages in which they are run, none in two: those that most likely fail at little cost come first.

    First the quickest tests that reach the line in three files (one named after the module first), then the others,
    the quickest of them where they take over `longest` seconds, and where few reach the line what else of the same
    files reaches the module: a fixture or a cache counts for the test that filled it.
    Lines that run at import are reached by no test, and compiled ones are seen by no tracer: for these stand the tests
    that reach their module, and where it is used. Of very many tests that reach a line, those of its own package. What
    is left out could only notice more.
    """
    hits = found["hits"].get(file, {})
    called = _in_function(file, line)
    near = set(hits.get(str(line), [])) if called else set()
    module = {test for tests in hits.values() for test in tests}
    if "/kernels/" in file:
        callers = {test for other, at in _uses(file) for test in found["hits"].get(other, {}).get(str(at), [])}
        module |= callers
        near = near or callers
    if not called:
        near = module
    own = f"tests/{file.split('/')[1]}/"
    if len(near) > MOST:
        near = {test for test in near if test.startswith(own)} or near
    named = f"/test_{Path(file).stem}.py::"
    ordered = sorted(_in_order(found, near), key=lambda test: named not in test)
    first_files = list(dict.fromkeys(_file(test) for test in ordered))[:FIRST_FILES]
    quick = [test for test in ordered if _file(test) in first_files and found["seconds"][test] < FIRST_SECONDS]
    files = {_file(test) for test in near} if len(near) < FEW else set()
    others = {test for test in module - near if _file(test) in files}
    slower = sorted(set(ordered) - set(quick), key=found["seconds"].__getitem__)
    slower = [
        test
        for test, so_far in zip(slower, itertools.accumulate(found["seconds"][t] for t in slower))
        if so_far < longest or len(near) < FEW
    ]
    return [quick, [test for test in ordered if test in set(slower)], _in_order(found, others)]


def _in_function(file: str, line: int) -> bool:
    """Whether the line runs when a function is called, not when the module is imported, be it by whichever test."""
    functions = (n for n in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(n, ast.FunctionDef))
    return any(function.body[0].lineno <= line <= (function.end_lineno or 0) for function in functions)


def _file(test: str) -> str:
    return test.split("::")[0]


def _in_order(found: dict[str, Any], tests: set[str]) -> list[str]:
    seconds = {test: found["seconds"][test] for test in tests if test in found["seconds"]}
    files: Counter[str] = Counter()
    for test, took in seconds.items():
        files[_file(test)] += took
    return sorted(seconds, key=lambda test: (files[_file(test)], _file(test), seconds[test]))


def _uses(file: str) -> Iterator[tuple[str, int]]:
    """Files and lines that import this module or, where the import is the file's own, use what it brought."""
    module = module_of(file)
    for path in sorted((ROOT / "ctkd_core").rglob("*.py")):
        text = path.read_text()
        if module.rpartition(".")[0] not in text:
            continue
        tree, other = ast.parse(text), str(path.relative_to(ROOT))
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            names = [n for n in node.names if module in (node.module, f"{node.module}.{n.name}")]
            if not names:
                continue
            yield other, node.lineno
            if node in tree.body:
                brought = {n.asname or n.name for n in names}
                used = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in brought)
                yield from ((other, n.lineno) for n in used)


def module_of(file: str) -> str:
    """ctkd_core/losses/__init__.py is ctkd_core.losses."""
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def sites(found: dict[str, Any]) -> dict[str, list[Mutation]]:
    """Every fault that may be drawn, by file."""
    every = {}
    for package in PACKAGES:
        for path in sorted((ROOT / "ctkd_core" / package).rglob("*.py")):
            if "gpu" in path.parts:
                continue
            file = str(path.relative_to(ROOT))
            here = mutations(path.read_text())
            if "released" in path.parts:
                here = [m for m in here if found["hits"].get(file, {}).get(str(m.line))]
            every[file] = here
    return every


# One fault after the other


def load_what_faults_leave() -> None:
    """Import what takes long and imports none of the changed packages."""
    import hypothesis.strategies
    import numba
    import rapidfuzz.process
    import scipy.sparse
    import tokenizers
    import torch
    import transformers  # noqa: F401

    import ctkd_core.methods
    import ctkd_core.tokenizers.load  # noqa: F401

    del hypothesis, numba, rapidfuzz, scipy, tokenizers, torch
    early = [m for m in sys.modules if m.startswith(tuple(f"ctkd_core.{package}" for package in PACKAGES))]
    assert not early, early


def try_one(work: Path, file: str, mutation: Mutation, tests: list[str], seconds: float) -> dict[str, Any]:
    """Run these tests with this fault in a process of its own; says what noticed it."""
    place = work / "one"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "hook").mkdir()
    shutil.copy(_mutant_hook.__file__, place / "hook" / "sitecustomize.py")
    source = (ROOT / file).read_text()
    shown = ROOT / file
    if "/kernels/" in file:  # numba keeps what it compiled beside the file, under its time and length
        shown = place / Path(file).name
        shown.write_text(source)
    code = compile(mutated(source, mutation), str(shown), "exec")
    (place / "code").write_bytes(marshal.dumps(code))
    limit = 10 * seconds + 30 + START
    begun = time.monotonic()
    child = os.fork()
    if not child:
        _child(place, file, tests)
    status = None
    while time.monotonic() - begun < limit:
        if os.waitpid(child, os.WNOHANG)[0]:
            status = True
            break
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):  # and what its tests started
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
        return {"killed": True, "by": "time", "seconds": round(time.monotonic() - begun, 1)}
    said = place / "said.json"
    answer = json.loads(said.read_text()) if said.is_file() else {"killed": True, "by": "the process ended"}
    return answer | {"seconds": round(time.monotonic() - begun, 1)}


def _child(place: Path, file: str, tests: list[str]) -> None:
    """The forked process: never returns."""
    code = 70
    try:
        os.setsid()
        log = os.open(place / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        os.environ |= {
            "CTKD_TEST_HOME": str(home(place)),
            "CTKD_MUTANT_MODULE": module_of(file),
            "CTKD_MUTANT_CODE": str(place / "code"),
            "PYTHONPATH": os.pathsep.join([str(place / "hook"), str(ROOT)]),
        }
        _mutant_hook.install()
        plugin = Plugin(wanted=tests)
        files = list(dict.fromkeys(_file(test) for test in tests))
        code = pytest_main(["-x", "--tb=short", *files], plugin, place / "temporary")
        ran = module_of(file) in sys.modules
        failed = [test for test, outcome in plugin.not_passed.items() if outcome == "failed"]
        by = failed[0] if failed else f"pytest's exit code {code}"
        answer = {"killed": code != 0, "by": by if code else "", "imported": ran}
        (place / "said.json").write_text(json.dumps(answer))
    finally:
        os._exit(code)


def run(work: Path, out: Path, count: int, seed: int, again: bool, longest: float) -> None:
    """Try the drawn faults that weren't tried before, or with `again` those that survived."""
    found = read_map(work)
    rows = json.loads(out.read_text())["mutants"] if out.is_file() else []
    load_what_faults_leave()
    if again:
        for row in rows:
            if row.get("killed") is False and not row.get("equivalent") and _still_there(row):
                for name in ("killed", "by", "seconds", "tests"):
                    row.setdefault("before", {})[name] = row.pop(name)
    elif sum(row["seed"] == seed for row in rows) < count:
        drawn = sample(sites(found), count, seed)
        known = {(row["seed"], row["number"]) for row in rows}
        rows += [
            {"seed": seed, "number": number, "file": file} | mutation._asdict()
            for number, (file, mutation) in enumerate(drawn)
            if (seed, number) not in known
        ]
    waiting = [
        (row, tests_for(found, row["file"], row["line"], longest))
        for row in rows
        if "killed" not in row and _still_there(row)
    ]
    # what only slow tests reach comes last: the quick ones first make most of the picture
    waiting.sort(key=lambda item: not any(found["seconds"][test] < SLOW for stage in item[1][:2] for test in stage))
    for row, stages in waiting:
        mutation = _mutation(row)
        answer, took = {"killed": False, "by": ""}, 0.0
        for tests in stages:
            if tests and not answer["killed"]:
                seconds = sum(found["seconds"][test] for test in tests)
                answer = try_one(work, row["file"], mutation, tests, seconds)
                took += answer["seconds"]
        row |= answer | {"seconds": round(took, 1), "tests": [len(tests) for tests in stages]}
        save(out, rows)
        state = "killed" if row["killed"] else "SURVIVED"
        where = f"{row['file']}:{row['line']} {row['operator']}"
        print(f"{row['number']:3d} {state} {where} {row['seconds']} s", flush=True)


def _still_there(row: dict[str, Any]) -> bool:
    """Move the row to where its fault is now; says so where sources that changed have it no more, and leaves it."""
    path = ROOT / row["file"]
    here = found_again(path.read_text(), _mutation(row)) if path.is_file() else None
    if here is None:
        print(f"{row['number']:3d} GONE {row['file']}:{row['line']} {row['was']}", flush=True)
        return False
    row |= here._asdict()
    return True


def _mutation(row: dict[str, Any]) -> Mutation:
    return Mutation(*(row[name] for name in Mutation._fields))


def save(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows and what they come to, whole or not at all."""
    tried = [row for row in rows if "killed" in row]
    machine = environment()
    for package in ("pytest", "hypothesis"):
        machine["versions"][package] = importlib.metadata.version(package)
    part = out.with_suffix(".part")
    part.write_text(json.dumps({"environment": machine, "summary": summary(tried), "mutants": rows}, indent=1) + "\n")
    part.replace(out)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares killed, of each seed: of all, without those judged equivalent, and before tests were added."""
    found = {}
    for seed in sorted({row["seed"] for row in rows}):
        here = [row for row in rows if row["seed"] == seed]
        killed, equivalent = sum(r["killed"] for r in here), sum(bool(r.get("equivalent")) for r in here)
        at_first = sum(row["killed"] and "before" not in row for row in here)
        found[f"seed {seed}"] = {
            "mutants": len(here),
            "killed": killed,
            "share_killed": round(killed / len(here), 4),
            "judged_equivalent": equivalent,
            "share_without_equivalent": round(killed / max(1, len(here) - equivalent), 4),
            "share_killed_at_first": round(at_first / len(here), 4),
        }
    return found


def main() -> None:
    """Read the command line and do one thing."""
    parser = argparse.ArgumentParser(description="Put small faults into the core and count which the tests notice.")
    parser.add_argument("--work", type=Path, default=ROOT / ".ctkd" / "mutants", help="folder for what is kept between")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "mutants.json")
    kinds = parser.add_subparsers(dest="do", required=True)
    recorded = kinds.add_parser("record")
    recorded.add_argument("paths", nargs="+")
    recorded.add_argument("--slow", action="store_true")
    running = kinds.add_parser("run")
    running.add_argument("--count", type=int, default=300)
    running.add_argument("--seed", type=int, default=1)
    running.add_argument("--again", action="store_true")
    running.add_argument("--longest", type=float, default=240.0, help="seconds of further tests for what survived some")
    judged = kinds.add_parser("equivalent")
    judged.add_argument("number", type=int)
    judged.add_argument("reason")
    judged.add_argument("--seed", type=int, default=1)
    kinds.add_parser("show")
    chosen = parser.parse_args()
    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    if chosen.do == "record":
        record(work, chosen.paths, chosen.slow)
    elif chosen.do == "run":
        lock = (work / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one at a time: they would take each other's folder
        run(work, chosen.out, chosen.count, chosen.seed, chosen.again, chosen.longest)
    else:
        kept = json.loads(chosen.out.read_text())
        if chosen.do == "equivalent":
            for row in kept["mutants"]:
                if (row["seed"], row["number"]) == (chosen.seed, chosen.number):
                    row["equivalent"] = chosen.reason
            save(chosen.out, kept["mutants"])
        else:
            for row in kept["mutants"]:
                if not row.get("killed", True):
                    print(
                        f"{row['number']} {row['file']}:{row['line']} {row['operator']}: "
                        f"{row['was']} => {row['now']}  {row['tests']} {row.get('equivalent', '')}"
                    )
            print(json.dumps(summary([row for row in kept["mutants"] if "killed" in row]), indent=1))


if __name__ == "__main__":
    main()
