"""What counts as an equal token, and vocabularies with duplicates, holes and half characters."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from ctkd_core.errors import ProjectionError
from ctkd_core.tokenizers.canonical import canonical_table
from ctkd_core.tokenizers.tokenizer import Tokenizer
from ctkd_core.vocabulary import MAPS, cuts, project
from ctkd_core.vocabulary.classes import CLASSES
from ctkd_core.vocabulary.overlap import overlap
from tests.tiny import tiny_byte_level, tiny_metaspace

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level(
    tokens: list[str],
    merges: list[tuple[str, str]],
    added: dict[str, int] | None = None,
    special: bool = True,
    start: int = 0,
) -> Tokenizer:
    """A byte-level tokenizer: from id `start` on the 256 bytes and `tokens`; `added` tokens at given ids."""
    vocabulary = {token: i for i, token in enumerate([*ALPHABET, *tokens], start)}
    backend = Backend(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    document = json.loads(backend.to_str())
    for name, index in (added or {}).items():
        document["model"]["vocab"][name] = index
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        document["added_tokens"].append({"id": index, "content": name, "special": special, **flags})
    return Tokenizer.from_backend(Backend.from_str(json.dumps(document)), f"made-{len(vocabulary)}", source="tests")


@lru_cache(maxsize=64)
def random_vocabulary(seed: int, size: int) -> Tokenizer:
    """A byte-level tokenizer with `size` merges drawn at random from a few letters, digits and half characters."""
    rng = np.random.default_rng(seed)
    symbols = [*"ab12.", "\u0120", "\u010a", "\u00c3", "\u00a9"]
    tokens, merges = list(symbols), []
    while len(merges) < size:
        left, right = (tokens[i] for i in rng.integers(len(tokens), size=2))
        if left + right not in tokens and len(left + right) < 9:
            merges.append((left, right))
            tokens.append(left + right)
    return byte_level(tokens[len(symbols) :], merges, {"<eos>": 256 + size})


VOCABULARIES = st.builds(random_vocabulary, st.integers(0, 200), st.integers(0, 25))


@given(VOCABULARIES, VOCABULARIES, st.sampled_from(sorted(MAPS)), st.booleans())
def test_rows_sum_to_one_or_are_empty_and_reported(s: Tokenizer, t: Tokenizer, method: str, released: bool) -> None:
    released = released and bool(MAPS[method].released)
    p = project(s, t, method, variant="released" if released else "clean")
    sums, counts = p.row_sums(), p.rows()
    assert np.allclose(sums[p.fan_out() > 0], 1, atol=0.01 if released else 1e-6)
    assert counts["empty"] == int((sums == 0).sum()) == int((p.fan_out() == 0).sum())
    assert sum(counts.values()) == s.n_ids
    assert p.column_load().sum() == p.fan_out().sum() == p.matrix.nnz == len(p.reason)
    assert p.matrix.has_sorted_indices
    assert (p.matrix.data > 0).all()


@settings(max_examples=30, deadline=None)
@given(VOCABULARIES, st.sampled_from([("exact", {}), ("exact", {"match": "raw"}), ("pieces", {})]))
def test_identical_tokenizers_give_the_identity(s: Tokenizer, asked: tuple[str, dict[str, str]]) -> None:
    p = project(s, s, asked[0], **asked[1])
    assert p.matrix.nnz == s.n_ids
    assert (p.matrix.diagonal() == 1).all()


@settings(max_examples=40, deadline=None)
@given(VOCABULARIES, VOCABULARIES)
def test_matches_agree_with_the_overlap(s: Tokenizer, t: Tokenizer) -> None:
    found = overlap(s, t)
    for match in ("raw", "canonical"):
        rows = project(s, t, "exact", match=match).fan_out() > 0
        assert (rows == found.matched(match)).all()
    by_bytes = project(s, t, "exact").fan_out() > 0
    by_bytes[list(s.special_ids)] = False
    assert (by_bytes == found.matched("bytes")).all()


def test_canonical_forms_match_what_bytes_leave_open() -> None:
    s = byte_level(["\u0120.", "\u0120a"], [("\u0120", "."), ("\u0120", "a")])
    t = byte_level(["ab"], [("a", "b")])
    spaced, letter = s.id_of("\u0120."), s.id_of("\u0120a")
    assert spaced is not None
    assert letter is not None
    p = project(s, t, "exact", match="canonical")
    row = p.explain(spaced)
    assert row[["teacher_bytes", "reason"]].to_numpy().tolist() == [[b".", "canonical"]]
    assert p.explain(letter).empty
    assert project(s, t, "exact").explain(spaced).empty
    assert p.rows()["canonical"] == 1
    pieces = project(s, t, match="bytes").explain(spaced)
    assert pieces["teacher_bytes"].tolist() == [b" ", b"."]


def test_tokens_that_are_never_written_have_no_canonical_match() -> None:
    """ "<0x2E>" beside ".": the tokenizer writes the plain one, so nothing is to be learnt about the other."""
    s, t = tiny_metaspace(), tiny_byte_level()
    p = project(s, t, "exact", match="canonical")
    assert len(s.doubles) > 40
    for double, plain in s.doubles.items():
        assert p.explain(double).empty, s.token(double)
        assert p.explain(plain)["teacher_bytes"].tolist() == [s.token_bytes(double)]


def test_equal_bytes_come_before_canonical_forms() -> None:
    s = t = byte_level(["\u0120."], [("\u0120", ".")])
    spaced = s.id_of("\u0120.")
    assert spaced is not None
    assert canonical_table(t)[spaced] == "."
    assert project(s, t, "exact", match="canonical").explain(spaced)["teacher_id"].tolist() == [spaced]


def test_raw_strings_say_nothing_about_bytes() -> None:
    s, t = tiny_byte_level(), tiny_metaspace()
    p = project(s, t, "exact", match="raw")
    for index in np.flatnonzero(p.fan_out()).tolist():
        assert p.explain(index)["teacher_token"].tolist() == [s.token(index)]
    the = next(i for i in range(s.n_ids) if s.token(i) == "\u0120the")
    assert p.explain(the).empty
    assert not project(s, t, "exact").explain(the).empty


def test_an_added_token_that_hides_a_merged_one_counts() -> None:
    s = byte_level(["\u0120a"], [("\u0120", "a")])
    t = byte_level(["\u0120a"], [("\u0120", "a")], {" a": 300}, special=False)
    assert t.token_bytes(256) == t.token_bytes(300) == b" a"
    assert project(s, t, "exact").explain(256)["teacher_id"].tolist() == [300]  # what t writes for " a"
    back = project(t, s, "exact")
    assert [back.explain(i)["teacher_id"].tolist() for i in (256, 300)] == [[], [256]]  # 256 is never written


def test_a_special_token_never_hides_an_ordinary_one_of_equal_text() -> None:
    s, t = byte_level([], []), byte_level([], [], {" ": 0}, start=1)
    space = ALPHABET.index("\u0120")
    assert t.token_bytes(0) == t.token_bytes(space + 1) == b" "
    assert project(s, t, "exact").explain(space)["teacher_id"].tolist() == [space + 1]
    assert project(t, s, "exact").explain(0).empty


def test_ids_without_text_are_empty_rows_and_no_token_of_any_class() -> None:
    s = byte_level([], [], {"<eos>": 300})  # ids 256 to 299 don't exist
    p = project(s, byte_level([], []))
    assert s.n_ids == 301
    assert (p.fan_out()[256:300] == 0).all()
    assert sum(c["total"] for c in p.audit().values()) == 257
    assert list(p.audit()) == list(CLASSES)


def test_half_characters_are_matched_by_bytes() -> None:
    s = byte_level(["\u00c3\u00a9"], [("\u00c3", "\u00a9")])  # é
    t = byte_level([], [])
    row = project(s, t).explain(256)
    assert row["teacher_bytes"].tolist() == [b"\xc3", b"\xa9"]
    assert project(t, s).explain(ALPHABET.index("\u00c3"))["teacher_bytes"].tolist() == [b"\xc3"]


def test_widened_maps_keep_their_entries() -> None:
    s, t = tiny_byte_level(), tiny_byte_level(320, 1)
    p = project(s, t)
    wide = p.widen(512, 384)
    assert wide.shape == (512, 384)
    assert wide.padding == (512 - s.n_ids, 384 - t.n_ids)
    assert (wide.matrix[: s.n_ids, : t.n_ids] != p.matrix).nnz == 0
    assert wide.rows() == p.rows() | {"padding": wide.padding[0]}
    assert wide.audit() == p.audit()
    assert wide.explain(511).empty
    assert wide.column(383).empty
    assert len(wide.column_load()) == 384
    with pytest.raises(ProjectionError, match=r"the student's width 10 is smaller than the \d+ ids"):
        p.widen(10)


def test_columns_are_the_rows_turned_round() -> None:
    p = project(tiny_byte_level(), tiny_byte_level(320, 1))
    two = p.teacher.id_of("2")
    assert two is not None
    frame = p.column(two)
    dense = p.matrix.toarray()[:, two]
    assert len(frame) == p.column_load()[two] == (dense > 0).sum()
    assert np.allclose(dense[frame["student_id"]], frame["weight"])
    assert frame["weight"].is_monotonic_decreasing
    assert frame["student_bytes"].iloc[0] == b"2"
    with pytest.raises(ProjectionError, match="teacher token id -1 is out of range"):
        p.column(-1)


def test_progress_is_told_and_may_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "BATCH", 50)  # several reports of every part
    s, t = tiny_byte_level(), tiny_byte_level(320, 1)
    asked: list[tuple[str, dict[str, bool]]] = [(name, {}) for name in MAPS]
    for name, options in (*asked, ("pieces", {"reverse": True, "similar": True})):
        told: list[tuple[float, str]] = []
        project(s, t, name, progress=lambda share, sentence, told=told: told.append((share, sentence)), **options)
        shares = [share for share, _ in told]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert all(sentence for _, sentence in told)

    class CancelledError(Exception):
        pass

    def stop(share: float, sentence: str) -> None:
        if share > 0:
            raise CancelledError

    with pytest.raises(CancelledError):
        project(s, t, progress=stop)


def test_of_ids_with_equal_bytes_the_one_that_the_tokenizer_writes_counts() -> None:
    fallback, plain = tiny_metaspace(), tiny_byte_level()
    for text in ("1", "a", " "):
        double, counts = fallback.id_of(f"<0x{ord(text):02X}>"), fallback.id_of(text.replace(" ", "▁"))
        assert double is not None and counts is not None
        assert fallback.doubles[double] == counts
        assert counts not in fallback.doubles
        other = plain.encode_pieces([text])[0][0]
        for student, teacher, row, column in ((fallback, plain, counts, other), (plain, fallback, other, counts)):
            matrix = project(student, teacher, method="exact").matrix
            assert matrix[row].nonzero()[1].tolist() == [column]
            doubled = matrix[double] if student is fallback else matrix[:, double]
            assert doubled.nnz == 0
    # A byte that the vocabulary has no token for is spelled by its fallback, which then counts.
    assert fallback.id_of("<0xF0>") not in fallback.doubles


def test_a_token_without_a_double_counts_though_no_merge_writes_it() -> None:
    tokenizer = byte_level(["ab", "abc"], [("a", "b"), ("ab", "c")], {"<x>": 258}, special=False)
    document = json.loads(tokenizer.backend.to_str())
    document["model"]["vocab"]["\u0120ab"] = 259  # no merge leads here, so " ab" is written as two tokens
    twin = Tokenizer.from_backend(Backend.from_str(json.dumps(document)), "twin", source="tests")
    assert twin.doubles == {}
    assert project(twin, twin, method="exact").matrix[259].nonzero()[1].tolist() == [259]


def test_pieces_at_another_place_of_a_word_are_no_doubles() -> None:
    from tests.tiny import tiny_wordpiece

    tokenizer = tiny_wordpiece()
    pairs = [i for i in range(tokenizer.n_ids) if tokenizer.id_of("##" + str(tokenizer.token(i))) is not None]
    assert pairs and not tokenizer.doubles
    # One teacher token can face one of them only, where tokens are matched one to one.
    assert project(tokenizer, tiny_byte_level(), method="exact").matrix[pairs].nnz > 0
