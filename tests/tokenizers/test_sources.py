"""Where tokenizers come from: paths, folders, uploads, hub ids; corrupt files; what AutoTokenizer changes."""

from __future__ import annotations

import copy
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

import ctkd_core as ctkd
from ctkd_core.errors import TokenizerError
from ctkd_core.tokenizers import checks as tokenizer_checks
from ctkd_core.tokenizers import child
from ctkd_core.tokenizers.load import load_tokenizer, load_tokenizer_bytes, tokenizer_check
from ctkd_core.tokenizers.sources import forget
from tests.tiny import saved, tiny_byte_level, tiny_wordpiece

SHARED = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"


@pytest.fixture
def document() -> dict[str, Any]:
    return json.loads(tiny_byte_level().backend.to_str())


@pytest.fixture
def folder(tmp_path: Path, document: dict[str, Any]) -> Path:
    path = tmp_path / "my-tokenizer"
    path.mkdir()
    (path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    return path


def test_path_folder_and_bytes_give_the_same_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    sources = [path, str(path), folder, str(folder), path.read_bytes()]
    loaded = [load_tokenizer(source) for source in sources]
    assert {t.fingerprint for t in loaded} == {tiny_byte_level().fingerprint}
    assert [t.name for t in loaded] == ["my-tokenizer"] * 4 + ["uploaded tokenizer"]
    assert loaded[4].source == "upload"
    assert loaded[0] is loaded[1]  # kept


def test_loading_in_threads_gives_one_object(folder: Path) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(load_tokenizer(folder))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({id(t) for t in found}) == 1


def test_a_changed_file_is_loaded_again(folder: Path) -> None:
    before = load_tokenizer(folder)
    saved(tiny_wordpiece(), folder)
    assert before.kind == "byte-level"
    assert load_tokenizer(folder).kind == "wordpiece"


def test_configuration_names_roles_and_template(folder: Path) -> None:
    config = {"eos_token": {"content": "<pad>"}, "bos_token": None, "chat_template": "{{ messages[0]['content'] }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (None, 2, 2)
    assert tokenizer.render_chat([{"role": "user", "content": "hi"}]) == "hi"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"chat_template.jinja": b"a\r\nb\r"}, {"default": "a\nb\n"}),
        (
            {"chat_template.jinja": b"file", "additional_chat_templates/default.jinja": b"named"},
            {"default": "named"},
        ),
        (
            {"chat_template.jinja": b"file", "additional_chat_templates/tool_use.jinja": b"t\r\n"},
            {"default": "file", "tool_use": "t\n"},
        ),
    ],
)
def test_files_of_chat_templates(folder: Path, files: dict[str, bytes], expected: dict[str, str]) -> None:
    (folder / "tokenizer_config.json").write_text('{"chat_template": "old"}')
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    assert dict(load_tokenizer(folder).named_templates) == expected
    (folder / name).write_bytes(b"changed")
    assert "changed" in load_tokenizer(folder).named_templates.values()


def test_a_template_that_is_no_utf8_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(TokenizerError, match=r"chat_template.jinja isn't UTF-8 text \(byte 0xfc at position 2\)"):
        load_tokenizer(folder)


