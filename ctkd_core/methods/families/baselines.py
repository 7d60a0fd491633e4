"""Baselines: learning from the data alone, and from a teacher with the same tokenizer."""

from __future__ import annotations

from ctkd_core.methods.families.shared import CE_WEIGHT, TEMPERATURE
from ctkd_core.methods.options import Option
from ctkd_core.methods.row import Method

ROWS = (
    Method(
        name="sft",
        title="SFT (no teacher)",
        paper="baseline: next-token cross-entropy on the data",
        url="",
        idea="Learn the data set's own answers; the teacher is not asked.",
        formula=r"L = -\tfrac{1}{n}\sum_i \log p_S(y_i \mid y_{<i})",
        cannot_see="Anything the teacher knows beyond the one answer in the data.",
        groups_of="sedi",
        loss="ctkd_core.losses.sft:sft_loss",
        view="ctkd_core.losses.views.sft:data_only",
        view_entries="the text's own token",
        view_lost="the teacher",
        picture="target",
    ),
    Method(
        name="kd",
        title="KD (same tokenizer)",
        paper="Hinton et al., 2015, arXiv 1503.02531; divergences of later papers",
        url="https://arxiv.org/abs/1503.02531",
        idea="With one tokenizer on both sides, compare the two next-token distributions position by position.",
        formula=r"L=\lambda\,\mathrm{CE}+(1-\lambda)\,\tfrac1n\sum_i D\bigl(q_i\,\|\,p_i\bigr)",
        cannot_see="A teacher with another tokenizer: it is refused, since its ids mean other tokens.",
        outputs=("logits",),
        same_tokenizer=True,
        groups_of="sedi",
        loss="ctkd_core.losses.same:kd_loss",
        loss_options=(
            CE_WEIGHT,
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
            TEMPERATURE,
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
        view="ctkd_core.losses.views.same:same_ids",
        view_entries="all tokens",
        view_lost="nothing",
        cost_of="forward-kl",
        picture="identical",
    ),
)
