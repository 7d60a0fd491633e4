"""Which addresses of servers are taken, and what a method must not read to be taught from one."""

from __future__ import annotations

import pytest

from ctkd_core import RunConfig
from ctkd_core.distill.teachers.access import check_address
from ctkd_core.errors import RunError

SERVED = {"teacher_server": "http://localhost:8000/v1", "teacher_server_model": "m"}


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:8000/v1", "http://10.1.2.3:80"),
        *("http://vllm:8000/v1", "http://box.local/v1", "https://api.example.com/v1", "http://192.168.0.7/v1"),
    ],
)
def test_taken(url):
    check_address(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://api.example.com/v1", "use https"),
        ("http://8.8.8.8/v1", "use https"),
        ("http://169.254.169.254/v1", "use https"),
        ("ftp://localhost/v1", "is no address"),
        ("localhost:8000", "is no address"),
        ("file:///etc/passwd", "is no address"),
        ("http://localhost:99999/v1", "is no address"),
        ("http://local host/v1", "is no address"),
        ("https://me:secret@example.com/v1", "Keys are read from the environment"),
        ("https://example.com/v1?key=secret", "Keys are read from the environment"),
    ],
)
def test_refused(url, words):
    with pytest.raises(RunError, match=words) as told:
        check_address(url)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"teacher_server_model": ""}, "needs teacher_server_model"),
        ({"teacher_server": ""}, "is only read with teacher_server"),
        ({"method": "xtoken-pkl"}, "reads logits before the soft-max"),
        ({"method": "alm", "variant": "released"}, "the row behind the answer"),
        ({"method": "dskd"}, "hidden states, of which nothing is kept"),
        ({"teacher_server_k": 0}, "'teacher_server_k' takes a whole number from 1"),
        ({"teacher_server": "http://u:p@h/v1"}, "Keys are read"),
    ],
)
def test_what_a_server_cannot_teach_is_refused(changes, words):
    with pytest.raises(RunError, match=words):
        RunConfig(**SERVED | changes)


def test_a_config_holds_no_key():
    assert not [name for name in RunConfig(**SERVED).to_dict() if "key" in name]
