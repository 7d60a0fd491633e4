"""How many people a server bears: sessions that edit a text at once or every few seconds, without a browser.

A client that speaks Streamlit's protocol over a websocket stands for each person, so that nothing but the server
works: it opens the page, finds the field, sends the changed text as the browser would, and reads until the server says
that the run has finished. An edit is counted from sending it until then; the browser's own time comes on top
(`pages.py`). `load` is what else the machine had to do, as the number of processes that wanted a core.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _app import wait_for_app
from _record import arguments, save
from _texts import real_text

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 600  # a machine may have much else to do
CHARACTERS_PER_TOKEN = 6  # more than any tokenizer here needs: the text is cut to the wanted tokens


class Session:
    """One reader's connection: what the page said of itself, and what has been typed."""

    def __init__(self, address: str, path: str, query: str, field: str) -> None:
        self.base = urlsplit(address)
        self.path, self.query, self.field = path, query, field
        self.page_hash = ""
        self.widget, self.fragment = "", ""
        self.text = ""
        self.kept: dict[str, int] = {}  # hashes of large messages that a browser keeps: the run that last sent them
        self.run = 0
        self.bytes = 0

    async def open(self) -> float:
        """Connect and draw the page; the seconds that took."""
        from websockets.asyncio.client import connect

        host = self.base.netloc
        self.socket = await connect(
            f"ws://{host}/_stcore/stream",
            origin=f"http://{host}",
            subprotocols=["streamlit"],
            compression=None,
            max_size=None,
            max_queue=None,
            ping_interval=None,
        )
        return await self._run(fragment=False)

    async def close(self) -> None:
        """Go."""
        await self.socket.close()

    async def edit(self, text: str) -> float:
        """Type `text` and press Ctrl+Enter; the seconds until everything that follows is here."""
        self.text = text
        return await self._run(fragment=True)

    async def _run(self, fragment: bool) -> float:
        from streamlit.proto.BackMsg_pb2 import BackMsg

        message = BackMsg()
        ask = message.rerun_script
        ask.query_string = self.query
        ask.page_script_hash = self.page_hash
        if not self.page_hash:
            ask.page_name = self.path.strip("/")
        ask.context_info.url = f"http://{self.base.netloc}{self.path}"
        ask.context_info.timezone, ask.context_info.locale = "UTC", "en-GB"
        ask.cached_message_hashes.extend(self.kept)
        if fragment:
            ask.fragment_id = self.fragment
        if self.text:
            ask.widget_states.widgets.add(id=self.widget, string_value=self.text)
        before = time.perf_counter()
        await self.socket.send(message.SerializeToString())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._read_to_the_end()
        return time.perf_counter() - before

    async def _read_to_the_end(self) -> None:
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        early = ForwardMsg.ScriptFinishedStatus.FINISHED_EARLY_FOR_RERUN
        self.run += 1
        while True:
            data = await self.socket.recv()
            self.bytes += len(data)
            message = ForwardMsg.FromString(data)
            kind = message.WhichOneof("type")
            if message.metadata.cacheable or kind == "ref_hash":
                self.kept[message.ref_hash if kind == "ref_hash" else message.hash] = self.run
            if kind == "new_session":
                self.page_hash = message.new_session.page_script_hash
            elif kind == "page_info_changed":
                self.query = message.page_info_changed.query_string
            elif kind == "delta":
                self._see(message.delta)
            elif kind == "script_finished" and message.script_finished != early:
                break
        self.kept = {key: run for key, run in self.kept.items() if self.run - run < 2}

    def _see(self, delta: Any) -> None:
        if delta.WhichOneof("type") != "new_element":
            return
        element = delta.new_element
        kind = element.WhichOneof("type")
        if kind == "exception":
            raise SystemExit(f"the page failed: {element.exception.message}")
        if kind == "text_area" and element.text_area.id.endswith(f"-{self.field}"):
            self.widget, self.fragment = element.text_area.id, delta.fragment_id


class Server:
    """CPU seconds and memory of the server process with the threads in it."""

    def __init__(self, pid: int) -> None:
        import psutil

        self.process = psutil.Process(pid)

    def cpu(self) -> tuple[float, float]:
        """User and system seconds so far."""
        times = self.process.cpu_times()
        return times.user, times.system

    def mib(self) -> float:
        """Resident memory."""
        return self.process.memory_info().rss / 2**20


@dataclass(frozen=True)
class Scenario:
    """So many sessions with so many edits each: all at the same moment, or each one every so many seconds."""

    sessions: int
    edits: int
    every: float = 0.0

    @classmethod
    def named(cls, name: str) -> Scenario:
        """From "10x100" or "20x12@5". Raises ValueError for anything else."""
        count, _, every = name.partition("@")
        sessions, edits = map(int, count.split("x"))
        return cls(sessions, edits, float(every or 0))


