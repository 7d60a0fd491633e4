"""2,000 changed and random inputs for every reader of what comes from outside; `benchmarks/fuzz.py` gives them more."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzzing import TARGETS
from tests.homes import own_home

INPUTS = 2000


@pytest.mark.parametrize("target", TARGETS)
def test_any_input_is_accepted_or_refused_in_a_sentence(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home(tmp_path / "home", monkeypatch)
    one = TARGETS[target](tmp_path)
    outcomes: Counter[str] = Counter()
    for number in range(INPUTS):
        try:
            outcomes[one(random.Random(f"{target}:{number}"))] += 1
        except BaseException as fault:  # the library's panics derive from BaseException
            fault.add_note(f"input {number} of target {target!r}")
            raise
    assert min(outcomes.values()) > INPUTS / 50, "both outcomes are common"
    assert len(outcomes) == 2
