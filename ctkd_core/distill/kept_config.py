"""A run's config as its folder keeps it: every option, and a fingerprint that tells whether somebody changed one."""

from __future__ import annotations

import json
from functools import lru_cache

from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.further import as_recorded
from ctkd_core.errors import RunError


def written(config: RunConfig) -> str:
    """The content of config.json."""
    return json.dumps(config.to_dict() | {"fingerprint": config.fingerprint}, indent=1, ensure_ascii=False)


@lru_cache(maxsize=2048)  # a page asks for all configs every few seconds
def read(content: bytes) -> RunConfig:
    """The config in the content of a config.json. Raises RunError."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise RunError(f"config.json can't be read ({fault}); the folder isn't a whole run.") from None
    if not isinstance(data, dict):
        raise RunError("config.json holds no table of options; the folder isn't a whole run.")
    expected = data.pop("fingerprint", None)
    try:
        with as_recorded():  # earlier versions let options pass that have no effect
            config = RunConfig.from_dict(data)
    except RunError as fault:
        raise RunError(f"config.json doesn't describe a run: {fault}") from None
    except Exception as fault:  # whatever a file may hold, it hides no other run
        raise RunError(f"config.json doesn't describe a run ({type(fault).__name__}: {fault}).") from None
    if config.fingerprint != expected:
        raise RunError(
            "config.json was changed after the run was created (its fingerprint doesn't match); restore it, or start a "
            "new run with the changed options."
        )
    return config
