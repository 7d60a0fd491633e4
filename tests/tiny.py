"""Tiny tokenizers trained in memory, one of each kind, for tests that need no files and no hub."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from ctkd_core.tokenizers.tokenizer import Tokenizer

CORPUS = [
    "The comfort of cats was the flag carrier during the year.",
    "A group of cats is called a clowder; a group of lions is called a pride.",
    "In 2024 we sold 1234567 units at 3.14159 each, 201 of them twice.",
    "def add(a, b):\n    return a + b\n\nprint(add(201, 3))\n",
    "naïve façade café coöperate 東京都庁は新宿区にある。 日本語 👩‍🚀 🦙",
    "Don't we'll they're: teachers teach, students learn, and tokens differ.",
    "The student reads the text of the teacher; the teacher reads the text of the student.",
] * 4


@lru_cache(maxsize=8)
def tiny_byte_level(vocab_size: int = 400, digits: int = 3, nfc: bool = False) -> Tokenizer:
    """Byte-level BPE, at least 260 tokens: digits in runs of up to `digits`, <bos>, <eos>, <pad>; no dummy prefix."""
    backend = Backend(models.BPE())
    if nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_regex(rf"\p{{N}}{{1,{digits}}}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<bos>", "<eos>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    return Tokenizer.from_backend(backend, f"tiny-byte-level-{vocab_size}-{digits}", source="tests", licence="none")


@lru_cache(maxsize=8)
def tiny_metaspace(vocab_size: int = 460) -> Tokenizer:
    """SentencePiece-like BPE: dummy prefix space, "<0xE2>" byte fallback, <unk>, <s>, </s>; digits one by one."""
    backend = Backend(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Digits(individual_digits=True)]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, show_progress=False, max_token_length=8
    )
    ascii_only = ["".join(c for c in line if c.isascii()) for line in CORPUS]
    backend.train_from_iterator(ascii_only, trainer)
    document = json.loads(backend.to_str())
    document["added_tokens"] = document["added_tokens"][:3]  # byte tokens are ordinary vocabulary, not special
    document["decoder"] = {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    }
    backend = Backend.from_str(json.dumps(document))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return Tokenizer.from_backend(backend, f"tiny-metaspace-{vocab_size}", source="tests", licence="none")


@lru_cache(maxsize=8)
def tiny_wordpiece(vocab_size: int = 300) -> Tokenizer:
    """WordPiece like BERT uncased: lower case, accents stripped, "##" continuations, [UNK], [CLS] and [SEP]."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    ascii_only = ["".join(c for c in line if c.isascii()) for line in CORPUS]
    backend.train_from_iterator(ascii_only, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return Tokenizer.from_backend(backend, f"tiny-wordpiece-{vocab_size}", source="tests", licence="none")


def saved(tokenizer: Tokenizer, folder: Path) -> Path:
    """Write its tokenizer.json into a folder, which is made where it isn't there; the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    path.write_text(tokenizer.backend.to_str(), encoding="utf-8")
    return path


def _regex(pattern: str):
    from tokenizers import Regex

    return Regex(pattern)
