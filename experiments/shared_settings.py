"""Settings in which several experiments asked: their conditions as one, so that each setting counts once.

A setting is what runs were given, not what somebody called it: conditions share one where they have the same kind of
pair, regime and figure, the same texts, and a baseline with the same config whose runs came to the same. Their methods
stand together there, each with the seeds of all; equal configs are one method. Answers and claims speak of those seeds
(`pooled`), so that one comparison has one verdict in whichever experiment it is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ctkd_core.methods import evidence
from ctkd_core.methods.evidence.records import ROUNDING
from experiments.context import with_bits
from experiments.standing import Standing, mean_start, mean_teacher, out_of_reach, standings

# Options that say when a run is looked at and what is kept of it: the student that it makes is the same.
_LOOKS = ("eval_every", "sample_prompts", "sample_tokens", "save_every", "save_student")
Records = dict[str, dict[int, Mapping[str, Any]]]


@dataclass(frozen=True)
class Asked:
    """A condition as the digest has it, and what it was made of.

    records   the runs that count, by label and seed
    configs   the run config by label, without what differs between its runs
    texts     what is learnt and held out, see `definition.texts_of`
    """

    experiment: str
    condition: evidence.Condition
    records: Records
    configs: Mapping[str, Mapping[str, Any]]
    texts: Mapping[str, Any]

    @property
    def name(self) -> evidence.SettingName:
        """Under which name it is found."""
        found = self.condition
        return evidence.SettingName(experiment=self.experiment, condition=found.name, title=found.title)

    @property
    def setting(self) -> str:
        """Equal for conditions in which the same was asked; "" without runs of a baseline, which shows nothing."""
        found = self.condition
        if not self.records.get(found.baseline):
            return ""
        shared = [found.kind, found.regime, found.figure, found.teacher, self.texts]
        return json.dumps([*shared, _trained(self.configs[found.baseline])], sort_keys=True, default=str)


def shared_settings(asked: Sequence[Asked]) -> list[evidence.SharedSetting]:
    """The settings that more than one of these conditions share, in the order of their first conditions."""
    return [
        evidence.SharedSetting(of=[each.name for each in same], condition=_united(same)) for same in _sharing(asked)
    ]


def pooled(asked: Sequence[Asked]) -> dict[tuple[str, str], Records]:
    """The records of these conditions, by experiment and condition, with those of equal configs in the same setting.

    Labels are the condition's own. Where two experiments have a run of one seed, that of the experiment with more runs
    in the setting counts, as in `shared_settings`.
    """
    found = {(each.experiment, each.condition.name): each.records for each in asked}
    for same in _sharing(asked):
        names, records = _together(same)
        for each in same:
            found[each.experiment, each.condition.name] = {
                label: records[names[_key(each, label)]] if by_seed else {} for label, by_seed in each.records.items()
            }
    return found


def _sharing(asked: Sequence[Asked]) -> list[list[Asked]]:
    """The conditions that share a setting, that with most runs first; those that share none are left out."""
    by_setting: dict[str, list[Asked]] = {}
    for each in asked:
        if each.setting:
            by_setting.setdefault(each.setting, []).append(each)
    found: list[list[Asked]] = []
    for there in by_setting.values():
        left = sorted(there, key=lambda each: -sum(map(len, each.records.values())))
        while left:
            same = [each for each in left if _same_baseline(left[0], each)]
            left = [each for each in left if each not in same]
            if len(same) > 1:
                found.append(same)
    return found


def in_common(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The options that all these run configs have alike."""
    first = next(iter(configs.values()))
    return {key: v for key, v in first.items() if all(key in c and c[key] == v for c in configs.values())}


def _trained(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _LOOKS}


def _same_baseline(one: Asked, other: Asked) -> bool:
    """Whether the baselines share seeds, learnt from the same text there and came to the same values."""
    label, figure = one.condition.baseline, one.condition.figure
    mine, theirs = one.records[label], other.records[other.condition.baseline]
    seeds = set(mine) & set(theirs)
    return bool(seeds) and all(
        mine[seed]["config"].get("data") == theirs[seed]["config"].get("data")
        and abs(mine[seed]["figures"].get(figure, 0.0) - theirs[seed]["figures"].get(figure, 0.0)) <= ROUNDING
        for seed in seeds
    )


def _united(asked: Sequence[Asked]) -> evidence.Condition:
    """One condition of several, the one with most runs first: its name and title, and the methods of all."""
    first = asked[0].condition
    names, records = _together(asked)
    configs: dict[str, Mapping[str, Any]] = {}
    sources: dict[str, tuple[Asked, str]] = {}
    for each in asked:
        for label, by_seed in each.records.items():
            if not by_seed:
                continue
            name = names[_key(each, label)]
            configs[name] = _trained(each.configs[label])
            if name not in sources or len(by_seed) > len(sources[name][0].records[sources[name][1]]):
                sources[name] = each, label
    tried = {name: _find(each.condition, label) for name, (each, label) in sources.items()}
    others = {name for name, one in tried.items() if one.teacher or one.further_teachers}
    found = standings(records, first.figure, first.baseline, others)
    shared = in_common(configs)
    order = sorted(found, key=lambda name: found[name].rank or len(found) + 1)
    where = ", ".join(f"{each.experiment} ({each.condition.name})" for each in asked)
    notes = [f"Asked in {len(asked)} conditions: {where}.", out_of_reach(found)]
    united = first.model_copy(
        update={
            "start": mean_start(records, first.figure),
            "teacher_value": mean_teacher(records, first.figure, others),
            "config": shared,
            "methods": [
                _moved(tried[name], name, found[name], configs[name], shared, sources[name][0].name) for name in order
            ],
            "notes": [note for note in notes if note],
        }
    )
    return with_bits(united, records)


def _together(asked: Sequence[Asked]) -> tuple[dict[str, str], Records]:
    """A name for each config that has runs, and the records of all these conditions by that name."""
    names: dict[str, str] = {}
    records: Records = {}
    for each in asked:
        for label, by_seed in each.records.items():
            if by_seed:
                # Two experiments may call other things by one name.
                free = label if label not in records else f"{label} ({each.experiment})"
                name = names.setdefault(_key(each, label), free)
                records[name] = {**by_seed, **records.get(name, {})}
    return names, records


def _key(asked: Asked, label: str) -> str:
    """Equal for labels under which the same is trained."""
    return json.dumps(_trained(asked.configs[label]), sort_keys=True, default=str)


def _find(condition: evidence.Condition, label: str) -> evidence.Tried:
    found = condition.find(label)
    assert found is not None  # a condition has every label of its records
    return found


def _moved(
    tried: evidence.Tried,
    label: str,
    found: Standing,
    config: Mapping[str, Any],
    shared: Mapping[str, Any],
    source: evidence.SettingName,
) -> evidence.Tried:
    """A method as it stands among those of all; its curves stay where they are."""
    return tried.model_copy(
        update=vars(found)
        | {
            "label": label,
            "runs": [run.model_copy(update={"curve": []}) for run in found.runs.values()],
            "missing": [seed for seed in tried.missing if seed not in found.runs],
            "config": {key: value for key, value in config.items() if key not in shared},
            "source": source,
        }
    )
