"""Every loss, row by row and group by group in plain torch, for labels with holes.

An oracle takes a `Given` and returns the distillation part, with autograd through it; nothing of the engine, of the
row tables or of the groupings of `ctkd_core.losses` is used, but for the constants of a method. Rules of the holes:

- a row is learnt from where the student's label is there;
- a value that is made of several rows (a group's mean, its product, a chunk's sum) counts only where the labels of all
  its tokens are there, on both sides, and chunks aren't joined across a hole;
- the released programs have rules of their own, which their oracles tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctkd_core.losses.batch import AlignedBatch
from ctkd_core.losses.parts.matched import matched_ids
from ctkd_core.losses.released import cdm as released_cdm
from tests.losses import test_alm, test_bytes, test_cdm, test_gold, test_mined, test_multilevel_ot, test_xtoken, twins

IGNORED = -100


@dataclass
class Given:
    """Logits of both models, the batch, and what a method takes besides."""

    s: Tensor
    t: Tensor
    batch: AlignedBatch
    extras: dict[str, Any] = field(default_factory=dict)

    def learnt(self, side: str, b: int) -> list[int]:
        """Positions of learnt tokens."""
        labels = getattr(self.batch, f"{side}_labels")[b]
        return [k for k, label in enumerate(labels.tolist()) if label != IGNORED]

    def predicted(self, side: str, b: int) -> list[int]:
        """Those that a row predicts."""
        return [k for k in self.learnt(side, b) if k >= 1]

    def groups(self, b: int | None = None) -> list[list[int]]:
        """Groups in order, of one sample or of all."""
        return sorted(g for g in self.batch.groups.tolist() if b is None or g[0] == b)

    def whole(self, group: list[int]) -> bool:
        """Whether all tokens of a group are learnt."""
        b, s0, s1, t0, t1 = group
        mine, theirs = self.learnt("student", b), self.learnt("teacher", b)
        return all(k in mine for k in range(s0, s1)) and all(k in theirs for k in range(t0, t1))

    def __len__(self) -> int:
        return len(self.batch)


def only(given: Given, groups: list[list[int]]) -> AlignedBatch:
    """The batch with some of its groups."""
    return replace(given.batch, groups=torch.tensor(groups, dtype=torch.int64).reshape(-1, 5))


def whole_groups(given: Given) -> AlignedBatch:
    """The batch with the groups that are learnt wholly."""
    return only(given, [g for g in given.groups() if given.whole(g)])


def kl(z_q: Tensor, z_p: Tensor, tau: float = 1.0) -> Tensor:
    """KL(softmax(z_q / tau) || softmax(z_p / tau))."""
    log_q, log_p = (z_q / tau).log_softmax(-1), (z_p / tau).log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum()


def none(given: Given) -> Tensor:
    return given.s.sum() * 0


def kd(given: Given) -> Tensor:
    width = given.batch.student.n_ids
    values = []
    for b in range(len(given)):
        for k, j in zip(given.learnt("student", b), given.learnt("teacher", b)):
            if k >= 1 and j >= 1:
                values.append(kl(given.t[b, j - 1, :width], given.s[b, k - 1, :width]))
    return twins.average(values)


def uld(given: Given) -> Tensor:
    return twins.uld(given.s, given.t, given.batch, ce_weight=0.0)


def answer(given: Given, side: str, b: int, skip: bool) -> tuple[int, int]:
    """TRL: the answer begins at the first label and is as long as there are labels, less one."""
    at = given.learnt(side, b)
    return (at[0] if at else 0), max(0, len(at) - skip)


def uld_released(given: Given) -> Tensor:
    total = given.s.sum() * 0
    for b in range(len(given)):
        (s0, n), (t0, m) = answer(given, "student", b, True), answer(given, "teacher", b, True)
        values = [
            twins.sorted_l1(given.s[b, s0 + k].softmax(-1), given.t[b, t0 + k].softmax(-1)) for k in range(min(n, m))
        ]
        if values:
            total = total + twins.average(values)
    return total / len(given)


def aligned(given: Given, b: int) -> tuple[set[int], set[int]]:
    """Positions of a sample's tokens in a group or on the path."""
    pairs = [] if given.batch.pairs is None else [p[1:] for p in given.batch.pairs.tolist() if p[0] == b]
    found = {p[0] for p in pairs}, {p[1] for p in pairs}
    for _, s0, s1, t0, t1 in given.groups(b):
        found[0].update(range(s0, s1))
        found[1].update(range(t0, t1))
    return found


