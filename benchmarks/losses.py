"""Time and memory of one loss step, forward and backward to the logits, against plain torch in the same run.

    python benchmarks/losses.py [--size large|cpu-run] [--name CASE] [--costs]

Every method that trains is a case; a chosen size or case replaces its rows in the results and leaves the others. The
figures of the size "large" come with the package as `ctkd_core/lab/costs.json`, which page Losses scales to others;
`--costs` writes that file and the table of benchmarks/README.md from the results without measuring anything.

The peers are TRL's GOLD loss where it is installed (`pip install trl datasets`; one step, it takes half a minute), and
public formulas in plain torch (`_peers.py`). Sizes: "large" 256 student x 300 teacher rows, 128k x 152k; "cpu-run"
8 x 64 positions, 129k x 49k, as in a run on a laptop; "64" and "1024" positions to see how time grows. SeDi runs on
texts under two real tokenizers with logits padded to these widths. Memory is the growth of the peak over what the
process holds with its inputs, the gradient of the logits included (Linux only); every case has a process of its own.

Every case takes turns with forward KL over the student's logits, so that `times_forward_kl` holds on a machine with
other things to do, on which seconds don't. `seconds` are medians; the package gets the fastest steps.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import re
import subprocess
import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import _loss_table  # noqa: E402
from _pairs import interleaved  # noqa: E402
from _record import arguments, environment, load_average, save  # noqa: E402

from ctkd_core import methods  # noqa: E402

SIZES = {
    "large": (1, 257, 301, 128_256, 151_936),
    "cpu-run": (8, 64, 70, 129_280, 49_152),
    "64": (1, 65, 76, 128_256, 151_936),
    "1024": (1, 1025, 1201, 128_256, 151_936),
}
REFERENCE = "forward-kl"  # what every case takes turns with: KL of the student's rows and the same rows, reversed
GROWTH = ("64", "1024")  # our losses alone, at the widths of "large": time should grow as the positions, 16 times
# OpenMP threads that spin while they wait make every operation ten times slower on a busy machine.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
RESULTS = Path(__file__).resolve().parent / "results" / "losses.json"
COSTS = Path(__file__).resolve().parents[1] / "ctkd_core" / "lab" / "costs.json"
METHODS = tuple(dict.fromkeys(row.cost_of or row.name for row in methods.training()))
NAMES = (
    *(*METHODS, "uld-groups", "alm-plain"),
    *("torch sft", "torch forward-kl", "torch uld", "trl gold", "trl uld-groups", "torch xtoken-pkl"),
    *("torch xtoken-hkl", "torch alm-plain", "torch dskd"),
)
ONE_SAMPLE = ("torch xtoken-pkl", "torch xtoken-hkl", "torch alm-plain", "torch dskd")  # peers that read one sample
ON_TEXT = ("sedi", "bytes")  # losses that read the bytes of tokens
MATCHED = 109_566  # exact pairs of Llama 3 and Qwen3; the others map to two pieces


def case(size: str, device: str = "cpu"):
    """Logits on the device and a batch.

    Every fifth or so group has two teacher tokens, as where one side cuts numbers finer.
    """
    import torch

    from ctkd_core.losses.batch import AlignedSample, collate

    b, ts, tt, vs, vt = SIZES[size]
    rng = np.random.default_rng(0)
    groups = spread_groups(ts, tt)
    samples = [
        AlignedSample(rng.integers(0, vs, ts).astype(np.int32), rng.integers(0, vt, tt).astype(np.int32), 1, 1, groups)
        for _ in range(b)
    ]
    torch.manual_seed(0)
    student = (torch.randn(b, ts, vs, device=device) * 2).requires_grad_()
    return student, torch.randn(b, tt, vt, device=device) * 3, collate(samples)


def spread_groups(ts: int, tt: int) -> np.ndarray:
    """int32 [ts - 1, 4]: one student token a group, the teacher's shared out evenly, one or two a group."""
    ends = 1 + np.round(np.linspace(0, tt - 1, ts)).astype(int)
    return np.array([[i, i + 1, ends[i - 1], ends[i]] for i in range(1, ts)], dtype=np.int32)


def byte_offsets(ts: int, tt: int) -> tuple[list, list]:
    """Byte spans that make TRL's walk find the same groups: two bytes a group."""
    student, teacher = [[0, 0]], [[0, 0]]
    for k, (_, _, t0, t1) in enumerate(spread_groups(ts, tt).tolist()):
        student.append([2 * k, 2 * k + 2])
        teacher += [[2 * k, 2 * k + 2]] if t1 - t0 == 1 else [[2 * k, 2 * k + 1], [2 * k + 1, 2 * k + 2]]
    return [student], [teacher]


