"""A server's log-probabilities of prompts as rows: what is asked, how answers are read, whether it is the teacher.

Two ways of telling them are understood. `prompt_logprobs` (vLLM's) names tokens by their ids; `echo` with `logprobs`
(OpenAI's completions) names them by "token_id:N" or by their text; a text that several tokens have counts to the tail.
A server tells probabilities of the text's tokens only: no logits before the soft-max, no row behind the text, and the
mass of the tail as a whole, which is spread evenly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.distill.teachers.client import Server
from ctkd_core.distill.teachers.kept import KeptTeacher
from ctkd_core.distill.teachers.reader import Prompts
from ctkd_core.distill.teachers.rows import NO_CHANCE, Records, RowLayout, TeacherVocabulary
from ctkd_core.distill.teachers.served_model import check_model, check_tokenizer, choices_of, id_named
from ctkd_core.distill.teachers.store import Reading, first_row
from ctkd_core.errors import RunError, short
from ctkd_core.losses.batch import prompt_ids

if TYPE_CHECKING:
    from ctkd_core.distill.models.teachers import LiveTeacher
    from ctkd_core.tokenizers.tokenizer import Tokenizer

OTHER_SHARE = 0.02  # of compared tokens with another spelling, from which on the tokenizer is another one
SLACK = 1e-3  # nats by which a server's log-probability may be above 0
NAMELESS = -1  # stands for the tokens of a row that a server names by a text that isn't theirs alone
Top = dict[int, float]  # log-probability by id


@dataclass(eq=False)
class ServedReader:
    """Reads rows of a model behind a server. Raises RunError for a server that isn't the teacher's."""

    server: Server
    model: str
    tokenizer: Tokenizer
    logits: bool = False
    _vocabulary: TeacherVocabulary = field(init=False)
    _by_text: dict[str, int] | None = None
    _checked: bool = False

    def __post_init__(self) -> None:
        self._vocabulary = TeacherVocabulary.of(self.tokenizer, self.width)
        check_model(self.server, self.model)
        check_tokenizer(self.server, self.model, self.tokenizer)

    @property
    def width(self) -> int:
        """Tokens in the vocabulary, as far as is known from here."""
        return self.tokenizer.n_ids

    def read(self, readings: Sequence[Reading], rows: str, layout: RowLayout) -> list[Records]:
        """The rows of each sample from `first_row` on; the row behind the text has no figures."""
        if not readings:
            return []
        answer = self.server.post(
            "completions",
            {
                "model": self.model,
                "prompt": [ids.tolist() for ids, _ in readings],
                "max_tokens": 1,
                "temperature": 0.0,
                "prompt_logprobs": layout.k,
                "echo": True,
                "logprobs": layout.k,
                "return_tokens_as_token_ids": True,
            },
        )
        choices = choices_of(self.server, answer, len(readings))
        return [
            self._records(self._tops(choice, ids), ids, first_row(start, rows), layout)
            for choice, (ids, start) in zip(choices, readings)
        ]

    def answers(self, prompts: Prompts, tokens: int) -> list[str]:
        """Greedy completions, each its first line."""
        if not prompts:
            return []
        ids = [prompt_ids(prompt, self.tokenizer) for prompt in prompts]
        question = {"model": self.model, "prompt": ids, "max_tokens": tokens, "temperature": 0.0}
        choices = choices_of(self.server, self.server.post("completions", question), len(prompts))
        texts = [choice.get("text") for choice in choices]
        return [text.lstrip("\n").split("\n")[0].strip() if isinstance(text, str) else "" for text in texts]

    def _tops(self, choice: Mapping[str, Any], ids: Any) -> list[Top]:
        """Of each token but the first, the log-probabilities that the server tells, with the token's own."""
        told = choice.get("prompt_logprobs")
        if isinstance(told, list):
            tops = self._by_id(told, ids)
        else:
            told = choice.get("logprobs")
            if not isinstance(told, dict) or not isinstance(told.get("top_logprobs"), list):
                raise RunError(
                    f"the server {short(self.server.address)} tells no log-probabilities of prompts (neither "
                    "prompt_logprobs nor logprobs with echo); a teacher needs one that does, like vLLM."
                )
            tops = self._by_name(told, ids)
        self._checked = True
        return tops

    def _by_id(self, told: list[Any], ids: Any) -> list[Top]:
        """vLLM's: one table a token, from id to {logprob, decoded_token}."""
        self._same_length(len(told), ids)
        tops: list[Top] = []
        spelled: list[tuple[int, str]] = []
        for table in told[1:]:
            if not isinstance(table, dict):
                raise self._unreadable()
            top: Top = {}
            for key, entry in table.items():
                try:
                    index, top_value = int(key), self._value(entry["logprob"])
                except (ValueError, TypeError, KeyError):
                    raise self._unreadable() from None
                if index < 0:
                    raise self._unreadable()
                top[index] = top_value
                if not self._checked and isinstance(entry.get("decoded_token"), str):
                    spelled.append((index, entry["decoded_token"]))
            tops.append(top)
        self._same_tokens(tops, spelled)
        return tops

    def _by_name(self, told: Mapping[str, Any], ids: Any) -> list[Top]:
        """OpenAI's: lists of tokens, of their log-probabilities, and of tables from token to log-probability."""
        tokens, own, tables = (told.get(key) for key in ("tokens", "token_logprobs", "top_logprobs"))
        if not all(isinstance(part, list) for part in (tokens, own, tables)):
            raise self._unreadable()
        assert isinstance(tokens, list)
        assert isinstance(own, list)
        assert isinstance(tables, list)
        n = len(ids)
        if len(tokens) not in (n, n + 1):  # with the one that was generated
            self._same_length(len(tokens), ids)
        if len(own) < n or len(tables) < n:
            raise self._unreadable()
        named = [self._id_of(token) for token in tokens[:n]]
        wrong = next(
            (at for at, (one, two) in enumerate(zip(named, ids.tolist())) if one is not None and one != two), None
        )
        if wrong is not None:
            raise self._other_tokenizer(int(ids[wrong]), str(tokens[wrong]))
        tops: list[Top] = []
        for at in range(1, n):
            table = tables[at]
            if not isinstance(table, dict):
                raise self._unreadable()
            placed = ((self._id_of(token), self._value(value)) for token, value in table.items())
            top = {NAMELESS if i is None else i: value for i, value in placed}
            top[int(ids[at])] = self._value(own[at])
            tops.append(top)
        self._same_tokens(tops, [])
        return tops

    def _id_of(self, token: Any) -> int | None:
        """The id behind "token_id:N" or a text; None for texts that several tokens have or none."""
        if not isinstance(token, str):
            raise self._unreadable()
        if (index := id_named(token)) is not None:
            return index
        if self._by_text is None:
            texts = [b.decode(errors="replace") for b in self.tokenizer.all_token_bytes()]
            several = {text for text, n in _counted(texts).items() if n > 1}
            self._by_text = {
                text: i for i, text in enumerate(texts) if text and text not in several and "�" not in text
            }
        return self._by_text.get(token)

    def _value(self, value: Any) -> float:
        number = not isinstance(value, bool) and isinstance(value, (int, float))
        if not number or not value <= SLACK:  # NaN is neither
            raise RunError(f"the server {short(self.server.address)} gives {short(value)} as a log-probability.")
        return float(max(NO_CHANCE, min(0.0, value)))

    def _same_length(self, count: int, ids: Any) -> None:
        if count != len(ids):
            raise RunError(
                f"the server {short(self.server.address)} tells {count} positions of a prompt of {len(ids)} tokens: it "
                "doesn't take ids as they are (it may put a token before them), so its rows aren't the teacher's."
            )

    def _same_tokens(self, tops: Sequence[Top], spelled: Sequence[tuple[int, str]]) -> None:
        """Raise RunError where ids are beyond the tokenizer, or mean other texts to the server (its first answer)."""
        highest = max((i for top in tops for i in top), default=-1)
        if highest >= self.width:
            raise RunError(
                f"the server's model {short(self.model)} has the token {highest}, beyond the {self.width} of "
                f"{self.tokenizer.name!r}; name the tokenizer that belongs to it."
            )
        compared = [(i, text, own) for i, text in spelled if (own := self._spelling(i)) and "�" not in own + text]
        differ = [(i, text) for i, text, own in compared if _bare(text) != _bare(own)]
        if len(differ) > OTHER_SHARE * len(compared):
            raise self._other_tokenizer(*differ[0])

    def _spelling(self, index: int) -> str:
        if index in self.tokenizer.special_ids:
            return ""
        return self.tokenizer.all_token_bytes()[index].decode(errors="replace")

    def _other_tokenizer(self, index: int, text: str) -> RunError:
        return RunError(
            f"the server's model {short(self.model)} has another tokenizer than {self.tokenizer.name!r}: its token "
            f"{index} is {short(text)}, here it is {short(self.tokenizer.token(index))}. Name the tokenizer that "
            "belongs to the server's model."
        )

    def _unreadable(self) -> RunError:
        return RunError(f"the server {short(self.server.address)} tells log-probabilities in a form that isn't known.")

    def _records(self, tops: Sequence[Top], ids: Any, first: int, layout: RowLayout) -> Records:
        """Rows `first` to the last of a sample; row i is about token i + 1."""
        found = np.zeros(len(ids) - first, dtype=layout.record)
        found["next"], found["end"], found["tail"] = np.nan, np.nan, NO_CHANCE
        begins = self._vocabulary.begins.numpy()
        for at, top in enumerate(tops[first:]):
            following = int(ids[first + at + 1])
            nameless = top.pop(NAMELESS, None) is not None
            best = sorted(top, key=top.__getitem__, reverse=True)[: layout.k]
            if len(best) < layout.k and not nameless:
                raise RunError(
                    f"the server {short(self.server.address)} tells {len(best)} of the {layout.k} most probable tokens "
                    "that are wanted; want fewer (--k, teacher_server_k), or let it tell more (vLLM: --max-logprobs)."
                )
            if following not in top:
                raise RunError(
                    f"the server {short(self.server.address)} doesn't tell the text's own token {following}."
                )
            record = found[at]
            record["next"] = top[following]
            known = {*best, following}
            if self._vocabulary.end is not None and self._vocabulary.end in top:
                record["end"] = top[self._vocabulary.end]
                known.add(self._vocabulary.end)
            rest = 1.0 - math.fsum(math.exp(top[i]) for i in known)
            starts = sum(begins[i] > 0 for i in known)
            left = np.array([begins.sum() - starts, len(begins) - begins.sum() - (len(known) - starts)], dtype=float)
            if rest > 0.0 and left.sum() > 0:
                with np.errstate(divide="ignore"):
                    record["tail"] = np.maximum(np.log(rest * left / left.sum()), NO_CHANCE)
            # Where names are missing, tokens of the tail fill the places, each with its share of it.
            spare = itertools.islice((i for i in range(self.width) if i not in known), layout.k - len(best))
            share = math.log(max(rest, 1e-30) / max(1.0, left.sum()))
            filled = [(i, top[i]) for i in best] + [(i, share) for i in spare]
            record["ids"], record["log_probs"] = [i for i, _ in filled], [p for _, p in filled]
            record["tail"] += _taken(filled[len(best) :], begins, left)
        last = found[-1:]  # behind the text: nothing is known, and no method that may be here reads it
        if len(last):
            last["ids"] = np.arange(layout.k)
            last["log_probs"] = -math.log(self.width)
        return found