def prompt_ends(given: Given, b: int) -> dict[int, int]:
    """The last tokens of prompts, the teacher's by the student's: before the first labels, or before a group."""
    learnt, inside = (given.learnt("student", b), given.learnt("teacher", b)), aligned(given, b)
    ends = [(learnt[0][0] - 1, learnt[1][0] - 1)] if learnt[0] and learnt[1] else []
    for _, s0, _, t0, _ in given.groups(b):
        if s0 - 1 not in learnt[0] and t0 - 1 not in learnt[1]:
            ends.append((s0 - 1, t0 - 1))
    return {i: j for i, j in ends if i >= 0 and j >= 0 and i not in inside[0] and j not in inside[1]}


def cdm_groups(given: Given) -> list[tuple[int, list[int], list[int]]]:
    """(sample, student rows, teacher rows): the rows AT the tokens of groups and at the ends of prompts."""
    found = []
    for b in range(len(given)):
        learnt = given.learnt("student", b), given.learnt("teacher", b)
        own = [[i, i + 1, j, j + 1] for i, j in prompt_ends(given, b).items()] + [g[1:] for g in given.groups(b)]
        for s0, s1, t0, t1 in own:
            # the rows at tokens s0..s1 - 1 predict tokens s0 + 1..s1
            if all(k + 1 in learnt[0] for k in range(s0, s1)) and all(k + 1 in learnt[1] for k in range(t0, t1)):
                found.append((b, list(range(s0, s1)), list(range(t0, t1))))
    return found


def cdm(given: Given, monkeypatch: Any) -> Tensor:
    monkeypatch.setattr(test_cdm, "groups_of", lambda _: cdm_groups(given))
    return test_cdm.twin(given.s, given.t, given.batch)


def cdm_released(given: Given) -> Tensor:
    """Lists of the learnt tokens on the path, by the program's own numbering; the program's slots and terms."""
    batch = given.batch
    student, teacher = batch.student, batch.teacher
    own = {student.token(k): k for k in range(student.n_ids)}
    widths = given.s.shape[-1], given.t.shape[-1]
    static = [own.get(teacher.token(k), 0) if k else 0 for k in range(teacher.n_ids)]
    back = [0] * (len(student.backend.get_vocab(with_added_tokens=False)) + 256)
    for k, partner in enumerate(static):
        if partner:
            back[partner] = k
    maps = np.array(static), np.array(back)
    names = [
        [x.token_bytes(k).decode("utf-8", "replace") for k in range(x.n_ids)] + [""] * (w - x.n_ids)
        for x, w in zip((student, teacher), widths)
    ]
    terms = []
    for b in range(len(given)):
        learnt = given.learnt("student", b), given.learnt("teacher", b)
        path = [p[1:] for p in batch.pairs.tolist() if p[0] == b and p[1] in learnt[0] and p[2] in learnt[1]]
        if not path:
            continue
        used = [sorted({p[k] for p in path}) for k in (0, 1)]
        of_student = {i: sorted({p[1] for p in path if p[0] == i}) for i in used[0]}
        of_teacher = {j: tuple(sorted({p[0] for p in path if p[1] == j})) for j in used[1]}
        groups = list(dict.fromkeys(of_teacher[j] for j in used[1]))
        z_s = torch.stack([given.s[b, list(group)].mean(0) for group in groups])
        z_t = torch.stack([torch.stack([given.t[b, of_student[i]].mean(0) for i in group]).mean(0) for group in groups])
        target, compared, _ = released_cdm.both_passes(z_s, z_t, maps, tuple(names), 100, 0.3)
        terms.append(released_cdm.slot_terms(target, compared, 0.8))
    return torch.cat(terms).sum(dim=1).mean()


def mined_partners(given: Given, b: int, k: int, blanks: bool) -> tuple[int | None, bool, bool]:
    """Of the row that predicts token k: the teacher row that it faces, whether both tokens are accepted (soft), and
    whether the row is a prompt's end. Strings are compared with their blanks or without."""
    batch, student, teacher = given.batch, given.batch.student, given.batch.teacher
    ends = prompt_ends(given, b)
    partners = [j for c, i, j in batch.pairs.tolist() if (c, i) == (b, k - 1)]
    facing = [ends[k - 1]] if k - 1 in ends else partners
    if len(facing) != 1:
        return None, False, False
    own, other = int(batch.student_ids[b, k - 1]), int(batch.teacher_ids[b, facing[0]])
    texts = [x.token_bytes(i) for x, i in ((student, own), (teacher, other))]
    if not blanks:
        texts = [text.replace(b" ", b"") for text in texts]
    special = own in student.special_ids or other in teacher.special_ids
    return facing[0], (texts[0] == texts[1] and not special) or int(test_mined.IDS[other]) == own, k - 1 in ends


