"""Metrics of top candidates: plain loops, rules worked by hand, the SeDi loss, refusals, a real teacher."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctkd_core.alignment import align
from ctkd_core.errors import AlignmentError, CtkdError, ProjectionError
from ctkd_core.pair import logit_metrics as lm
from ctkd_core.pair.migration_report import migration_report
from ctkd_core.tokenizers.load import load_tokenizer
from ctkd_core.vocabulary import project
from ctkd_core.vocabulary.migration import migration_table
from tests.tiny import tiny_byte_level, tiny_metaspace, tiny_wordpiece

MANY, FEW = tiny_byte_level(400, 3), tiny_byte_level(300, 1)
PAIRS = [(MANY, FEW), (FEW, MANY), (tiny_metaspace(), FEW), (MANY, tiny_metaspace()), (tiny_wordpiece(), MANY)]
TEXTS = ["In 2024 we sold 1234567 units.", "naïve façade, 東京 🦙 llamas", "x"]


def candidates(tokenizer, n, k=12, seed=0):
    """Different ids in each row, some past the tokenizer as in a padded head."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(tokenizer.n_ids + 5)[:k] for _ in range(n)]).astype(np.int32).reshape(n, k)


def knowing(ids, tokenizer, k=12):
    """Candidates of a model that knows the text: the next token first."""
    top = candidates(tokenizer, len(ids), k)
    for row, gold in zip(top[:-1], ids[1:]):
        row[row == gold] = row[0]
        row[0] = gold
    return top


def slow_rows(alignment, top, student, teacher):
    """(token, candidates dropped, written, different slots, slot of the best) by re-encoding every candidate alone."""
    rows = []
    for s0, s1, t0, t1 in alignment.groups.tolist():
        if s1 == s0 or t1 == t0 or t1 < 2:
            continue
        prefix = b"".join(teacher.token_bytes(int(i)) for i in alignment.teacher.ids[t0 : t1 - 1])
        written = []
        for token in top[t1 - 2].tolist():
            pieces = []
            if token == teacher.eos_id:
                pieces = (student.encode_pieces([prefix])[0] if prefix else []) + [student.eos_id]
                if student.eos_id is None:
                    pieces = []
            elif token < teacher.n_ids and token not in teacher.special_ids and teacher.token_bytes(token):
                text = prefix + teacher.token_bytes(token)
                pieces = student.encode_pieces([text])[0]
                if b"".join(student.token_bytes(i) for i in pieces) != text:
                    whole = text.decode("utf-8", "replace").encode() == text
                    pieces = pieces if whole and student.unk_id not in pieces else []
            written.append(pieces)
        for piece in range(s1 - s0):
            slots = [p[piece] if len(p) > piece else -1 for p in written]
            hit = [x for x in slots if x >= 0]
            rows.append((s0 + piece, sum(not p for p in written), len(hit), len(set(hit)), slots[0]))
    return rows


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_report_is_what_re_encoding_one_by_one_gives(student, teacher, text):
    a = align(text, student=student, teacher=teacher)
    top = knowing(a.teacher.ids, teacher)
    report = migration_report(a, top, student, teacher)
    found = zip(*(x.tolist() for x in (report.token, report.dropped, report.written, report.slots, report.best)))
    assert list(found) == slow_rows(a, top, student, teacher)
    assert (report.written + report.dropped <= report.candidates).all()
    totals = report.totals()
    assert totals["collided"] == sum(report.written - report.slots)
    assert totals["migration_collision_rate"] == lm.migration_collision_rate(a, top, student, teacher)
    assert totals["top1_accuracy"] == lm.top1_accuracy(a, top, student, teacher)


