"""Conversions to tokenizer.json: each runs once, in a child process, and is kept by the hash of what it reads.

The child (`child_main`) may import transformers or sentencepiece; the process that asks for a tokenizer never does.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import TokenizerError
from ctkd_core.files import cache_dir, replacing
from ctkd_core.tokenizers.catalog import TokenizerEntry
from ctkd_core.tokenizers.child import run_child
from ctkd_core.tokenizers.token_bytes import SPACE_MARK, byte_alphabet

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

VERSION = 2  # raise it when a converter changes, so that old results are not used
TIMEOUT = 300  # seconds; the slowest takes about 10 on two cores

# Split patterns as the vocabularies' own programs state them.
_QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
_QWEN_ADDED = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
]
# Special tokens of Tekken files that don't list them, ids from 0 on.
_TEKKEN_SPECIAL = (
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
)
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def converted(row: TokenizerEntry, source: Path, digest: str) -> Path:
    """The folder with the converted tokenizer of a catalog entry; two processes convert it once.

    digest: SHA-256 of `source`. Raises TokenizerError with the child's last line when the conversion fails.
    """
    from filelock import FileLock, Timeout

    root = cache_dir() / "tokenizers"
    target = converted_folder(row.name, digest)
    if is_converted(target):
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target) + ".lock", timeout=TIMEOUT):
            if not is_converted(target):  # another process may have made it meanwhile
                _convert_in_child(row, source, target)
    except Timeout:
        raise TokenizerError(
            f"another process has been converting tokenizer {row.name!r} for over {TIMEOUT} s; end it and try again."
        ) from None
    except OSError as fault:
        raise TokenizerError(
            f"tokenizer {row.name!r} has to be converted once, but {root} can't be written ({fault.strerror}); set the "
            "environment variable CTKD_HOME to a folder that can."
        ) from None
    return target


def converted_folder(name: str, digest: str) -> Path:
    """Where the converted tokenizer of a catalog entry is kept; digest: SHA-256 of the file that it is made of."""
    return cache_dir() / "tokenizers" / f"{name}-{digest[:16]}-{VERSION}"


def is_converted(folder: Path) -> bool:
    """Whether both files are there that every converter writes; without its configuration a tokenizer differs."""
    return (folder / "tokenizer.json").is_file() and (folder / "tokenizer_config.json").is_file()


def _convert_in_child(row: TokenizerEntry, source: Path, target: Path) -> None:
    with replacing(target, sync=True) as part:  # what is there was left without one of its files
        run_child([str(row.converter), str(source), str(part)], f"tokenizer {row.name!r} can't be converted", TIMEOUT)


def smollm2(source: Path, out: Path) -> None:
    """SmolLM2 from its GGUF, by transformers.

    transformers leaves out the GGUF's rule that digits are cut off first (pre-tokenizer "smollm"), which shows where
    several spaces or newlines stand before a digit. Training loads the teacher the same way, so both sides agree.
    """
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).save_pretrained(str(out))


def qwen(source: Path, out: Path) -> None:
    """Qwen3 from a tiktoken rank file (base64 token, rank)."""
    from tokenizers import AddedToken, normalizers

    lines = (line.split() for line in source.read_bytes().splitlines() if line)
    backend = _from_ranks({base64.b64decode(t): int(rank) for t, rank in lines}, _QWEN_PATTERN, first_id=0)
    backend.normalizer = normalizers.NFC()
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in _QWEN_SPECIAL])
    backend.add_tokens([AddedToken(t, normalized=False, special=False) for t in _QWEN_ADDED])
    config = {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None}
    _save(backend, out, config | {"chat_template": _CHATML})


def tekken(source: Path, out: Path) -> None:
    """Mistral's Tekken: JSON with base64 tokens in rank order; special tokens come first in the ids."""
    from tokenizers import AddedToken, processors

    document = json.loads(source.read_text(encoding="utf-8"))
    config = document["config"]
    first = config["default_num_special_tokens"]
    size = config["default_vocab_size"] - first
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in document["vocab"][:size]}
    named = {t["rank"]: t["token_str"] for t in document.get("special_tokens") or ()}
    named = named or dict(enumerate(_TEKKEN_SPECIAL))  # older files leave them out
    special = [named.get(i) or f"<SPECIAL_{i}>" for i in range(first)]
    backend = _from_ranks(ranks, config["pattern"], first_id=first, special=special)
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    _save(backend, out, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"})


def mistral_sentencepiece(source: Path, out: Path) -> None:
    """A SentencePiece BPE model with byte fallback and a dummy prefix (Mistral v1 to v3, Llama 2)."""
    from sentencepiece import SentencePieceProcessor
    from tokenizers import AddedToken, decoders, models, normalizers, processors
    from tokenizers import Tokenizer as Backend

    model = SentencePieceProcessor(model_file=str(source))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    plain = [i for i in range(len(pieces)) if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))]
    order = sorted(plain, key=lambda i: -model.get_score(i))
    backend = Backend(
        models.BPE(
            vocab={p: i for i, p in enumerate(pieces)},
            merges=_merges([pieces[i] for i in order]),
            unk_token="<unk>",  # noqa: S106 - a token of the vocabulary
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE_MARK), normalizers.Replace(" ", SPACE_MARK)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = [p for i, p in enumerate(pieces) if model.is_control(i) or model.is_unknown(i)]
    backend.add_special_tokens([AddedToken(p, normalized=False, special=True) for p in special])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", model.bos_id())])
    _save(backend, out, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None})


def _merges(ordered: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Every way to put a token together from two others, in the order in which the tokens were learnt."""
    rank = {token: i for i, token in enumerate(ordered)}
    merges = []
    for token in ordered:
        ways = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in rank and token[i:] in rank]
        merges += sorted(ways, key=lambda way: (rank[way[0]], rank[way[1]]))
    return merges


def _from_ranks(ranks: dict[bytes, int], pattern: str, first_id: int, special: Sequence[str] = ()) -> Backend:
    from tokenizers import Regex, decoders, models, pre_tokenizers, processors
    from tokenizers import Tokenizer as Backend

    alphabet = str.maketrans({chr(b): c for b, c in enumerate(byte_alphabet())})

    def written(token: bytes) -> str:
        return token.decode("latin-1").translate(alphabet)

    vocabulary = {name: i for i, name in enumerate(special)}
    vocabulary |= {written(token): rank + first_id for token, rank in ranks.items()}
    merges = [(written(a), written(b)) for a, b in _merges(sorted(ranks, key=ranks.__getitem__))]
    # tiktoken takes a word that is a token whole, before any merge
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def _save(backend: Backend, out: Path, config: dict[str, Any]) -> None:
    out.mkdir(parents=True)
    (out / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **config}, ensure_ascii=False, indent=1),
        encoding="utf-8",
    )
    backend.save(str(out / "tokenizer.json"), pretty=False)


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    f.__name__: f for f in (smollm2, qwen, tekken, mistral_sentencepiece)
}
