"""GOLD (Hugging Face 2025): groups between common byte boundaries, and its greedy forerunner."""

from __future__ import annotations

from ctkd_core.methods.families.shared import CE_WEIGHT, TEACHER_TEMPERATURE, TEMPERATURE
from ctkd_core.methods.options import Is, Option
from ctkd_core.methods.row import Method

ROWS = (
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
        outputs=("logits",),
        merges="ctkd_core.losses.merge_rules:gold",
        uses=("groups",),
        aligner="ctkd_core.alignment.gold:gold",
        align_options=(
            Option(
                "groups",
                "choice",
                "bytes",
                "bytes: where both sides reach one byte; dtw: along MinED's path; positional: token k faces token k. "
                "The last two are there to see what errors of the alignment cost.",
                choices=("bytes", "dtw", "positional"),
                source="released trainer: bytes",
                advanced=True,
                later=True,
                variants=("clean",),
            ),
        ),
        own_mean=("released",),
        exports={"trl": "ctkd_core.distill.exports.trl:gold"},
        loss="ctkd_core.losses.gold:gold_loss",
        loss_options=(
            CE_WEIGHT,
            TEMPERATURE,
            TEACHER_TEMPERATURE,
            Option(
                "merge",
                "choice",
                "bayesian",
                "bayesian: the row that predicts a group's last token times the chance of its earlier tokens; "
                "observed: the row at the first token, as the released trainer merges.",
                choices=("bayesian", "observed"),
                source="released trainer: observed",
                released="observed",
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
                read_if=(Is("hybrid", (True,)),),
            ),
            Option(
                "weights",
                "choice",
                "adaptive",
                "adaptive: the matched part weighs as much as the share of matched tokens in the teacher's logits, the "
                "rest one minus that; fixed: the two weights below.",
                choices=("adaptive", "fixed"),
                source="released trainer: adaptive unless both weights are given",
                read_if=(Is("hybrid", (True,)),),
            ),
            Option(
                "matched_weight",
                "float",
                1.0,
                "Fixed weight of the matched part.",
                low=0.0,
                high=10.0,
                advanced=True,
                read_if=(Is("hybrid", (True,)), Is("weights", ("fixed",))),
            ),
            Option(
                "unmatched_weight",
                "float",
                1.0,
                "Fixed weight of the sorted rest.",
                low=0.0,
                high=10.0,
                advanced=True,
                read_if=(Is("hybrid", (True,)), Is("weights", ("fixed",))),
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
                released="count",
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: byte-level tokenizers only; what is left over at the end is forced into one last group, "
            "whatever bytes its sides cover; tokens match where their vocabulary strings are equal; merge is observed "
            "and empty_samples count, as the trainer sets them. It leaves hybrid, ce_weight and beta as here (the "
            "trainer: off, 0 and 0.5). clean: any tokenizer; left-over tokens are grouped by shared bytes and flagged."
        ),
        view="ctkd_core.losses.views.gold:merged_rows",
        view_entries="equal tokens of the merged row",
        view_lost="tokens without an equal, chance of the group's other tokens",
        picture="groups",
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
        uses=("groups",),
        aligner="ctkd_core.alignment.greedy:gold_greedy",
        variants=("clean", "released"),
        variant_note=(
            "released: buffers of decoded text, special tokens included, so a BOS that one tokenizer adds, or a "
            "character that tokens cut, is enough to collapse the rest. clean: buffers of bytes, without BOS and such."
        ),
        picture="collapse",
    ),
)