def mined(given: Given, monkeypatch: Any) -> Tensor:
    """As without holes: partners of the path, accepted, that end at the same byte of the aligned text."""
    batch = given.batch
    rows = {}
    for b in range(len(given)):
        inside = aligned(given, b)
        for k in given.predicted("student", b):
            facing, accepted, at_prompt = mined_partners(given, b, k, blanks=False)
            rows[b, k] = None
            if facing is None:
                continue
            read = [
                sum(
                    len(x.token_bytes(int(ids[b, i])))
                    for i in side
                    if i <= last and int(ids[b, i]) not in x.special_ids
                )
                for x, ids, side, last in (
                    (batch.student, batch.student_ids, inside[0], k - 1),
                    (batch.teacher, batch.teacher_ids, inside[1], facing),
                )
            ]
            if at_prompt or (accepted and read[0] == read[1]):
                rows[b, k] = facing
    monkeypatch.setattr(test_mined, "twin_rows", lambda *_: rows)
    return test_mined.twin(given.s, given.t, batch)


def mined_released(given: Given) -> Tensor:
    """FuseLLM: strings with their blanks; elsewhere the token AT the row is the target; the teacher alone tempered."""
    values, ids = [], test_mined.IDS.tolist()
    for b in range(len(given)):
        for k in given.predicted("student", b):
            log_p = given.s[b, k - 1].log_softmax(-1)
            facing, accepted, _ = mined_partners(given, b, k, blanks=True)
            if facing is None or not accepted:
                values.append(-log_p[given.batch.student_ids[b, k - 1]])
                continue
            target = [-math.inf] * len(log_p)
            for other, logit in enumerate(given.t[b, facing].tolist()):
                if ids[other] >= 0:
                    target[ids[other]] = max(target[ids[other]], logit)
            values.append(-((torch.tensor(target, dtype=log_p.dtype) / 2.0).softmax(-1) * log_p).sum())
    return twins.average(values)


def xtoken_pkl(given: Given) -> Tensor:
    return test_xtoken.pkl_twin(given.s, given.t, whole_groups(given), given.extras["projection"])


def xtoken_pkl_released(given: Given) -> Tensor:
    everything = torch.ones_like(given.batch.teacher_attention)  # padding takes part in the choice of columns
    batch = replace(given.batch, teacher_attention=everything)
    return test_xtoken.pkl_twin(given.s, given.t, batch, given.extras["projection"])


def xtoken_hkl(given: Given) -> Tensor:
    return test_xtoken.hkl_twin(given.s, given.t, whole_groups(given), given.extras["projection"])


def xtoken_hkl_released(given: Given) -> Tensor:
    return test_xtoken.hkl_twin(given.s, given.t, given.batch, given.extras["projection"])


def multilevel_ot(given: Given) -> Tensor:
    return test_multilevel_ot.twin(given.s, given.t, given.batch)


def multilevel_ot_released(given: Given) -> Tensor:
    """2018cx/Multi-Level-OT: rows from the one before the first label on, as many as there are labels."""

    def softened(z: Tensor) -> Tensor:
        return (z / (z.std(dim=-1, keepdim=True) + 1e-4)).softmax(-1)

    spans = []
    for b in range(len(given)):
        (s0, n), (t0, m) = answer(given, "student", b, True), answer(given, "teacher", b, False)
        spans.append((max(0, s0 - 1), n, max(0, t0 - 1), m))
    width = max(max(n, m) for _, n, _, m in spans)
    s = given.s.new_zeros(len(given), width, given.s.shape[-1])
    t = given.t.new_zeros(len(given), width, given.t.shape[-1])
    s, t = s.clone(), t.clone()
    rows_s, rows_t = [], []
    for b, (s0, n, t0, m) in enumerate(spans):
        rows_s.append(torch.cat([softened(given.s[b, s0 : s0 + n]), s[b, n:]]))
        rows_t.append(torch.cat([softened(given.t[b, t0 : t0 + m]), t[b, m:]]))
    s, t = torch.stack(rows_s), torch.stack(rows_t)
    s = s[..., s.detach().sum(dim=(0, 1)).argsort(descending=True)[:50]]
    t = t[..., t.sum(dim=(0, 1)).argsort(descending=True)[:50]]
    had = []
    for b, (_, n, _, m) in enumerate(spans):
        size = min(n, m)
        values = [(s[b, k] - t[b, k]).abs().sum() for k in range(size)]
        had.append(twins.average(values) if values else s.sum() * 0)
    sl = twins.average(
        -(s[b, k].softmax(-1) * t[b, k].log_softmax(-1)).sum() for b in range(len(given)) for k in range(width)
    )
    sd = s.sum() * 0
    for b in range(len(given)):
        soft_s, soft_t = (s[b] / 2.0).softmax(-1), (t[b] / 2.0).softmax(-1)
        cost = (soft_t[:, None] - soft_s[None]).abs().sum(-1)
        plan = torch.exp(-cost / 0.1)
        for _ in range(10):
            plan = plan / plan.sum(1, keepdim=True)
            plan = plan / plan.sum(0, keepdim=True)
        sd = sd + 0.001 * (plan * cost).sum()
    return torch.stack(had).mean() + 0.1 * sl + 0.1 * sd


