"""Choices and inputs of public functions that used to end in an exception of another library."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ctkd_core.alignment import align
from ctkd_core.alignment.mined import usable_rows
from ctkd_core.errors import ProjectionError, TokenizerError
from ctkd_core.pair.advice import advise
from ctkd_core.pair.report import special_token_warnings
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import density, export, project
from ctkd_core.vocabulary.exact import project_exact
from tests.tiny import tiny_byte_level, tiny_wordpiece

STUDENT, TEACHER = tiny_byte_level(400, 3), tiny_byte_level(300, 1)


def test_an_unknown_way_to_match():
    with pytest.raises(ProjectionError, match="did you mean 'raw'"):
        project_exact(STUDENT, TEACHER, match="Raw")


def test_fewer_than_no_entries(tmp_path):
    with pytest.raises(ProjectionError, match="top_k must be 0"):
        export.export(project(STUDENT, TEACHER), tmp_path / "map.pt", top_k=-1)


def test_a_padding_row_has_no_window():
    found = project(STUDENT, TEACHER)
    rows = density.order_of(STUDENT, "id")
    wide = found.widen(STUDENT.n_ids + 5, None)
    with pytest.raises(ProjectionError, match=f"no student id {STUDENT.n_ids + 3}"):
        density.around(wide, STUDENT.n_ids + 3, rows)


def test_advice_without_an_overlap():
    classes = {"digits_1": {"total": 10, "matched": 10}}
    assert advise({"classes": classes, "overlap": None}).method == advise({"classes": classes}).method


@pytest.mark.parametrize("accept", ["hard", "soft", "map"])
def test_no_teacher_token_means_no_usable_row(accept):
    found = align(" ", student=STUDENT, teacher=tiny_wordpiece(), method="mined")
    assert len(found.teacher) == 0
    rows = usable_rows(found, accept, np.zeros(tiny_wordpiece().n_ids, dtype=np.int64))
    assert rows.tolist() == [-1] * len(found.student)


def test_warnings_of_two_tokenizers_of_one_name():
    plain = tiny_byte_level(400, 3)
    said = special_token_warnings(replace(plain, bos_id=5), replace(plain, bos_id=None))
    assert any("the student's" in sentence and "BOS" in sentence for sentence in said)


@pytest.mark.parametrize("template", ["{{ ''|truncate(-5) }}", "{{ cycler() }}"])
def test_templates_that_jinja_itself_refuses(template):
    tokenizer = Tokenizer.from_backend(STUDENT.backend, "strange", chat_template=template)
    with pytest.raises(TokenizerError, match="can't be applied"):
        tokenizer.render_chat([{"role": "user", "content": "hi"}])


def test_a_template_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr("ctkd_core.tokenizers.template_sandbox.TIME_LIMIT", 1.0)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    tokenizer = Tokenizer.from_backend(STUDENT.backend, "endless", chat_template=loop)
    with pytest.raises(TokenizerError, match=r"stopped|too much"):
        tokenizer.render_chat([{"role": "user", "content": "hi"}])
