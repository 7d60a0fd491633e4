"""Counting that is killed while it sends what it counted: half of a message stands in the pipe then."""

from __future__ import annotations

import os
import signal
import struct
import sys
from typing import Any


class CutOff:
    """Stands for `Counting` in a process of a pool."""

    def count(self, piece: Any) -> None:
        """End this process so, whatever it has to count."""
        frame: Any = sys._getframe()
        while "result_queue" not in frame.f_locals:
            frame = frame.f_back
        queue = frame.f_locals["result_queue"]
        with queue._wlock:
            queue._writer._send(struct.pack("!i", 1000) + b"half")
            os.kill(os.getpid(), signal.SIGKILL)