def cot2align(given: Given, released: bool = False) -> Tensor:
    own, other, state = (given.extras[name] for name in ("student_states", "teacher_states", "state"))
    base = twins.uld(given.s, given.t, given.batch, ce_weight=0.0, temperature=2.0)
    epsilon, iterations = (10.0, 100) if released else (0.1, 50)
    terms = []
    for layer in (0, -1):
        values = []
        for b in range(len(given)):
            mine, theirs = ([k - 1 for k in given.predicted(side, b)] for side in ("student", "teacher"))
            if not mine or not theirs:
                continue
            x, y = own.hidden[layer][b, mine], state.project(other.hidden[layer][b, theirs].detach())
            if released:
                cost = 1.0 - (x @ y.T / math.sqrt(x.shape[-1])).softmax(-1)
            else:
                cost = 1.0 - (x / x.norm(dim=-1, keepdim=True)) @ (y / y.norm(dim=-1, keepdim=True)).T
            values.append((_plan(cost, epsilon, iterations, released) * cost).sum())
        terms.append(twins.average(values))
    return base + 0.25 * sum(terms)


def _plan(cost: Tensor, epsilon: float, iterations: int, released: bool) -> Tensor:
    kernel = torch.exp(-cost / epsilon)
    a, b = cost.new_full((cost.shape[0],), 1 / cost.shape[0]), cost.new_full((cost.shape[1],), 1 / cost.shape[1])
    u, v, small = (a, b, 1e-9) if released else (torch.ones_like(a), torch.ones_like(b), 0.0)
    for step in range(1, iterations + 1):
        if released:
            v = b / (kernel.T @ u + small)
            u = a / (kernel @ v + small)
            if step % 50 == 1 and float((v * (kernel.T @ u) - b).detach().abs().sum()) <= 1e-9:
                break
        else:
            v = b / (kernel.T @ u)
            u = a / (kernel @ v)
    return u[:, None] * kernel * v[None]


def cot2align_released(given: Given) -> Tensor:
    return cot2align(given, released=True)