def projection(vs: int, vt: int):
    """A map like Llama 3's onto Qwen3: MATCHED one-hot rows (fewer for small vocabularies), two pieces for the rest."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(1)
    n = min(MATCHED, int(0.85 * min(vs, vt)))
    rows, columns = (np.sort(rng.choice(size, n, replace=False)) for size in (vs, vt))
    rest = np.repeat(np.setdiff1d(np.arange(vs), rows), 2)
    data = np.concatenate([np.ones(n), np.tile([10 / 11, 1 / 11], len(rest) // 2)]).astype(np.float32)
    ids = np.concatenate([rows, rest]), np.concatenate([columns, rng.integers(0, vt, len(rest))])
    return csr_matrix((data, ids), shape=(vs, vt)), np.stack([rows, columns], axis=1)


def text_case(size: str, device: str = "cpu"):
    """As `case`, with texts under two real tokenizers (for the large size with logits that are wider than they)."""
    import torch

    from ctkd_core.losses.batch import align_sample, collate
    from ctkd_core.tokenizers.load import load_tokenizer

    b, ts, _, vs, vt = SIZES[size]
    pair = (load_tokenizer("deepseek"), load_tokenizer("smollm2"))
    text = " In 2024 the naïve llamas sold 1234567 unusual façades; nobody counted them twice, and 201 were lost." * 40
    cut = pair[0].decode(pair[0].encode(text).ids[: ts - 3].tolist())
    batch = collate([align_sample("Q", cut, *pair)] * b, *pair)
    torch.manual_seed(0)
    widths = max(vs, pair[0].n_ids), max(vt, pair[1].n_ids)
    student = (torch.randn(*batch.student_ids.shape, widths[0], device=device) * 2).requires_grad_()
    return student, torch.randn(*batch.teacher_ids.shape, widths[1], device=device) * 3, batch


def step(name: str, student, teacher, batch):
    """One forward and backward pass."""
    import torch

    from ctkd_core import losses
    from ctkd_core.losses.parts.divergences import divergence

    if name in GROUPED:
        loss = GROUPED[name](student, teacher, batch)
    elif name.startswith("torch"):
        loss = PLAIN[name](torch, student, teacher, batch)
    elif name == "forward-kl":
        loss = divergence("forward_kl", *_kl_rows(student)).mean()
    else:
        loss = losses.loss(name, student, teacher, batch, **_extras(name, student, teacher)).loss
    loss.backward()


@lru_cache(maxsize=1)
def _extras(name: str, student, teacher):
    """What a method takes besides logits: hidden states where it reads them, and the module that it trains."""
    from ctkd_core import losses
    from ctkd_core.losses.base import StateContext

    deep = methods.get(name).reads_hidden_states({})
    given = {key: value for key, value in _hidden(student, teacher).items() if key != "state"} if deep else {}
    heads = (given["student_states"].head, given["teacher_states"].head) if deep else ()
    widths = [head.shape[1] for head in heads] or [None, None]
    context = StateContext(student.shape[-1], teacher.shape[-1], *widths, *heads)
    state = losses.make_state(name, student.shape[-1], context=context)
    return given if state is None else given | {"state": state}


def _kl_rows(student):
    """Rows over one vocabulary: the student's own, and those in reverse order as a teacher's."""
    rows = student.flatten(0, 1)
    return rows, rows.detach().flip(0)


def _plain_sft(torch, student, _, batch):
    return torch.nn.functional.cross_entropy(student[:, :-1].flatten(0, 1), batch.student_labels[:, 1:].flatten())


def _plain_kl(torch, student, _, __):
    kl = torch.nn.functional.kl_div
    rows, target = _kl_rows(student)
    return kl(rows.log_softmax(-1), target.log_softmax(-1), reduction="batchmean", log_target=True)


def _plain_uld(_torch, student, teacher, _):
    import _peers

    return _peers.torch_uld(student, teacher)


@lru_cache(maxsize=1)
def _map(vs: int, vt: int):
    return projection(vs, vt)


def _ours(name: str, mapped: bool = False, **options):
    def run(student, teacher, batch):
        from ctkd_core import losses

        if mapped:
            options["projection"] = _map(student.shape[-1], teacher.shape[-1])[0]
        return losses.loss(name, student, teacher, batch, **options).loss

    return run


def _alm(student, teacher, batch):
    """Chunks joined by boundary probabilities; random boundary tokens, 40 % of either vocabulary."""
    import torch

    from ctkd_core.losses import alm
    from ctkd_core.losses.parts.chunks import chunks_of

    generator = torch.Generator().manual_seed(0)
    masks = [(torch.rand(z.shape[-1], generator=generator) < 0.4).float() for z in (student, teacher)]
    rule = alm.ChunkRule("kl", 100.0, "merge", 0.1)
    return alm.alm_objective(student, teacher, batch, chunks_of(batch), rule, (masks[0], masks[1]), 0.5).loss


def _mined(student, teacher, batch):
    """Every row whose token has one partner is copied, some four in five."""
    import torch

    from ctkd_core.losses import mined
    from ctkd_core.losses.base import response_rows
    from ctkd_core.losses.parts.mined_rows import sole_partners

    rows, partner = response_rows(batch.student_labels), sole_partners(batch).flatten()[:-1]
    facing = torch.where(partner >= 0, partner, -1)[: len(rows)]
    ids = torch.from_numpy(_nearest(student.shape[-1], teacher.shape[-1]))
    source = mined.Source(teacher, facing, torch.ones(len(rows)), ids)
    return mined.mined_objective(student, batch, rows, [source], mined.TargetRule(2.0, "sum", 0), 0.5, 1.0).loss


@lru_cache(maxsize=1)
def _nearest(vs: int, vt: int):
    from ctkd_core.losses.mined import heaviest_rows

    return heaviest_rows(_map(vs, vt)[0])


def _trl(hybrid: bool):
    def run(student, teacher, batch):
        import _peers

        pairs = _map(student.shape[-1], teacher.shape[-1])[1]
        offsets = byte_offsets(student.shape[1], teacher.shape[1])
        return _peers.trl_gold(student, teacher, batch, offsets, pairs, hybrid)

    return run


def _plain_pkl(student, teacher, batch):
    import _peers

    return _peers.torch_pkl(student, teacher, batch, _map(student.shape[-1], teacher.shape[-1])[0])


def _plain_hkl(student, teacher, batch):
    import _peers

    return _peers.torch_hkl(student, teacher, batch, _map(student.shape[-1], teacher.shape[-1])[1])


def _plain_alm(student, teacher, batch):
    import _peers

    return _peers.torch_alm(student, teacher, batch)


def _dskd(student, teacher, batch):
    from ctkd_core import losses

    return losses.loss("dskd", student, teacher, batch, **_hidden(student, teacher)).loss


def _cot2align(student, teacher, batch):
    from ctkd_core import losses

    given = _hidden(student, teacher)
    return losses.loss("cot2align", student, teacher, batch, **given | {"state": _projector()}).loss


@lru_cache(maxsize=1)
def _projector():
    from ctkd_core.losses.cot2align import CotProjector

    return CotProjector(2048, 1024)


def _plain_dskd(student, teacher, batch):
    import _peers

    return _peers.torch_dskd(student, teacher, batch, _hidden(student, teacher))


@lru_cache(maxsize=1)
def _hidden(student, teacher):
    """Last hidden states of widths 1,024 and 2,048, heads that are the embeddings, and DSKD's projectors."""
    import torch

    from ctkd_core.losses.base import States
    from ctkd_core.losses.dskd import CrossModelProjectors

    torch.manual_seed(1)
    both = []
    for logits, width in ((student, 1024), (teacher, 2048)):
        table = torch.randn(logits.shape[-1], width) * 0.05
        both.append(States((torch.randn(*logits.shape[:2], width),), table, table))
    both[0].hidden[0].requires_grad_()
    return {"state": CrossModelProjectors(1024, 2048), "student_states": both[0], "teacher_states": both[1]}


