"""ULD (Boizard et al. 2024): sorted probabilities, position by position."""

from __future__ import annotations

from ctkd_core.methods.families.shared import CE_WEIGHT, TEACHER_TEMPERATURE, TEMPERATURE
from ctkd_core.methods.options import Option
from ctkd_core.methods.row import Method

ROWS = (
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
        outputs=("logits",),
        merges="ctkd_core.losses.merge_rules:uld",
        uses=("pairs",),
        groups_of="sedi",
        aligner="ctkd_core.alignment.positional:uld",
        own_mean=("released",),
        exports={"trl": "ctkd_core.distill.exports.trl:uld"},
        loss="ctkd_core.losses.uld:uld_loss",
        loss_options=(
            CE_WEIGHT,
            TEMPERATURE,
            TEACHER_TEMPERATURE,
            Option(
                "pairing",
                "choice",
                "positional",
                "Compare by index (the paper) or by byte-exact groups (last row of each side).",
                choices=("positional", "groups"),
                source="paper: by index",
                variants=("clean",),
            ),
            Option(
                "top_k",
                "int",
                0,
                "Compare only the largest k probabilities of either side; 0 compares all of them.",
                low=0,
                high=4096,
                advanced=True,
                variants=("clean",),
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "Released (TRL without groups): the rows at the answer's own tokens are compared, which predict the "
            "tokens after them; the last token is left out whether it is EOS or not; samples without an answer count "
            "as 0. Clean compares the rows that predict the answer's tokens, over the samples that have pairs."
        ),
        view="ctkd_core.losses.views.uld:sorted_rows",
        view_entries="ranks",
        view_lost="which token it was",
        picture="groups",
    ),
)
