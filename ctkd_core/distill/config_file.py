"""The table in a config file or in a run's folder, before anything in it is checked."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

from ctkd_core.distill.working_folder import moved
from ctkd_core.errors import RunError, short
from ctkd_core.files.data_files import deeper_than, shown_name
from ctkd_core.markup.visible import one_line, shorten

MAX_DEPTH = 20  # tables and lists in one another; a config has four


def read_table(path: str | Path) -> dict[str, Any]:
    """The table in a YAML or JSON file, unchecked, so that command line options can be laid over it.

    The config.json of a run, or its folder, is the config of the same run again: paths relative to the folder in which
    it was made are whole ones where that isn't the current one.
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
        data = json.loads(text, object_pairs_hook=_table) if suffix == ".json" else yaml.load(text, _loader())  # noqa: S506
    except RecursionError:
        raise RunError(f"config file {name!r} is nested too deeply to read.") from None
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError, yaml.YAMLError) as fault:
        # YAML's constructors raise what they like for a date that is none, or a key that is a list.
        raise RunError(f"config file {name!r} isn't valid {suffix[1:].upper()}: {_reason(fault)}.") from None
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"holds {short(data, 40)}, not a table of options"
        raise RunError(f"config file {name!r} {what}; write lines such as 'steps: 100' into it.")
    if deeper_than(data, MAX_DEPTH):
        raise RunError(f"config file {name!r} is nested too deeply to read.")
    return data | moved(data, path.parent) if path.name == "config.json" else data


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table of tables as one, with dotted names."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of JSON. Raises ValueError for a key that stands twice: the last one would count, and nobody be told."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {short(twice)} stands twice in one table")
    return found


@cache
def _loader() -> Any:
    """YAML's safe loader, which refuses a key that stands twice in one table, too; merged tables may be overridden."""
    import yaml

    class Loader(yaml.SafeLoader):
        def flatten_mapping(self, node: Any) -> None:
            if not hasattr(node, "looked_at"):  # an anchored table comes by again, with what was merged into it
                node.looked_at = True
                lines: dict[tuple[str, str], int] = {}
                for key, _ in node.value:
                    if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                        continue
                    line = key.start_mark.line + 1
                    if (key.tag, key.value) in lines:
                        first = lines[key.tag, key.value]
                        raise ValueError(f"the key {short(key.value)} stands twice, in lines {first} and {line}")
                    lines[key.tag, key.value] = line
            super().flatten_mapping(node)

    return Loader


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
