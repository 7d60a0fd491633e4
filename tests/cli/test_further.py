"""Further teachers as flags: what an entry of a config's `teachers` says, and what is refused."""

from __future__ import annotations

import pytest

from ctkd_core.cli.common import UsageError
from ctkd_core.cli.distill import build_config
from ctkd_core.cli.further import further_teachers
from ctkd_core.distill.config import preset
from ctkd_core.errors import RunError


def test_flags_say_what_a_file_says():
    found = build_config(
        None,
        None,
        None,
        {},
        further=["mistral-v3,teacher-path=/models/m,method=alm,weight=0.5,temperature=5", "qwen"],
    )
    first = {"teacher": "mistral-v3", "teacher_path": "/models/m", "method": "alm", "weight": 0.5}
    written = preset("quick").replace(teachers=[first | {"method_options": {"temperature": 5.0}}, {"teacher": "qwen"}])
    assert found == written
    assert found.teachers[0]["method_options"]["temperature"] == 5.0
    assert found.teachers[1]["method"] == "gold"


def test_alignment_options_go_where_they_belong():
    [entry] = further_teachers(["qwen,method=xtoken-pkl,anchors=false"])
    assert entry["align_options"] == {"anchors": "false"}


def test_none_leaves_the_configs_own(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("teachers:\n- teacher: qwen\n")
    assert [entry["teacher"] for entry in build_config(str(file), None, None, {}).teachers] == ["qwen"]
    replaced = build_config(str(file), None, None, {}, further=["deepseek"])
    assert [entry["teacher"] for entry in replaced.teachers] == ["deepseek"]


@pytest.mark.parametrize(
    ("text", "fault", "said"),
    [
        ("qwen,weight", UsageError, "takes NAME,key=value"),
        ("qwen,method=alm,method=gold", UsageError, "names method twice"),
        ("weight=2", UsageError, "begins with the name of a tokenizer"),
        (",weight=2", UsageError, "begins with the name of a tokenizer"),
        ("qwen,weigth=2", RunError, "did you mean 'weight'"),
        ("qwen,method=gould", RunError, "did you mean 'gold'"),
        ("qwen,method=sft", RunError, "can't ask a further teacher"),
        ("qwen,weight=heavy", RunError, "weight"),
    ],
)
def test_what_is_wrong_is_said(text, fault, said):
    with pytest.raises(fault, match=said):
        build_config(None, None, None, {}, further=[text])
