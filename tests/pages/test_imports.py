"""Pages open without torch and transformers: seconds less for whoever looks at tokenizers alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.homes import own_home
from tests.pages.test_rules import PAGES
from tests.patience import PATIENCE
from tests.tiny import tiny_byte_level, tiny_metaspace


@pytest.mark.real
@pytest.mark.slow
def test_no_page_imports_torch_transformers_or_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_home(tmp_path / "home", monkeypatch)
    paths = []
    for name, tokenizer in (("student", tiny_byte_level()), ("teacher", tiny_metaspace())):
        path = tmp_path / name / "tokenizer.json"
        path.parent.mkdir()
        path.write_text(tokenizer.backend.to_str(), encoding="utf-8")
        paths.append(str(path))
    command = [sys.executable, "-m", "tests.pages.opened_one_by_one", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == {path.stem for path in PAGES.glob("*.py") if path.stem != "__init__"}
    assert not {page: modules for page, modules in found.items() if modules}
