"""CDM (Chen et al. 2025): time warping with entropy weights, then mapped candidates."""

from __future__ import annotations

from dataclasses import replace

from ctkd_core.methods.families.shared import CE_WEIGHT, TEMPERATURE, WINDOW
from ctkd_core.methods.options import Option
from ctkd_core.methods.row import Method

ROWS = (
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
        outputs=("logits",),
        merges="ctkd_core.losses.merge_rules:cdm",
        also_reads={"released": ("last_row", "raw_logits")},
        aligner_inputs=("entropy",),
        uses=("top_k", "projection", "pairs", "groups"),
        aligner="ctkd_core.alignment.dtw:cdm",
        align_options=(
            Option(
                "integer_weights",
                "bool",
                True,
                "Truncate the entropy weights to 3, 4 or 5 as the released code does.",
                source="released code: trunc(3 + 3f)",
                variants=("clean",),
            ),
            WINDOW,
        ),
        loss="ctkd_core.losses.cdm:cdm_loss",
        loss_options=(
            replace(
                CE_WEIGHT,
                source="DSKD, whose port takes the mean over groups; released command line: 0.9, mean over slots",
            ),
            replace(TEMPERATURE, default=0.8, source="released command line: 0.8 (student only)"),
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
                variants=("clean",),
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
        view="ctkd_core.losses.views.cdm:candidate_slots",
        view_entries="partnered slots of the teacher's K best",
        view_lost="outside the top K, without a partner",
        picture="path",
    ),
)
