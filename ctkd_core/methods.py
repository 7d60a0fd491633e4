"""The table of methods: the CLI, the pages, the trainer, the docs and the tests all read it.

A method is a named choice of aligner, vocabulary map and loss, with its paper. To add one, write its loss (or
aligner) and one row here; `docs/adding-a-method.md` walks through it. Functions are named by dotted path
("package.module:function") and loaded on first use, so that reading the table imports nothing heavy.
This file is data and may be long; what a row is stands in `method_row.py`.
"""

from __future__ import annotations

from ctkd_core.errors import CtkdError, unknown
from ctkd_core.method_row import VARIANTS, Method, load
from ctkd_core.options import Option

__all__ = ["METHODS", "VARIANTS", "Method", "aligning", "get", "load", "training"]


def get(name: str, error: type[CtkdError] = CtkdError) -> Method:
    """The row called `name`; an unknown name fails with the nearest ones."""
    try:
        return METHODS[name]
    except (KeyError, TypeError):
        raise unknown("method", name, METHODS, error) from None


def aligning() -> list[Method]:
    """Methods that have an alignment, in table order."""
    return [m for m in METHODS.values() if m.can_align]


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
        idea="Dynamic time warping over token strings; mismatches cost more where a model is uncertain.",
        formula=r"D_{ij}=\mathrm{Lev}(a_i,b_j)\,w^T_i w^S_j+\min(D_{i-1,j-1},D_{i-1,j},D_{i,j-1})",
        cannot_see=(
            "That several pieces together spell one token: costs compare single pieces, so a long word against "
            "its pieces is often cut in the wrong place."
        ),
        needs=("logits", "entropy", "pairs", "groups"),
        aligner="ctkd_core.alignment.dtw:cdm",
        align_options=(
            Option(
                "integer_weights",
                "bool",
                True,
                "Truncate the entropy weights to 3, 4 or 5 as the released code does.",
                source="released code: trunc(3 + 3f)",
            ),
            Option(
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
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: rows that share an alignment list are grouped and groups may overlap; clean: connected "
            "components of the path, each row used once."
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
)

METHODS: dict[str, Method] = {row.name: row for row in _ROWS}
