"""Replay reference facts: one case without its results in, the same keys computed by the project out.

`replay(family, case)` serves the families in `FAMILIES`; SKIPPED says which keys are left out and why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ctkd_core.alignment import cheapest_path, components, costs
from ctkd_core.alignment.released import cdm as released_cdm
from ctkd_core.alignment.released import gold as released_gold
from ctkd_core.alignment.released import sedi as released_sedi
from ctkd_core.alignment.released import tokenkit as released_tokenkit
from ctkd_core.errors import AlignmentError
from ctkd_core.losses.released import cdm as released_loss
from ctkd_core.tokenizers.token_bytes import byte_alphabet, token_bytes_from_strings
from ctkd_core.vocabulary.released import contextual
from tests.alignment.reference import incremental_pieces, text_buffer_groups, text_equal
from tests.golden.asked import Options

Case = dict[str, Any]

SKIPPED: dict[str, dict[str, str]] = {
    "alignment": {
        "spacy_alignments": "another product's character diff of the surface strings; no method here works that way",
    },
    "xtoken": {"warning": "advice to the reader of the facts, nothing that a program returned"},
}

# Kinds of cases whose options stand among the inputs.
OPTIONS_AMONG_INPUTS = {"generalized_jsd", "merge", "projection_matrix"}
# Tokenizers of the facts that write a space as U+2581; the others named there are byte-level.
_SENTENCEPIECE = {"gemma3", "llama2"}
# The ones whose decoder takes one blank off the start.
_STRIPS_BLANK = {"llama2"}
# The ones whose normaliser (NFC) tokenkit takes off, and where to find their vocabulary.
_NFC = {"qwen3": "qwen"}


def replay(family: str, case: Case) -> dict[str, Any]:
    """The results of one case, by the keys of its file.

    Raises KeyError for an unknown family, ValueError for an option that nothing reads or that has no such value here.
    """
    if family not in FAMILIES:
        raise KeyError(f"no adapter for the family {family!r} yet; there are {', '.join(FAMILIES)}.")
    options = {part: Options(case[part]) for part in ("options", "config", "params") if part in case}
    if case.get("kind") in OPTIONS_AMONG_INPUTS:
        options["inputs"] = Options(case["inputs"])
    results = FAMILIES[family]({**case, **options})
    for part in options.values():
        part.all_read()
    return results


# --- alignment ---


def _alignment(case: Case) -> dict[str, Any]:
    student, teacher = case["student_char_spans"], case["teacher_char_spans"]
    groups = components.components(_spans(student), _spans(teacher))
    length = len(case["text"]) if "text" in case else case["text_length"]
    out: dict[str, Any] = {
        "sedi_official": _or_error("AssertionError", released_sedi.span_groups, student, teacher),
        "char_graph_components_ours": _lists(groups),
        "metrics_of_char_graph": _counts(groups, student, length),
    }
    if "text" not in case:
        return out | {"trl_gold_end_boundary_walk": _lists(released_gold.end_boundary_walk(student, teacher))}
    pieces = {side: _pieces(case, side) for side in ("student", "teacher")}
    decoded = {side: incremental_pieces(_prefixes(case[f"{side}_tokens"], pieces[side], case[side])) for side in pieces}
    return out | {
        "trl_gold_byte_offsets": _or_error("NotImplementedError", _trl_bytes, case, pieces),
        "trl_gold_greedy_text": _lists(text_buffer_groups(decoded["student"], decoded["teacher"])),
        "tokenkit": _tokenkit(case, pieces),
    }


def _counts(groups: list[tuple[list[int], list[int]]], student_spans: list[list[int]], length: int) -> dict[str, Any]:
    both = [g for g in groups if g[0] and g[1]]
    kinds = ["n-m" if len(s) > 1 < len(t) else "n-1" if len(s) > 1 else "1-n" if len(t) > 1 else "1-1" for s, t in both]
    return {
        "groups_both_sides": len(both),
        "counts_student_teacher": {kind: kinds.count(kind) for kind in ("1-1", "1-n", "n-1", "n-m")},
        "orphan_student": sum(len(s) for s, t in groups if not t),
        "orphan_teacher": sum(len(t) for s, t in groups if not s),
        "chars_covered": len({c for s, _ in both for i in s for c in range(*student_spans[i])}),
        "chars_total": length,
        "mean_student_tokens": float(np.mean([len(s) for s, _ in both])) if both else 0.0,
        "mean_teacher_tokens": float(np.mean([len(t) for _, t in both])) if both else 0.0,
    }


def _trl_bytes(case: Case, pieces: dict[str, list[bytes]]) -> dict[str, Any]:
    released_gold.check_byte_level(**{side: _kind(case[side]) == "byte-level" for side in pieces})
    offsets = {
        side: released_gold.byte_offsets(case["text"], case[f"{side}_char_spans"], pieces[side]) for side in pieces
    }
    return {
        "student_byte_offsets": offsets["student"],
        "teacher_byte_offsets": offsets["teacher"],
        "groups": _lists(released_gold.end_boundary_walk(offsets["student"], offsets["teacher"])),
    }


def _tokenkit(case: Case, pieces: dict[str, list[bytes]]) -> dict[str, Any]:
    sides = {side: _without_nfc(case, side, pieces[side]) for side in pieces}
    return {
        "student_byte_tokens": _byte_level(sides["student"]),
        "teacher_byte_tokens": _byte_level(sides["teacher"]),
        "groups": _lists(released_tokenkit.byte_walk(sides["student"], sides["teacher"])),
    }


def _without_nfc(case: Case, side: str, pieces: list[bytes]) -> list[bytes]:
    """The pieces as they are without the tokenizer's NFC; only a text that NFC changes needs the tokenizer itself."""
    if case[side] not in _NFC or b"".join(pieces) == case["text"].encode():
        return pieces
    tokens = _backend_without_normaliser(_NFC[case[side]]).encode(case["text"], add_special_tokens=False).tokens
    return token_bytes_from_strings(tokens, "byte-level")


