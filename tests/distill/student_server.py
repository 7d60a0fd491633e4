"""A stand-in for vLLM: a tiny model in a thread of this process that takes LoRA adapters and writes with them.

Its paths, fields, status codes and plain words are those of vLLM's sources (`load_lora_adapter`, `unload_lora_adapter`,
`completions` with `return_token_ids`). Adapters are opened by PEFT from their folders, as vLLM reads the same files.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ctkd_core.distill.on_policy import Sampling, generate
from ctkd_core.tokenizers.tokenizer import Tokenizer

BASE = "tiny"


class StandIn(ThreadingHTTPServer):
    """`asked`: path and question of everything, in its order; `refuse`: path -> status codes of the next answers.

    names    tell ids as "token_id:N" in the log-probabilities, as older versions do
    updates  whether it loads adapters while it runs
    loses    answers to a load that are lost behind a 500, though the adapter is there
    """

    daemon_threads = True

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.tokenizer = model, tokenizer
        self.adapters: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.refuse: dict[str, list[int]] = {}
        self.names, self.updates, self.loses = False, True, 0
        self.lock = threading.Lock()  # torch's random state is one

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def of(self, path: str) -> list[dict[str, Any]]:
        return [question for asked, question in self.asked if asked == path]

    @property
    def loads(self) -> list[str]:
        """What was loaded and unloaded, without the run's name."""
        signs = {"load_lora_adapter": "+", "unload_lora_adapter": "-"}
        return [signs[path] + q["lora_name"].rpartition("-")[2] for path, q in self.asked if path in signs]

    def load(self, question: dict[str, Any]) -> tuple[int, Any]:
        from peft import PeftModel

        name = question["lora_name"]
        if name in self.adapters:
            return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
        self.adapters[name] = PeftModel.from_pretrained(copy.deepcopy(self.model), question["lora_path"]).eval()
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, question: dict[str, Any]) -> tuple[int, Any]:
        name = question["lora_name"]
        if name not in self.adapters:
            return 404, {"error": {"message": f"The lora adapter '{name}' cannot be found."}}
        del self.adapters[name]
        return 200, f"Success: LoRA adapter '{name}' removed successfully."

    def complete(self, question: dict[str, Any]) -> tuple[int, Any]:
        model = self.adapters.get(question["model"])
        if model is None:
            return 404, {"error": {"message": f"The model `{question['model']}` does not exist."}}
        most = question["max_tokens"]
        settings = Sampling(1.0, question["temperature"], question["top_p"], most, 10_000, 0)
        stops = question["stop_token_ids"]
        ids = generate(model, self.tokenizer, [question["prompt"]], settings, question["seed"], stops)[0]
        choice: dict[str, Any] = {"index": 0, "text": self.tokenizer.decode(ids)}
        if self.names:
            choice["logprobs"] = {"tokens": [f"token_id:{i}" for i in ids]}
        else:
            choice |= {"token_ids": ids, "prompt_token_ids": question["prompt"]}
        return 200, {"choices": [choice]}


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.headers.append(dict(self.headers))
        names = [BASE, *self.server.adapters] if self.path == "/v1/models" else None
        self.answer(*((200, {"data": [{"id": n} for n in names]}) if names else (404, {"detail": "Not Found"})))

    def do_POST(self) -> None:
        server = self.server
        server.headers.append(dict(self.headers))
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.removeprefix("/v1/")
        if path == "/tokenize":
            (ids,) = server.tokenizer.encode_batch([question["prompt"]])
            return self.answer(200, {"tokens": list(ids)})
        does = {"completions": server.complete}
        if server.updates:
            does |= {"load_lora_adapter": server.load, "unload_lora_adapter": server.unload}
        if path not in does:
            return self.answer(404, {"detail": "Not Found"})
        with server.lock:
            server.asked.append((path, question))
            if codes := server.refuse.get(path):
                return self.answer(codes.pop(0), {"error": {"message": "trouble"}})
            try:
                found = does[path](question)
            except Exception as fault:
                found = 500, {"error": {"message": f"{type(fault).__name__}: {fault}"}}
            if path == "load_lora_adapter" and server.loses:
                server.loses -= 1
                found = 500, {"error": {"message": "lost"}}
        return self.answer(*found)

    def answer(self, code: int, document: Any) -> None:
        data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def standing_in(model: Any, tokenizer: Tokenizer) -> Iterator[StandIn]:
    server = StandIn(model, tokenizer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
