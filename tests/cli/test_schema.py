"""`ctkd schema`: JSON Schemas that fit what commands print and refuse what they don't, for every command and action."""

from __future__ import annotations

import pytest

from ctkd_core.cli import COMMANDS, module_of
from tests.cli.test_main import Ctkd

jsonschema = pytest.importorskip("jsonschema", reason="needs the package jsonschema")


def test_every_command_and_action_has_a_valid_schema(ctkd: Ctkd) -> None:
    assert set(ctkd.json("schema")) == set(COMMANDS)
    for command in COMMANDS:
        module = module_of(command)
        for action in getattr(module, "ACTIONS", {"": None}):
            words = [command, action] if action else [command]
            found = ctkd.json("schema", *words)
            jsonschema.Draft202012Validator.check_schema(found)
            assert found["title"] == " ".join(["ctkd", *words])


def test_a_document_is_checked_by_its_schema(ctkd: Ctkd) -> None:
    check = jsonschema.Draft202012Validator(ctkd.json("schema", "align"))
    document = ctkd.json("align", "--text", "In 2024, na\u00efve")
    assert not list(check.iter_errors(document))
    assert not list(check.iter_errors(document | {"of a later version": 1}))
    assert list(check.iter_errors({key: value for key, value in document.items() if key != "groups"}))
    assert list(check.iter_errors(document | {"method": 3}))


def test_an_unknown_command_or_action_names_the_nearest(ctkd: Ctkd) -> None:
    assert "'align'" in ctkd.json("schema", "aling", code=2)["error"]["message"]
    assert "'compare'" in ctkd.json("schema", "runs", "compar", code=2)["error"]["message"]
    assert "there are none" in ctkd.json("schema", "align", "ls", code=2)["error"]["message"]
