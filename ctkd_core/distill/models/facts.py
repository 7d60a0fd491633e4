"""What is known of a model before its weights are loaded: rows of its embeddings, positions, and its own tokenizer."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.errors import TokenizerError, short

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

MOST_BYTES = 10_000_000  # of a config.json
BUNDLED = "bundled"
BUNDLED_ROWS, BUNDLED_POSITIONS, BUNDLED_LAYERS = 49_152, 8_192, 30  # of SmolLM2-135M-Instruct
OTHER_SHARE = 0.01  # of ids with another meaning, from which on a tokenizer is another model's

# How the families of models call the longest text that they read.
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")


@dataclass(frozen=True)
class ModelFacts:
    """What a model's config says; None for what it doesn't.

    rows       rows of its embeddings: ids from here on can't be fed to it
    positions  tokens of the longest text that it reads
    """

    rows: int | None = None
    positions: int | None = None


def name_of(source: str) -> str:
    """A source as people name it: a model that comes along by its name in the catalog, any other as it is."""
    from ctkd_core.tokenizers.assets import entry_in

    if source == BUNDLED:
        return "smollm2"
    row = entry_in(source)
    return source if row is None else row.name


def facts_of(source: str) -> ModelFacts:
    """Of "bundled", a folder, or a hub id whose config is in the local cache; nothing is downloaded."""
    if source == BUNDLED:
        return ModelFacts(BUNDLED_ROWS, BUNDLED_POSITIONS)
    return facts_in(raw_config(source))


def raw_config(source: str) -> dict[str, Any]:
    """The config.json of a folder, or of a hub id where it is in the local cache; {} where it can't be read."""
    path = config_file(source)
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def facts_in(config: dict[str, Any]) -> ModelFacts:
    """Of a config.json. A model that reads pictures, too, says it under `text_config`."""
    inner = config.get("text_config")
    tables = [config, *([inner] if isinstance(inner, dict) else [])]
    rows = [n for table in tables if (n := _count(table.get("vocab_size"))) is not None]
    positions = [n for table in tables for key in _POSITIONS if (n := _count(table.get(key))) is not None]
    return ModelFacts(rows[0] if rows else None, positions[0] if positions else None)


def layers_of(source: str) -> int | None:
    """Layers of the body of a model, named as for `facts_of`; None where its config doesn't say."""
    if source == BUNDLED:
        return BUNDLED_LAYERS
    config = raw_config(source)
    inner = config.get("text_config")
    tables = [config, *([inner] if isinstance(inner, dict) else [])]
    return next((n for table in tables for key in _LAYERS if (n := _count(table.get(key))) is not None), None)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def config_file(source: str) -> Path | None:
    """The config.json in a folder, or of a hub id in the local cache; a folder may lack it."""
    try:
        folder = Path(source).expanduser()
        if folder.is_dir():
            return folder / "config.json"
    except (OSError, ValueError, RuntimeError):
        return None
    return _cached(source, "config.json")


def fetch_config(source: str) -> None:
    """Fetch the config.json of a hub id into the local cache; nothing happens where it is there or can't be had.

    Loading the weights says why not. Models of the catalog, which have terms to agree to, aren't fetched here.
    """
    from ctkd_core.tokenizers.assets import entry_in

    if source == BUNDLED or "/" not in source or source.startswith((".", "/", "~")) or entry_in(source) is not None:
        return
    if config_file(source) is not None:
        return
    import huggingface_hub as hub

    with suppress(Exception):  # no network, no such model, or gated
        hub.hf_hub_download(source, "config.json", etag_timeout=5)


def _cached(repo: str, name: str) -> Path | None:
    """A file of a hub repository in the local cache."""
    import huggingface_hub as hub

    try:
        found = hub.try_to_load_from_cache(repo, name)
    except Exception:  # not a hub id
        return None
    return Path(found) if isinstance(found, str) else None


def own_tokenizer(source: str) -> Tokenizer | None:
    """The tokenizer that lies with the model's weights; None where there is none that can be read here."""
    from ctkd_core.tokenizers.assets import entry_in, is_prepared
    from ctkd_core.tokenizers.load import load_tokenizer

    if source == BUNDLED:
        return load_tokenizer("smollm2")
    if (row := entry_in(source)) is not None:
        return load_tokenizer(row.name) if is_prepared(row) else None
    try:
        folder = Path(source).expanduser()
        beside = (folder / "tokenizer.json").is_file() if folder.is_dir() else _cached(source, "tokenizer.json")
        return load_tokenizer(source) if beside else None
    except (OSError, ValueError, RuntimeError, TokenizerError):
        return None


@dataclass(frozen=True)
class IdMismatch:
    """How a tokenizer compares with a model's own: the share of ids with another meaning, and the first of them."""

    share: float
    first: int | None = None
    given: str = ""
    own: str = ""

    @property
    def other(self) -> bool:
        """Whether it is another model's."""
        return self.share > OTHER_SHARE


def compared(given: Tokenizer, own: Tokenizer) -> IdMismatch:
    """Which ids both tokenizers have and give to different tokens; tokens of the same bytes are the same."""
    if given is own or given.fingerprint == own.fingerprint:
        return IdMismatch(0.0)
    n = min(given.n_ids, own.n_ids)
    if not n:
        return IdMismatch(1.0)
    mine, theirs = given.all_token_bytes(), own.all_token_bytes()
    differ = [i for i in range(n) if mine[i] != theirs[i] and given.token(i) != own.token(i)]
    if not differ:
        return IdMismatch(0.0)
    return IdMismatch(len(differ) / n, differ[0], given.token(differ[0]), own.token(differ[0]))


def of_another_model(given: Tokenizer, source: str, found: IdMismatch | None = None) -> str:
    """A sentence that says so where a tokenizer is another model's than that of `source`, else "".

    found: what `compared` gave, where it is known.
    """
    if found is None:
        own = own_tokenizer(source)
        found = None if own is None else compared(given, own)
    if found is None or not found.other:
        return ""
    return (
        f"{given.name!r} isn't the tokenizer of {short(name_of(source))}: {found.share:.0%} of their ids have another "
        f"meaning, for one id {found.first} ({short(found.given)} here, {short(found.own)} there)."
    )