def dskd(given: Given, released: bool = False) -> Tensor:
    """The three terms sample by sample; released: scales over whole sequences, all sums over the student's rows."""
    own, other, state = (given.extras[name] for name in ("student_states", "teacher_states", "state"))
    ids, other_ids = given.batch.student_ids, given.batch.teacher_ids
    e_s, e_t, h_t = own.embeddings.detach(), other.embeddings.detach(), other.hidden[-1].detach()
    if released:
        # rows that predict no learnt token stand as token 0, read and said
        read, said = torch.zeros_like(other_ids[:, :-1]), torch.zeros_like(other_ids[:, :-1])
        for b in range(len(given)):
            for k in given.predicted("teacher", b):
                read[b, k - 1], said[b, k - 1] = other_ids[b, k - 1], other_ids[b, k]
        keys, states, targets = torch.cat([e_t[read], e_t[said]], -1), h_t[:, :-1], e_t[said]
    else:
        at = [(b, k) for b in range(len(given)) for k in given.predicted("teacher", b)]
        keys = torch.stack([torch.cat([e_t[other_ids[b, k - 1]], e_t[other_ids[b, k]]]) for b, k in at])
        states, targets = (torch.stack(list(y)) for y in (
            [h_t[b, k - 1] for b, k in at], [e_t[other_ids[b, k]] for b, k in at]
        ))  # fmt: skip
    guesses, t2s, s2t = [], [], []
    for b in range(len(given)):
        mine, theirs = given.predicted("student", b), given.predicted("teacher", b)
        if not mine or not theirs:
            continue
        query = state.query(torch.stack([torch.cat([e_s[ids[b, k - 1]], e_s[ids[b, k]]]) for k in mine]))
        key = torch.stack([torch.cat([e_t[other_ids[b, k - 1]], e_t[other_ids[b, k]]]) for k in theirs]) / keys.std()
        scores = query @ key.T / math.sqrt(query.shape[-1])
        value = torch.stack(
            [state.t2s(h_t[b, k - 1] / states.std() + e_t[other_ids[b, k]] / targets.std()) for k in theirs]
        )
        for row, k in zip(scores.softmax(1) @ value @ own.head.detach().T, mine):
            gold = int(ids[b, k])
            guesses.append(-row.log_softmax(-1)[gold])
            agrees = int(row.argmax()) == gold
            t2s.append(kl(row.detach(), given.s[b, k - 1], 2.0) if agrees else row.sum() * 0)
        moved = torch.stack([state.s2t(own.hidden[-1][b, k - 1]) for k in mine])
        for row, k in zip(scores.T.softmax(1) @ moved @ other.head.detach().T, theirs):
            s2t.append(kl(given.t[b, k - 1], row, 2.0))
    if released:
        rows = sum(len(given.predicted("student", b)) for b in range(len(given)))
        return sum(torch.stack(part).sum() for part in (guesses, t2s, s2t)) / rows
    return sum(twins.average(part) for part in (guesses, t2s, s2t))


def dskd_released(given: Given) -> Tensor:
    return dskd(given, released=True)


def dskd_eta(given: Given, released: bool = False) -> Tensor:
    own, other, state = (given.extras[name] for name in ("student_states", "teacher_states", "state"))
    batch = given.batch
    found = matched_ids(None, batch, (given.s.shape[-1], given.t.shape[-1]))
    ids = dict(zip(found.teacher.tolist(), found.student.tolist())) | {batch.teacher.eos_id: batch.student.eos_id}
    guesses, t2s, s2t = [], [], []
    back = state.s2t(own.head, other.head)
    for b, s0, s1, t0, t1 in given.groups():
        if s1 - s0 != 1 or t1 - t0 != 1 or s0 not in given.predicted("student", b):
            continue
        if t0 not in given.predicted("teacher", b):
            continue
        target = ids.get(int(given.t[b, t0 - 1].argmax()), -1)
        if target < 0 and released:
            continue
        if target >= 0:
            z = other.hidden[-1][b, t0 - 1].detach() @ state.t2s @ own.head.detach().T
            guesses.append(-z.log_softmax(-1)[target])
            if int(z.argmax()) == target:
                t2s.append(kl(z.detach(), given.s[b, s0 - 1], 2.0))
        row = own.hidden[-1][b, s0 - 1] @ back @ other.head.detach().T
        s2t.append(kl(given.t[b, t0 - 1], row, 2.0))
    return sum((twins.average(part) for part in (guesses, t2s, s2t)), given.s.sum() * 0)


def dskd_eta_released(given: Given) -> Tensor:
    return dskd_eta(given, released=True)


def sedi(given: Given) -> Tensor:
    kls, entropies = [], []
    for (b, k), (slots, entropy) in twins.sedi_rows(given.batch, given.t).items():
        if k not in given.learnt("student", b):
            continue
        z = given.s[b, k - 1]
        pseudo = torch.full_like(z, -torch.inf)
        pseudo[list(slots)] = torch.tensor(list(slots.values()), dtype=z.dtype)
        log_p, log_h = (pseudo / 2.0).log_softmax(-1), pseudo.log_softmax(-1)
        inside = list(slots)
        kls.append((log_p.exp()[inside] * (log_p - (z / 2.0).log_softmax(-1))[inside]).sum())
        entropies.append((-(log_h.exp() * log_h)[inside].sum() - entropy) ** 2)
    return twins.average(kls) + twins.average(entropies)


def gold(given: Given) -> Tensor:
    return test_gold.twin(given.s, given.t, whole_groups(given), ce_weight=0.0)


def gold_released(given: Given) -> Tensor:
    """Groups whatever the labels say; the row at a group's first token; samples without groups count."""
    return test_gold.twin(given.s, given.t, given.batch, ce_weight=0.0, merge="observed", empty_samples="count")


