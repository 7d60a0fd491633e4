"""Documents: any file is either what its model says or one error that names file, field, value and what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter

from ctkd_core.errors import CtkdError, RunError
from ctkd_core.files import documents


class Inner(documents.Document):
    """A part."""

    count: Annotated[int, Field(ge=0)]


class Outer(documents.Document):
    """A document of the tests."""

    name: str
    parts: list[Inner]
    rate: float = 0.0


WHOLE: dict[str, Any] = {"name": "a", "parts": [{"count": 1}], "rate": 0.5}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_a_document_is_read_and_cannot_be_changed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(WHOLE | {"of a later version": [1]}))
    found = documents.read(Outer, path, "thing")
    assert found.model_dump() == WHOLE
    with pytest.raises(ValueError, match="frozen"):
        found.name = "b"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 5}, ["'name'", "string", "got 5"]),
        ({"parts": [{"count": 1}, {"count": -1}]}, ["'parts.1.count'", "greater than or equal to 0", "got -1"]),
        ({"parts": [{"count": "1"}]}, ["'parts.0.count'", "got '1'"]),
        ({"parts": [{}]}, ["lacks 'parts.0.count'"]),
        ({"parts": [{} for _ in range(9)]}, ["lacks 'parts.2.count'", "(6 more.)"]),
    ],
)
def test_a_misfit_is_named(tmp_path, change, words):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(WHOLE | change))
    with pytest.raises(RunError) as caught:
        documents.read(Outer, path, "thing", RunError, "Make it again.")
    for word in [*words, "thing", str(path), "Make it again."]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "isn't whole JSON"),
        (b"\xff", "isn't whole JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5_000, "isn't whole JSON"),
        (None, "can't be read"),
    ],
)
def test_files_that_are_no_json(tmp_path, content, words):
    path = tmp_path / "a.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(CtkdError, match=words):
        documents.read_json(path, "thing")


@given(document=VALUES | st.fixed_dictionaries({"name": VALUES, "parts": VALUES, "rate": VALUES}))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_fits_or_is_refused(tmp_path, document):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    try:
        found = documents.read(Outer, path, "thing")
    except CtkdError as fault:
        assert "a.json" in str(fault)
    else:
        assert Outer(**found.model_dump()) == found


def test_arrays_have_their_type_and_dimensions():
    kind = TypeAdapter(Annotated[Any, documents.Array("float32", 2)])
    array = np.zeros((2, 3), np.float32)
    assert kind.validate_python(array) is array
    for other in (array[0], array.astype(np.float64), [[0.0]], None):
        with pytest.raises(ValueError, match="should be an array of 2 dimensions of type float32"):
            kind.validate_python(other)


def test_a_shape_leaves_the_value_as_it_is():
    kind = TypeAdapter(Annotated[dict[str, Any], documents.Shape(dict[str, float])])
    value = {"a": 1, "b": 0.5}
    assert kind.validate_python(value) is value
    with pytest.raises(ValueError, match="valid number"):
        kind.validate_python({"a": "x"})


def test_the_package_loads_no_pydantic():
    code = "import sys, ctkd_core; print('pydantic' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
