"""Nearest map: equal to comparing every pair, tie rules, directions, long tokens, cancelling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from ctkd_core.errors import ProjectionError
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import MAPS, project
from ctkd_core.vocabulary.exact import ids_by_bytes
from ctkd_core.vocabulary.nearest import nearest
from ctkd_core.vocabulary.projection import MATCHED
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

# few symbols make ties and near misses; some strings go past one machine word of 64
SHORT = st.binary(max_size=7).map(lambda b: bytes(x % 5 + 97 for x in b))
LONG = st.builds(
    lambda n, b: (b"ab" * n)[: n - len(b)] + b,
    st.sampled_from([60, 63, 64, 65, 70, 127, 128, 129, 193]),
    st.binary(max_size=40).map(lambda b: bytes(x % 3 + 97 for x in b)),
)
BYTES = SHORT | LONG
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


@given(
    st.lists(BYTES, max_size=12) | st.lists(CHARS, max_size=12),
    st.data(),
    st.sampled_from(["prefix", "first", "length"]),
)
def test_equal_to_comparing_every_pair(queries, data, ties):
    strings = CHARS if queries and isinstance(queries[0], str) else BYTES
    targets = data.draw(st.lists(strings, max_size=25))
    found = nearest(queries, targets, ties)
    for k, query in enumerate(queries):
        assert (found.target[k], found.distance[k]) == brute(query, targets, ties), (query, targets)


@given(st.lists(st.integers(0, 2), max_size=260), st.lists(st.integers(0, 2), max_size=260))
def test_strings_of_several_machine_words(a, b):
    assert nearest([bytes(a)], [bytes(b)]).distance[0] == Levenshtein.distance(a, b)


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
    plain = ids_by_bytes(other)
    coo = p.matrix.tocoo()
    partner = dict(zip(coo.row, coo.col) if direction == "student" else zip(coo.col, coo.row))
    for i, data in enumerate(seeker.all_token_bytes()):
        if i in seeker.special_ids or not data:
            if direction == "student":
                assert p.row_reason[i] in (-1, 1)
            else:
                assert partner.get(i) is None or p.row_reason[partner[i]] in MATCHED
            continue
        assert plain[other.token_bytes(partner[i])] == partner[i], "no byte-fallback token beside the plain one"
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


def odd_vocabulary() -> Tokenizer:
    """Holes at 1, 3 and 4, bytes that aren't text, and "ab" twice: merged, and added as it is written."""
    model = models.BPE({"a": 0, "b": 2, "ab": 5, "Ãĥ": 6, "ÿ": 8, "Ã": 9, "ĥ": 10}, [("a", "b"), ("Ã", "ĥ")])
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens(["<ab>"])
    tokenizer = Tokenizer.from_backend(backend, "odd", source="tests", licence="none")
    table = tokenizer.all_token_bytes()
    table[tokenizer.id_of("<ab>") or 0] = b"ab"  # what a second spelling of the same bytes comes to
    return tokenizer


@pytest.mark.parametrize("ties", ["prefix", "first", "length"])
@pytest.mark.parametrize("unit", ["byte", "char"])
def test_holes_duplicates_and_bytes_that_are_no_text(ties, unit):
    odd, other = odd_vocabulary(), tiny_byte_level(300, 1)
    assert [i for i, b in enumerate(odd.all_token_bytes()) if not b] == [1, 3, 4]
    for student, teacher in ((odd, other), (other, odd)):
        p = project(student, teacher, method="nearest", ties=ties, unit=unit)
        written = [i for i, b in enumerate(student.all_token_bytes()) if b and i not in student.special_ids]
        assert np.flatnonzero(p.fan_out()).tolist() == written
        assert (p.column_load()[[i for i, b in enumerate(teacher.all_token_bytes()) if not b]] == 0).all()
        assert p.row_sum_error < 1e-6
    both = [i for i, b in enumerate(odd.all_token_bytes()) if b == b"ab"]
    assert len(both) == 2
    assert project(other, odd, method="nearest").column_load()[both[1]] == 0
    assert nearest([b"abc"], [b"x", b"ab", b"ab"], "prefix").target[0] == 1, "of equal spellings the lower id is found"
    ff = next(i for i, b in enumerate(odd.all_token_bytes()) if b == b"\xff")
    assert other.token_bytes(int(project(odd, other, method="nearest").matrix[ff].indices[0])) == b"\xff"


def test_logits_wider_than_the_tokenizer():
    student, teacher = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
    p = project(student, teacher, method="nearest")
    wide = p.widen(448, 320)
    assert wide.shape == (448, 320)
    assert (wide.matrix[: student.n_ids, : teacher.n_ids] != p.matrix).nnz == 0
    assert wide.matrix.nnz == p.matrix.nnz
    with pytest.raises(ProjectionError, match="399"):
        p.widen(student.n_ids - 1, 320)


def test_rows_with_an_equal_token_count_as_equal_whoever_else_found_them():
    student, teacher = tiny_byte_level(300, 1), tiny_byte_level(400, 3)
    p = project(student, teacher, method="nearest", direction="teacher")
    equal = project(student, teacher, method="exact")
    rows = np.flatnonzero(equal.fan_out())
    assert np.isin(p.row_reason[rows], MATCHED).all()
    counted = p.rows()
    assert counted["exact"] + counted["role"] == len(rows)
    assert (p.fan_out()[rows] > 1).any(), "some rows are shared with tokens that are only near"
