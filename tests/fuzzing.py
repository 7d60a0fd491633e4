"""Changed and random inputs by the thousand: one function a target, each makes one input and looks at what comes of it.

`tests/test_fuzz.py` gives each target 2,000 of them, `benchmarks/fuzz.py` as many as it is told. A target returns in a
word what became of the input and raises where something other than the project's own refusal came of it.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ctkd_core import methods
from ctkd_core.distill.config import PRESETS, RUN_OPTIONS, RunConfig
from ctkd_core.distill.data import load_split
from ctkd_core.distill.further import FurtherTeacher
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.distill.settings import fields_of
from ctkd_core.errors import CtkdError, RunError
from ctkd_core.files import to_json
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.distill import test_damage as damages
from tests.tokenizers import test_checks as files

ACCEPTED, REFUSED = "accepted", "refused"


class Target(Protocol):
    """Makes and tries one input."""

    def __call__(self, rng: random.Random) -> str:
        """What became of it."""


WORDS = ("", "a", "1", "cuda:1", "x/y", "\ud800", "\x00", "a\x1b[31m", "é🦙", "none", "true", "on", "x" * 3000, "1e999")
NUMBERS = (0, 1, -1, 2, 7, 0.5, -0.0, 2**31, 2**63, 10**330, 1e308, 5e-324, float("nan"), float("inf"))


def any_json(rng: random.Random, keys: tuple[str, ...], words: tuple[str, ...], depth: int = 3) -> Any:
    """A value of any type that JSON has, and of numbers that it lacks."""
    kind = rng.randrange(10 if depth else 7)
    if kind == 7:
        return [any_json(rng, keys, words, depth - 1) for _ in range(rng.randrange(4))]
    if kind > 7:
        return {_key(rng, keys): any_json(rng, keys, words, depth - 1) for _ in range(rng.randrange(5))}
    return [None, True, False, *(rng.choice(NUMBERS),) * 2, rng.choice(words), rng.choice(WORDS)][kind]


def _key(rng: random.Random, keys: tuple[str, ...]) -> str:
    return rng.choice(keys) if rng.random() < 0.8 else rng.choice(WORDS)


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few bytes of a file changed, taken out or put in, or its end gone."""
    out = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(out) + 1)
        how = rng.randrange(4)
        if how == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif how == 1:
            del out[at : at + rng.randrange(1, 9)]
        elif how == 2:
            out[at:at] = rng.choice([b"[", b"{", b'"', b"\n", b"\\ud800", b"\xff", b"&a", b": ", b"- ", b"1" * 5000])
        else:
            del out[at:]
    return bytes(out)


# Configurations.

_FIELDS = (*fields_of(RunConfig), *fields_of(FurtherTeacher), "version", "preset", "fingerprint")
_OPTIONS = tuple(
    dict.fromkeys(o.name for row in methods.METHODS.values() for o in (*row.loss_options, *row.align_options))
)
_CHOICES = tuple(
    dict.fromkeys(
        [*methods.METHODS, *PRESETS, "clean", "released", "qwen", "smollm2", "first,last", "scratch", "transplant"]
        + [c for row in methods.METHODS.values() for o in (*row.loss_options, *row.align_options) for c in o.choices]
    )
)


def config_target(folder: Path) -> Target:
    """Tables, and files of JSON and YAML, that are run configurations or nearly."""
    wholes = [RunConfig(method=row.name).to_dict() for row in methods.training()]
    keys = _FIELDS + _OPTIONS

    def changed(rng: random.Random) -> Any:
        table = copy.deepcopy(rng.choice(wholes))
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            if rng.random() < 0.5:  # something that may well be allowed
                option = rng.choice(RUN_OPTIONS)
                table[option.name] = rng.choice([option.default, option.low, option.high, *option.choices])
                continue
            place = rng.choice([table, table, *(x for x in table.values() if isinstance(x, dict) and x)])
            name = rng.choice(list(place)) if rng.random() < 0.8 else _key(rng, keys)
            if rng.random() < 0.2:
                place.pop(name, None)
            else:
                place[name] = any_json(rng, keys, _CHOICES, 2)
            if not table:
                break
        return table

    def one(rng: random.Random) -> str:
        how = rng.randrange(4)
        table = any_json(rng, keys, _CHOICES) if how == 0 else changed(rng)
        try:
            if how < 3:
                config = RunConfig.from_dict(table)
            else:
                path = folder / rng.choice(["c.json", "c.yaml"])
                path.write_bytes(changed_bytes(rng, json.dumps(table, indent=rng.choice([None, 1])).encode()))
                config = RunConfig.from_file(path)
        except CtkdError as fault:
            _told(fault)
            return REFUSED
        again = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config
        assert again.fingerprint == config.fingerprint
        return ACCEPTED

    return one