def _taken(filled: Sequence[tuple[int, float]], begins: NDArray[np.float32], left: NDArray[np.float64]) -> Any:
    """[2] what these tokens take away from the logarithm of the tail's mass, which is spread evenly over `left`."""
    starts = sum(begins[i] > 0 for i, _ in filled)
    kept = np.maximum(left - np.array([starts, len(filled) - starts]), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(np.nan_to_num(np.log(kept / left), nan=0.0, neginf=NO_CHANCE), NO_CHANCE)


def _counted(texts: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    return counts


def _bare(text: str) -> str:
    """Without what servers add to a token or take away: the mark or blank of a word's beginning."""
    return text.strip(" ▁Ġ")


def served_reader(teacher: LiveTeacher) -> ServedReader:
    """What reads the teacher behind its server. Raises RunError for another model or tokenizer."""
    return ServedReader(Server(teacher.access.server), teacher.access.server_model, teacher.tokenizer)


def open_server(teacher: LiveTeacher) -> KeptTeacher:
    """The teacher behind its server, asked batch by batch while a run trains. Raises RunError."""
    reader = served_reader(teacher)
    layout = RowLayout(min(teacher.access.server_k, reader.width), reader.width, "float32")

    def fetch(readings: Sequence[Reading]) -> list[Records]:
        return reader.read(readings, "answer", layout)

    return KeptTeacher(teacher.tokenizer, reader.width, "answer", fetch, reader=reader)
