"""A corpus of one's own on page Rank: an upload, or the path of a file or folder; a sample of it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import streamlit as st

from ctkd_core.errors import CtkdError
from ctkd_core.pair.corpora import uploads
from ctkd_core.pair.corpora.sample import CHARACTERS, DOCUMENTS, WHOLE, Sample, draw
from ctkd_core.pair.corpora.sources import read_texts
from pages.parts import state
from pages.parts.corpus_fields import file_field, path_field
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
    try:
        check_may_change()
        found = _drawn(file, path)
    except CtkdError as fault:
        state.show_error(fault)
        return None
    st.caption(state.plain(found.sample.sentence))
    return found


def _drawn(file: Any, path: str) -> OwnCorpus:
    """The sample, drawn once for what the fields hold now: typing the path again reads it again."""
    key = getattr(file, "file_id", path)
    kept: tuple[str, OwnCorpus] | None = st.session_state.get("rank_corpus")
    if kept is not None and kept[0] == key:
        return kept[1]
    with st.spinner("Reading documents from all over the corpus", show_time=True):
        found = OwnCorpus(draw([read_texts(path)]), path, False) if file is None else _of_upload(file)
    st.session_state["rank_corpus"] = key, found
    return found


def _of_upload(file: Any) -> OwnCorpus:
    content: bytes = file.getvalue()
    uploads.check_size(file.name, content, "ctkd rank --corpus FILE")
    with TemporaryDirectory() as folder:
        place = Path(folder) / uploads.file_name(file.name)
        place.write_bytes(content)
        with uploads.called(file.name, place):
            return OwnCorpus(draw([read_texts(place)]), file.name, True)


def _forget() -> None:
    st.session_state.pop("rank_corpus", None)
