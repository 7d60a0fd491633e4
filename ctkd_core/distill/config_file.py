"""The table in a config file or in a run's folder, before anything in it is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ctkd_core.errors import RunError, short
from ctkd_core.files.data_files import deeper_than, shown_name
from ctkd_core.markup.visible import one_line, shorten

MAX_DEPTH = 20  # tables and lists in one another; a config has four


def read_table(path: str | Path) -> dict[str, Any]:
    """The table in a YAML or JSON file, unchecked, so that command line options can be laid over it.

    The config.json of a run, or its folder, is the config of the same run again.
    Raises RunError when the file is missing, isn't text, or doesn't hold a table.
    """
    path = Path(path)
    if is_folder(str(path)) and (path / "config.json").is_file():  # a run
        path = path / "config.json"
    name = shown_name(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RunError(f"there's no config file {short(str(path))}; give a .yaml or .json file, or --preset.") from None
    except (OSError, ValueError) as fault:  # ValueError: not UTF-8, a NUL byte in the name
        raise RunError(f"config file {short(str(path))} can't be read: {one_line(str(fault))}.") from None
    suffix = path.suffix.lower()
    if suffix not in {".yaml", ".yml", ".json"}:
        raise RunError(f"config file {name!r} ends in {suffix!r}; use .yaml, .yml or .json.")
    import yaml

    try:
        data = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    except RecursionError:
        raise RunError(f"config file {name!r} is nested too deeply to read.") from None
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, yaml.YAMLError) as fault:
        # YAML's constructors raise what they like for a date that is none, or a key that is a list.
        raise RunError(f"config file {name!r} isn't valid {suffix[1:].upper()}: {_reason(fault)}.") from None
    if not isinstance(data, dict):
        raise RunError(f"config file {name!r} holds {type(data).__name__}, not a table of options.")
    if deeper_than(data, MAX_DEPTH):
        raise RunError(f"config file {name!r} is nested too deeply to read.")
    return data


def _reason(fault: Exception) -> str:
    """What a parser found, in one line; Python's advice on long numbers is for programmers."""
    said = str(fault)
    if "integer string conversion" in said:
        return "it holds a number of thousands of digits"
    return shorten(" ".join(map(one_line, said.split())), 300).rstrip(".")


def is_folder(name: str) -> bool:
    """Whether this names a folder; False for what can't be a file's name."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # too long for a file's name, a NUL byte
        return False
