"""A server that writes the student's own text: vLLM's, which takes the newest LoRA adapter while it runs.

Every `on_policy_refresh` steps the adapter is kept in the run's folder, which the server must be able to read, and
loaded under a new name; the one before is unloaded. Each prompt is a question of its own with a seed of its own, many
at once, so that the server batches them: prompts of one question would share their random numbers. What is asked
follows from the run's seed and the step; a resumed run hands over the adapter that the whole one would have, which is
kept as long as a checkpoint needs it. A server that fails ends the run between two steps, behind a checkpoint.
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ctkd_core.background.progress import Cancelled
from ctkd_core.distill import checkpoints
from ctkd_core.distill.on_policy import Sampling
from ctkd_core.distill.on_policy_access import KEY, OPTION
from ctkd_core.distill.teachers.client import Server
from ctkd_core.distill.teachers.served_model import check_model, check_tokenizer, choices_of, id_named, models_of
from ctkd_core.distill.training import processes
from ctkd_core.errors import RunError, short

if TYPE_CHECKING:
    from ctkd_core.background.attempt import Attempt
    from ctkd_core.distill.models.adapters import Adapters
    from ctkd_core.distill.runs import Run
    from ctkd_core.distill.status import RunStatus
    from ctkd_core.tokenizers.tokenizer import Tokenizer

FOLDER = "on_policy"  # in the run's folder: the adapters
TRIES = 8  # of a question while the run trains: about a minute in which the server may refuse to be reached
TIMEOUT = 600.0  # seconds for all of them: nothing comes before the whole completion is written
START_TIMEOUT = 30.0
LEAVE_TIMEOUT = 5.0  # who cancels a run kills it after 20 s, by when the run should have said that it stopped
WATCH_SECONDS = 0.5  # between two looks at whether the run is to stop
KEPT = "The steps done are kept in a checkpoint, from which the run goes on when it is resumed."
AT_ONCE = 64  # questions
LORA = (
    "vLLM does that when it is started with --enable-lora, a --max-lora-rank of at least lora_rank, and "
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment"
)

T = TypeVar("T")
Q = TypeVar("Q")


@dataclass(eq=False)
class StudentServer:
    """The server of one attempt of a run.

    folder    where the adapters of this run lie, as step-N
    prefix    begins the names of all adapters of this run at the server; `attempt` follows
    steps     of the checkpoints that are there
    parts     batches in one step
    loaded    the step whose weights the server has
    """

    server: Server
    tokenizer: Tokenizer
    sampling: Sampling
    folder: Path
    prefix: str
    attempt: int
    refresh: int
    parts: int
    steps: Callable[[], list[int]]
    adapters: Adapters | None = None
    loaded: int | None = None

    def begin(self, adapters: Adapters) -> None:
        """Hand the adapter over as it is, and take it back: what keeps a server from it is told before the first step.

        Raises RunError.
        """
        self.adapters = adapters
        if processes.rank() == 0:
            self._hand_over("check", self.folder / "check")
            self._unload(f"{self.prefix}{self.attempt}-check")
            shutil.rmtree(self.folder / "check", ignore_errors=True)

    def during(self, step: int, work: Callable[[], T], keep: Callable[[], bool]) -> T:
        """What `work` gives, once the server has the weights that write the text of this step.

        Where one process can't go on, or is asked to stop, all of them `keep` what they have (which says whether there
        was anything) and stop.
        """
        _together(lambda: self._refreshed(step), keep)
        self.loaded = processes.gathered(self.loaded)[0]
        return _together(work, keep)

    def write(self, prompts: Sequence[list[int]], seed: int, ends: Sequence[int] = ()) -> list[list[int]]:
        """Sampled ids after each prompt, with the id that ends a text where one was drawn. Raises RunError."""
        if not prompts:
            return []
        seeds = np.random.default_rng(seed).integers(2**31, size=len(prompts)).tolist()
        stops = [index for index in dict.fromkeys((self.tokenizer.eos_id, *ends)) if index is not None]
        questions = [self._question(ids, own, stops) for ids, own in zip(prompts, seeds)]
        return self._watched(self._ask, questions)

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Take the adapter from the server at the end, however that comes."""
        try:
            yield
        finally:
            if processes.rank() == 0 and self.loaded is not None:
                self._unload(self._name(self.loaded), LEAVE_TIMEOUT)

    def forget(self) -> None:
        """Remove the kept adapters: the run has done its last step, and won't go on from a checkpoint."""
        if processes.rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _question(self, ids: list[int], seed: int, stops: list[int]) -> dict[str, Any]:
        assert self.loaded is not None
        room = max(1, self.sampling.max_length - len(ids))
        return {
            "model": self._name(self.loaded),
            "prompt": ids,
            "n": 1,
            "max_tokens": min(self.sampling.max_new_tokens, room),
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            # What is left out a server takes from the model's own generation settings.
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": seed,
            "stop_token_ids": stops,
            # Ids, in the two ways that there are: of newer versions, and of older ones.
            "return_token_ids": True,
            "logprobs": 1,
            "return_tokens_as_token_ids": True,
        }

    def _watched(self, ask: Callable[[Q], T], questions: Sequence[Q]) -> list[T]:
        """What `ask` gives for each question, many at once. What stops the run, or fails, ends the waiting at once.

        A server may hold an answer back for minutes. Threads that still wait for one are left behind; as daemons they
        keep no process from ending, which those of an executor would.
        """
        answers: list[Future[T]] = [Future() for _ in questions]
        left = deque(zip(answers, questions))

        def work() -> None:
            with suppress(IndexError):  # there is none left
                while True:
                    answer, question = left.popleft()
                    try:
                        answer.set_result(ask(question))
                    except BaseException as fault:
                        answer.set_exception(fault)

        for _ in range(min(AT_ONCE, len(questions))):
            threading.Thread(target=work, name="student server", daemon=True).start()
        waiting = set(answers)
        try:
            while waiting:
                done, waiting = wait(waiting, WATCH_SECONDS, FIRST_EXCEPTION)
                for answer in done:
                    answer.result()
                if waiting and self.server.between:
                    self.server.between()
        finally:
            left.clear()
        return [answer.result() for answer in answers]

    def _ask(self, question: dict[str, Any]) -> list[int]:
        (choice,) = choices_of(self.server, self.server.post("completions", question), 1)
        read = choice.get("prompt_token_ids")
        if isinstance(read, list) and read != question["prompt"]:
            raise RunError(
                f"the server {short(self.server.address)} read {len(read)} tokens of a prompt of "
                f"{len(question['prompt'])}: it doesn't take ids as they are, so what it writes isn't the student's."
            )
        ids = _ids_of(choice)
        if ids is None:
            raise RunError(
                f"the server {short(self.server.address)} tells no ids of what it writes (neither token_ids nor "
                'logprobs with "token_id:N"); the student\'s own text needs a server that does, like vLLM.'
            )
        return ids[: question["max_tokens"]]

    def _refreshed(self, step: int) -> None:
        """Let the server have the weights of the last step that `refresh` divides, where it will write before the next.

        Only a run that was resumed between two such steps, and whose adapter is gone, hands over newer ones.
        """
        start = step - step % self.refresh
        if processes.rank() or (self.loaded is not None and self.loaded >= start):
            return
        rest = range(step, start + self.refresh)
        if not any(self.sampling.chosen(one, part) for one in rest for part in range(self.parts)):
            return
        kept = step != start and (self.folder / _of(start)).is_dir()
        chosen = start if kept else step
        if self.loaded is not None:  # first: a server may have room for one
            self._watched(self._unload, [self._name(self.loaded)])
        # Already now: a load that nobody waits for any more may still come about, and `leaving` takes it back.
        self.loaded = chosen
        self._hand_over(str(chosen), self.folder / _of(chosen), kept)
        self._prune()

    def _name(self, step: int) -> str:
        return f"{self.prefix}{self.attempt}-{step}"

    def _hand_over(self, label: str, folder: Path, kept: bool = False) -> None:
        """Load the adapter in `folder` under a name of its own; what is learnt so far is put there unless it is kept.

        A new name each time: servers keep what they computed for the names that they know.
        """
        assert self.adapters is not None
        if not kept:
            self.adapters.save(folder)
        name = f"{self.prefix}{self.attempt}-{label}"
        what = f"It was asked to load the student's LoRA adapter from {str(folder)!r}, which it must be able to read;"
        try:
            (said,) = self._watched(
                lambda question: self.server.tell("load_lora_adapter", question),
                [{"lora_name": name, "lora_path": str(folder)}],
            )
        except RunError as fault:
            if self._watched(self._has, [name])[0]:  # it took it, and the answer was lost on the way
                return
            raise RunError(f"{fault} {what} {LORA}.") from None
        if said is None:
            raise RunError(f"the server {short(self.server.address)} loads no LoRA adapters while it runs; {LORA}.")

    def _has(self, name: str) -> bool:
        with suppress(RunError):
            return name in models_of(replace(self.server, tries=1, timeout=START_TIMEOUT))
        return False

    def _unload(self, name: str, timeout: float = START_TIMEOUT) -> None:
        """Take an adapter from the server. One that stays there takes room and does nothing else."""
        with suppress(RunError):
            replace(self.server, tries=1, timeout=timeout).tell("unload_lora_adapter", {"lora_name": name})

    def _prune(self) -> None:
        """Remove the adapters that neither the server nor going on from a checkpoint needs."""
        needed = {_of(self.loaded or 0), *(_of(step - step % self.refresh) for step in self.steps())}
        for folder in self.folder.glob("step-*"):
            if folder.name not in needed:
                shutil.rmtree(folder, ignore_errors=True)