def test_a_teacher_that_knows_the_text_is_right_and_candidates_collide():
    a = align("In 1234567 we", student=MANY, teacher=FEW)
    top = knowing(a.teacher.ids, FEW)
    assert lm.top1_accuracy(a, top, MANY, FEW) == 1.0
    # "1", "2" | "3": behind "12" every digit makes another three-digit token, behind "1234" the first piece is fixed
    digits = np.array([FEW.id_of(d) for d in "0123456789"])
    top = np.tile(digits, (len(a.teacher), 1))
    report = migration_report(a, top, MANY, FEW)
    for row, token in enumerate(report.token.tolist()):
        behind = a.groups[report.group[row]]
        if behind[3] - behind[2] == 1:
            assert report.collided[row] == 0, token
    same = migration_report(align("a b", student=MANY, teacher=MANY), candidates(MANY, 2), MANY, MANY)
    assert (same.collided == 0).all()


def test_rows_agree_with_those_of_the_sedi_loss():
    torch = pytest.importorskip("torch")
    from ctkd_core.losses.base import response_rows
    from ctkd_core.losses.batch import align_sample, collate
    from ctkd_core.losses.parts.migrate import migrate

    text = TEXTS[0] + TEXTS[1]
    batch = collate([align_sample("", text, MANY, FEW)], MANY, FEW)
    logits = torch.randn(*batch.teacher_ids.shape, FEW.n_ids + 5, generator=torch.Generator().manual_seed(0))
    rows = response_rows(batch.student_labels)
    target = migrate(logits, rows, batch, MANY.n_ids, 20, False, torch.float32)
    a = align(text, student=MANY, teacher=FEW)
    places = [batch.teacher_ids[0].tolist().index(int(a.teacher.ids[0])), 0]
    top = logits[0, places[0] : places[0] + len(a.teacher)].topk(20, dim=1).indices.numpy()
    report = migration_report(a, top, MANY, FEW)
    first = batch.student_ids[0].tolist().index(int(a.student.ids[0]))
    of_row = {int(p) - first: r for r, p in enumerate(rows.position.tolist())}
    assert len(report.token) >= len(a.student) - 1
    for k, token in enumerate(report.token.tolist()):
        r = of_row[token]
        assert int(target.candidates[r]) == report.written[k]
        assert int(target.hit[r].sum()) == max(1, report.slots[k])
        assert bool(target.top1_correct[r]) == (report.best[k] == report.gold[k])


def slow_masses(alignment, top, logprobs, student, teacher):
    """(mass, dropped, collided) of each row, candidate by candidate."""
    rows = []
    for s0, s1, t0, t1 in alignment.groups.tolist():
        if s1 == s0 or t1 == t0 or t1 < 2:
            continue
        prefix = b"".join(teacher.token_bytes(int(i)) for i in alignment.teacher.ids[t0 : t1 - 1])
        pieces = [
            migration_table(student, teacher).prefixed([prefix], np.array([[token]]))[0, 0]
            for token in top[t1 - 2].tolist()
        ]
        p = np.exp(logprobs[t1 - 2])
        for piece in range(s1 - s0):
            taken, collided = set(), 0.0
            for chance, ids in zip(p, pieces):
                if len(ids) > piece:
                    collided += chance if ids[piece] in taken else 0
                    taken.add(ids[piece])
            rows.append((p.sum(), sum(x for x, ids in zip(p, pieces) if not ids), collided))
    return rows


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_masses_of_the_report(student, teacher):
    a = align(TEXTS[0] + TEXTS[1], student=student, teacher=teacher)
    top = knowing(a.teacher.ids, teacher)
    logp = -np.sort(np.random.default_rng(1).exponential(4, top.shape), axis=1) - 2
    plain, report = (migration_report(a, top, student, teacher, x) for x in (None, logp))
    found = np.stack([report.mass, report.dropped_mass, report.collided_mass], axis=1)
    np.testing.assert_allclose(found, slow_masses(a, top, logp, student, teacher), rtol=1e-12)
    assert ((found[:, 1] > 0) == (report.dropped > 0)).all()
    assert ((found[:, 2] > 0) == (report.collided > 0)).all()
    totals = report.totals()
    assert totals["mass"] == pytest.approx(found[:, 0].mean())
    assert totals["collided_mass"] == pytest.approx(found[:, 2].sum() / found[:, 0].sum())
    assert plain.mass is None
    assert plain.totals() == {k: v for k, v in totals.items() if "mass" not in k}
    with pytest.raises(ProjectionError, match="log-probabilities are"):
        migration_report(a, top, student, teacher, logp[:, :-1])