@lru_cache(maxsize=2)
def _backend_without_normaliser(name: str) -> Any:
    import json

    import tokenizers

    from ctkd_core import load_tokenizer

    plain = json.loads(load_tokenizer(name).backend.to_str()) | {"normalizer": None}
    return tokenizers.Tokenizer.from_str(json.dumps(plain))


def _prefixes(tokens: list[str], pieces: list[bytes], name: str) -> list[str]:
    """What decoding the first k tokens gives, for every k."""
    if _kind(name) == "byte-level":
        return [b"".join(pieces[: k + 1]).decode("utf-8", "replace") for k in range(len(pieces))]
    decoded = [_byte_fallback(tokens[: k + 1], pieces[: k + 1]) for k in range(len(pieces))]
    return [text.removeprefix(" ") for text in decoded] if name in _STRIPS_BLANK else decoded


def _byte_fallback(tokens: list[str], pieces: list[bytes]) -> str:
    """Runs of byte tokens: the text they spell, or else one U+FFFD a byte."""
    text, run = "", b""
    for token, piece in [*zip(tokens, pieces), ("", b"")]:
        if token.startswith("<0x"):
            run += piece
            continue
        try:
            text += run.decode()
        except UnicodeDecodeError:
            text += "\ufffd" * len(run)
        run = b""
        text += piece.decode()
    return text


def _kind(name: str) -> str:
    return "sentencepiece" if name in _SENTENCEPIECE else "byte-level"


def _pieces(case: Case, side: str) -> list[bytes]:
    return token_bytes_from_strings(case[f"{side}_tokens"], _kind(case[side]))


def _byte_level(pieces: list[bytes]) -> list[str]:
    return ["".join(byte_alphabet()[b] for b in piece) for piece in pieces]


def _spans(rows: list[list[int]]) -> np.ndarray:
    return np.asarray(rows, dtype=np.int64).reshape(-1, 2)


def _lists(groups: list[tuple[list[int], list[int]]]) -> list[list[list[int]]]:
    return [[list(s), list(t)] for s, t in groups]


def _or_error(name: str, call: Callable[..., Any], *args: Any) -> Any:
    """The result as lists, or the recorded program's name for its refusal."""
    try:
        result = call(*args)
    except AlignmentError:
        return {"error": name}
    return _lists(result) if isinstance(result, list) else result


# --- cdm ---


def _cdm(case: Case) -> dict[str, Any]:
    """The recorded matrices have the teacher's tokens as rows; ours the student's."""
    given = case["input"]
    student, teacher = given["student_tokens"], given["teacher_tokens"]
    z_s, z_t = np.array(given["student_logits"]), np.array(given["teacher_logits"])
    h_s, h_t = costs.entropy(z_s), costs.entropy(z_t)
    w_s, w_t = costs.weights(h_s), costs.weights(h_t)
    weighted = _costs(student, teacher, w_s, w_t)
    surface = cheapest_path.dtw(weighted)
    pairs = surface[1]
    plain = _costs(student, teacher, np.ones(len(student)), np.ones(len(teacher)))
    of_student, of_teacher = released_cdm.alignment_lists(pairs, len(student), len(teacher))
    groups = released_cdm.merge_groups(of_teacher)
    factors = released_loss.merge_matrices(pairs, len(student), len(teacher))
    merged_student, merged_teacher = (factor @ z for factor, z in zip(factors, (z_s, z_t)))
    out = {
        "entropy_teacher": h_t.tolist(),
        "entropy_student": h_s.tolist(),
        "weight_teacher_raw": costs.raw_weights(h_t).tolist(),
        "weight_student_raw": costs.raw_weights(h_s).tolist(),
        "weight_teacher": w_t.astype(int).tolist(),
        "weight_student": w_s.astype(int).tolist(),
        "cost_matrix": plain.local().T.tolist(),
        "acc_matrix": cheapest_path.accumulated(weighted).T.tolist(),
        "total_cost": surface[0][-1].after,
        "path": pairs[:, ::-1].tolist(),
        "teacher_to_student": of_teacher,
        "student_to_teacher": of_student,
        "merge_groups_student_idx": groups,
        "merged_teacher_logits": merged_teacher.tolist(),
        "merged_student_logits": merged_student.tolist(),
        "path_with_all_weights_one_ours": cheapest_path.dtw(plain)[1][:, ::-1].tolist(),
        "group_text_equal_ours": text_equal(student, teacher, of_student, groups),
    }
    if "tea2stu" not in given:
        case["params"].notes("tau", "topk", "thr")  # of the lists, which such a case doesn't have
        return out
    return out | _cdm_vocabulary(case, merged_student, merged_teacher)