def _told(fault: CtkdError) -> None:
    assert str(fault).strip()
    assert len(str(fault)) < 20_000


# Data.

_DATA_KEYS = (
    *("text", "prompt", "completion", "messages", "role", "content", "type", "kind", "tool_calls", "name", "system"),
    *("instruction", "output", "history", "chosen", "rejected", "label", "function_call"),
    *("question", "answer", "input", "context", "conversation", "preferred_output"),
)
_DATA_WORDS = ("user", "assistant", "system", "tool", "text", "2 + 2?", "4", "naïve 🦙")
_RECORDS: tuple[Any, ...] = (
    {"text": "Cats are called a clowder."},
    {"prompt": "2 + 2?", "completion": " 4"},
    {"prompt": [{"role": "user", "content": "2 + 2?"}], "completion": [{"role": "assistant", "content": "4"}]},
    {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
        ]
    },
    {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": None, "tool_calls": [{}]}]},
    {"instruction": "2 + 2?", "input": "now", "output": "4", "system": "Count.", "history": [["1?", "1"]]},
    {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "system": "Count."},
    {"question": "2 + 2?", "answer": "4", "context": "Sums."},
    {
        "input": {"messages": [{"role": "user", "content": "2 + 2?"}]},
        "preferred_output": [{"from": "gpt", "value": "4"}],
    },
    {"conversation": [{"input": "2 + 2?", "output": "4"}]},
    {
        "chosen": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
        "rejected": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}],
    },
)


def data_target(folder: Path) -> Target:
    """Files of records, whole lines and broken ones, of the endings that are read."""

    def record(rng: random.Random, number: int) -> Any:
        if rng.random() < 0.1:
            return any_json(rng, _DATA_KEYS, _DATA_WORDS)
        found = json.loads(json.dumps(rng.choice(_RECORDS)).replace("2 + 2", f"2 + {number}"))
        if rng.random() < 0.4:
            place: Any = found
            while True:
                inner = [
                    x for x in (place.values() if isinstance(place, dict) else place) if isinstance(x, dict | list)
                ]
                if not inner or rng.random() < 0.4:
                    break
                place = rng.choice(inner)
            if isinstance(place, dict):
                place[_key(rng, _DATA_KEYS)] = any_json(rng, _DATA_KEYS, _DATA_WORDS, 2)
            else:
                place[rng.randrange(len(place)) :] = [any_json(rng, _DATA_KEYS, _DATA_WORDS, 2)]
        return found

    def one(rng: random.Random) -> str:
        records = [record(rng, number) for number in range(rng.randrange(6))]
        name = rng.choice(["d.jsonl", "d.jsonl", "d.json", "d.ndjson", "d.parquet", "d.jsonl.gz"])
        text = json.dumps(records) if name == "d.json" else "".join(json.dumps(r) + "\n" for r in records)
        data = gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()
        if rng.random() < 0.3:
            data = changed_bytes(rng, data)
        if rng.random() < 0.1:
            data = b"\xef\xbb\xbf" + data
        (folder / name).write_bytes(data)
        outcome = REFUSED
        for skip in (False, True):
            try:
                split = load_split(str(folder / name), skip=skip)
            except RunError as fault:
                _told(fault)
                assert name in str(fault)
                assert str(fault).isprintable()
            else:
                assert split.train
                assert all(example.completion.encode() for example in split.train)
                outcome = ACCEPTED
        return outcome

    return one


# Texts under tokenizers of all kinds.

_PIECES = (
    *("a", "the", "cats", " ", "  ", "\n", "\t", "1", "1234567", "é", "e\u0301", "½", "ﬁ", "ﷺ", "가", "\u1100\u1161"),
    *("東京", "👩\u200d🚀", "<bos>", "<s>", "[CLS]", "▁", "##", "<0x41>", "\x00", "\ufeff", "İ", "\u200d", "\u0301"),
    *("Ω", "Ġ", "'t", "\r\n", "\u2028", "\u202e", "@@", "</w>", "_", "�"),
)


def _piece(rng: random.Random) -> str:
    if rng.random() < 0.8:
        return rng.choice(_PIECES)
    return chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))