def test_truncation_padding_and_dropout_of_the_file_are_switched_off(tmp_path: Path, document: dict[str, Any]) -> None:
    document["model"]["dropout"] = 0.9
    document["truncation"] = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    document["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 2,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    text = "the comfort of cats was the flag carrier"
    assert load_tokenizer(path).encode(text).ids.tolist() == tiny_byte_level().encode(text).ids.tolist()


def test_renumbered_added_tokens(tmp_path: Path, document: dict[str, Any]) -> None:
    document["added_tokens"].append(document["added_tokens"][0] | {"id": 10_000_000, "content": "<far>"})
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    tokenizer = load_tokenizer(path)
    encoding = tokenizer.encode("a<far>b")
    assert encoding.token_bytes == [b"a", b"<far>", b"b"]
    assert encoding.special.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("qwn", "unknown tokenizer 'qwn'; did you mean 'qwen'"),
        ("xyzzy", "unknown tokenizer 'xyzzy'; known: deepseek, "),
        ("", "no tokenizer given; choose one of deepseek"),
        ("./nowhere", "no file or folder './nowhere'"),
        (Path("nowhere"), "no file or folder 'nowhere'"),
        ("tokenizer.json", "no file or folder 'tokenizer.json'"),
        ("a" * 5000, "unknown tokenizer 'aaa"),
        ("a\0b", "unknown tokenizer"),
        (5, "named by a text or a path, not by int"),
    ],
)
def test_sources_that_do_not_exist(source: Any, message: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer(source)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_hub_id_without_network_says_what_to_do() -> None:
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer("no-such-owner/no-such-tokenizer")
    message = str(caught.value)
    assert "isn't in the local cache" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert "smollm2" in message


@pytest.mark.parametrize("fault", ["GatedRepoError", "RepositoryNotFoundError"])
def test_gated_repositories_name_the_variable_and_not_the_token(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    from ctkd_core.tokenizers import hub

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub, "_reachable", lambda: True)

    def refuse(*_: Any, **__: Any) -> None:
        kind = getattr(errors, fault)
        raise kind.__new__(kind, "401 Authorization: Bearer hf_secret")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(TokenizerError, match="HF_TOKEN") as caught:
        load_tokenizer("owner/private")
    assert "hf_secret" not in str(caught.value)


def test_hub_id_in_the_local_cache_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<pad>"}))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name: str(folder / name))
    tokenizer = load_tokenizer("owner/name")
    assert (tokenizer.name, tokenizer.source, tokenizer.eos_id) == ("owner/name", "hub: owner/name", 2)


def test_folder_without_tokenizer_json(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="it has: nothing"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(TokenizerError, match=r"older format; convert it once.*save_pretrained"):
        load_tokenizer(tmp_path)
    for part in range(12):  # a model's own files come first by name
        (tmp_path / f"model-{part:05d}-of-00012.safetensors").touch()
    with pytest.raises(TokenizerError, match=r"and 5 more\); it has an older format"):
        load_tokenizer(tmp_path)


def test_tokenizers_of_other_libraries_are_refused_with_what_to_do(folder: Path) -> None:
    """An object without offsets and bytes, and names, which are not tokenizers yet."""
    ours = load_tokenizer(folder)

    class SlowTokenizer:
        def encode(self, text: str) -> list[int]:
            return [len(text)]

    for given, said in (
        (SlowTokenizer(), r"teacher is a .*SlowTokenizer; save it with `save_pretrained\(folder\)`"),
        ("qwen", r"teacher is the text 'qwen'; give what `load_tokenizer` makes of it"),
    ):
        with pytest.raises(TokenizerError, match=said):
            ctkd.align("a", student=ours, teacher=given)
        with pytest.raises(TokenizerError, match=said):
            ctkd.project(ours, given)
        with pytest.raises(TokenizerError, match=said.replace("teacher", "student")):
            ctkd.project(given, ours)
    with pytest.raises(TokenizerError, match=r"not by SlowTokenizer; give a name, or the folder"):
        load_tokenizer(SlowTokenizer())  # type: ignore[arg-type]


def _set(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


# What makes the library panic, refuse or run out of memory, with a piece of the message.
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "no model": (_set(model=None), 'no "model" section'),
    "empty model": (_set(model={}), "can't be read as a tokenizer"),
    "merge of unknown token": (lambda d: d["model"].update(merges=[["zz", "yy"]]), "`zz` out of vocabulary"),
    "huge id": (lambda d: d["model"]["vocab"].update(zz=4_000_000_000), "ids over 4000000 are refused"),
    "regular expression": (
        lambda d: d["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "(("}),
        "unmatched parenthesis",
    ),
    "panic while reading": (
        _set(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "Cannot parse precompiled_charsmap",
    ),
    "panic while encoding": (
        _set(normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAAEAAAA="}),
        "index out of bounds",
    ),
    "template": (lambda d: d["post_processor"].update(special_tokens={}), "no entry found for key"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_as_path_and_as_upload(name: str, tmp_path: Path, document: dict[str, Any]) -> None:
    change, message = BROKEN[name]
    change(document)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    for load in (lambda: load_tokenizer(path), lambda: load_tokenizer_bytes(path.read_bytes(), "broken.json")):
        with pytest.raises(TokenizerError) as caught:
            load()
        assert message in str(caught.value)
        assert "Traceback" not in str(caught.value)
    assert "'broken.json'" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "isn't valid JSON"),
        (b'{"model": {"vo', "is the file complete?"),
        (b"[1, 2]", 'no "model" section'),
        (b'{"tokenizer_class": "GPT2Tokenizer"}', "it looks like a configuration"),
        (b"GGUF\x03\xff\xfe", "byte 5 is no valid UTF-8 (a SentencePiece or GGUF file, perhaps?)"),
        (b"[" * 200_000, "isn't valid JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n", "fetch that with `git lfs pull`"),
    ],
    ids=["empty", "cut off", "list", "configuration", "binary", "deep", "pointer"],
)
def test_other_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(TokenizerError) as caught:
        load_tokenizer_bytes(data, "upload.json")
    assert message in str(caught.value)


def test_uploads_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_checks, "UPLOAD_LIMIT", 1000)
    with pytest.raises(TokenizerError, match=r"has 0\.0 MB; uploads are limited to 0 MB.*give its path"):
        load_tokenizer_bytes(b"{}" + b" " * 1000, "big.json")


@pytest.mark.usefixtures("started_anew")
def test_an_upload_that_hangs_or_dies_is_refused(
    document: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    data = json.dumps(document).encode() + b"\n"
    hanging = tmp_path / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(child.sys, "executable", str(hanging))
        patch.setattr(tokenizer_checks, "READ_TIMEOUT", 0.1)
        with pytest.raises(TokenizerError, match=r"took longer than 0\.1 s"):
            load_tokenizer_bytes(data, "slow.json")
    with pytest.raises(TokenizerError, match=r"it failed: .*KeyError"):
        child.run_child(["no-such-task", "x"], "it failed", 60)


def test_broken_configuration_is_named(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json isn't valid JSON"):
        load_tokenizer(folder)


def test_text_that_a_vocabulary_refuses_is_an_error_with_the_name(tmp_path: Path) -> None:
    path = tmp_path / "dna" / "tokenizer.json"
    path.parent.mkdir()
    Backend(models.WordPiece({"A": 0, "##C": 1}, unk_token="[UNK]")).save(str(path))
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode("AC").token_bytes == [b"A", b"C"]
    with pytest.raises(TokenizerError, match=r"dna can't encode this text: .*\[UNK\]"):
        tokenizer.encode("AX")
    with pytest.raises(TokenizerError, match="dna can't encode a text of the batch"):
        tokenizer.encode_batch(["AC", "AX"])


def _digits_tokenizer() -> Backend:
    """Runs of up to three digits: 1100 is 110|0. A class that drops this rule cuts it into 11|00."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for token in ("11", "00", "110"):
        vocabulary[token] = len(vocabulary)
    backend = Backend(models.BPE(vocabulary, [("1", "1"), ("0", "0"), ("11", "0")]))
    split = pre_tokenizers.Split(_regex(r"\p{N}{1,3}"), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    return backend


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


@pytest.mark.slow
def test_autotokenizer_that_cuts_differently_is_warned_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    folder = tmp_path / "digits"
    folder.mkdir()
    _digits_tokenizer().save(str(folder / "tokenizer.json"))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.encode("1100").tokens == ["110", "0"]  # tokenizer.json counts
    (warning,) = tokenizer.warnings
    assert "'1100' becomes 11|00 instead of 110|0" in warning
    assert "PreTrainedTokenizerFast" in warning

    started: list[Any] = []
    monkeypatch.setattr(child, "run_child", lambda *a: started.append(a))
    assert tokenizer_check(folder) == [warning]  # from the disk
    assert started == []
    monkeypatch.undo()

    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    config.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    assert tokenizer_check(folder) == []
    assert load_tokenizer(folder).warnings == ()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))  # a class of its own, whatever is named
    (warning,) = tokenizer_check(folder)
    assert "class Qwen2Tokenizer, taken for this type of model" in warning
    assert "load it with PreTrainedTokenizerFast.from_pretrained" in warning


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("GPT2TokenizerFast", "class GPT2Tokenizer, named by tokenizer_config.json"),
        ("LlamaTokenizer", "class GPT2Tokenizer, taken for this type of model"),
        (None, "class GPT2Tokenizer, taken for this type of model"),
    ],
)
def test_a_class_that_is_not_the_named_one_is_that_of_the_type(
    folder: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, said: str
) -> None:
    monkeypatch.setenv("CTKD_HOME", str(folder / "home"))
    (folder / "tokenizer_config.json").write_text("{}")
    differing = {"text": "1100", "raw": ["110", "0"], "auto": ["11", "00"]}
    found = {"error": "", "differences": [differing], "class": "GPT2Tokenizer", "named": named}
    monkeypatch.setattr(child, "run_child", lambda *_: json.dumps(found))
    (warning,) = tokenizer_check(folder)
    assert said in warning


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "gpt4o").is_dir(), reason="needs the shared o200k tokenizer")
def test_o200k_with_the_class_that_it_was_shipped_with(tmp_path: Path) -> None:
    shutil.copy(SHARED / "gpt4o" / "tokenizer.json", tmp_path)
    config = json.loads((SHARED / "gpt4o" / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "GPT2Tokenizer"}))
    (warning,) = tokenizer_check(tmp_path)
    assert "'1100' becomes 11|00 instead of 110|0" in warning


def test_a_file_without_configuration_needs_no_comparison(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_tokenizer(folder)  # its content is tried in a child once
    forget()
    monkeypatch.setattr(child, "run_child", lambda *_: pytest.fail("started a child"))
    assert load_tokenizer(folder).warnings == ()
    assert tokenizer_check(folder / "tokenizer.json") == []


def test_a_check_that_fails_is_said_and_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(folder / "home"))
    (folder / "tokenizer_config.json").write_text("{}")

    def fail(*_: Any) -> str:
        raise TokenizerError("AutoTokenizer check: no memory")

    monkeypatch.setattr(child, "run_child", fail)
    (warning,) = tokenizer_check(folder)
    assert "couldn't be checked" in warning
    assert "no memory" in warning
    monkeypatch.setattr(child, "run_child", lambda *_: '{"error": "", "differences": [], "class": "X"}')
    assert tokenizer_check(folder) == []


def test_the_original_backend_is_not_changed_by_use(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    before = copy.copy(tokenizer.backend.to_str())
    tokenizer.encode("the cats", special_tokens=True)
    tokenizer.encode_pieces(["the", b"\xf0"])
    ctkd.project(tokenizer, tiny_wordpiece())
    assert tokenizer.backend.to_str() == before


@pytest.mark.parametrize(
    ("tokenizer_config", "model", "generation", "eos", "more"),
    [
        ({"eos_token": "<eos>"}, {"eos_token_id": 2}, {}, "<eos>", ["<pad>"]),
        ({}, {"eos_token_id": 2}, {}, "<pad>", []),
        ({"eos_token": None}, {}, {"eos_token_id": [2, 0, 1]}, "<pad>", ["<bos>", "<eos>"]),
        ({}, {"eos_token_id": 1}, {"eos_token_id": 2}, "<pad>", ["<eos>"]),
        ({"eos_token": "<eos>"}, {"eos_token_id": 1}, {"eos_token_id": [1, 2]}, "<eos>", ["<pad>"]),
        # The default of a kind of model (2 of Llama) may be an ordinary token: it ends nothing.
        ({}, {"eos_token_id": 300}, {}, "<eos>", []),
        ({}, {"eos_token_id": "2"}, {"eos_token_id": [True, -1, None]}, "<eos>", []),
    ],
)
def test_eos_of_the_model_where_the_tokenizer_names_none(tmp_path, tokenizer_config, model, generation, eos, more):
    saved(tiny_byte_level(400, 3), tmp_path)
    for name, content in (("tokenizer_config", tokenizer_config), ("config", model), ("generation_config", generation)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = load_tokenizer(str(tmp_path))
    assert found.token(found.eos_id) == eos
    assert [found.token(i) for i in found.end_ids] == more
    (tmp_path / "generation_config.json").write_text("[" * 200_000)
    assert load_tokenizer(str(tmp_path)).vocab_size == found.vocab_size
