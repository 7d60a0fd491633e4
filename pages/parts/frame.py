"""Every page stands inside app.py's frame, also when its address is the first one that a server is asked for."""

from __future__ import annotations

import contextlib
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path

from pages.parts.plots import figures_last

APP = Path(__file__).resolve().parents[2] / "app.py"
_here = threading.local()


@contextlib.contextmanager
def frame() -> Iterator[None]:
    """Around `page.run()`: the bar is drawn, the page may follow, its figures behind the rest."""
    _here.drawn = True
    try:
        with figures_last():
            yield
    finally:
        _here.drawn = False


def framed() -> bool:
    """Whether app.py is drawing this page; else run app.py now, which draws the page inside its frame.

    Until `st.navigation` was called once, Streamlit runs scripts of a folder named `pages` by themselves.
    """
    if getattr(_here, "drawn", False):
        return True
    runpy.run_path(str(APP), run_name="__main__")
    return False