def alm(given: Given) -> Tensor:
    """Runs of whole chunks by themselves: what lies behind a hole begins anew."""
    runs: list[list[list[int]]] = [[]]
    for group in given.groups():
        if given.whole(group) and group[1] >= 1 and group[3] >= 1:
            runs[-1].append(group)
        else:
            runs.append([])
    units = [test_alm.twin_units(given.s, given.t, given.batch, run) for run in runs]
    return twins.average([value for run in units for value in run])


def next_bytes(given: Given) -> Tensor:
    return test_bytes.oracle_loss(given.s, given.t, given.batch)


def alm_released(given: Given) -> Tensor:
    """tokenkit: a chunk counts where the teacher has a learnt token in it; sums run over learnt tokens of either side.

    The boundary of a chunk is read at its first learnt token that no learnt token of it follows. Merged counts are
    merged once more for the denominator.
    """
    batch, log = given.batch, {}
    for side, z in (("student", given.s), ("teacher", given.t)):
        x = getattr(batch, side)
        starts = [k for k in range(x.n_ids) if x.token_bytes(k)[:1] in (b" ", b"\n", b"\t") or k in x.special_ids]
        log[side] = z.log_softmax(-1), starts, getattr(batch, f"{side}_ids")

    def chunk(side: str, b: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        log_p, starts, ids = log[side]
        learnt = given.learnt(side, b)
        text = sum((log_p[b, k - 1, ids[b, k]] for k in range(max(1, start), end) if k in learnt), given.s.sum() * 0)
        ends = [k for k in range(start, end) if k in learnt and not (k + 1 < end and k + 1 in learnt)]
        return text, log_p[b, ends[0] if ends else 0][starts].logsumexp(-1)

    total, denominator = given.s.sum() * 0, 0
    for b in range(len(given)):
        members: list[list[tuple[Any, Any, int]]] = [[]]
        for _, s0, s1, t0, t1 in given.groups(b):
            theirs = chunk("teacher", b, t0, t1)
            tokens = len([k for k in given.predicted("teacher", b) if t0 <= k < t1])
            members[-1].append((chunk("student", b, s0, s1), theirs, tokens))
            if float(theirs[1].exp()) > 0.1:
                members.append([])
        units = [unit for unit in members if unit]
        flat = [(u, number) for u, unit in enumerate(units) for number in range(len(unit))]
        counts = [sum(one[2] for one in unit) for unit in units]
        real = [units[u][number][2] > 0 for u, number in flat]
        again = [0] * len(units)  # the joined counts, joined as if they were chunks
        for place, (count, (u, _)) in enumerate(zip(counts, flat)):
            again[u] += count * real[place]
        denominator += sum(value > 0 for value in again)
        for unit, count in zip(units, counts):
            if not count:
                continue
            counted = [number for number, one in enumerate(unit) if one[2] > 0]
            last = next(n for n in counted if n + 1 not in counted)
            sums = [sum(unit[number][side][0] for number in counted) + unit[last][side][1] for side in (0, 1)]
            total = total + test_alm.bernoulli("kl", sums[1].clamp(max=0), sums[0].clamp(max=0), 5.0)
    return total / max(1, denominator)


ORACLES: dict[tuple[str, str], Callable[..., Tensor]] = {
    ("sft", "clean"): none,
    ("kd", "clean"): kd,
    ("uld", "clean"): uld,
    ("uld", "released"): uld_released,
    ("cdm", "clean"): cdm,
    ("cdm", "released"): cdm_released,
    ("mined", "clean"): mined,
    ("mined", "released"): mined_released,
    ("xtoken-pkl", "clean"): xtoken_pkl,
    ("xtoken-pkl", "released"): xtoken_pkl_released,
    ("xtoken-hkl", "clean"): xtoken_hkl,
    ("xtoken-hkl", "released"): xtoken_hkl_released,
    ("multilevel_ot", "clean"): multilevel_ot,
    ("multilevel_ot", "released"): multilevel_ot_released,
    ("cot2align", "clean"): cot2align,
    ("cot2align", "released"): cot2align_released,
    ("dskd", "clean"): dskd,
    ("dskd", "released"): dskd_released,
    ("dskd-eta", "clean"): dskd_eta,
    ("dskd-eta", "released"): dskd_eta_released,
    ("sedi", "clean"): sedi,
    ("gold", "clean"): gold,
    ("gold", "released"): gold_released,
    ("alm", "clean"): alm,
    ("bytes", "clean"): next_bytes,
    ("alm", "released"): alm_released,
}