def test_without_log_probabilities_nothing_is_weighted():
    a = align(TEXTS[0], student=MANY, teacher=FEW)
    top = knowing(a.teacher.ids, FEW)
    with_them = lm.logit_metrics(a, top, np.full(top.shape, -3.0), MANY, FEW)
    del with_them["vocabulary_match_rate_weighted"]
    assert lm.logit_metrics(a, top, None, MANY, FEW) == with_them
    rate = lm.vocabulary_match_rate(np.array([[0, 1, 5]]), None, np.array([True, False]))
    assert rate == {"vocabulary_match_rate": 1 / 3}


@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 9), st.data())
def test_match_rates_are_shares(rows, k, width, data):
    ids = data.draw(st.lists(st.lists(st.integers(0, width + 2), min_size=k, max_size=k), min_size=rows, max_size=rows))
    mapped = data.draw(st.lists(st.booleans(), min_size=width, max_size=width))
    logp = -np.abs(np.random.default_rng(0).normal(size=(rows, k)))
    found = lm.vocabulary_match_rate(np.array(ids, dtype=np.int32).reshape(rows, k), logp, np.array(mapped))
    hit = [[i < width and mapped[i] for i in row] for row in ids]
    p = np.exp(logp)
    flat = [h for row in hit for h in row]
    assert found["vocabulary_match_rate"] == pytest.approx(sum(flat) / len(flat) if flat else 0)
    mass = sum(p[r, j] for r in range(rows) for j in range(k) if hit[r][j])
    assert found["vocabulary_match_rate_weighted"] == pytest.approx(mass / p.sum() if flat else 0)


def test_all_contract_metrics_at_once():
    a = align(TEXTS[1], student=MANY, teacher=FEW)
    top = knowing(a.teacher.ids, FEW)
    logp = np.full(top.shape, np.log(1 / 12), dtype=np.float32)
    by_bytes = lm.logit_metrics(a, top, logp, MANY, FEW)
    assert set(by_bytes) == {
        *("vocabulary_match_rate", "vocabulary_match_rate_weighted", "top1_accuracy", "migration_collision_rate")
    }
    spelled = {MANY.token_bytes(i) for i in range(MANY.n_ids) if i not in MANY.special_ids}
    equal = [
        i < FEW.n_ids and (FEW.token_bytes(i) in spelled if i not in FEW.special_ids else True) for i in top.flatten()
    ]
    assert by_bytes["vocabulary_match_rate"] == pytest.approx(np.mean(equal))
    assert by_bytes["vocabulary_match_rate_weighted"] == pytest.approx(np.mean(equal))
    assert by_bytes["top1_accuracy"] == lm.top1_accuracy(a, top, MANY, FEW)
    nearest = project(MANY, FEW, method="nearest", direction="teacher")
    inside = (top < FEW.n_ids).mean()
    assert lm.logit_metrics(a, top, logp, MANY, FEW, nearest)["vocabulary_match_rate"] == pytest.approx(inside)
    with pytest.raises(ProjectionError, match="wasn't made for"):
        lm.logit_metrics(a, top, logp, MANY, FEW, project(FEW, MANY, method="exact"))


