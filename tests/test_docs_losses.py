"""The training steps in docs/losses.md run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "losses.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 3
    names: dict = {}
    for code in blocks:  # each goes on from the ones before
        exec(compile(code, str(PAGE), "exec"), names)
        assert names["out"].loss > 0
    assert names["again"].groups[:, 1:].tolist() == names["samples"][0].groups.tolist()
    assert names["out"].terms.keys() == {"ce", "t2s_kd", "t2s_ce", "s2t_kd"}
    assert "matched" in capsys.readouterr().out