# Losses on groups and maps, and what they are compared with.
GROUPED = {
    "gold": _ours("gold", mapped=True),
    "trl gold": _trl(True),
    "uld-groups": _ours("gold", hybrid=False),
    "trl uld-groups": _trl(False),
    "xtoken-pkl": _ours("xtoken-pkl", mapped=True),
    "torch xtoken-pkl": _plain_pkl,
    "xtoken-hkl": _ours("xtoken-hkl", mapped=True),
    "torch xtoken-hkl": _plain_hkl,
    "multilevel_ot": _ours("multilevel_ot"),
    "alm": _alm,
    "cdm": _ours("cdm", mapped=True, threshold=0.0),
    "alm-plain": _ours("alm", debias="none"),
    "torch alm-plain": _plain_alm,
    "mined": _mined,
    "dskd": _dskd,
    "torch dskd": _plain_dskd,
    "cot2align": _cot2align,
}
PLAIN = {"torch sft": _plain_sft, "torch forward-kl": _plain_kl, "torch uld": _plain_uld}


def measure(name: str, size: str, repeats: int) -> dict[str, Any]:
    """Seconds and extra MiB (gradient included) in this process, and how many times forward KL's time that is."""
    inputs = text_case(size) if name in ON_TEXT else case(size)
    student = inputs[0]

    def run(what: str) -> None:
        student.grad = None
        step(what, *inputs)

    run(name)  # compile, build the migration table, start threads
    student.grad = None
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = peak_mib()
    run(name)
    extra = round(peak_mib() - before)
    run(REFERENCE)
    found = interleaved(partial(run, REFERENCE), partial(run, name), repeats)
    return {
        "seconds": round(found["peer_seconds"], 3),
        "best": round(found["peer_best"], 3),
        "cpu_seconds": round(found["peer_cpu_seconds"], 3),
        "extra_mib": extra,
        "times_forward_kl": found["ratio"],
        "cpu_times_forward_kl": found["cpu_ratio"]["median"],
        "load": load_average(),
    }


