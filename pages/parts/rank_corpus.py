"""A corpus of one's own on page Rank: an upload, or the path of a file or folder; a sample of it is measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ctkd_core.background.progress import Progress
from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import uploads
from ctkd_core.pair.corpora.sample import CHARACTERS, DOCUMENTS, WHOLE, Sample, draw
from ctkd_core.pair.corpora.sources import read_texts
from pages.parts import state
from pages.parts.corpus_fields import file_field, path_field
from pages.parts.job import QUICK_SECONDS
from pages.parts.launching import check_may_change


@dataclass(frozen=True)
class OwnCorpus:
    """What is measured of a corpus; `place` is what code names it by, `is_upload` whether that is only its name."""

    sample: Sample
    place: str
    is_upload: bool


def rank_corpus() -> OwnCorpus | None:
    """The fields and what they name; None while there is nothing, or something that can't be read, which is told."""
    left, right = st.columns(2, gap="medium")
    with left:
        file = file_field("rank", _forget)
    with right:
        path = path_field("rank", _forget)
        st.caption(
            f"Of more than {WHOLE // 10**6} MB up to {DOCUMENTS} documents from all over it are measured, of each the "
            f"first {CHARACTERS:,} characters: paragraphs of text files, records of others. Sets of the hub, and more "
            "documents: `ctkd rank --corpus`."
        )
    if file is None and not path:
        st.info("There is no corpus yet. Upload a file, or type a path.", icon=":material/upload_file:")
        return None
    key = getattr(file, "file_id", path)
    if st.session_state.get("rank_reading_stopped") == key:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info("Stopped: the corpus isn't read.", icon=":material/pause:")
            st.button("Read it", key="rank_read", icon=":material/play_arrow:", on_click=_go_on)
        return None
    try:
        check_may_change()
        found = _drawn(file, path, key)
    except CtkdError as fault:
        state.show_error(fault)
        return None
    st.caption(state.plain(found.sample.sentence))
    return found


def _drawn(file: Any, path: str, key: str) -> OwnCorpus:
    """The sample, drawn once for what the fields hold now (`key`): typing the path again reads it again."""
    kept: tuple[str, OwnCorpus] | None = st.session_state.get("rank_corpus")
    if kept is not None and kept[0] == key:
        return kept[1]
    place = st.empty()
    reading = _Reading(place, key)
    try:
        found = _of_upload(file, reading) if file is not None else _of_path(path, reading)
    except CtkdError:
        place.empty()
        raise
    place.empty()
    st.session_state["rank_corpus"] = key, found
    return found


class _Reading:
    """Progress of what takes longer than a moment, with a button that stops it at the next report."""

    def __init__(self, place: DeltaGenerator, key: str) -> None:
        self._place, self._key, self._began = place, key, time.monotonic()
        self._bar: DeltaGenerator | None = None

    def __call__(self, share: float, sentence: str) -> None:
        if time.monotonic() - self._began < QUICK_SECONDS:
            return
        if self._bar is None:
            with self._place.container(horizontal=True, vertical_alignment="center"):
                with st.container(width="stretch"):
                    self._bar = st.progress(share, sentence)
                st.button("Stop", key="rank_read_stop", icon=":material/stop:", on_click=_stop, args=(self._key,))
        self._bar.progress(share, sentence)


def _of_path(path: str, report: Progress) -> OwnCorpus:
    return OwnCorpus(draw([read_texts(path)], progress=report), path, False)


def _of_upload(file: Any, report: Progress) -> OwnCorpus:
    content: bytes = file.getvalue()
    uploads.check_size(file.name, content, "ctkd rank --corpus FILE")
    with TemporaryDirectory() as folder:
        place = Path(folder) / uploads.file_name(file.name)
        place.write_bytes(content)
        with uploads.called(file.name, place):
            return OwnCorpus(draw([read_texts(place)], progress=report), file.name, True)


def _stop(key: str) -> None:
    st.session_state["rank_reading_stopped"] = key


def _go_on() -> None:
    st.session_state.pop("rank_reading_stopped", None)


def _forget() -> None:
    st.session_state.pop("rank_corpus", None)
    _go_on()
