"""`align()` on tiny tokenizers of each kind: what every method owes, and how it fails."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref

import numpy as np
import pytest

from ctkd_core import methods
from ctkd_core.alignment import KINDS, align, align_encodings
from ctkd_core.alignment.components import smallest_groups, span_groups
from ctkd_core.errors import AlignmentError
from tests.alignment.test_spans import assert_partition
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

TEXT = "The comfort of cats in 2024: 1234567 units. naïve 👩‍🚀 東京都庁\n\tclowder"
METHODS = [row.name for row in methods.aligning()]
PAIRS = {
    "byte-level": (lambda: tiny_byte_level(400), lambda: tiny_byte_level(300, digits=1)),
    "metaspace": (tiny_metaspace, lambda: tiny_byte_level(400)),
    "wordpiece": (tiny_wordpiece, lambda: tiny_byte_level(400)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pair", PAIRS)
def test_every_content_token_is_in_exactly_one_group(method, pair):
    s, t = (make() for make in PAIRS[pair])
    a = align(TEXT, student=s, teacher=t, method=method)
    assert_partition(a.groups, len(a.student), len(a.teacher))
    assert a.groups.dtype == np.int32
    assert a.pairs is None or (a.pairs.dtype == np.int32 and a.pairs.shape[1] == 2)
    assert {a.kind(g) for g in range(len(a))} <= set(KINDS)
    assert (a.method, a.variant) == (method, "clean")


@pytest.mark.parametrize("method", METHODS)
def test_the_same_tokenizer_on_both_sides_gives_1_1_groups_only(method):
    one = tiny_byte_level(400)
    a = align(TEXT, student=one, teacher=one, method=method)
    assert a.metrics()["share_1_1"] == 1.0
    assert a.metrics()["boundary_f1"] == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_special_tokens_change_no_group_text(method):
    s, t = tiny_byte_level(400), tiny_metaspace()
    plain = align(TEXT, student=s, teacher=t, method=method)
    marked = align(TEXT, student=s, teacher=t, method=method, special_tokens=True)
    assert [marked.student_bytes(g) for g in range(len(marked))] == [plain.student_bytes(g) for g in range(len(plain))]
    touched = np.concatenate([np.arange(a, b) for a, b in marked.groups[:, :2]])
    assert not marked.student.special[touched].any()


@pytest.mark.parametrize("method", METHODS)
def test_an_alignment_is_plain_data_for_json(method):
    a = align("a b", student=tiny_byte_level(400), teacher=tiny_metaspace(), method=method)
    data = json.loads(json.dumps(a.to_dict()))
    assert {"student", "teacher", "method", "variant", "groups", "pairs", "metrics"} <= set(data)
    assert data["groups"] == a.groups.tolist()


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_text_has_no_groups(method):
    a = align("", student=tiny_byte_level(400), teacher=tiny_byte_level(300), method=method)
    assert a.groups.shape == (0, 4)
    assert a.metrics()["n_groups"] == 0


def test_entropies_reach_the_weights():
    s, t = tiny_byte_level(400), tiny_byte_level(300)
    n = len(s.encode("The cats"))
    a = align("The cats", student=s, teacher=t, method="cdm", student_entropy=np.linspace(0, 3, n))
    assert a.cost.student_weights[0] == 3
    assert a.cost.student_weights[-1] == 5
    assert set(a.cost.teacher_weights) == {4.0}


def test_the_released_variant_says_how_it_differs():
    a = align("The cats", student=tiny_byte_level(400), teacher=tiny_byte_level(300), method="cdm", variant="released")
    assert a.variant == "released"
    assert any("may overlap" in note for note in a.notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "sedy"}, "unknown method 'sedy'; did you mean 'sedi'"),
        ({"method": "sft"}, "has no alignment; choose one of"),
        ({"method": "sedi", "unit": "bite"}, "did you mean 'byte'"),
        ({"method": "cdm", "integer_weight": True}, "did you mean 'integer_weights'"),
        ({"method": "cdm", "variant": "relaesed"}, "did you mean 'released'"),
    ],
)
def test_unknown_names_fail_with_the_nearest_ones(given, message):
    with pytest.raises(AlignmentError, match=message):
        align("a", student=tiny_byte_level(400), teacher=tiny_byte_level(300), **given)


def test_alignment_and_metrics_import_neither_torch_nor_numba_nor_pandas():
    code = (
        "import sys, ctkd_core.alignment, ctkd_core.alignment.metrics, ctkd_core.alignment.dtw, "
        "ctkd_core.alignment.positional;"
        "print([m for m in ('torch', 'numba', 'pandas', 'transformers', 'networkx', 'streamlit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_encodings_that_are_at_hand_serve_every_method():
    s, t = tiny_byte_level(400), tiny_byte_level(300, digits=1)
    encoded = s.encode(TEXT), t.encode(TEXT)
    for method in METHODS:
        found, wanted = align_encodings(*encoded, method=method), align(TEXT, student=s, teacher=t, method=method)
        assert found.groups.tolist() == wanted.groups.tolist()
        assert (found.options, found.notes, found.metrics()) == (wanted.options, wanted.notes, wanted.metrics())
        assert (found.student, found.teacher) == encoded
    with pytest.raises(AlignmentError, match="one text"):
        align_encodings(encoded[0], t.encode("another text"))
    with pytest.raises(AlignmentError, match="seid"):
        align_encodings(*encoded, method="seid")


def test_the_truth_of_two_encodings_is_computed_once_and_goes_with_them():
    s, t = tiny_byte_level(400).encode(TEXT), tiny_byte_level(300, digits=1).encode(TEXT)
    found = smallest_groups(s, t)
    assert found is smallest_groups(s, t)
    assert found.tolist() == span_groups(s, t).tolist()
    assert smallest_groups(t, s).tolist() == found[:, [2, 3, 0, 1]].tolist()
    gone = weakref.ref(s)
    del s
    gc.collect()
    assert gone() is None
