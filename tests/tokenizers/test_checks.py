"""Files that were made to do harm, and files that chance has changed: a CtkdError or a tokenizer, never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.tokenizers import checks, child, sources
from ctkd_core.tokenizers.load import load_tokenizer, load_tokenizer_bytes
from ctkd_core.tokenizers.tokenizer import Tokenizer
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

Document = dict[str, Any]
TINY: tuple[Callable[[], Tokenizer], ...] = (
    partial(tiny_byte_level, 280, nfc=True),
    partial(tiny_metaspace, 320),
    partial(tiny_wordpiece, 150),
    lambda: Tokenizer.from_backend(_unigram(), "tiny-unigram"),
)
TEXT = "The cats ½ 東京 👩\u200d🚀 don't  pay 1100\n"


def _unigram() -> Backend:
    return Backend(models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("a", -2.0), ("ca", -2.5), ("ts", -3.0)], 0, False))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))


@pytest.fixture
def document() -> Document:
    return json.loads(tiny_byte_level().backend.to_str())


def chain(pattern: str, content: str, times: int) -> Document:
    step = {"type": "Replace", "pattern": {"String": pattern}, "content": content}
    return {"type": "Sequence", "normalizers": [step] * times}


def untagged(normaliser: Document) -> Document:
    """The same without the names of the types, as old files have them."""
    return {"normalizers": [{k: v for k, v in step.items() if k != "type"} for step in normaliser["normalizers"]]}


HOSTILE: dict[str, Callable[[Document], object]] = {
    "multiplies": lambda d: d.update(normalizer=chain("e", "e" * 20, 12)),
    "waits for a rare character": lambda d: d.update(
        normalizer={"type": "Sequence", "normalizers": [chain("\U0001f984", "aa", 1), chain("a", "a" * 30, 9)]}
    ),
    "multiplies added tokens": lambda d: d.update(
        normalizer=chain("z", "z" * 30, 9),
        added_tokens=[*d["added_tokens"], {"id": 400, "content": "z", "normalized": True, "special": False}],
    ),
    "decoder": lambda d: d.update(decoder={"type": "Sequence", "decoders": chain("e", "e" * 20, 12)["normalizers"]}),
    "template": lambda d: d["post_processor"]["special_tokens"]["<bos>"].update(ids=[0] * 2000, tokens=["b"] * 2000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_multiply_text_are_refused(name: str, document: Document, tmp_path: Path) -> None:
    HOSTILE[name](document)
    data = json.dumps(document).encode()
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    for load in (lambda: load_tokenizer(path), lambda: load_tokenizer_bytes(data, "hostile.json")):
        with pytest.raises(TokenizerError, match=r"is refused: its (normaliser|decoder|template) "):
            load()


def test_components_without_a_type_are_seen_too(document: Document) -> None:
    document["normalizer"] = untagged(chain("e", "e" * 20, 12))
    with pytest.raises(TokenizerError):
        load_tokenizer_bytes(json.dumps(document).encode())


def test_a_long_unknown_token_is_refused() -> None:
    backend = Backend(models.WordLevel({"a": 0, "u" * 5000: 1}, unk_token="u" * 5000))
    with pytest.raises(TokenizerError, match="its unk_token has 5,000 characters"):
        load_tokenizer_bytes(backend.to_str().encode())


@pytest.mark.usefixtures("started_anew")
def test_a_configuration_that_takes_too_much_memory_is_refused(document: Document, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"junk": [' + "[]," * 800_000 + "[]]}")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json can't be read: it needs more memory"):
        load_tokenizer(tmp_path)
    config.write_text(json.dumps({"eos_token": "<pad>", "added": [{"content": f"<{k}>"} for k in range(60_000)]}))
    assert config.stat().st_size > sources.SMALL_CONFIG
    assert load_tokenizer(tmp_path).eos_id == 2


def test_the_child_has_a_limit(tmp_path: Path) -> None:
    code = (
        "from ctkd_core.tokenizers.child import limit_memory; import resource; limit_memory(10**9); "
        "print(resource.getrlimit(resource.RLIMIT_AS)[0]); bytearray(2 * 10**9)"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 10**9 < int(done.stdout) < 3 * 10**9
    assert done.stderr.strip().endswith("MemoryError")


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ("memory allocation of 320000000 bytes failed\n", -6, "it needs more memory than such a file may take."),
        ("Traceback\nMemoryError\n", 1, "it needs more memory than such a file may take."),
        ("Traceback\nValueError: no\n", 1, "ValueError: no"),
        ("", -9, "the process ended with code -9"),
    ],
)
def test_how_a_child_ended(said: str, code: int, reason: str) -> None:
    assert child._reason(said, code) == reason


def _put(*path: Any, value: Any) -> Callable[[Document], None]:
    def put(document: Document) -> None:
        node: Any = document
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value

    return put


DEEP = '{"a":' * 200_000 + "1" + "}" * 200_000
# A component, a field, an id of the wrong kind: what is put where.
WRONG: dict[str, Callable[[Document], object]] = {
    "type a list": _put("normalizer", value={"type": ["NFC"]}),
    "type a dict": _put("pre_tokenizer", value={"type": {"ByteLevel": 1}}),
    "no type": _put("decoder", value={"types": "ByteLevel"}),
    "steps a dict": _put("pre_tokenizer", "pretokenizers", value={"type": "ByteLevel"}),
    "step a text": _put("pre_tokenizer", "pretokenizers", value=["ByteLevel"]),
    "model's type a list": _put("model", "type", value=["BPE"]),
    "model a list": _put("model", value=[1]),
    "vocabulary a list": _put("model", "vocab", value=[1, 2]),
    "id a text": _put("model", "vocab", "a", value="0"),
    "id negative": _put("model", "vocab", "a", value=-1),
    "unk a list": _put("model", "unk_token", value=["<unk>"]),
    "fallback a text": _put("model", "byte_fallback", value="yes"),
    "prefix a dict": _put("model", "continuing_subword_prefix", value={}),
    "added a dict": _put("added_tokens", value={"id": 1}),
    "added a text": _put("added_tokens", value=["<bos>"]),
    "added content a list": _put("added_tokens", 0, "content", value=["<bos>"]),
    "added id a float": _put("added_tokens", 0, "id", value=1.5),
    "added special a text": _put("added_tokens", 0, "special", value="yes"),
    "template's id too large": _put("post_processor", "special_tokens", "<bos>", "ids", value=[4_000_000]),
    "template's id negative": _put("post_processor", "special_tokens", "<bos>", "ids", value=[-1]),
    "template's ids a text": _put("post_processor", "special_tokens", "<bos>", "ids", value="0"),
    "template without pieces": _put("post_processor", "single", value=None),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kinds_in_a_file_are_errors_with_its_name(name: str, document: Document) -> None:
    WRONG[name](document)
    try:
        found = load_tokenizer_bytes(json.dumps(document).encode(), "wrong.json")
    except TokenizerError as fault:
        assert "'wrong.json'" in str(fault)
        assert len(str(fault)) < 700
    else:  # the library passes over what it doesn't need
        _use(found)


@pytest.mark.parametrize("part", ["normalizer", "model", "added_tokens"])
@pytest.mark.parametrize("what", ["deep", "long number", "half a character"])
def test_nesting_and_numbers_without_end(part: str, what: str, document: Document) -> None:
    document[part] = "HERE"
    value = {"deep": DEEP, "long number": "1" * 5000, "half a character": '"\\ud800"'}[what]
    with pytest.raises(TokenizerError, match=r"'wrong\.json'") as caught:
        load_tokenizer_bytes(json.dumps(document).replace('"HERE"', value).encode(), "wrong.json")
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize(
    "text",
    [
        DEEP,
        '{"bos_token": ' + "1" * 5000 + "}",
        '{"bos_token": ["<bos>"], "eos_token": {"content": {}}, "pad_token": 1e400, "chat_template": 3}',
        '{"bos_token": "\\ud800", "eos_token": {"content": "\\udc00"}, "chat_template": [{"name": ["a"]}]}',
        '{"chat_template": [1, {"name": {}}, {"name": "default", "template": 1}], "add_bos_token": []}',
        "[1, 2]",
        "null",
        "NaN",
        "\ufeff{}",
    ],
    ids=["deep", "number", "kinds", "surrogates", "templates", "list", "null", "nan", "mark"],
)
def test_configurations_of_all_kinds(name: str, text: str, document: Document, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(document))
    (folder / name).write_text(text, encoding="utf-8")
    try:
        _use(load_tokenizer(folder))
    except TokenizerError as fault:
        assert name in str(fault)
        assert len(str(fault)) < 700


def test_a_large_file_of_ordinary_added_tokens_loads(document: Document) -> None:
    """As much as may be uploaded, nothing but added tokens."""
    added = [
        {"id": 400 + k, "content": f"<ordinary added token number {k}>", "single_word": False, "lstrip": False}
        | {"rstrip": False, "normalized": k % 2 == 0, "special": k % 3 == 0}
        for k in range(2000)
    ]
    document["added_tokens"] += added
    tokenizer = load_tokenizer_bytes(json.dumps(document).encode(), "added.json")
    assert tokenizer.vocab_size == 2400
    assert tokenizer.encode("a <ordinary added token number 7> b").tokens[2].startswith("<ordinary")


# Chance. What passes the checks must do everything that pages and commands ask of a tokenizer.


def _use(tokenizer: Tokenizer) -> None:
    for call in (
        lambda: tokenizer.encode(TEXT),
        lambda: tokenizer.encode(TEXT, special_tokens=True),
        lambda: tokenizer.encode_continuation(TEXT),
        lambda: tokenizer.encode_batch([TEXT, ""]),
        lambda: tokenizer.encode_pieces([b" the", b"\xf0\x9f"]),
        lambda: tokenizer.begins_with_bos,
        lambda: tokenizer.doubles,
        lambda: tokenizer.all_token_bytes(),
        lambda: (repr(tokenizer), tokenizer._repr_html_()),
    ):
        try:
            found = call()
        except CtkdError:
            continue
        if hasattr(found, "spans"):
            _check_spans(found)


def _check_spans(encoding: Any) -> None:
    """What every encoding owes: ranges inside the text, in order, of whole tokens."""
    spans = encoding.spans
    assert spans.shape == (len(encoding), 2)
    assert len(encoding.token_bytes) == len(encoding.tokens) == len(encoding)
    if len(spans):
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert spans.min() >= 0
        assert spans.max() <= encoding.n_bytes
        assert (spans[1:, 0] >= spans[:-1, 0]).all()
        assert (spans[1:, 1] >= spans[:-1, 1]).all()


def _paths(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        # Of a vocabulary or a list of merges the first entries stand for all.
        if len(found) < 4000 and not (at[-1:] in (("vocab",), ("merges",)) and len(found) > 6):
            found += _paths(value, (*at, key))
    return found


_WRITTEN = [make().backend.to_str() for make in TINY]
_CONFIG = {
    "bos_token": "<bos>",
    "eos_token": {"content": "<eos>", "special": True},
    "add_bos_token": False,
    "chat_template": [{"name": "default", "template": "{{ messages[0]['content'] }}"}],
    "tokenizer_class": "PreTrainedTokenizerFast",
}
_PLACES = [[(k, path) for path in _paths(document)] for k, document in enumerate(map(json.loads, _WRITTEN))]
_TYPES = (
    "NFC",
    "NFKD",
    "Lowercase",
    "Strip",
    "Prepend",
    "Replace",
    "ByteLevel",
    "Metaspace",
    "Split",
    "BPE",
    "Unigram",
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 500)
    | st.sampled_from([2**31, 2**32, 10**20, 0.5, float("inf"), "▁", "", "a", "<unk>", "\x1b[31m", "first", *_TYPES])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "content", "id", "a"]), inner),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn) -> Document:
    """A small tokenizer.json with up to three changes: another value, a missing or a second entry."""
    places = draw(st.sampled_from(_PLACES))
    document = json.loads(_WRITTEN[places[0][0]])
    for _ in range(draw(st.integers(1, 3))):
        _, path = draw(st.sampled_from(places))
        node: Any = document
        try:
            for key in path[:-1]:
                node = node[key]
            node[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
        if not isinstance(node, dict | list):
            continue  # or put a text there
        way = draw(st.sampled_from(["value", "value", "remove", "double"]))
        if way == "value":
            node[path[-1]] = draw(values)
        elif way == "remove":
            del node[path[-1]]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[path[-1]]))
    return document


def load_here(document: Document, config: Any) -> Tokenizer:
    """What the child does and then the process that asked, both here: a child for each would take minutes."""
    data = json.dumps(document).encode()
    result = checks.examine(data)
    if result["error"]:
        raise TokenizerError(result["error"])
    return sources._build(data, "it", config, name="it")


@settings(max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(mutated(), st.none() | st.dictionaries(st.sampled_from([*_CONFIG, "pad_token"]), values))
def test_changed_files_are_refused_or_work(document: Document, config: Document | None) -> None:
    try:
        tokenizer = load_here(document, _CONFIG if config is None else _CONFIG | config)
    except CtkdError as fault:
        assert str(fault).strip()
        assert len(str(fault)) < 1000
        return
    _use(tokenizer)


texts = st.lists(
    st.sampled_from(
        ["a", "the", " ", "  ", "\n", "é", "e\u0301", "½", "ﬁ", "ﷺ", "가", "\u1100\u1161", "東京", "👩\u200d🚀"]
    )
    | st.sampled_from(["<bos>", "<s>", "[CLS]", "▁", "##", "<0x41>", "\x00", "\ufeff", "İ", "\u200d", "\u0301", "Ω"])
    | st.characters(exclude_categories=["Cs"]),
    max_size=12,
).map("".join)


@given(st.sampled_from(TINY), texts, st.booleans())
def test_spans_of_any_text(make: Callable[[], Tokenizer], text: str, special: bool) -> None:
    tokenizer = _LOADED.setdefault(make, make())
    _check_spans(tokenizer.encode(text, special_tokens=special))
    _check_spans(tokenizer.encode_continuation(text))


_LOADED: dict[Any, Tokenizer] = {}
