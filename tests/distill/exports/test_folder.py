"""Which methods another trainer has is what their rows say."""

from __future__ import annotations

from typing import get_args

import pytest

from ctkd_core.distill.exports import trl
from ctkd_core.distill.exports.folder import TARGETS, check, write
from ctkd_core.errors import RunError
from ctkd_core.methods import METHODS, Method


def test_rows_name_the_targets_that_there_are():
    named, _ = get_args(Method.model_fields["exports"].annotation)
    assert set(get_args(named)) == set(TARGETS), "a target stands in folder.TARGETS and in the type of Method.exports"
    assert TARGETS["trl"].methods == ("uld", "gold")
    assert TARGETS["nemo-rl"].methods == ("xtoken-pkl", "xtoken-hkl")


def test_a_row_is_all_that_makes_a_method_exportable(pair, monkeypatch):
    config = pair.config(method="kd", teacher=str(pair.student))
    with pytest.raises(RunError, match=r"no method 'kd', only uld and gold"):
        check(config, "trl")
    told = {"beta": 0.0}
    monkeypatch.setattr(trl, "told", lambda options, variant: (told, ["as here"]), raising=False)
    row = METHODS["kd"].model_copy(update={"exports": {"trl": f"{trl.__name__}:told"}})
    monkeypatch.setitem(METHODS, "kd", row)
    check(config, "trl")
    options, notes = trl.settings(config)
    assert options["beta"] == 0.0
    assert "as here" in notes


def test_an_unknown_target_is_refused(pair, tmp_path):
    with pytest.raises(RunError, match="did you mean 'trl'"):
        write(pair.config(method="uld"), "trx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
