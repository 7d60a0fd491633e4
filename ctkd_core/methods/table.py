"""The table of methods: the CLI, the pages, the trainer, the docs and the tests all read it.

A method is a named choice of aligner, vocabulary map and loss, with its paper. To add one, write its loss (or
aligner) and one row here; `docs/adding-a-method.md` walks through it. Functions are named by dotted path
("package.module:function") and loaded on first use, so that reading the table imports nothing heavy.
This file is data and may be long; what a row is stands in `method_row.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ctkd_core.errors import CtkdError, unknown
from ctkd_core.methods.options import Option
from ctkd_core.methods.row import VARIANTS, Method, load

__all__ = ["METHODS", "VARIANTS", "Method", "aligning", "get", "load", "training"]


def get(name: str, error: type[CtkdError] = CtkdError) -> Method:
    """The row called `name`; an unknown name fails with the nearest ones."""
    try:
        return METHODS[name]
    except (KeyError, TypeError):
        raise unknown("method", name, METHODS, error) from None


def aligning() -> list[Method]:
    """Methods that have an alignment of their own, in table order."""
    return [m for m in METHODS.values() if m.can_align and not m.alignment_of]


def training() -> list[Method]:
    """Methods that have a loss, in table order."""
    return [m for m in METHODS.values() if m.can_train]


_TEMPERATURE = Option(
    "temperature", "float", 1.0, "Both logit sets are divided by this before the soft-max.", low=0.05, high=20.0
)
_CE_WEIGHT = Option(
    "ce_weight",
    "float",
    0.5,
    "Share of cross-entropy on the data; the rest is distillation.",
    low=0.0,
    high=1.0,
    source="SeDi eq. 9: lambda = 0.5",
)
_WINDOW = Option(
    "window",
    "int",
    0,
    "Longest stretch searched at once; longer texts are cut at byte boundaries that both sides share. "
    "0: only texts of over 4,096 x 4,096 tokens are cut, into stretches of 1,024.",
    low=0,
    high=16384,
    unit="tokens",
    source="ours: keeps the cost linear in the length of the text",
    advanced=True,
)

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
_DUAL_SPACE = (
    replace(_CE_WEIGHT, source="released code: KD rate 0.5"),
    Option(
        "divergence",
        "choice",
        "forward_kl",
        "How the student is compared with the teacher's states in its own space.",
        choices=("forward_kl", "reverse_kl", "jsd", "skewed_forward_kl", "skewed_reverse_kl", "adaptive_kl", "tvd"),
        source="released scripts: forward KL, among others",
    ),
    replace(_TEMPERATURE, default=2.0, source="released scripts: 2"),
    Option(
        "teacher_temperature",
        "float",
        1.0,
        "Divides the logits of the projected teacher besides, as targets of the student.",
        low=0.05,
        high=20.0,
        source="released code: 1",
        advanced=True,
    ),
    Option(
        "skew",
        "float",
        0.1,
        "With the skewed KLs: share of the first distribution that is mixed into the second.",
        low=0.0,
        high=1.0,
        source="released code: 0.1",
        advanced=True,
    ),
)

_ROWS = (
    Method(
        name="sft",
        title="SFT (no teacher)",
        paper="baseline: next-token cross-entropy on the data",
        url="",
        idea="Learn the data set's own answers; the teacher is not asked.",
        formula=r"L = -\tfrac{1}{n}\sum_i \log p_S(y_i \mid y_{<i})",
        cannot_see="Anything the teacher knows beyond the one answer in the data.",
        needs=(),
        loss="ctkd_core.losses.sft:sft_loss",
    ),
    Method(
        name="kd",
        title="KD (same tokenizer)",
        paper="Hinton et al., 2015, arXiv 1503.02531; divergences of later papers",
        url="https://arxiv.org/abs/1503.02531",
        idea="With one tokenizer on both sides, compare the two next-token distributions position by position.",
        formula=r"L=\lambda\,\mathrm{CE}+(1-\lambda)\,\tfrac1n\sum_i D\bigl(q_i\,\|\,p_i\bigr)",
        cannot_see="A teacher with another tokenizer: it is refused, since its ids mean other tokens.",
        needs=("logits", "same_tokenizer"),
        loss="ctkd_core.losses.same:kd_loss",
        loss_options=(
            _CE_WEIGHT,
            Option(
                "divergence",
                "choice",
                "forward_kl",
                "How two distributions are compared.",
                choices=(
                    *("forward_kl", "reverse_kl", "jsd", "skewed_forward_kl", "skewed_reverse_kl", "adaptive_kl"),
                    "tvd",
                ),
                source="Hinton et al.: forward KL",
            ),
            _TEMPERATURE,
            Option(
                "beta",
                "float",
                0.5,
                "With jsd: weight of the teacher in the mixture; 0 is the forward KL, 1 the reverse KL.",
                low=0.0,
                high=1.0,
                source="TRL's GKD trainer: 0.5",
            ),
            Option(
                "skew",
                "float",
                0.1,
                "With the skewed KLs: share of the first distribution that is mixed into the second.",
                low=0.0,
                high=1.0,
                source="DistiLLM: 0.1",
            ),
            Option(
                "tail_mass",
                "float",
                0.5,
                "With adaptive_kl: the teacher's least probable tokens up to this mass are the tail.",
                low=0.0,
                high=1.0,
                source="public code of adaptive KL: 0.5",
                advanced=True,
            ),
            Option(
                "top_k",
                "int",
                0,
                "Compare the teacher's k most probable tokens only, both sides scaled to 1 there; 0 compares all.",
                low=0,
                high=1_000_000,
                source="X-Token's released code does so for teachers with the student's tokenizer",
                advanced=True,
            ),
            Option(
                "tau_squared",
                "bool",
                False,
                "Multiply the divergence by temperature squared, which keeps the size of its gradient.",
                source="Hinton et al. multiply, most programs for language models don't",
                advanced=True,
            ),
        ),
    ),
    Method(
        name="uld",
        title="ULD: Universal Logit Distillation",
        paper="Boizard et al., 2024, arXiv 2402.12030",
        url="https://arxiv.org/abs/2402.12030",
        idea="Pair positions by index and compare the two sorted probability vectors.",
        formula=(r"L = \lambda\,\mathrm{CE} + (1-\lambda)\,\tfrac1T\sum_t\sum_i\bigl|p^{(i)}_t-q^{(i)}_t\bigr|"),
        cannot_see=(
            "Which token has which probability (only the sorted shape counts), and that positions drift apart "
            "as soon as one tokenizer splits a word finer."
        ),
        needs=("logits", "pairs"),
        aligner="ctkd_core.alignment.positional:uld",
        loss="ctkd_core.losses.uld:uld_loss",
        loss_options=(
            _CE_WEIGHT,
            _TEMPERATURE,
            Option(
                "pairing",
                "choice",
                "positional",
                "Compare by index (the paper) or by byte-exact groups (last row of each side).",
                choices=("positional", "groups"),
                source="paper: by index",
            ),
            Option(
                "top_k",
                "int",
                0,
                "Compare only the largest k probabilities of either side; 0 compares all of them.",
                low=0,
                high=4096,
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "Released (TRL without groups): the rows at the answer's own tokens are compared, which predict the "
            "tokens after them; the last token is left out whether it is EOS or not; samples without an answer count "
            "as 0. Clean compares the rows that predict the answer's tokens, over the samples that have pairs."
        ),
    ),
    Method(
        name="cdm",
        title="CDM: Contextual Dynamic Mapping",
        paper="Chen et al., Findings of ACL 2025, arXiv 2502.11104",
        url="https://arxiv.org/abs/2502.11104",
        idea=(
            "Dynamic time warping over token strings, where mismatches cost more if a model is uncertain; then each "
            "side's likeliest tokens, mapped by spelling, are compared."
        ),
        formula=(
            r"D_{ij}=\mathrm{Lev}(a_i,b_j)\,w^T_i w^S_j+\min(D_{i-1,j-1},D_{i-1,j},D_{i,j-1}),\quad "
            r"L=\tfrac{\tau^2}{2}\bigl[\mathrm{KL}_{K_T}(p_T\|p_S)+\mathrm{KL}_{K_S}(p_T\|p_S)\bigr]"
        ),
        cannot_see=(
            "That several pieces together spell one token: costs compare single pieces, so a long word against "
            "its pieces is often cut in the wrong place. And what probability lies outside the mapped candidates."
        ),
        needs=("logits", "entropy", "top_k", "projection", "pairs", "groups"),
        aligner="ctkd_core.alignment.dtw:cdm",
        align_options=(
            Option(
                "integer_weights",
                "bool",
                True,
                "Truncate the entropy weights to 3, 4 or 5 as the released code does.",
                source="released code: trunc(3 + 3f)",
            ),
            _WINDOW,
        ),
        loss="ctkd_core.losses.cdm:cdm_loss",
        loss_options=(
            replace(
                _CE_WEIGHT,
                source="DSKD, whose port takes the mean over groups; released command line: 0.9, mean over slots",
            ),
            replace(_TEMPERATURE, default=0.8, source="released command line: 0.8 (student only)"),
            Option(
                "top_k",
                "int",
                100,
                "Most probable tokens of each side that are compared.",
                low=1,
                high=1024,
                source="released code: 100",
            ),
            Option(
                "threshold",
                "float",
                0.3,
                "Largest edit distance over both lengths that makes two spellings partners; 0: equal tokens only.",
                low=0.0,
                high=1.0,
                source="released code: 0.3",
            ),
            Option(
                "merge",
                "choice",
                "mean",
                "Logits of a group: the mean of its rows, or its last row, where both sides have read the same text.",
                choices=("mean", "last"),
                source="released code: mean",
            ),
            Option(
                "normaliser",
                "choice",
                "groups",
                "Mean over groups, or divided by the 2K slots of a group besides.",
                choices=("groups", "slots"),
                source="released code: slots; its port in DSKD: groups",
                advanced=True,
            ),
            Option(
                "realign",
                "bool",
                False,
                "Align anew at every step, with weights from both models' entropies; else the alignment made from the "
                "strings alone is used.",
                source="paper: entropy weights; ours: precomputed with constant weights",
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: rows that share an alignment list are grouped and groups may overlap; the two halves share one "
            "soft-max with the models' roles swapped in the second, and only the student is tempered. Clean: connected "
            "components of the path, each row used once; two divergences, both sides tempered, times tau squared."
        ),
    ),
    Method(
        name="mined",
        title="MinED: minimum edit distance",
        paper="Wan et al., ICLR 2024 (FuseLLM), arXiv 2401.10491",
        url="https://arxiv.org/abs/2401.10491",
        idea="Dynamic time warping with plain edit distance; only one-to-one pairs of equal tokens are copied.",
        formula=(
            r"D_{ij}=\mathrm{Lev}(a_i,b_j)+\min(D_{i-1,j-1},D_{i-1,j},D_{i,j-1}),\quad "
            r"L=\tfrac1N\Bigl[\sum_{\text{usable}}\mathrm{KL}(W^{\top}p_T\|p_S)-\sum_{\text{others}}\log p_S(y)\Bigr]"
        ),
        cannot_see=(
            "That several pieces together spell one token, and whether a pair of equal tokens stands at the same place "
            "of the text; everywhere else the teacher is not asked at all."
        ),
        needs=("logits", "top_k", "projection", "pairs", "groups"),
        aligner="ctkd_core.alignment.mined:mined",
        align_options=(
            Option(
                "ties",
                "choice",
                "teacher",
                "Which token to drop first where costs are equal: the teacher's (FuseLLM, DSKD) or the student's "
                "(FuseChat).",
                choices=("teacher", "student"),
                source="FuseLLM: first minimum of diagonal, teacher - 1, student - 1",
                advanced=True,
            ),
            Option(
                "same_end",
                "bool",
                True,
                "A pair is usable only where both tokens end at the same byte: both rows then predict the same text.",
                source="ours; the released programs do not ask that",
            ),
            _WINDOW,
        ),
        loss="ctkd_core.losses.mined:mined_loss",
        loss_options=(
            _CE_WEIGHT,
            replace(_TEMPERATURE, default=2.0, source="DSKD's form: 2; FuseLLM: 1, teacher only"),
            Option(
                "accept",
                "choice",
                "soft",
                "Which one-to-one pairs are copied. hard: equal strings; map: the map says so (DSKD); soft: either.",
                choices=("soft", "hard", "map"),
                source="FuseLLM: soft",
            ),
            Option(
                "byte_exact",
                "bool",
                True,
                "A pair counts only where both tokens end at the same byte: both rows then predict the same text.",
                source="ours; the released programs do not ask that",
            ),
            Option(
                "many_to_one",
                "choice",
                "sum",
                "Several teacher tokens on one student token: add them up, take the largest, or the first.",
                choices=("sum", "max", "first"),
                source="ours: sum; released: first",
            ),
            Option(
                "top_k",
                "int",
                0,
                "Copy only the teacher's largest k logits; 0 copies all of them.",
                low=0,
                high=4096,
                source="FuseLLM: 10; DSKD: all",
            ),
            Option(
                "fallback_weight",
                "float",
                1.0,
                "Weight of the rows that copy nothing; their target is the text's next token.",
                low=0.0,
                high=10.0,
                source="released programs: 1",
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: vocabulary strings are compared byte by byte, a pair may end at different bytes, and the first "
            "of several teacher tokens stays; FuseLLM's rows (accept soft, hard) learn their own token instead of the "
            "next where nothing is copied, DSKD's (map) learn it at the temperature. Clean: usable pairs end at the "
            "same byte, the fallback is plain cross-entropy on the next token."
        ),
    ),
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
        needs=("logits", "projection", "groups"),
        aligner="ctkd_core.alignment.dynamic:xtoken",
        align_options=_XTOKEN_ALIGN,
        variants=("clean", "released"),
        variant_note=(
            "released: special tokens take part and its own canonical strings are compared (a leading underscore and "
            "tabs change); clean: canonical strings are made from bytes, and groups of equal bytes are correct."
        ),
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
        needs=("logits", "projection", "groups"),
        aligner="ctkd_core.alignment.dynamic:xtoken",
        alignment_of="xtoken",
        align_options=_XTOKEN_ALIGN,
        loss="ctkd_core.losses.xtoken:pkl_loss",
        state="ctkd_core.losses.xtoken:make_state",
        loss_options=(
            _SCALING,
            _CE_WEIGHT,
            _TEMPERATURE,
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
                "learn_projection",
                "bool",
                False,
                "The weights of the map learn with the student.",
                source="paper: learnt, gain 38.37 to 38.85; released code: fixed",
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note="released: padded positions take part in choosing the teacher columns; clean: tokens only.",
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
        needs=("logits", "projection", "groups"),
        aligner="ctkd_core.alignment.dynamic:xtoken",
        alignment_of="xtoken",
        align_options=_XTOKEN_ALIGN,
        loss="ctkd_core.losses.xtoken_hybrid:hkl_loss",
        loss_options=(
            _SCALING,
            _CE_WEIGHT,
            _TEMPERATURE,
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
            ),
            Option("tail_weight", "float", 1.0, "Weight of the sorted rest.", low=0.0, high=10.0, advanced=True),
        ),
    ),
    Method(
        name="multilevel_ot",
        title="MultiLevelOT: ranked columns on three levels",
        paper="Cui et al., AAAI 2025, arXiv 2412.14528",
        url="https://arxiv.org/abs/2412.14528",
        idea="Rank the columns of the whole answer, keep fifty, and compare them by token, logarithm and sequence.",
        formula=(
            r"L=\lambda\,\mathrm{CE}+(1-\lambda)\Bigl[\sum_{i\le k}|t_i-s_i|-\beta\sum_{i\le k}t_i\log s_i"
            r"+\gamma\,\mathrm{Sinkhorn}(t,s)\Bigr]"
        ),
        cannot_see=(
            "Which token a column is (only its rank over the answer counts), and that positions drift apart: rows face "
            "each other by index."
        ),
        needs=("logits",),
        loss="ctkd_core.losses.multilevel_ot:multilevel_ot_loss",
        loss_options=(
            _CE_WEIGHT,
            _TEMPERATURE,
            Option("top_k", "int", 50, "Columns that are kept.", low=1, high=4096, source="paper: 50"),
            Option(
                "matching",
                "choice",
                "rank",
                "How the student's columns are matched to the teacher's ranked ones.",
                choices=("rank", "greedy", "exact"),
                source="released code: rank; exact is the paper's, for small vocabularies",
            ),
            Option("sl_weight", "float", 0.1, "Weight of the logarithmic term.", low=0.0, high=10.0, source="paper"),
            Option("sd_weight", "float", 0.1, "Weight of the Sinkhorn distance.", low=0.0, high=10.0, source="paper"),
            Option(
                "sd_temperature",
                "float",
                2.0,
                "Temperature of the Sinkhorn distance.",
                low=0.05,
                high=20.0,
                source="paper",
                advanced=True,
            ),
            Option(
                "sinkhorn_epsilon",
                "float",
                0.1,
                "Entropic weight of the transport.",
                low=1e-3,
                high=100.0,
                source="paper: lambda = 0.1",
                advanced=True,
            ),
            Option(
                "sinkhorn_iterations",
                "int",
                20,
                "Scalings of rows and columns.",
                low=1,
                high=1000,
                source="paper: 20; released code: 10",
                advanced=True,
            ),
            Option(
                "reduction",
                "choice",
                "mean",
                "Mean or sum over the tokens of an answer.",
                choices=("mean", "sum"),
                source="paper: sum; released code: mean for the first term",
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: logits are divided by their standard deviation, columns are ranked over the whole batch, "
            "student and teacher are exchanged in the logarithmic term, padded rows take part, the Sinkhorn term is "
            "scaled by 0.001. clean: the paper's formulas, per sample, as means over tokens."
        ),
    ),
    Method(
        name="cot2align",
        title="CoT2Align: transport of hidden states",
        paper="2025, arXiv 2502.16806",
        url="https://arxiv.org/abs/2502.16806",
        idea="Move the student's hidden states onto the teacher's at least cost, beside a loss on the logits.",
        formula=(
            r"L=\lambda\,\mathrm{CE}+(1-\lambda)\Bigl[L_{base}+w\sum_{l,(a,b)}"
            r"\min_{T}\langle T,\,C(h_S^{a,l},\,P h_T^{b,l})\rangle\Bigr]"
        ),
        cannot_see="The order of tokens and which text a hidden state belongs to: an answer is a cloud of points.",
        needs=("logits", "hidden_states"),
        loss="ctkd_core.losses.cot2align:cot2align_loss",
        state="ctkd_core.losses.cot2align:make_state",
        loss_options=(
            _CE_WEIGHT,
            Option("base", "choice", "uld", "The loss on the logits.", choices=("uld", "none")),
            Option(
                "temperature",
                "float",
                2.0,
                "Temperature of the loss on the logits.",
                low=0.05,
                high=20.0,
                source="released script: 2",
            ),
            Option(
                "cost",
                "choice",
                "cosine",
                "Distance of two hidden states; attention has almost no gradient while the plan is uniform.",
                choices=("cosine", "attention", "euclidean"),
                source="released code: attention",
            ),
            Option(
                "epsilon",
                "float",
                0.1,
                "Entropic weight of the transport; large values make the plan uniform.",
                low=1e-3,
                high=100.0,
                source="released code: 10 (as alpha = 0.1)",
            ),
            Option(
                "iterations",
                "int",
                50,
                "Scalings of the plan.",
                low=1,
                high=1000,
                source="released code: 100",
                advanced=True,
            ),
            Option(
                "ot_weight",
                "float",
                0.25,
                "Weight of each transport term.",
                low=0.0,
                high=100.0,
                source="released code: a quarter",
            ),
            Option("layers", "str", "first,last", "Layers that are compared, comma-separated.", advanced=True),
            Option(
                "pairs",
                "str",
                "cot-cot,std-cot,cot-std",
                "Versions that face each other, student-teacher; without reasoning the plain answers do.",
                source="released code",
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: attention cost at an entropic weight of 10, which makes the plan nearly uniform and the "
            "gradient small. clean: cosine cost at 0.1."
        ),
    ),
    Method(
        name="dskd",
        title="DSKD: dual space with cross-model attention",
        paper="Zhang et al., EMNLP 2024, arXiv 2406.17328",
        url="https://arxiv.org/abs/2406.17328",
        idea=(
            "Attention between both models' tokens mixes hidden states of the one for each row of the other, and each "
            "head reads the other model's states."
        ),
        formula=(
            r"L=\lambda\,\mathrm{CE}+(1-\lambda)\Bigl[\mathrm{CE}(\tilde p^{\,t\to s},y)"
            r"+D(\tilde p^{\,t\to s}\|\,p)+\mathrm{KL}(q\,\|\,\tilde q^{\,s\to t})\Bigr]"
        ),
        cannot_see=(
            "Where the tokens stand in the text: attention compares embeddings of tokens and learns by itself which "
            "face each other. It costs two more output heads at every position."
        ),
        needs=("logits", "hidden_states"),
        loss="ctkd_core.losses.dskd:dskd_loss",
        state="ctkd_core.losses.dskd:make_state",
        loss_options=(*_DUAL_SPACE,),
        variants=("clean", "released"),
        variant_note=(
            "released: all terms are sums divided by the number of student tokens, the teacher's rows too, and scales "
            "are measured over whole padded sequences. clean: each term is a mean over its own rows, and scales are "
            "measured on the answers."
        ),
    ),
    Method(
        name="dskd-eta",
        title="DSKD v2: exact token alignment",
        paper="Zhang et al., 2025, arXiv 2504.11426",
        url="https://arxiv.org/abs/2504.11426",
        idea=(
            "Only tokens that are equal and stand after equal text face each other; projectors that keep the logits "
            "of shared tokens move hidden states into the other model's space."
        ),
        formula=(
            r"A=\{(i,j): a_{<i}=b_{<j},\; a_i=b_j\},\quad "
            r"W_{t\to s}=W_T^{\top}(W_S^{\top})^{+},\quad W_{s\to t}=W_S^{\top}(W_T^{\top})^{+}"
        ),
        cannot_see="Every token that the other tokenizer cuts differently: it is masked, however alike its pieces are.",
        needs=("logits", "hidden_states", "projection", "pairs", "groups"),
        aligner="ctkd_core.alignment.exact_history:exact_tokens",
        loss="ctkd_core.losses.dskd_eta:dskd_eta_loss",
        state="ctkd_core.losses.dskd_eta:make_state",
        loss_options=(
            *_DUAL_SPACE,
            Option(
                "agreement",
                "float",
                1.0,
                "The student learns from projected states that predict the teacher's token; above this share of them "
                "from all aligned ones.",
                low=0.0,
                high=1.0,
                source="released code: 1, so never from all",
            ),
            Option(
                "shared_tokens",
                "int",
                0,
                "Shared tokens that the projectors keep the logits of, by student id; 0: all.",
                low=0,
                high=1_000_000,
                source="released code: all, or the first k",
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: strings without blanks are compared, so a blank belongs to neither of its neighbours, and the "
            "teacher's token is looked up as it is spelled in the vocabulary; clean: both tokens cover the same bytes "
            "of the text, and equal bytes are one token."
        ),
    ),
    Method(
        name="sedi",
        title="SeDi: span graph and token migration",
        paper="Wang et al., AAAI-26, Bridging the Tokenizer Gap",
        url="https://ojs.aaai.org/index.php/AAAI/article/view/40637",
        idea="Tokens whose text overlaps form one group; the teacher's top candidates are re-encoded for the student.",
        formula=(
            r"L=\lambda\,\mathrm{CE}+(1-\lambda)\Bigl[\tfrac1n\sum_i \mathrm{KL}\bigl(\sigma(z^{topk}_i+\omega z^S_i)"
            r"\,\|\,\sigma(z^S_i)\bigr)+\tfrac1n\sum_i\bigl(H_i^{pseudo}-H_i^T\bigr)^2\Bigr]"
        ),
        cannot_see=(
            "Probability outside the teacher's top K; inside a group the prefix makes many candidates collide on "
            "the same student token."
        ),
        needs=("logits", "top_k", "groups"),
        aligner="ctkd_core.alignment.spans:sedi",
        loss="ctkd_core.losses.sedi:sedi_loss",
        state="ctkd_core.losses.sedi:make_state",
        align_options=(
            Option(
                "unit",
                "choice",
                "byte",
                "Compare spans by UTF-8 bytes (exact inside split characters) or by characters (the paper).",
                choices=("byte", "char"),
                source="paper section 3: characters",
            ),
            Option(
                "empty_spans",
                "choice",
                "apart",
                "A token that covers nothing of the text overlaps nothing (the intersection is empty), or touches the "
                "token that holds its place.",
                choices=("apart", "touch"),
                source="paper: the intersection; released code: touch",
                advanced=True,
            ),
        ),
        loss_options=(
            Option(
                "top_k", "int", 100, "Teacher candidates migrated per row.", low=1, high=1024, source="paper: K=100"
            ),
            _CE_WEIGHT,
            Option(
                "temperature",
                "float",
                2.0,
                "Divides both logit sets of the KL term; the entropy term always runs at 1.",
                low=0.05,
                high=20.0,
                source="released script: tau = 2, no tau squared",
            ),
            Option(
                "entropy_weight",
                "float",
                1.0,
                "Weight of the entropy term inside the distillation part.",
                low=0.0,
                high=10.0,
                source="paper eq. 8",
            ),
            Option(
                "omega",
                "float",
                1.0,
                "Initial value of the learnable weight on the student's own logits. From 1 the target is sharp at once "
                "and short runs learn little; 0 begins as plain top-K distillation.",
                low=0.0,
                high=10.0,
                source="not stated in the paper",
            ),
            Option(
                "strict_prefix",
                "bool",
                False,
                "Skip candidates whose pieces contradict the gold prefix.",
                advanced=True,
            ),
            Option("detach_target", "bool", False, "No gradient through the pseudo target.", advanced=True),
        ),
    ),
    Method(
        name="gold",
        title="GOLD: groups between common byte boundaries",
        paper="Hugging Face, 2025, General On-Policy Logit Distillation (TRL)",
        url="https://huggingface.co/spaces/HuggingFaceH4/on-policy-distillation",
        idea="A group closes where both sides reach one byte; its rows merge, and equal tokens are compared by name.",
        formula=(
            r"L=w_m\,\tfrac1G\sum_g J_\beta\bigl(p_g[M_S],q_g[M_T]\bigr)"
            r"+w_u\,\tfrac1G\sum_g\bigl\|\mathrm{sort}\,p_g[U_S]-\mathrm{sort}\,q_g[U_T]\bigr\|_1"
        ),
        cannot_see=(
            "What happens inside a group of several tokens: their rows become one distribution. Tokens without an "
            "equal string on the other side count by the shape of their probabilities only."
        ),
        needs=("logits", "groups"),
        aligner="ctkd_core.alignment.gold:gold",
        loss="ctkd_core.losses.gold:gold_loss",
        loss_options=(
            _CE_WEIGHT,
            _TEMPERATURE,
            Option(
                "merge",
                "choice",
                "bayesian",
                "bayesian: the row that predicts a group's last token times the chance of its earlier tokens; "
                "observed: the row at the first token, as the released trainer merges.",
                choices=("bayesian", "observed"),
                source="released trainer: observed",
            ),
            Option("hybrid", "bool", True, "Compare equal tokens by identity and sort the rest; off: sort all (ULD)."),
            Option(
                "beta",
                "float",
                0.5,
                "Weight of the teacher in the mixture of the divergence: 0 forward KL, 1 reverse KL.",
                low=0.0,
                high=1.0,
                source="released trainer: 0.5",
            ),
            Option(
                "weights",
                "choice",
                "adaptive",
                "adaptive: the matched part weighs as much as the share of matched tokens in the teacher's logits, the "
                "rest one minus that; fixed: the two weights below.",
                choices=("adaptive", "fixed"),
                source="released trainer: adaptive unless both weights are given",
            ),
            Option(
                "matched_weight", "float", 1.0, "Fixed weight of the matched part.", low=0.0, high=10.0, advanced=True
            ),
            Option(
                "unmatched_weight", "float", 1.0, "Fixed weight of the sorted rest.", low=0.0, high=10.0, advanced=True
            ),
            Option("with_eos", "bool", False, "Compare the end of the answer too.", source="released trainer: masked"),
            Option(
                "empty_samples",
                "choice",
                "skip",
                "skip: the mean runs over samples that have groups; count: the others count as 0.",
                choices=("skip", "count"),
                source="released trainer: count",
                advanced=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: byte-level tokenizers only; what is left over at the end is forced into one last group, "
            "whatever bytes its sides cover. clean: any tokenizer; left-over tokens are grouped by shared bytes and "
            "flagged."
        ),
    ),
    Method(
        name="gold-greedy",
        title="GOLD-greedy: two text buffers",
        paper="Hugging Face, 2025, TRL before byte offsets",
        url="https://huggingface.co/docs/trl/main/en/gold_trainer",
        idea="Grow two text buffers token by token and close a group when they are equal.",
        formula=r"\text{close at }(i,j)\iff \mathrm{text}(s_{i_0..i})=\mathrm{text}(t_{j_0..j})",
        cannot_see=(
            "Any way back: after the first difference in spelling the buffers never meet again, and the rest of the "
            "text is one group."
        ),
        needs=("groups",),
        aligner="ctkd_core.alignment.greedy:gold_greedy",
        variants=("clean", "released"),
        variant_note=(
            "released: buffers of decoded text, special tokens included, so a BOS that one tokenizer adds, or a "
            "character that tokens cut, is enough to collapse the rest. clean: buffers of bytes, without BOS and such."
        ),
    ),
    Method(
        name="alm",
        title="ALM: Approximate Likelihood Matching",
        paper="Minixhofer et al., NeurIPS 2025, arXiv 2503.20083",
        url="https://arxiv.org/abs/2503.20083",
        idea="Cut the text where both tokenizers have a boundary and compare how likely each chunk is.",
        formula=(
            r"L=\tfrac1C\sum_c f\bigl(p_T(c)^{1/\tau}\,\|\,p_S(c)^{1/\tau}\bigr),\quad"
            r"p(c)=\prod_{i\in c}p(y_i\mid y_{<i})\;p(\text{boundary}\mid y_{\le c})"
        ),
        cannot_see=(
            "Anything but the text at hand: of each distribution only the probability of the token that follows "
            "counts, not what else the teacher would have said."
        ),
        needs=("logits", "space_probability", "hidden_states", "groups"),
        aligner="ctkd_core.alignment.alm:alm",
        loss="ctkd_core.losses.alm:alm_loss",
        state="ctkd_core.losses.alm:make_state",
        loss_options=(
            _CE_WEIGHT,
            Option(
                "temperature",
                "float",
                100.0,
                "Divides both log-probabilities of a chunk before they are compared as a yes-or-no event.",
                low=0.1,
                high=1e6,
                source="paper: 100 for its tables, 5 was better",
            ),
            Option(
                "divergence",
                "choice",
                "kl",
                "How the two events are compared; kl is 0 at equality and has the gradient of binary_ce.",
                choices=("kl", "reverse_kl", "tvd", "binary_ce", "reverse_binary_ce", "kl_limit", "tvd_limit"),
                source="paper: KL; released code: binary_ce",
            ),
            Option(
                "debias",
                "choice",
                "merge",
                "none; append: add the chance of a new word after the chunk; merge: also join chunks after which the "
                "teacher hardly expects one.",
                choices=("none", "append", "merge"),
                source="released code: merge and append",
            ),
            Option(
                "gamma",
                "float",
                0.1,
                "A chunk is joined with the next unless the teacher gives a new word more than this.",
                low=0.0,
                high=1.0,
                source="paper: 0.1",
            ),
            Option(
                "hidden_weight",
                "float",
                0.0,
                "Weight of the distance between hidden states at the end of each chunk; it trains a projector.",
                low=0.0,
                high=100.0,
                source="paper: helps transfer to bytes, off for subwords",
                advanced=True,
            ),
        ),
        align_options=(
            Option(
                "chunking",
                "choice",
                "plain",
                "Where a chunk may end: at every common boundary, before spaces, or where the teacher expects one.",
                choices=("plain", "space", "bias"),
                source="paper: plain; released code: space; paper section 4: bias",
            ),
            Option(
                "space_threshold",
                "float",
                0.1,
                "With chunking bias: a chunk is merged with the next unless the teacher's probability of a boundary "
                "after it is larger.",
                low=0.0,
                high=1.0,
                source="paper: gamma = 0.1",
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: lengths of token strings are walked, chunks whose strings differ and what follows the last "
            "chunk are dropped. clean: bytes of the text are walked, chunks whose strings differ are kept and flagged."
        ),
    ),
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
