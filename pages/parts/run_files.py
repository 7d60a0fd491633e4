"""Files about one run to take away: its report, and its config for other trainers."""

from __future__ import annotations

import io
import tempfile
import zipfile
from functools import partial
from pathlib import Path

import streamlit as st

from ctkd_core.distill.exports.folder import TARGETS, check, write
from ctkd_core.distill.runs import Run
from ctkd_core.errors import CtkdError
from pages.parts import loaders, state
from pages.parts.downloads import download
from pages.parts.launching import check_may_change, may_change
from pages.parts.run_views import opened


def take_away(run: Run) -> None:
    """The report as HTML, and a folder for each trainer that has the run's method, without the student's weights."""
    config = run.config
    with st.expander("Take it away", icon=":material/download:"):
        with st.container(horizontal=True):
            download("Report as HTML", lambda: _report(run), f"{run.id}.html", "text/html", "run_html")
            refused = []
            # The training data goes along, and may be a file that only this machine's user should see.
            trains = may_change() and not opened()
            for target, row in TARGETS.items() if trains else ():
                try:
                    check(config, target)
                except CtkdError as fault:
                    refused.append(str(fault))
                    continue
                download(
                    f"For {row.title}",
                    partial(_zipped, run.id, target),
                    f"{run.id}-{target}.zip",
                    "application/zip",
                    f"export_{target}",
                )
        if len(refused) == len(TARGETS):
            st.caption(state.plain(" ".join(refused)))
        elif trains:
            st.caption(f"Without the student's weights: `ctkd export {run.id}` writes these too.")


def _report(run: Run) -> str:
    from ctkd_core.figures.report_runs import run_html

    return run_html(run)


def _zipped(run_id: str, target: str) -> bytes:
    check_may_change()
    run = loaders.store().get(run_id)
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="ctkd-export-") as folder:
        try:
            found = write(run.config, target, Path(folder) / target, student=False)
            notes = ""
        except CtkdError as fault:  # the file says it: a download has no other place to tell
            found, notes = None, str(fault)
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            if found is None:
                archive.writestr("NOT-WRITTEN.txt", notes)
            else:
                for path in sorted(p for p in found.folder.rglob("*") if p.is_file()):
                    archive.write(path, path.relative_to(found.folder))
    return buffer.getvalue()
