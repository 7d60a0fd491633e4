"""Density, windows and bars of a vocabulary map: what they show is what the map holds."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from ctkd_core.errors import ProjectionError
from ctkd_core.figures import vocabulary as pictures
from ctkd_core.figures import vocabulary_bars as bars
from ctkd_core.figures.theme import NARROW_TITLE
from ctkd_core.vocabulary import density as d
from ctkd_core.vocabulary import project
from ctkd_core.vocabulary.archive import exported, zipped
from ctkd_core.vocabulary.classes import CLASSES, token_classes
from ctkd_core.vocabulary.projection import MATCHED, REASONS, Projection
from ctkd_core.vocabulary.store import load
from tests.figures.samples import message_bytes
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece
from tests.work import lines_run

LIMIT = 2 * 2**20
STUDENT, TEACHER = tiny_byte_level(), tiny_metaspace()


@lru_cache(maxsize=4)
def mapped(method: str = "pieces") -> Projection:
    return project(STUDENT, TEACHER, method)


def orders(by: str) -> tuple[d.IdOrder, d.IdOrder]:
    return d.order_of(STUDENT, by), d.order_of(TEACHER, by)


@pytest.mark.parametrize("by", d.ORDERS)
@pytest.mark.parametrize("tokenizer", [tiny_byte_level(), tiny_metaspace(), tiny_wordpiece()], ids=lambda t: t.kind)
def test_an_order_is_a_permutation_in_sections(by, tokenizer):
    order = d.order_of(tokenizer, by)
    np.testing.assert_array_equal(np.sort(order.ids), np.arange(tokenizer.n_ids))
    np.testing.assert_array_equal(order.ids[order.position], np.arange(tokenizer.n_ids))
    starts = [first for _, first in order.sections]
    assert starts == sorted(starts)
    for part in np.split(order.ids, starts[1:]):
        assert part.tolist() == sorted(part.tolist())  # equal ones by id
    assert not starts or starts[0] == 0


def test_sections_hold_what_they_are_called():
    order = d.order_of(STUDENT, "class")
    codes = token_classes(STUDENT)[order.ids]
    for (name, first), end in zip(order.sections, [f for _, f in order.sections[1:]] + [len(codes)]):
        assert {CLASSES[c] for c in codes[first:end].tolist()} == {name}
    lengths = [len(STUDENT.token_bytes(k)) for k in d.order_of(STUDENT, "length").ids.tolist()]
    assert lengths == sorted(lengths)
    scripts = d.order_of(tiny_byte_level(700), "script")
    assert scripts.sections[0][0] == "Latin"
    assert "cut characters" in {name for name, _ in scripts.sections}


def test_unknown_orders_and_weights_are_named():
    with pytest.raises(ProjectionError, match="did you mean 'class'"):
        d.order_of(STUDENT, "clas")
    with pytest.raises(ProjectionError, match="weight of a bin 'mas'"):
        d.density(mapped(), *orders("id"), weight="mas")


@pytest.mark.parametrize("weight", d.WEIGHTS)
@pytest.mark.parametrize("by", d.ORDERS)
def test_density_equals_a_loop_over_the_entries(by, weight):
    rows, columns = orders(by)
    found = d.density(mapped(), rows, columns, weight, bins=37)
    expected = np.zeros_like(found.values)
    coo = mapped().matrix.tocoo()
    for r, c, w in zip(coo.row, coo.col, coo.data):
        i = np.searchsorted(found.row_edges, rows.position[r], side="right") - 1
        j = np.searchsorted(found.column_edges, columns.position[c], side="right") - 1
        expected[i, j] += w if weight == "mass" else 1
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert (found.row_edges[-1], found.column_edges[-1]) == mapped().shape


@given(st.integers(1, 5000), st.integers(1, 300), st.data())
def test_bins_part_all_positions_and_a_point_finds_its_bin(n, bins, data):
    bins = min(bins, n)
    edges = d._edges(n, bins)
    sizes = np.diff(edges)
    assert (edges[0], edges[-1]) == (0, n)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1
    at = data.draw(st.integers(0, n - 1))
    grid = d.Density(np.zeros((bins, bins)), edges, edges, "entries")
    found = d.bin_at(grid, at, at)
    assert found.row <= at < found.row + found.row_count
    assert at * bins // n == np.searchsorted(edges, at, side="right") - 1


@given(st.integers(-9, 999), st.integers(-9, 999), st.integers(-9, 999), st.integers(-9, 999))
def test_a_window_from_an_address_is_brought_inside(row, rows, column, columns):
    found = d.Window(row, rows, column, columns).clamped(400, 460)
    assert 0 <= found.row < found.row + found.row_count <= 400
    assert 0 <= found.column < found.column + found.column_count <= 460
    assert found.clamped(400, 460) == found


def test_a_box_becomes_the_bins_it_touches():
    grid = d.density(mapped(), *orders("id"), bins=10)
    window = d.window_of_box(grid, 45, 130, -50, 10_000)
    assert (window.row, window.column, window.column_count) == (40, 0, TEACHER.n_ids)
    assert window.row + window.row_count >= 131


@pytest.mark.parametrize("by", ["id", "class"])
def test_a_window_shows_the_entries_of_its_rows(by):
    rows, columns = orders(by)
    window = d.Window(30, 300, 0, TEACHER.n_ids)
    found = d.cells(mapped(), rows, columns, window)
    assert max(found.weights.shape) <= d.MAX_WINDOW
    assert found.rows_with_entries > len(found.row_ids)
    dense = mapped().matrix.toarray()
    for i, row in enumerate(found.row_ids.tolist()):
        shown = np.nan_to_num(found.weights[i])
        np.testing.assert_array_equal(shown, dense[row, found.column_ids])
        assert shown.sum() == pytest.approx(1, abs=1e-3), "no column of a shown row is left out"
    assert found.next_row == rows.position[found.row_ids[-1]] + 1
    again = d.cells(mapped(), rows, columns, replace(window, row=found.next_row))
    assert rows.position[again.row_ids[0]] >= found.next_row


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, d.MAX_WINDOW])
def test_a_window_shows_the_first_rows_whose_columns_fit(size):
    rows, columns = orders("class")
    matrix = mapped().matrix
    for start in (0, 30, 150, 270):
        found = d.cells(mapped(), rows, columns, d.Window(start, 400, 0, TEACHER.n_ids), size)
        expected: list[int] = []
        joined: set[int] = set()
        for row in rows.ids[start:].tolist():
            own = set(matrix[row].indices.tolist())
            if own and (len(expected) == size or (expected and len(joined | own) > size)):
                break
            if own:
                expected, joined = [*expected, row], joined | own
        assert found.row_ids.tolist() == expected
        assert found.column_ids.tolist() == sorted(joined, key=columns.position.__getitem__)[:size]


def test_a_window_as_it_stands_keeps_empty_rows():
    found = d.cells(mapped("exact"), *orders("id"), d.Window(0, 20, 0, 20), compact=False)
    assert found.row_ids.tolist() == found.column_ids.tolist() == list(range(20))
    assert found.next_row == 20


def test_an_empty_window_is_empty():
    lonely = np.flatnonzero(mapped("exact").fan_out() == 0)[0]
    found = d.cells(mapped("exact"), *orders("id"), d.Window(int(lonely), 1, 0, TEACHER.n_ids))
    assert found.weights.shape == (0, 0)
    assert found.rows_with_entries == 0
    assert found.next_row == lonely + 1


def test_density_figure_says_counts_and_offers_every_filled_bin():
    rows, columns = orders("script")
    grid = d.density(mapped(), rows, columns, bins=pictures.MAX_POINTS)
    fig = pictures.density_figure(grid, rows, columns, d.Window(3, 5, 7, 11), ("s<b>", "t"))
    heat, points = fig.data
    np.testing.assert_allclose(10 ** np.nan_to_num(heat.z, nan=-np.inf), grid.values, rtol=1e-5)
    assert len(points.x) == int((grid.values > 0).sum())
    assert points.customdata.sum() == mapped().matrix.nnz
    assert "&lt;b&gt;" in fig.layout.yaxis.title.text
    frame = fig.layout.shapes[0]
    assert (frame.y0, frame.y1, frame.x0, frame.x1) == (2.5, 7.5, 6.5, 17.5)
    table = pictures.density_table(grid, rows, columns)
    assert table["entries"][0] == grid.values.max()


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 99))
def test_the_fullest_bin_of_each_block_can_be_clicked(n, m, seed):
    values = np.random.default_rng(seed).integers(0, 3, (n, m)).astype(float)
    i, j = pictures.clickable(values)
    assert len(i) <= pictures.MAX_POINTS**2
    height, width = max(1, -(-n // pictures.MAX_POINTS)), max(1, -(-m // pictures.MAX_POINTS))
    expected = {}
    for r, c in np.argwhere(values).tolist():
        block = (r // height, c // width)
        expected[block] = max(expected.get(block, 0), values[r, c])
    assert {(r // height, c // width): values[r, c] for r, c in zip(i.tolist(), j.tolist())} == expected
    assert len(i) == len(expected)


def test_the_window_figure_is_readable_and_its_twin_agrees():
    found = d.cells(mapped(), *orders("id"), d.Window(0, 400, 0, TEACHER.n_ids))
    token = int(found.row_ids[3])
    fig = pictures.window_figure(found, STUDENT, TEACHER, token)
    points = fig.data[1]
    table = pictures.window_table(found, mapped())
    assert points.customdata.tolist() == table[["student_id", "teacher_id"]].to_numpy().tolist()
    assert not any("<" in label for label in fig.layout.yaxis.ticktext)
    assert (fig.layout.shapes[0].y0, fig.layout.shapes[0].y1) == (2.5, 3.5)
    entry = table.iloc[0]
    assert entry["weight"] == mapped().matrix[entry["student_id"], entry["teacher_id"]]


def huge(rows: int = 256_000, columns: int = 200_000) -> Projection:
    """A map of the largest vocabularies, without their tokens: random pieces."""
    generator = np.random.default_rng(0)
    per_row = generator.integers(0, 5, rows)
    indptr = np.concatenate([[0], np.cumsum(per_row)])
    indices = generator.integers(0, columns, indptr[-1])
    matrix = csr_matrix((np.full(indptr[-1], 0.25, np.float32), indices, indptr), shape=(rows, columns))
    return Projection(matrix, np.full(indptr[-1], 2, np.uint8), "pieces", STUDENT, TEACHER)


def test_the_largest_vocabularies_stay_small_and_little_work():
    def drawn(projection: Projection):
        rows, columns = (d.IdOrder("id", np.arange(n), np.arange(n)) for n in projection.shape)
        grid = d.density(projection, rows, columns)
        return grid, pictures.density_figure(grid, rows, columns, d.Window(0, 64, 0, 64), ("s", "t"))

    projection, small = huge(), huge(4000, 3000)
    grid, fig = drawn(projection)
    assert grid.values.shape == (256, 256)
    assert int(grid.values.sum()) == projection.matrix.nnz
    assert message_bytes(fig) <= LIMIT
    assert lines_run(lambda: drawn(projection)) < 2 * lines_run(lambda: drawn(small)), "no loop over tokens"


def test_audit_bars_carry_matched_and_total():
    audit = {"digits_3": {"total": 1000, "matched": 0}, "letters": {"total": 4, "matched": 3}} | {
        "special": {"total": 0, "matched": 0}
    }
    fig = bars.audit_figure(audit)
    shown = fig.data[1]
    assert list(shown.text) == ["0 / 1,000", "3 / 4"]
    assert list(shown.x) == [0, 0.75]
    assert bars.audit_table(audit)["share"].tolist()[:2] == [0, 0.75]
    assert len(bars.audit_table(audit)) == 3


def test_row_sums_name_what_does_not_add_up():
    good = bars.row_sums(mapped("exact"))
    assert len(good.off) == 0
    assert good.sentence.startswith("All ")
    matrix = mapped().matrix.copy()
    rows = np.flatnonzero(np.diff(matrix.indptr) == 1)[:2]
    matrix.data[matrix.indptr[rows]] = [0.7, 1.5]
    sums = bars.row_sums(replace(mapped(), matrix=matrix))
    assert set(sums.off.tolist()) == set(rows.tolist())
    assert "2 of" in sums.sentence
    assert "0.5" in sums.sentence
    named = bars.off_rows_table(sums, mapped())
    assert named["student_id"].tolist() == [rows[1], rows[0]], "the worst first"
    table = bars.row_sum_table(sums).set_index("sum")["rows"]
    assert (table["0.5 to 0.9"], table["above 1"]) == (1, 1)
    assert table.sum() == STUDENT.n_ids
    assert list(bars.row_sum_figure(sums).data[0].y) == table.tolist()


def test_histograms_count_every_row_and_column():
    fan = bars.fan_out_table(mapped())["student_tokens"]
    assert fan.sum() == STUDENT.n_ids
    assert fan[0] == mapped().rows()["empty"]
    largest = bars.columns_table(mapped(), 10_000)
    assert largest["student_tokens"].sum() == mapped().matrix.nnz
    assert largest["mass"].sum() == pytest.approx(mapped().matrix.sum(), rel=1e-5)
    first = int(largest["teacher_id"][0])
    assert largest["student_tokens"][0] == len(mapped().column(first))
    assert bars.fan_out_figure(mapped()).data[0].y.tolist() == fan.tolist()
    assert len(bars.columns_figure(mapped()).data[0].y) == 20


def test_titles_of_figures_side_by_side_fit_their_columns() -> None:
    figures = bars.row_sum_figure(bars.row_sums(mapped())), bars.fan_out_figure(mapped()), bars.columns_figure(mapped())
    assert all(len(line) <= NARROW_TITLE for fig in figures for line in fig.layout.title.text.split("<br>"))


def test_reasons_of_a_class_add_up_to_its_tokens():
    table = bars.reasons_table(mapped())
    audit = {bars.CLASS_TITLES[name]: counts for name, counts in mapped().audit().items()}
    assert set(table.columns) <= {"class", "empty", *REASONS}
    for row in table.to_dict("records"):
        assert sum(v for k, v in row.items() if k != "class") == audit[row["class"]]["total"]
        matched = sum(row.get(REASONS[code], 0) for code in MATCHED)
        assert matched == audit[row["class"]]["matched"]
    fig = bars.reasons_figure(mapped())
    assert [trace.name for trace in fig.data] == list(table.columns[1:])
    assert len({(t.marker.color, t.marker.pattern.shape) for t in fig.data}) == len(fig.data)


def test_the_sentence_counts_every_row():
    said = bars.map_sentence(mapped())
    rows = mapped().rows()
    assert f"{rows['pieces']:,} by the pieces" in said
    assert f"{rows['empty']:,} by nothing" in said
    assert set(bars.BY_REASON) == set(REASONS) - {REASONS[code] for code in MATCHED}
    assert set(bars.REASON_STYLES) == {*REASONS, "empty"}


def test_equal_vocabularies_are_the_identity_or_say_what_is_missing():
    same = project(STUDENT, STUDENT, "exact")
    said = bars.identity_sentence(same)
    missing = STUDENT.n_ids - int((same.matrix.diagonal() == 1).sum())
    assert (f"{missing} don't" in said) if missing else ("is the identity" in said)
    whole = replace(same, matrix=csr_matrix(np.eye(STUDENT.n_ids, dtype=np.float32)))
    assert "the map is the identity, and nothing is lost" in bars.identity_sentence(whole)


def test_the_archive_is_a_map_again(tmp_path):
    with zipfile.ZipFile(io.BytesIO(zipped(mapped()))) as archive:
        archive.extractall(tmp_path)
    again = load(tmp_path, STUDENT, TEACHER)
    assert (again.matrix != mapped().matrix).nnz == 0
    np.testing.assert_array_equal(again.reason, mapped().reason)
    from safetensors.numpy import load as arrays

    dense = arrays(exported(mapped(), "nemo-rl", ".safetensors"))
    assert dense["indices"].shape[0] == STUDENT.n_ids
    assert dense["likelihoods"].sum() == pytest.approx(mapped().matrix.sum(), rel=1e-5)
