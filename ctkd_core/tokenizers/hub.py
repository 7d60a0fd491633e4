"""Tokenizer files of a model hub repository: from the local cache, else downloaded."""

from __future__ import annotations

from pathlib import Path

from ctkd_core.errors import TokenizerError, short

_OPTIONAL = (
    *("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"),
    *("config.json", "generation_config.json"),
)


def tokenizer_files(repo: str) -> Path:
    """Path of the repository's tokenizer.json, with its configuration files beside it.

    Raises TokenizerError that says whether the repository is unknown, gated, out of reach or has no such file.
    """
    import huggingface_hub as hub

    path = _fetch(repo)
    for name in _OPTIONAL:
        try:
            if hub.try_to_load_from_cache(repo, name) is None:  # neither there nor known to be absent
                hub.hf_hub_download(repo, name, etag_timeout=5)
        except Exception:  # noqa: S112 - optional, and tokenizer.json is here
            continue
    return path


def _fetch(repo: str) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors

    cached = hub.try_to_load_from_cache(repo, "tokenizer.json")
    if isinstance(cached, str):
        return Path(cached)
    if not _reachable():  # the client would try for half a minute
        raise TokenizerError(f"tokenizer {short(repo)} {_out_of_reach()}.")
    # Messages are our own: those of the hub client may quote request headers.
    try:
        return Path(hub.hf_hub_download(repo, "tokenizer.json", etag_timeout=5))
    except errors.GatedRepoError:
        reason = (
            "is gated: accept its licence on its page, then set the environment variable HF_TOKEN to a token of "
            "your account and start again"
        )
    except errors.RepositoryNotFoundError:
        reason = (
            "doesn't exist on the hub, or is private: check the spelling; for a private one set the environment "
            "variable HF_TOKEN"
        )
    except errors.LocalEntryNotFoundError:
        reason = _out_of_reach()
    except errors.EntryNotFoundError:
        reason = "has no tokenizer.json: give a folder into which you saved the tokenizer with transformers"
    except errors.HFValidationError:
        reason = "isn't a valid hub id: it has the form owner/name"
    except Exception:
        reason = _out_of_reach()
    raise TokenizerError(f"tokenizer {short(repo)} {reason}.")


def _reachable() -> bool:
    import urllib.error
    import urllib.request

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if not constants.ENDPOINT.startswith(("https://", "http://")):
        return False
    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=5):  # noqa: S310 - scheme checked above
            return True
    except urllib.error.HTTPError:
        return True  # it answers
    except (OSError, ValueError):
        return False


def _out_of_reach() -> str:
    import os

    from ctkd_core.tokenizers.catalog import TOKENIZERS

    mode = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") not in (None, "", "0") else ""
    return (
        f"isn't in the local cache and the hub can't be reached{mode}: give a folder or a tokenizer.json that you "
        f"have, or one that works offline: {', '.join(TOKENIZERS)}"
    )
