"""MinED (Wan et al. 2024): minimum edit distance, one-to-one pairs of equal tokens."""

from __future__ import annotations

from dataclasses import replace

from ctkd_core.methods.families.shared import CE_WEIGHT, TEMPERATURE, WINDOW
from ctkd_core.methods.options import Is, Option
from ctkd_core.methods.row import Method

ROWS = (
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
        outputs=("logits",),
        uses=("top_k", "projection", "pairs", "groups"),
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
                variants=("clean",),
            ),
            WINDOW,
        ),
        loss="ctkd_core.losses.mined:mined_loss",
        loss_options=(
            CE_WEIGHT,
            replace(TEMPERATURE, default=2.0, source="DSKD's form: 2; FuseLLM: 1, teacher only"),
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
                variants=("clean",),
            ),
            Option(
                "many_to_one",
                "choice",
                "sum",
                "Several teacher tokens on one student token: add them up, take the largest, or the first.",
                choices=("sum", "max", "first"),
                source="ours: sum; released: first",
                variants=("clean",),
                read_if=(Is("max_align_num", (1,), but=True),),
            ),
            Option(
                "top_k",
                "int",
                0,
                "Copy only the teacher's largest k logits; 0 copies all of them.",
                low=0,
                high=4096,
                source="FuseLLM: 10; DSKD: all",
                read_if=(Is("accept", ("soft", "hard"), variant="released"),),
            ),
            Option(
                "fallback_weight",
                "float",
                1.0,
                "Weight of the rows that copy nothing; their target is the text's next token.",
                low=0.0,
                high=10.0,
                source="released programs: 1",
                variants=("clean",),
            ),
            Option(
                "max_align_num",
                "int",
                0,
                "Teacher tokens of one student token that count, from the lowest id; 0: all.",
                low=0,
                high=4096,
                source="ours: all; DSKD's form: 1, and the largest logit of them is copied",
                advanced=True,
                released=1,
                later=True,
                read_if=(Is("accept", ("map",), variant="released"),),
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: vocabulary strings are compared byte by byte, a pair may end at different bytes, and the first "
            "of several teacher tokens stays; FuseLLM's rows (accept soft, hard) learn their own token instead of the "
            "next where nothing is copied, DSKD's (map) learn it at the temperature. Clean: usable pairs end at the "
            "same byte, the fallback is plain cross-entropy on the next token."
        ),
        view="ctkd_core.losses.views.mined:copied_rows",
        view_entries="copied rows through the map; elsewhere the text's token",
        view_lost="tokens without an id; elsewhere the teacher",
        picture="path",
    ),
)