def test_equal_models_under_one_tokenizer_match_wholly():
    a = align(TEXTS[0], student=MANY, teacher=MANY, method="sedi")
    top = knowing(a.teacher.ids, MANY)
    top = np.where(top >= MANY.n_ids, 300, top)
    logp = np.full(top.shape, -3.0)
    assert lm.logit_metrics(a, top, logp, MANY, MANY)["vocabulary_match_rate"] == 1
    rates = lm.cdm_match_rates(a, top, top, logp, MANY, MANY)
    assert set(rates.values()) == {1.0}
    ways = {name: align(TEXTS[0], student=MANY, teacher=MANY, method=name) for name in ("sedi", "cdm", "mined")}
    for name, row in lm.sedi_pilot(ways, top, top, MANY, MANY).items():
        assert row == {"top1_accuracy": 1.0, "one_hot_rows": 0.0}, name


def test_cdm_rates_by_hand():
    a = align("we sold 1234567 units", student=MANY, teacher=FEW, method="cdm")
    own, other = candidates(MANY, len(a.student), 9), knowing(a.teacher.ids, FEW, 9)
    logp = np.log(np.full(other.shape, 0.1))
    rates = lm.cdm_match_rates(a, own, other, logp, MANY, FEW)
    texts = [
        (a.student_bytes(g).replace(b" ", b""), a.teacher_bytes(g).replace(b" ", b""), a.sizes[g, 0])
        for g in range(len(a))
        if a.sizes[g].all()
    ]
    assert rates["cdm_sequence_match_rate"] == pytest.approx(np.mean([x == y for x, y, _ in texts]))
    tokens = sum(n for x, y, n in texts if x == y)
    assert rates["cdm_sequence_match_rate_tokens"] == pytest.approx(tokens / len(a.student))
    assert rates["cdm_vocabulary_match_rate_static"] <= rates["cdm_vocabulary_match_rate"] <= 1
    assert rates["cdm_vocabulary_match_rate_weighted_static"] <= rates["cdm_vocabulary_match_rate_weighted"]
    static = lm.cdm_match_rates(a, own, other, logp, MANY, FEW, lm.Rule(threshold=0))
    assert static["cdm_vocabulary_match_rate_weighted"] == rates["cdm_vocabulary_match_rate_weighted_static"]
    assert static["cdm_vocabulary_match_rate"] == rates["cdm_vocabulary_match_rate_static"]


def test_the_pilot_counts_what_mined_leaves_out():
    ways = {name: align("we sold 45", student=FEW, teacher=MANY, method=name) for name in ("sedi", "mined")}
    taught = ways["sedi"].teacher
    own, top = candidates(FEW, len(ways["sedi"].student)), knowing(taught.ids, MANY)
    pilot = lm.sedi_pilot(ways, own, top, FEW, MANY)
    assert pilot["sedi"] == {"top1_accuracy": 1.0, "one_hot_rows": 0.0}
    # " s" and " " say "old" and "45" next, for which the student has no token; rows inside "o l d" have no teacher row
    assert taught.tokens == ["w", "e", " s", "old", " ", "45"]
    assert ways["sedi"].student.tokens == ["w", "e", " s", "o", "l", "d", " ", "4", "5"]
    assert pilot["mined"] == {"top1_accuracy": 2 / 4, "one_hot_rows": 4 / 8}
    nearest = lm.to_student(project(FEW, MANY, method="nearest", direction="teacher"))
    assert lm.sedi_pilot(ways, own, top, FEW, MANY, nearest)["mined"]["one_hot_rows"] <= 4 / 8