def _of(step: int) -> str:
    return f"step-{step}"


def _ids_of(choice: dict[str, Any]) -> list[int] | None:
    """The ids that a server wrote: `token_ids`, or "token_id:N" in `logprobs`; None where it tells neither."""
    ids = choice.get("token_ids")
    if not isinstance(ids, list):
        told = choice.get("logprobs")
        names = told.get("tokens") if isinstance(told, dict) else None
        if not isinstance(names, list):
            return None
        ids = [id_named(name) if isinstance(name, str) else None for name in names]
    return ids if all(isinstance(index, int) and not isinstance(index, bool) for index in ids) else None


def _together(work: Callable[[], T], keep: Callable[[], bool]) -> T:
    """What `work` gives; where it fails in one process all of them `keep` what they have and raise."""
    found: list[T] = []
    own: Exception | None = None
    try:
        found.append(work())
    except (RunError, Cancelled) as caught:
        own = caught
    faults = [each for each in processes.gathered(own) if each is not None]
    if not faults:
        return found[0]
    fault = own or faults[0]
    if isinstance(fault, Cancelled):
        keep()
        raise fault
    try:
        after = KEPT if keep() else "No step was done yet."
    except RunError as more:  # of the two faults, this one came of the other
        after = f"The steps since the last checkpoint couldn't be kept: {more}"
    raise RunError(f"{fault} {after}") from fault