def _cdm_vocabulary(case: Case, student: np.ndarray, teacher: np.ndarray) -> dict[str, Any]:
    """Both passes over the top-K lists of the merged rows, and the released loss on their slots."""
    given, tau = case["input"], case["params"]["tau"]
    k, threshold = case["params"]["topk"], case["params"]["thr"]
    names_s, names_t = given["stu_vocab"], given["tea_vocab"]
    forward = np.array(given["tea2stu"])
    backward = contextual.inverse_map(given["tea2stu"], len(names_s))
    top_s, top_t = contextual.top_ids(student, k), contextual.top_ids(teacher, k)
    one = contextual.complete_rows(top_t, top_s, forward, names_t, names_s, threshold)
    two = contextual.complete_rows(top_s, one.source, backward, names_s, names_t, threshold)
    z_s, z_t = torch.from_numpy(student), torch.from_numpy(teacher)
    target, compared, share = released_loss.both_passes(z_s, z_t, forward, (names_s, names_t), k, threshold)
    (t1, s2), (s1, t2) = target.chunk(2, dim=1), compared.chunk(2, dim=1)
    terms = released_loss.slot_terms(target, compared, tau)
    return {
        "static_tea2stu": forward.tolist(),
        "static_stu2tea": backward.tolist(),
        "teacher_topk_ids": top_t.tolist(),
        "student_topk_ids": top_s.tolist(),
        "dynamic_pairs_t2s": [list(pair) for pair in one.found],
        "dir1_student_ids": one.target.tolist(),
        "dir1_teacher_ids": one.source.tolist(),
        "dynamic_pairs_s2t": [list(pair) for pair in two.found],
        "dir2_student_ids": two.source.tolist(),
        "dir2_teacher_ids": two.target.tolist(),
        "unmasked_rate": share,
        "aligned_teacher_logits_released_order": target.tolist(),
        "aligned_student_logits_released_order": compared.tolist(),
        "kd_loss_released_sum_over_numel": float(terms.mean()),
        "kd_loss_port_mean_over_positions": float(terms.sum(axis=1).mean()),
        "kl_dir1_only_tau1_per_position_ours": released_loss.kl(t1, s1).tolist(),
        "kl_dir2_only_tau1_per_position_ours": released_loss.kl(t2, s2).tolist(),
    }


def _costs(student: list[str], teacher: list[str], w_s: np.ndarray, w_t: np.ndarray) -> costs.TokenCosts:
    norm = costs.normalise_released
    free = [(norm(a), norm(b)) for a, b in costs.released_free_pairs()]
    return costs.token_costs([norm(x) for x in student], [norm(x) for x in teacher], w_s, w_t, free)


def _divergences(case: Case) -> dict[str, Any]:
    from tests.golden import divergences as golden_divergences  # brings torch

    return golden_divergences.replay(case)


def _mined(case: Case) -> dict[str, Any]:
    from tests.golden import mined as golden_mined  # brings torch

    return golden_mined.replay(case)


def _dskd(case: Case) -> dict[str, Any]:
    from tests.golden import dskd as golden_dskd

    return golden_dskd.replay(case)


def _xtoken(case: Case) -> dict[str, Any]:
    from tests.golden import xtoken as golden_xtoken  # brings torch

    return golden_xtoken.replay(case)


def _alm(case: Case) -> dict[str, Any]:
    from tests.golden import alm as golden_alm

    return golden_alm.replay(case)


def _gold_uld(case: Case) -> dict[str, Any]:
    from tests.golden import gold_uld as golden_gold_uld

    return golden_gold_uld.replay(case)


def _cot2align(case: Case) -> dict[str, Any]:
    from tests.golden import cot2align as golden_cot2align

    return golden_cot2align.replay(case)


def _multilevelot(case: Case) -> dict[str, Any]:
    from tests.golden import multilevelot as golden_multilevelot

    return golden_multilevelot.replay(case)


FAMILIES: dict[str, Callable[[Case], dict[str, Any]]] = {
    "alignment": _alignment,
    "alm": _alm,
    "cdm": _cdm,
    "cot2align": _cot2align,
    "divergences": _divergences,
    "dskd": _dskd,
    "gold_uld": _gold_uld,
    "mined": _mined,
    "multilevelot": _multilevelot,
    "xtoken": _xtoken,
}
