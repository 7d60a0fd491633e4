"""`--dry-run`: a run before it is made: its config as a file, the checks, time and memory to expect; checks of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctkd_core.cli.common import OK, PREFLIGHT_FAILED, Output
from ctkd_core.distill.option_labels import value_text
from ctkd_core.errors import CtkdError
from ctkd_core.markup.terminal import safe
from ctkd_core.markup.visible import one_line

if TYPE_CHECKING:
    from ctkd_core.distill.checks import Check
    from ctkd_core.distill.config import RunConfig
    from ctkd_core.distill.preparation import Look


def planned(config: RunConfig, preset: str | None, root: Path) -> Output:
    """What starting this run would come to; nothing is written. The exit status is that of the pre-flight checks.

    preset  the name of the one that it starts from, None for none
    """
    from ctkd_core.distill.checks import preflight, sized
    from ctkd_core.distill.config import preset_changes
    from ctkd_core.lab.code import changed_options

    looks: list[Look] = []
    checks = preflight(config, root, looks)
    found: dict[str, Any] = {
        "config": config.to_dict(),
        "changed": changed_options(config),
        "preset": None if preset is None else {"name": preset, "sets": preset_changes(preset)},
        "checks": [asdict(check) for check in checks],
        "estimate": _estimate(sized(config, looks)),
    }
    refused = any(check.fatal and not check.ok for check in checks)
    return Output(lambda: found, lambda: [_file(found, checks)], PREFLIGHT_FAILED if refused else OK)


def _estimate(config: RunConfig) -> dict[str, Any] | None:
    """Seconds (least, most), bytes of memory by part and of the disk; None where a tokenizer can't be read."""
    from ctkd_core.distill.estimate import checkpoint_bytes, estimate, estimate_bytes
    from ctkd_core.tokenizers.load import load_tokenizer

    try:
        sizes = [load_tokenizer(source).n_ids for source in (config.student, config.teacher)]
    except (CtkdError, OSError):  # a check says it
        return None
    expected = estimate(config, *sizes)
    return {
        "seconds": list(expected.between),
        "preparation": expected.preparation,
        "bytes": estimate_bytes(config, *sizes),
        "disk_bytes": checkpoint_bytes(config, sizes[0]),
    }


def _file(found: dict[str, Any], checks: list[Check]) -> str:
    """The config in YAML, and everything else as comments in it, so that all of it can be kept as a file."""
    notes = ["Nothing was started. Kept as a .yaml file, this starts the run: ctkd distill FILE"]
    if found["preset"]:
        notes.append(f"The preset {found['preset']['name']} sets {changes_text(found['preset']['sets'])}.")
    notes += [finding(asdict(check)) for check in checks]
    own_name = found["preset"] and found["preset"]["name"]  # which every run of the preset has
    table = {key: value for key, value in found["changed"].items() if key != "name" or value != own_name}
    return "".join(f"# {one_line(note)}\n" for note in notes) + _yaml(table)


def finding(check: Mapping[str, Any]) -> str:
    """What a check found, as a line."""
    state = "ok" if check["ok"] else "refused" if check["fatal"] else "warning"
    return f"{state:7}  {check['name']}: {check['detail']} {check['fix']}".rstrip()


def findings_of(kinds: Iterable[Sequence[RunConfig]], root: Path) -> list[dict[str, Any]]:
    """What the pre-flight finds wrong with many runs: each different finding once, with the names of its `runs`.

    kinds  runs of which it finds the same together; the first is looked at
    """
    from ctkd_core.distill.checks import preflight

    found: dict[Check, list[str]] = {}
    for kind in kinds:
        for check in preflight(kind[0], root):
            if not check.ok:
                found.setdefault(check, []).extend(config.name for config in kind)
    return [asdict(check) | {"runs": names} for check, names in found.items()]


def changes_text(changes: Mapping[str, Any]) -> str:
    """What a preset sets, in words."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in changes.items()) or "nothing"


def _yaml(table: dict[str, Any]) -> str:
    """The table in YAML; with escapes where a terminal would obey a character, or not show it."""
    import yaml

    text: str = yaml.safe_dump(table, sort_keys=False, allow_unicode=True)
    return text if safe(text, lines=True) == text else yaml.safe_dump(table, sort_keys=False)
