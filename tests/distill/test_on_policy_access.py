"""Options of a server that writes the student's text: what goes together, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ctkd_core.distill.comparison.kinds import labels_of, options_of
from ctkd_core.distill.config import RunConfig
from ctkd_core.distill.estimate import estimate_seconds
from ctkd_core.distill.exports.folder import _left_out
from ctkd_core.distill.held_runs import _table_without_folders
from ctkd_core.distill.on_policy_access import FIELDS, KEY
from ctkd_core.distill.teachers.served_model import id_named
from ctkd_core.distill.training.card import _shown
from ctkd_core.errors import RunError

GIVEN = {
    "student_model": "pretrained",
    "student_path": "owner/student",
    "lora_rank": 4,
    "on_policy_share": 0.5,
    "on_policy_server": "http://localhost:8000/v1",
    "on_policy_server_model": "base",
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lora_rank": 0}, "needs lora_rank above 0: .* whole weights can't be handed over"),
        ({"student_model": "transplant", "student_path": ""}, "needs student_model 'pretrained'; it is 'transplant'"),
        ({"student_model": "prune"}, "whose weights are made in the run"),
        ({"on_policy_server_model": ""}, "needs on_policy_server_model"),
        ({"on_policy_server": ""}, "on_policy_server_model 'base' is only read with on_policy_server"),
        ({"on_policy_server": "http://example.com/v1"}, "^on_policy_server .*use https"),
        ({"on_policy_server": "https://me:secret@example.com/v1"}, f"^on_policy_server is only scheme.*{KEY}"),
        ({"on_policy_server": "localhost"}, "^on_policy_server 'localhost' is no address"),
        ({"on_policy_refresh": 0}, "on_policy_refresh"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, says):
    with pytest.raises(RunError, match=says) as told:
        RunConfig(**GIVEN | changes)
    assert "secret" not in str(told.value)


def test_older_configs_keep_their_fingerprint():
    assert not set(FIELDS) & set(RunConfig().to_dict())
    config = RunConfig(**GIVEN)
    assert "on_policy_refresh" not in config.to_dict()
    assert RunConfig.from_dict(config.to_dict()) == config


def test_the_address_stays_here():
    config = RunConfig(**GIVEN | {"on_policy_server": "https://inner.example/v1"})
    assert "inner" not in _shown(config)
    assert "https://student-server/v1" in _shown(config)
    assert _table_without_folders(config.to_dict())["on_policy_server"] == "https://server"
    (note,) = [note for note in _left_out(config, "trl") if note.startswith("on_policy_server")]
    assert note == "on_policy_server isn't written: the target writes the student's text its own way."


def test_which_server_it_was_makes_no_other_kind():
    one = RunConfig(**GIVEN)
    other = replace(one, on_policy_server="http://localhost:9000/v1", on_policy_server_model="other")
    assert options_of(one) == options_of(other)
    alone = replace(one, on_policy_server="", on_policy_server_model="")
    assert options_of(alone) != options_of(one)
    assert not any("localhost" in label for label in labels_of([options_of(one), options_of(alone)]))
    assert estimate_seconds(one) < estimate_seconds(alone)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("token_id:0", 0),
        ("token_id:151643", 151643),
        *((f"token_id:{rest}", None) for rest in ("", "x", "-1", "²", "٣", "1" * 10, "1" * 5000)),
        ("5", None),
        (" token_id:5", None),
    ],
)
def test_the_id_in_a_tokens_name(name, index):
    assert id_named(name) == index
