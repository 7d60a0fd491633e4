"""A server that tells the log-probabilities of a tiny model, in a thread of this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from ctkd_core.tokenizers.tokenizer import Tokenizer

NAME = "tiny"


class StubServer(ThreadingHTTPServer):
    """`dialect`: "ids" (vLLM's prompt_logprobs), "named" (echo, token_id:N), "text" (echo, tokens by their text).

    failures  status codes that the next questions are answered with; seen  headers of all questions
    """

    daemon_threads = True

    def __init__(self, model: Any, tokenizer: Tokenizer, dialect: str = "ids") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.tokenizer, self.dialect = model, tokenizer, dialect
        self.failures: list[int] = []
        self.seen: list[dict[str, str]] = []
        self.prompts: list[int] = []
        self.most = 10**9  # log-probabilities that it tells at most
        self.tokenizes = True
        self.after = ""  # Retry-After of failures

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def log_probs(self, ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)

    def choice(self, number: int, ids: list[int], question: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"index": number, "text": " 7 red\nand more"}
        k = min(question.get("prompt_logprobs") or 0, self.most)
        if not k:
            return found
        rows = self.log_probs(ids)
        tables = []
        for at in range(1, len(ids)):
            value, best = rows[at - 1].topk(k)
            table = dict(zip(best.tolist(), value.tolist())) | {ids[at]: float(rows[at - 1, ids[at]])}
            tables.append(table)
        if self.dialect == "ids":
            named = [
                {str(i): {"logprob": p, "rank": 1, "decoded_token": self.text(i)} for i, p in table.items()}
                for table in tables
            ]
            return found | {"prompt_logprobs": [None, *named]}
        name = self.text if self.dialect == "text" else lambda i: f"token_id:{i}"
        own = [None, *(table[i] for table, i in zip(tables, ids[1:])), -0.5]
        shown = [None, *({name(i): p for i, p in table.items()} for table in tables), {name(5): -0.5}]
        told = {"tokens": [*map(name, ids), name(5)], "token_logprobs": own, "top_logprobs": shown}
        return found | {"logprobs": told}

    def text(self, index: int) -> str:
        return self.tokenizer.all_token_bytes()[index].decode(errors="replace") or self.tokenizer.token(index)


class _Handler(BaseHTTPRequestHandler):
    server: StubServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.seen.append(dict(self.headers))
        if self.path == "/v1/models":
            self.answer(200, {"data": [{"id": NAME}, {"id": "other"}]})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        self.server.seen.append(dict(self.headers))
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize" and self.server.tokenizes:
            (ids,) = self.server.tokenizer.encode_batch([question["prompt"]])
            self.answer(200, {"tokens": list(ids)})
        elif self.path != "/v1/completions":
            self.answer(404, {"detail": "Not Found"})
        elif self.server.failures:
            code = self.server.failures.pop(0)
            self.answer(code, {"error": {"message": f"trouble \x1b[31m{code}"}})
        else:
            self.server.prompts.append(len(question["prompt"]))
            chosen = [self.server.choice(n, ids, question) for n, ids in enumerate(question["prompt"])]
            self.answer(200, {"choices": chosen[::-1]})

    def answer(self, code: int, document: Any) -> None:
        data = json.dumps(document).encode()
        self.send_response(code)
        if code == 307:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        if code == 503 and self.server.after:
            self.send_header("Retry-After", self.server.after)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(model: Any, tokenizer: Tokenizer, dialect: str = "ids") -> Iterator[StubServer]:
    server = StubServer(model, tokenizer, dialect)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
