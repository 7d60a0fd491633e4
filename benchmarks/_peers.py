"""The losses that ours are compared with: TRL's and Liger's own, and public formulas in plain torch with autograd."""

from __future__ import annotations

from typing import Any


def trl_gold(student: Any, teacher: Any, batch: Any, offsets: Any, pairs: Any, hybrid: bool) -> Any:
    """TRL's GOLD loss (`pip install trl datasets`), its default merge, no cross-entropy, every token compared.

    offsets: byte spans [B][T][2] of both sides, lists; pairs: int [M, 2] matched (student, teacher) ids.
    """
    return trl_gold_step(trl_gold_loss(pairs if hybrid else None, student.device), student, teacher, batch, offsets)


def trl_gold_loss(pairs: Any = None, device: Any = "cpu") -> Any:
    """TRL's loss, made once: hybrid with the matched ids `pairs` int [M, 2], else plain."""
    import torch
    from trl.experimental.gold.gold_config import GOLDConfig
    from trl.experimental.gold.gold_trainer import ULDLoss

    config = GOLDConfig(
        output_dir="unused", use_uld_loss=True, use_extended_uld=True, uld_use_hybrid_loss=pairs is not None,
        uld_crossentropy_weight=0.0, uld_skip_student_eos=False, uld_skip_teacher_eos=False,
        use_cpu=True, bf16=False,
    )  # fmt: skip
    loss = ULDLoss(config)
    if pairs is not None:
        loss._vocab_mapping = {int(t): int(s) for s, t in pairs}
        loss._teacher_matched_ids, loss._student_matched_ids = set(loss._vocab_mapping), set(pairs[:, 0].tolist())
        loss.mapping_tensor = torch.full((max(loss._vocab_mapping) + 1,), -1, device=device)
        loss.mapping_tensor[torch.as_tensor(pairs[:, 1])] = torch.as_tensor(pairs[:, 0], device=device)
    return loss


def trl_gold_step(loss: Any, student: Any, teacher: Any, batch: Any, offsets: Any) -> Any:
    """The value of TRL's loss; arguments as for `trl_gold`."""
    import torch

    return loss(
        student, teacher, batch.student_labels, batch.teacher_labels, batch.student_ids, batch.teacher_ids,
        student_byte_offsets=torch.as_tensor(offsets[0]), teacher_byte_offsets=torch.as_tensor(offsets[1]),
    )  # fmt: skip


def trl_distillation(student: Any, head: Any, teacher: Any, teacher_head: Any, beta: float) -> Any:
    """The loss of TRL's DistillationTrainer: generalised JSD from hidden states [1, T, d] and heads [V, d]."""
    import torch
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    every = torch.ones(student.shape[:2], device=student.device)
    return _chunked_divergence_loss(student, teacher, head, teacher_head, every, beta)[0]


def trl_gkd(student: Any, teacher: Any, labels: Any, beta: float) -> Any:
    """The generalised JSD of TRL's GKDTrainer, on logits [1, T, V] and labels [1, T]."""
    from trl.experimental.gkd import GKDTrainer

    return GKDTrainer.generalized_jsd_loss(student, teacher, labels=labels, beta=beta)


def liger_jsd(student: Any, head: Any, teacher: Any, teacher_head: Any, labels: Any, beta: float) -> Any:
    """Liger's chunked JSD from hidden states [1, T, d] and heads [V, d], not compiled, no cross-entropy in the sum.

    It computes cross-entropy all the same: a hard loss has a weight, but no switch.
    """
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=beta, compiled=False)
    return loss(student[0], head, teacher[0], teacher_head, labels)


def torch_uld(student: Any, teacher: Any) -> Any:
    """ULD with whole tensors: both sides sorted by torch, the narrower padded, positions paired by place."""
    import torch

    n = min(student.shape[1], teacher.shape[1]) - 1
    p, q = (logits[:, :n].softmax(-1).sort(dim=-1, descending=True).values for logits in (student, teacher))
    width = max(p.shape[-1], q.shape[-1])
    p, q = (torch.nn.functional.pad(x, (0, width - x.shape[-1])) for x in (p, q))
    return (p - q).abs().sum(-1).mean()


def torch_pkl(student: Any, teacher: Any, batch: Any, matrix: Any, top_k: int = 8192) -> Any:
    """P-KL with whole tensors: soft-max, sparse projection, mean over the rows of each group, KL."""
    import torch

    coo = matrix.tocoo()
    index = torch.tensor([coo.col.tolist(), coo.row.tolist()])
    w = torch.sparse_coo_tensor(
        index, torch.from_numpy(coo.data), (matrix.shape[1], matrix.shape[0]), check_invariants=False
    ).to(student.device)
    columns = teacher.flatten(0, 1).amax(0).topk(min(top_k, teacher.shape[-1])).indices.sort().values
    moved = torch.sparse.mm(w, student[0].float().softmax(-1).T)[columns].T
    log_v = teacher[0][:, columns].float().log_softmax(-1)
    s_group, t_group, n = _segments(batch)
    u = _mean(moved[s_group[0]], s_group[1], n)
    v = _mean(log_v[t_group[0]], t_group[1], n)
    u = (u / (u.sum(-1, keepdim=True) + 1e-10) + 1e-10).log()
    return (v.exp() * (v - u)).sum(-1).mean()