def test_to_student_takes_the_heaviest_and_of_equals_the_lowest():
    p = project(MANY, FEW, method="pieces")
    dense = p.matrix.toarray()
    expected = np.where(dense.any(axis=0), dense.argmax(axis=0), -1)
    assert lm.to_student(p).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda a, top, logp: lm.top1_accuracy(a, top[:-1], MANY, FEW), r"candidates are int32 \[\d+, 12\]; give ids"),
        (lambda a, top, logp: lm.top1_accuracy(a, top[:, :0], MANY, FEW), "K at least 1"),
        (lambda a, top, logp: lm.top1_accuracy(a, top - 9, MANY, FEW), "hold id -9"),
        (lambda a, top, logp: lm.top1_accuracy(a, top, FEW, MANY), "student first"),
        (lambda a, top, logp: lm.vocabulary_match_rate(top, logp[:, :3], np.ones(4, bool)), "log-probabilities are"),
        (lambda a, top, logp: lm.vocabulary_match_rate(top, logp + 2, np.ones(4, bool)), "at most 0"),
        (lambda a, top, logp: lm.vocabulary_match_rate(top, logp * np.nan, np.ones(4, bool)), "hold nan"),
        (lambda a, top, logp: lm.vocabulary_match_rate(top, logp, np.ones(4)), "give bool"),
        (lambda a, top, logp: lm.vocabulary_match_rate(7, logp, np.ones(4, bool)), r"int64 \[\]"),
        (lambda a, top, logp: lm.sedi_pilot({"uld": a}, top, top, MANY, FEW), "no method 'uld'"),
        (lambda a, top, logp: lm.cdm_match_rates(a, top[:2], top, logp, MANY, FEW), "student's candidates"),
    ],
)
def test_refusals(call, sentence):
    a = align(TEXTS[0], student=MANY, teacher=FEW)
    top = candidates(FEW, len(a.teacher))
    top[0, 0] = 0
    with pytest.raises((AlignmentError, ProjectionError), match=sentence):
        call(a, top, np.zeros(top.shape))


def test_nothing_to_measure():
    a = align("", student=MANY, teacher=FEW)
    none = np.zeros((0, 3), dtype=np.int32)
    assert set(lm.logit_metrics(a, none, none.astype(float), MANY, FEW).values()) == {0.0}
    assert set(lm.cdm_match_rates(a, none, none, none.astype(float), MANY, FEW).values()) == {0.0}
    assert lm.sedi_pilot({"sedi": a}, none, none, MANY, FEW)["sedi"] == {"top1_accuracy": 0.0, "one_hot_rows": 0.0}


@pytest.mark.real
@pytest.mark.slow
def test_with_the_logits_of_the_bundled_teacher():
    from ctkd_core.distill.models import teachers
    from ctkd_core.lab import evidence

    if not teachers.is_prepared():
        pytest.skip("the bundled teacher isn't converted (`ctkd prepare`)")
    try:
        student, teacher = load_tokenizer("deepseek"), load_tokenizer("smollm2")
    except CtkdError as missing:
        pytest.skip(f"needs the packages that bring DeepSeek's and SmolLM2's tokenizers: {missing}")
    text = "The capital of France is Paris. In the year 2024, the comfort of cats was 3.14159 times as great."
    said = evidence.evidence(text, student, teacher)
    a = align(text, student=student, teacher=teacher)
    found = lm.logit_metrics(a, said.teacher_top_ids, said.teacher_top_logprobs, student, teacher)
    assert 0.8 < found["vocabulary_match_rate"] < 1
    # likely tokens are common ones, and common ones are shared
    assert found["vocabulary_match_rate_weighted"] > found["vocabulary_match_rate"]
    raw = (said.teacher_top_ids[:-1, 0] == a.teacher.ids[1:]).mean()
    assert abs(found["top1_accuracy"] - raw) < 0.2
    assert 0 < found["migration_collision_rate"] < 0.5
    ways = {name: align(text, student=student, teacher=teacher, method=name) for name in ("sedi", "cdm", "mined")}
    pilot = lm.sedi_pilot(ways, said.student_top_ids, said.teacher_top_ids, student, teacher)
    assert pilot["sedi"]["one_hot_rows"] <= min(pilot["cdm"]["one_hot_rows"], pilot["mined"]["one_hot_rows"])
    rates = lm.cdm_match_rates(
        ways["cdm"], said.student_top_ids, said.teacher_top_ids, said.teacher_top_logprobs, student, teacher
    )
    assert rates["cdm_vocabulary_match_rate_static"] < rates["cdm_vocabulary_match_rate"]
    assert rates["cdm_sequence_match_rate"] > 0.8
