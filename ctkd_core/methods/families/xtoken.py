"""X-Token (NVIDIA 2026): one alignment by dynamic programming, and the two losses that train on it."""

from __future__ import annotations

from dataclasses import replace

from ctkd_core.methods.families.shared import CE_WEIGHT, TEMPERATURE
from ctkd_core.methods.options import Is, Option
from ctkd_core.methods.row import Method

_XTOKEN_ALIGN = (
    Option(
        "max_span",
        "int",
        4,
        "Most tokens that one token of the other side may face.",
        low=1,
        high=16,
        unit="tokens",
        source="released code: 4",
    ),
    Option(
        "anchors",
        "bool",
        True,
        "Pin the path where three tokens in a row occur once on both sides; without it long texts are slow.",
        source="released code: 3-grams",
        advanced=True,
    ),
    Option(
        "repair",
        "bool",
        True,
        "Fuse runs of groups that do not agree, and search small windows whose texts agree once more.",
        source="released code",
        advanced=True,
    ),
)
_SCALING = Option(
    "scaling",
    "choice",
    "dynamic",
    "dynamic: the distillation is scaled to be as large as the cross-entropy, at every step; fixed: ce_weight mixes.",
    choices=("dynamic", "fixed"),
    source="released code: dynamic; ablation of the paper: 36.39 against 35.92 to 36.27",
)
# The scale makes the distillation as large as cross-entropy, which then has the weight 1.
_CE_WEIGHT = replace(CE_WEIGHT, read_if=(Is("scaling", ("fixed",)),))
_MAX_SCALE = Option(
    "max_scale",
    "float",
    10.0,
    "With dynamic scaling: the distillation is scaled by at most this.",
    low=1.0,
    high=1e6,
    source="ours; the released code has no limit, and scales of over a thousand occur",
    advanced=True,
    variants=("clean",),
    later=True,
    read_if=(Is("scaling", ("dynamic",)),),
)