def growth(rows: list[dict]) -> dict[str, float]:
    """Exponent of time against positions of each case that was measured at both sizes."""
    times = {size: {r["case"]: r["seconds"] for r in rows if r["size"] == size} for size in GROWTH}
    few, many = (times[size] for size in GROWTH)
    return {name: float(np.log(many[name] / few[name]) / np.log(16)) for name in few.keys() & many.keys()}


def merged(out: Path, rows: list[dict]) -> list[dict]:
    """The rows of earlier results on this machine with the new ones in their places, or after them."""
    before = json.loads(out.read_text()) if out.is_file() else {"environment": environment(), "rows": []}
    if before["environment"]["device"] != environment()["device"]:
        raise SystemExit(f"{out} is of {before['environment']['device']}; measure every case here, or use --out.")
    kept = before["rows"]
    found = {(row["size"], row["case"]): row for row in [*kept, *rows]}
    return list(found.values())


def costs_document(results: dict) -> dict:
    """What the package needs of the results: the cases of its methods at the size "large"."""
    names = ("batch", "student_length", "teacher_length", "student_vocab", "teacher_vocab")
    rows = {row["case"]: row for row in results["rows"] if row["size"] == "large"}
    known = {case: rows[case] for case in METHODS if case in rows}
    cases = {case: {"seconds": row["best"], "extra_mib": row["extra_mib"]} for case, row in known.items()}
    return {"device": results["environment"]["device"], "sizes": dict(zip(names, SIZES["large"])), "cases": cases}


def peak_mib() -> float:
    """The most memory that this process held since its peak was last cleared (Linux only)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def measured(name: str, size: str, repeats: int) -> list[dict[str, Any]]:
    """The row of a case, found by a process of its own; none where the case isn't meant for the size."""
    slow = name.startswith("trl")
    if (size in GROWTH and name.startswith(("trl", "torch"))) or (SIZES[size][0] > 1 and name in ONE_SAMPLE):
        return []
    if slow and (importlib.util.find_spec("trl") is None or size != "large"):
        print(f"{name}: left out at size {size} (pip install trl datasets)", file=sys.stderr)
        return []
    command = [sys.executable, __file__, "--one", name, size, "--repeats", "1" if slow else str(repeats)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | PASSIVE)
    row = {"size": size, "case": name} | json.loads(done.stdout.splitlines()[-1])
    print(row, file=sys.stderr)
    return [row]


def main() -> None:
    """Run every case in a process of its own and save the table."""
    parser = arguments(__doc__ or "", "losses.json")
    parser.add_argument("--size", choices=sorted(SIZES), action="append")
    parser.add_argument("--name", choices=NAMES, action="append")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SIZE"), help="measure one case in this process")
    parser.add_argument("--costs", action="store_true", help=f"write {COSTS.name} from the results, measure nothing")
    given = parser.parse_args()
    if given.costs:
        COSTS.write_text(json.dumps(costs_document(json.loads(given.out.read_text())), indent=1) + "\n")
        _loss_table.write()
        return
    if given.one:
        print(json.dumps(measure(*given.one, given.repeats)))
        return
    rows: list[dict[str, Any]] = []
    try:
        for size in given.size or SIZES:
            for name in given.name or NAMES:
                rows += measured(name, size, given.repeats)
    finally:  # what was found before a failure stays
        if rows:
            save(given.out, merged(given.out, rows) if given.size or given.name else rows)
    if given.out.resolve() == RESULTS:
        COSTS.write_text(json.dumps(costs_document(json.loads(RESULTS.read_text())), indent=1) + "\n")
        _loss_table.write()
    for name, power in growth(rows).items():
        print(f"{name}: from 64 to 1,024 positions time grows as their number to the power of {power:.2f}")


if __name__ == "__main__":
    main()