def main() -> None:
    """Start the app unless --address names one, open the sessions, edit, write the table."""
    parser = arguments(__doc__ or "", "sessions.json")
    parser.add_argument(
        "scenarios",
        nargs="*",
        type=Scenario.named,
        default=[Scenario(1, 20), Scenario(10, 10), Scenario(20, 12, 5.0), Scenario(10, 100)],
        metavar="SESSIONSxEDITS[@SECONDS]",
        help="edits of each session, all at once or one in so many seconds; one after the other on one server "
        "(1x20 10x10 20x12@5 10x100)",
    )
    parser.add_argument("--tokens", type=int, default=2000, help="of the text under the student's tokenizer")
    parser.add_argument("--path", default="/align")
    parser.add_argument("--query", default="", help="of the address, as in method=cdm&tab=Path")
    parser.add_argument("--field", default="typed", help="key of the text field")
    parser.add_argument("--address", default="", help="of a server that runs already, as http://127.0.0.1:8501")
    parser.add_argument("--pid", type=int, default=0, help="of that server")
    args = parser.parse_args()
    load = os.getloadavg()
    text = _text(args.tokens)
    with _server(args.address, args.pid) as (address, pid):
        people = lambda count: [Session(address, args.path, args.query, args.field) for _ in range(count)]  # noqa: E731
        rows = asyncio.run(_measure(args.scenarios, people, Server(pid), text))
    save(args.out, rows, load_before=load, tokens=args.tokens, characters=len(text), page=f"{args.path}?{args.query}")


@contextmanager
def _server(address: str, pid: int):
    if address:
        yield address, pid
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_app(address)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def _text(tokens: int) -> str:
    """A real text of so many tokens."""
    from ctkd_core.tokenizers.catalog import DEFAULT_PAIR
    from ctkd_core.tokenizers.load import load_tokenizer

    student = load_tokenizer(DEFAULT_PAIR[0])
    whole = real_text(CHARACTERS_PER_TOKEN * tokens)
    low, high = 0, len(whole)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if len(student.encode(whole[:middle])) < tokens else (low, middle)
    return whole[:low]


async def _measure(
    scenarios: list[Scenario], people: Callable[[int], list[Session]], server: Server, text: str
) -> list[dict[str, Any]]:
    await _warm_up(*people(1), text)
    return [await _one(scenario, people(scenario.sessions), server, text) for scenario in scenarios]


async def _warm_up(session: Session, text: str) -> None:
    """What a server does once: imports, tokenizers, compiled kernels."""
    await session.open()
    for k in range(3):
        await session.edit(f"{k} {text}")
        await asyncio.sleep(2)
    await session.close()


async def _one(scenario: Scenario, sessions: list[Session], server: Server, text: str) -> dict[str, Any]:
    opened = [await session.open() for session in sessions]
    for session in sessions:
        await session.edit(f"{id(session)} {text}")
        session.bytes = 0
    own, cpu, memory = time.process_time(), server.cpu(), [server.mib()]
    began = time.perf_counter()
    took = await (_at_a_pace if scenario.every else _at_once)(scenario, sessions, text, server, memory)
    wall = time.perf_counter() - began
    user, system = (now - then for now, then in zip(server.cpu(), cpu))
    own = time.process_time() - own
    for session in sessions:
        await session.close()
    count = len(took)
    return {
        "sessions": scenario.sessions,
        "every_s": scenario.every,
        "edits": count,
        "p50_s": statistics.median(took),
        "p95_s": sorted(took)[min(count - 1, int(0.95 * count))],
        "most_s": max(took),
        "kB_an_edit": sum(session.bytes for session in sessions) / count / 1000,
        "user_s_an_edit": user / count,
        "system_s_an_edit": system / count,
        "client_s_an_edit": own / count,
        "edits_a_second": count / wall,
        "open_s": statistics.median(opened),
        "mib": [round(m) for m in memory],
        "load": os.getloadavg()[0],
    }


async def _at_once(
    scenario: Scenario, sessions: list[Session], text: str, server: Server, memory: list[float]
) -> list[float]:
    """Every session edits at the same moment; the next edits begin when the slowest has its answer."""
    took: list[float] = []
    for k in range(scenario.edits):
        took += await asyncio.gather(*(s.edit(_edited(text, n, k)) for n, s in enumerate(sessions)))
        _remember(len(took), len(sessions), scenario, server, memory)
    return took


async def _at_a_pace(
    scenario: Scenario, sessions: list[Session], text: str, server: Server, memory: list[float]
) -> list[float]:
    """Every session edits once in so many seconds, each at a moment of its own."""
    took: list[float] = []
    begin = time.perf_counter() + 1
    draw = random.Random(1)

    async def one(n: int, session: Session) -> None:
        phase = draw.random() * scenario.every
        for k in range(scenario.edits):
            at = begin + phase + k * scenario.every
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            await session.edit(_edited(text, n, k))
            took.append(time.perf_counter() - at)  # who waits because the edit before isn't through waits too
            _remember(len(took), 1, scenario, server, memory)

    await asyncio.gather(*(one(n, session) for n, session in enumerate(sessions)))
    return took


def _remember(done: int, new: int, scenario: Scenario, server: Server, memory: list[float]) -> None:
    """Note the memory ten times on the way."""
    tenth = max(1, scenario.sessions * scenario.edits // 10)
    if done // tenth > (done - new) // tenth:
        memory.append(server.mib())


def _edited(text: str, session: int, edit: int) -> str:
    """The text after an edit near its beginning, as nobody has typed it before."""
    return f"{session} {edit} {os.getpid()} {text}"


if __name__ == "__main__":
    main()