ROWS = (
    Method(
        name="xtoken",
        title="X-Token: spans by dynamic programming",
        paper="NVIDIA, 2026, arXiv 2605.21699",
        url="https://arxiv.org/abs/2605.21699",
        idea="Equal tokens, or one token over the pieces that spell it; unique 3-grams pin the path.",
        formula=(
            r"D_{ij}=\max\bigl(D_{i-1,j-1}\pm 3,\;D_{i-1,j-k}+1.5k,\;D_{i-k,j-1}+1.5k,\;D_{i-1,j}-1.5,\;"
            r"D_{i,j-1}-1.5\bigr),\;2\le k\le 4"
        ),
        cannot_see=(
            "Where the text is: only strings are compared, so a blank that one side attaches elsewhere makes a group "
            "incorrect, and a token of more than four pieces is found by the repair pass alone."
        ),
        uses=("groups",),
        aligner="ctkd_core.alignment.dynamic:xtoken",
        align_options=_XTOKEN_ALIGN,
        variants=("clean", "released"),
        variant_note=(
            "released: special tokens take part and its own canonical strings are compared (a leading underscore and "
            "tabs change); clean: canonical strings are made from bytes, and groups of equal bytes are correct."
        ),
        picture="groups",
    ),
    Method(
        name="xtoken-pkl",
        title="X-Token P-KL: projected KL",
        paper="NVIDIA, 2026, arXiv 2605.21699",
        url="https://arxiv.org/abs/2605.21699",
        idea="Move the student's probabilities into the teacher's vocabulary through a map and compare them there.",
        formula=r"L=\tau^2\tfrac1K\sum_k\mathrm{KL}\bigl(p_T^{(k)}\,\|\,W^{\top}p_S^{(k)}\bigr)",
        cannot_see=(
            "Which of several student tokens that point at one teacher token should have its mass, and probability "
            "outside the chosen teacher columns."
        ),
        outputs=("logits",),
        # The compared columns are those with the largest logits anywhere in the batch.
        also_reads={
            "clean": ("prompt_rows", "last_row", "raw_logits"),
            "released": ("prompt_rows", "last_row", "padding_rows", "raw_logits"),
        },
        uses=("projection", "groups"),
        aligner="ctkd_core.alignment.dynamic:xtoken",
        alignment_of="xtoken",
        align_options=_XTOKEN_ALIGN,
        exports={"nemo-rl": "ctkd_core.distill.exports.nemo_rl:pkl"},
        loss="ctkd_core.losses.xtoken:pkl_loss",
        state="ctkd_core.losses.xtoken:make_state",
        loss_options=(
            _SCALING,
            _CE_WEIGHT,
            TEMPERATURE,
            Option(
                "top_k",
                "int",
                8192,
                "Teacher columns that are compared: those with the largest logits in the batch.",
                low=1,
                high=262144,
                source="released code: 8192",
            ),
            Option(
                "merge",
                "choice",
                "mean",
                "mean: over the rows of a group (released code); chain: the chain rule of the paper.",
                choices=("mean", "chain"),
                source="released code: mean",
            ),
            Option("reverse", "bool", False, "KL of the student from the teacher instead.", advanced=True),
            Option(
                "exact_only",
                "bool",
                False,
                "Only groups whose two sides spell the same bytes.",
                source="released code: off",
                advanced=True,
                later=True,
            ),
            _MAX_SCALE,
            Option(
                "learn_projection",
                "bool",
                False,
                "The weights of the map learn with the student.",
                source="paper: learnt, gain 38.37 to 38.85; released code: fixed",
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: padded positions take part in choosing the teacher columns, groups are compared whatever the "
            "labels say, and the scale has no limit. clean: tokens only, learnt ones only, and a scale of at most "
            "max_scale."
        ),
        view="ctkd_core.losses.views.xtoken:teacher_columns",
        view_entries="teacher columns, each with the student tokens that map to it",
        view_lost="columns outside the top K or that no student token maps to",
        picture="target",
    ),
    Method(
        name="xtoken-hkl",
        title="X-Token H-KL: hybrid KL",
        paper="NVIDIA, 2026, arXiv 2605.21699",
        url="https://arxiv.org/abs/2605.21699",
        idea="KL on tokens that the map pairs one to one, sorted differences on the rest.",
        formula=(
            r"L=\tau^2\tfrac1K\sum_k\Bigl[\sum_{(s,t)\in C}v_t\log\tfrac{v_t}{q_s}"
            r"+\bigl\|\mathrm{sort}\,q[U_S]-\mathrm{sort}\,v[U_T]\bigr\|_1\Bigr]"
        ),
        cannot_see=(
            "That an uncommon student token spells what the teacher says: the common part presses every one of them "
            "down (Proposition 1), so numbers suffer where digits are cut differently."
        ),
        outputs=("logits",),
        uses=("projection", "groups"),
        aligner="ctkd_core.alignment.dynamic:xtoken",
        alignment_of="xtoken",
        align_options=_XTOKEN_ALIGN,
        exports={"nemo-rl": "ctkd_core.distill.exports.nemo_rl:hkl"},
        loss="ctkd_core.losses.xtoken_hybrid:hkl_loss",
        merges="ctkd_core.losses.merge_rules:hkl",
        loss_options=(
            _SCALING,
            _CE_WEIGHT,
            TEMPERATURE,
            Option(
                "common",
                "choice",
                "relaxed",
                "relaxed: the heaviest entry of a row of the map, from the threshold on; strict: one-hot rows only.",
                choices=("relaxed", "strict"),
                source="released code: relaxed for H-KL, strict for its GOLD",
            ),
            Option(
                "threshold",
                "float",
                0.6,
                "Least weight of an entry that pairs two tokens.",
                low=0.0,
                high=1.0,
                source="released code: 0.6; paper: above 0",
                read_if=(Is("common", ("relaxed",)),),
            ),
            Option(
                "tail_k",
                "int",
                8192,
                "Most entries of the sorted rest that are compared.",
                low=0,
                high=262144,
                source="released code: 8192",
                advanced=True,
                read_if=(Is("tail_weight", (0.0,), but=True),),
            ),
            Option(
                "tail_weight",
                "float",
                1.0,
                "Weight of the sorted rest.",
                low=0.0,
                high=10.0,
                advanced=True,
                read_if=(Is("tail_k", (0,), but=True),),
            ),
            Option(
                "reverse",
                "bool",
                False,
                "KL of the student from the teacher instead.",
                source="released code: off",
                advanced=True,
                later=True,
            ),
            _MAX_SCALE,
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: groups are compared whatever the labels say, and the scale has no limit: common and tail may "
            "cancel each other, and a negative sum makes the loss 0. clean: learnt tokens only, and a scale of at most "
            "max_scale."
        ),
        view="ctkd_core.losses.views.xtoken:common_tokens",
        view_entries="common tokens, means of log-probabilities",
        view_lost="uncommon tokens, what the mean loses",
        picture="target",
    ),
)