def spans_target(folder: Path) -> Target:
    """Texts: spans of every encoding, and groups of two of them by every method that needs no model."""
    from ctkd_core.alignment import align

    sides = [make() for make in files.TINY]
    rows = [row for row in methods.aligning() if not row.aligner_inputs]

    def one(rng: random.Random) -> str:
        text = "".join(_piece(rng) for _ in range(rng.randrange(13)))
        student, teacher = rng.sample(sides, 2)
        files._check_spans(student.encode(text, special_tokens=rng.random() < 0.5))
        files._check_spans(student.encode_continuation(text))
        row = rng.choice(rows)
        variant = rng.choice(row.variants)
        try:
            found = align(text, student=student, teacher=teacher, method=row.name, variant=variant)
        except CtkdError as fault:
            _told(fault)
            return REFUSED
        groups = found.groups
        for start, end, encoding in ((0, 1, found.student), (2, 3, found.teacher)):
            assert (groups[:, start] <= groups[:, end]).all()
            if variant == "clean":
                assert (groups[1:, start] >= groups[:-1, end]).all()
            assert not len(groups) or groups[:, end].max() <= len(encoding)
        return ACCEPTED

    return one


# Run folders.


def store_target(folder: Path) -> Target:
    """A store of two runs, one of which has a damaged file."""
    store = RunStore(folder / "runs")
    good, bad = damages.made(store), damages.made(store, sweep=damages.SWEEP)
    expected = good.summary()
    whole = folder / "whole"
    shutil.copytree(bad.dir, whole)

    def one(rng: random.Random) -> str:
        name = rng.choice(damages.FILES)
        damages.damage(bad.dir / name, rng)
        try:
            rows = {run.id: Run(run.dir).summary(curve=True) for run in store.list()}
            assert set(rows) == {good.id, bad.id}
            assert {k: v for k, v in rows[good.id].items() if k != "losses"} == expected
            to_json(rows[bad.id])
            damages.looked_at(Run(bad.dir), name)
            return "damaged" if rows[bad.id]["status"] == "damaged" else ACCEPTED
        finally:
            damages.restore(bad.dir / name, whole / name)

    return one


# Tokenizer files.

_VALUES: tuple[Any, ...] = (
    *(None, True, False, -3, 0, 1, 7, 400, 2**31, 2**32, 10**20, 0.5, float("inf"), "▁", "", "a", "<unk>", "\x1b[31m"),
    *("first", "é", "\ud800", *files._TYPES),
)
_VALUE_KEYS = ("type", "content", "id", "a", "String", "Regex", "pattern", "normalizers", "pretokenizers")


def loader_target(folder: Path) -> Target:
    """Small tokenizer.json files of all kinds with up to three changes, and their configurations."""

    def value(rng: random.Random, depth: int = 2) -> Any:
        how = rng.randrange(5 if depth else 3)
        if how == 3:
            return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
        if how == 4:
            return {rng.choice(_VALUE_KEYS): value(rng, depth - 1) for _ in range(rng.randrange(4))}
        return rng.choice(_VALUES)

    def change(rng: random.Random, document: Any, path: tuple[Any, ...]) -> None:
        node = document
        try:
            for key in path[:-1]:
                node = node[key]
            node[path[-1]]
        except (KeyError, IndexError, TypeError):
            return  # an earlier change took the place away
        if not isinstance(node, dict | list):
            return
        how = rng.randrange(4)
        if how < 2:
            node[path[-1]] = value(rng)
        elif how == 2:
            del node[path[-1]]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[path[-1]]))

    def one(rng: random.Random) -> str:
        places = rng.choice(files._PLACES)
        document = json.loads(files._WRITTEN[places[0][0]])
        for _ in range(rng.randrange(1, 4)):
            change(rng, document, rng.choice(places)[1])
        config = dict(files._CONFIG)
        if rng.random() < 0.3:
            config[rng.choice([*config, "pad_token"])] = value(rng)
        try:
            tokenizer: Tokenizer = files.load_here(document, config)
        except CtkdError as fault:
            _told(fault)
            assert len(str(fault)) < 1000
            return REFUSED
        files._use(tokenizer)
        return ACCEPTED

    return one


TARGETS: dict[str, Callable[[Path], Target]] = {
    "config": config_target,
    "data": data_target,
    "loader": loader_target,
    "spans": spans_target,
    "store": store_target,
}
