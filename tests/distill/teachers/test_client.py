"""Questions to a server: tried again where that helps, refused with a sentence where it doesn't."""

from __future__ import annotations

import socket
import threading

import pytest

from ctkd_core.distill.teachers.access import KEY
from ctkd_core.distill.teachers.client import Server
from ctkd_core.errors import RunError
from tests.distill.kit import llama
from tests.distill.teachers.stub_server import serving
from tests.tiny import tiny_byte_level

QUESTION = {"model": "tiny", "prompt": [[5, 6]]}


@pytest.fixture(scope="module")
def stub():
    tokenizer = tiny_byte_level(300, 1)
    with serving(llama(tokenizer.n_ids), tokenizer) as found:
        yield found


def test_a_busy_server_is_asked_again(stub):
    stub.failures = [503, 429, 500]
    waits = []
    answer = Server(stub.address, pause=0.0, between=lambda: waits.append(1)).post("completions", QUESTION)
    assert len(answer["choices"]) == 1
    assert len(waits) == 3


def test_a_server_that_stays_busy_is_given_up(stub):
    stub.failures = [503] * 9
    with pytest.raises(RunError, match=r"no answer in 3 tries: it answered 503: trouble"):
        Server(stub.address, tries=3, pause=0.0).post("completions", QUESTION)
    assert len(stub.failures) == 6
    stub.failures = []


def test_a_question_that_is_refused_is_not_asked_again(stub):
    stub.failures = [400, 400]
    with pytest.raises(RunError, match="refused the question") as told:
        Server(stub.address, pause=0.0).post("completions", QUESTION)
    assert "\x1b" not in str(told.value)
    assert stub.failures == [400]
    stub.failures = []


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_that_is_missing_or_wrong(stub, monkeypatch, code):
    stub.failures = [code, code]
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(RunError, match=f"wants a key .*{KEY} isn't set"):
        Server(stub.address).post("completions", QUESTION)
    monkeypatch.setenv(KEY, "abcdef")
    with pytest.raises(RunError, match="has one that it doesn't take") as told:
        Server(stub.address).post("completions", QUESTION)
    assert "abcdef" not in str(told.value)
    monkeypatch.setenv(KEY, "abc\ndef")
    with pytest.raises(RunError, match="characters that no key has"):
        Server(stub.address).get("models")


def test_redirects_are_not_followed(stub):
    stub.failures = [307]
    with pytest.raises(RunError, match="sends on to another address"):
        Server(stub.address).post("completions", QUESTION)


def test_a_path_that_is_not_there_is_none(stub):
    assert Server(stub.address).get("nothing") is None


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(RunError, match=r"no answer in 2 tries.*whether it runs"):
        Server(address, tries=2, pause=0.0).get("models")


def test_a_server_that_never_answers_runs_into_the_time_out():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(RunError, match="no answer in 1 try: timed out"):
            Server(address, tries=1, timeout=0.2).get("models")


def test_an_answer_that_breaks_off_is_asked_for_again():
    answers = [b'{"data"', b'{"data": []}']
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for body in answers:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + body)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        assert Server(address, tries=2, pause=0.0).get("models") == {"data": []}
        serving.join()


def test_a_strange_time_to_wait_is_no_time(stub):
    stub.failures, stub.after = [503], "²"
    try:
        assert Server(stub.address, pause=0.0).post("completions", QUESTION)["choices"]
    finally:
        stub.after = ""


def test_an_answer_in_words(stub):
    assert Server(stub.address).tell("completions", QUESTION).startswith('{"choices"')
    assert Server(stub.address).tell("nothing", QUESTION) is None


def test_a_key_of_its_own(stub, monkeypatch):
    monkeypatch.setenv(KEY, "the-teachers")
    monkeypatch.setenv("OTHER", "its-own")
    Server(stub.address, key="OTHER").post("completions", QUESTION)
    assert stub.seen[-1]["Authorization"] == "Bearer its-own"
    with pytest.raises(RunError, match=r"students_server is only scheme.*variable OTHER"):
        Server("http://name:key@localhost/v1", option="students_server", key="OTHER")