def open_writer(run: Run, attempt: Attempt[RunStatus], student: Tokenizer) -> StudentServer | None:
    """The server that writes the student's text, where the run has one. Raises RunError for one that can't.

    What an earlier attempt that was killed left at the server is taken from it.
    """
    config = run.config
    if not (config.on_policy_server and config.on_policy_share):
        return None
    server = Server(
        config.on_policy_server,
        timeout=TIMEOUT,
        within=TIMEOUT,
        tries=TRIES,
        between=attempt.check,
        option=OPTION,
        key=KEY,
        then="then resume the run",
    )
    writer = StudentServer(
        server,
        student,
        Sampling.of(config),
        run.dir.resolve() / FOLDER,
        f"ctkd-{run.id}-",
        attempt.status.attempt,
        config.on_policy_refresh,
        config.accumulation,
        lambda: checkpoints.all_steps(run.dir / "checkpoints"),
    )
    if processes.rank() == 0:
        asked = replace(server, tries=2, timeout=START_TIMEOUT)
        names = models_of(asked)
        if not names:
            raise RunError(f"the server {short(server.address)} has no list of models; its address often ends in /v1.")
        check_model(asked, config.on_policy_server_model)
        check_tokenizer(asked, config.on_policy_server_model, student)
        for name in names:
            if name.startswith(writer.prefix):
                writer._unload(name)
    return writer
