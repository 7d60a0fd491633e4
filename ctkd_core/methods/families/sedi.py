"""SeDi (Wang et al. 2026): groups by span overlap, candidates re-encoded for the student."""

from __future__ import annotations

from ctkd_core.methods.families.shared import CE_WEIGHT
from ctkd_core.methods.options import Option
from ctkd_core.methods.row import Method

ROWS = (
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
        outputs=("logits",),
        merges="ctkd_core.losses.merge_rules:sedi",
        uses=("top_k", "groups"),
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
            CE_WEIGHT,
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
                0.0,
                "Initial value of the learnable weight on the student's own logits. 0 begins as plain top-K "
                "distillation; from 1, as the paper's formula reads, the target is sharp at once and short runs end "
                "behind cross-entropy alone.",
                low=0.0,
                high=10.0,
                source="ours: 0, for short runs; the paper states no value, its formula reads as 1",
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
        view="ctkd_core.losses.views.sedi:migrated_candidates",
        view_entries="slots of re-encoded candidates",
        view_lost="outside the top K, not writable, collided",
        picture="groups",
    ),
)
