"""Nearest map: equal to comparing every pair, tie rules, directions, long tokens, cancelling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from ctkd_core.errors import ProjectionError
from ctkd_core.vocabulary import MAPS, project
from ctkd_core.vocabulary._nearest_kernels import plain_distance
from ctkd_core.vocabulary.nearest import nearest
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

# few symbols make ties and near misses; some strings go past one machine word of 64
BYTES = st.binary(max_size=7).map(lambda b: bytes(x % 5 + 97 for x in b)) | st.integers(60, 70).map(
    lambda n: b"ab" * (n // 2) + b"c" * (n % 3)
)
CHARS = st.text(alphabet="ab é🦙\U0010ffff", max_size=6)


def prefix(a, b) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def brute(query, targets, ties):
    """Place and distance of the nearest target, every pair compared."""
    if not targets:
        return -1, -1
    distances = [Levenshtein.distance(query, t) for t in targets]
    least = min(distances)
    tied = [i for i, d in enumerate(distances) if d == least]
    if ties == "first":
        return tied[0], least
    if ties == "prefix":
        return max(tied, key=lambda i: (prefix(query, targets[i]), -i)), least
    scan = sorted(range(len(targets)), key=lambda i: len(targets[i]))
    if len(query) >= len(targets[scan[len(scan) // 2]]):
        scan.reverse()
    return min(tied, key=scan.index), least


@settings(max_examples=150)
@given(
    st.lists(BYTES, max_size=12) | st.lists(CHARS, max_size=12),
    st.data(),
    st.sampled_from(["prefix", "first", "length"]),
)
def test_equal_to_comparing_every_pair(queries, data, ties):
    strings = CHARS if queries and isinstance(queries[0], str) else BYTES
    targets = data.draw(st.lists(strings, max_size=25, unique=True))
    found = nearest(queries, targets, ties)
    for k, query in enumerate(queries):
        assert (found.target[k], found.distance[k]) == brute(query, targets, ties), (query, targets)


@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_the_slow_way_for_long_strings_is_the_edit_distance(a, b):
    x, y = np.array(a, dtype=np.int32), np.array(b, dtype=np.int32)
    assert plain_distance(x, y) == Levenshtein.distance(a, b)


@pytest.mark.parametrize("pair", ["bytes", "bytes-metaspace", "wordpiece"])
@pytest.mark.parametrize("direction", ["student", "teacher"])
def test_every_token_with_text_finds_its_nearest(pair, direction):
    student, teacher = {
        "bytes": (tiny_byte_level(400, 3), tiny_byte_level(300, 1)),
        "bytes-metaspace": (tiny_byte_level(400, 3), tiny_metaspace()),
        "wordpiece": (tiny_wordpiece(), tiny_byte_level(300, 1)),
    }[pair]
    p = project(student, teacher, method="nearest", direction=direction)
    seeker, other = (student, teacher) if direction == "student" else (teacher, student)
    texts = [i for i, b in enumerate(other.all_token_bytes()) if b and i not in other.special_ids]
    coo = p.matrix.tocoo()
    partner = dict(zip(coo.row, coo.col) if direction == "student" else zip(coo.col, coo.row))
    for i, data in enumerate(seeker.all_token_bytes()):
        if i in seeker.special_ids or not data:
            assert direction == "teacher" or p.row_reason[i] in (-1, 1)
            continue
        least = min(Levenshtein.distance(data, other.token_bytes(j)) for j in texts)
        assert Levenshtein.distance(data, other.token_bytes(partner[i])) == least
    sums = p.row_sums()
    assert np.allclose(sums[sums > 0], 1)


def test_the_same_tokenizer_maps_to_itself():
    tokenizer = tiny_byte_level(400, 3)
    for method in ("exact", "nearest", "pieces"):
        matrix = project(tokenizer, tokenizer, method=method).matrix.tocoo()
        written = [i for i, b in enumerate(tokenizer.all_token_bytes()) if b]
        assert matrix.row.tolist() == matrix.col.tolist() == written, method


def test_far_tokens_can_be_left_out():
    student, teacher = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
    near, all_of_them = (project(student, teacher, method="nearest", max_distance=d).rows() for d in (1, 0))
    assert 0 < near["nearest"] < all_of_them["nearest"]
    assert near["exact"] == all_of_them["exact"]


def test_characters_and_bytes_count_edits_differently():
    assert nearest(["é"], ["e", "ab"]).distance[0] == 1
    assert nearest(["é".encode()], [b"e", b"ab"]).distance[0] == 2


def test_progress_and_cancelling():
    student, teacher = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
    shares: list[float] = []
    project(student, teacher, method="nearest", progress=lambda share, _: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    class StopAskedError(Exception):
        pass

    def cancel(share, _):
        if share > 0:
            raise StopAskedError

    with pytest.raises(StopAskedError):
        project(student, teacher, method="nearest", progress=cancel)


def test_refusals():
    with pytest.raises(ProjectionError, match="did you mean 'prefix'"):
        nearest([b"a"], [b"b"], "prefx")
    student = tiny_byte_level(400, 3)
    with pytest.raises(ProjectionError, match="student"):
        project(student, student, method="nearest", direction="studnt")
    assert MAPS["nearest"].variants == ("clean", "released")
