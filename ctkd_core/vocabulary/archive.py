"""A vocabulary map as one file to download: the folder that `store` writes, zipped."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ctkd_core.vocabulary.export import export
from ctkd_core.vocabulary.store import save

if TYPE_CHECKING:
    from ctkd_core.vocabulary.projection import Projection


def zipped(projection: Projection) -> bytes:
    """A zip of manifest.json and the safetensors file; unzipped, it is a folder for `store.load`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = save(projection, Path(scratch) / "map")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, path.name)
        return out.getvalue()


def exported(projection: Projection, layout: str, suffix: str) -> bytes:
    """What `export` writes for one of its layouts, as bytes. Raises ProjectionError as it does."""
    with tempfile.TemporaryDirectory() as scratch:
        return export(projection, Path(scratch) / f"map{suffix}", layout).read_bytes()