def torch_hkl(student: Any, teacher: Any, batch: Any, pairs: Any, tail_k: int = 8192) -> Any:
    """H-KL with whole tensors: means of log-probabilities, KL on the pairs, sorted rest."""
    import torch

    s_group, t_group, n = _segments(batch)
    q = _mean(student[0].log_softmax(-1)[s_group[0]], s_group[1], n)
    v = _mean(teacher[0].log_softmax(-1)[t_group[0]], t_group[1], n)
    s, t = (torch.as_tensor(pairs[:, k].copy(), device=student.device) for k in (0, 1))
    common = (v[:, t].exp() * (v[:, t] - q[:, s])).sum(-1).mean()
    rest = []
    for log_p, used in ((q, s), (v, t)):
        free = torch.ones(log_p.shape[1], dtype=torch.bool, device=log_p.device)
        free[used] = False
        rest.append(log_p[:, free].exp())
    k = min(rest[0].shape[1], rest[1].shape[1], tail_k)
    a, b = (x.topk(k, dim=-1).values for x in rest)
    return common + (a - b).abs().sum(-1).mean()


def torch_dskd(student: Any, teacher: Any, batch: Any, given: Any, tau: float = 2.0) -> Any:
    """DSKD's three terms with whole tensors and autograd, for one sample; `given` as for the loss."""
    import torch

    state, own, other = given["state"], given["student_states"], given["teacher_states"]
    ids, other_ids = batch.student_ids[0], batch.teacher_ids[0]
    e_s, e_t = own.embeddings.detach(), other.embeddings.detach()
    query = state.query(torch.cat([e_s[ids[:-1]], e_s[ids[1:]]], dim=-1))
    key = torch.cat([e_t[other_ids[:-1]], e_t[other_ids[1:]]], dim=-1)
    scores = query @ (key / key.std()).T / query.shape[-1] ** 0.5
    h_t, target = other.hidden[-1][0, :-1].detach(), e_t[other_ids[1:]]
    z = scores.softmax(1) @ state.t2s(h_t / h_t.std() + target / target.std()) @ own.head.detach().T
    functional, right = torch.nn.functional, z.argmax(1) == ids[1:]
    guess = functional.cross_entropy(z, ids[1:])
    log_q, log_p = (z.detach() / tau).log_softmax(1), (student[0, :-1] / tau).log_softmax(1)
    taught = (functional.kl_div(log_p, log_q, log_target=True, reduction="none").sum(1) * right).mean()
    back = scores.T.softmax(1) @ state.s2t(own.hidden[-1][0, :-1]) @ other.head.detach().T
    log_t = (teacher[0, :-1] / tau).log_softmax(1)
    learnt = functional.kl_div((back / tau).log_softmax(1), log_t, log_target=True, reduction="batchmean")
    return 0.5 * functional.cross_entropy(student[0, :-1], ids[1:]) + 0.5 * (guess + taught + learnt)


def torch_alm(student: Any, teacher: Any, batch: Any, tau: float = 5.0) -> Any:
    """ALM without boundary probabilities, with whole tensors: log-probabilities of chunks as yes-or-no events, KL."""
    import torch

    sums = []
    for logits, ids, (rows, number, n) in zip(
        (student, teacher), (batch.student_ids, batch.teacher_ids), _sides(batch)
    ):
        log_p = logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        sums.append(log_p.new_zeros(n).index_add(0, number, log_p[rows]) / tau)
    own, log_t = (x.clamp(max=-1e-6) for x in sums)
    off = [torch.log(-torch.expm1(x)) for x in (own, log_t)]
    kl = log_t.exp() * (log_t - own) + off[1].exp() * (off[1] - off[0])
    return 0.5 * torch.nn.functional.cross_entropy(student[0, :-1], batch.student_ids[0, 1:]) + 0.5 * kl.mean()


def _sides(batch: Any) -> Any:
    s, t, n = _segments(batch)
    return (*s, n), (*t, n)


def _segments(batch: Any) -> Any:
    """Rows (predicting each token of a group) and group numbers of both sides of the only sample."""
    import torch

    groups = batch.groups.tolist()
    sides = []
    for a, b in ((1, 2), (3, 4)):
        rows = [k - 1 for g in groups for k in range(g[a], g[b])]
        number = [i for i, g in enumerate(groups) for _ in range(g[a], g[b])]
        sides.append((torch.tensor(rows), torch.tensor(number)))
    return *(tuple(x.to(batch.groups.device) for x in side) for side in sides), len(groups)


def _mean(rows: Any, number: Any, n: int) -> Any:
    total = rows.new_zeros(n, rows.shape[1]).index_add(0, number, rows)
    return total / number.bincount(minlength=n)[:, None]
