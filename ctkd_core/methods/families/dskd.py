"""DSKD and DSKD v2 (Zhang et al. 2024, 2025): hidden states in the other model's space."""

from __future__ import annotations

from dataclasses import replace

from ctkd_core.methods.families.shared import CE_WEIGHT, TEMPERATURE
from ctkd_core.methods.options import Is, Option
from ctkd_core.methods.row import Method

_DUAL_SPACE = (
    replace(CE_WEIGHT, source="released code: KD rate 0.5"),
    Option(
        "divergence",
        "choice",
        "forward_kl",
        "How the student is compared with the teacher's states in its own space.",
        choices=("forward_kl", "reverse_kl", "jsd", "skewed_forward_kl", "skewed_reverse_kl", "adaptive_kl", "tvd"),
        source="released scripts: forward KL, among others",
    ),
    replace(TEMPERATURE, default=2.0, source="released scripts: 2"),
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
        read_if=(Is("divergence", ("skewed_forward_kl", "skewed_reverse_kl")),),
    ),
    Option(
        "tail_mass",
        "float",
        0.5,
        "With adaptive KL: share of the teacher's probability that counts as tail.",
        low=0.0,
        high=1.0,
        source="released code: adaptive_kl_alpha 0.5",
        advanced=True,
        later=True,
        read_if=(Is("divergence", ("adaptive_kl",)),),
    ),
)

ROWS = (
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
        outputs=("logits", "hidden_states"),
        groups_of="sedi",
        loss="ctkd_core.losses.dskd:dskd_loss",
        state="ctkd_core.losses.dskd:make_state",
        loss_options=(
            *_DUAL_SPACE,
            Option(
                "one_vocabulary",
                "bool",
                False,
                "Both sides have one tokenizer: equal places face each other, without attention.",
                source="released code: its form for one vocabulary",
                advanced=True,
                later=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: all terms are sums divided by the number of student tokens, the teacher's rows too, and scales "
            "are measured over whole padded sequences. clean: each term is a mean over its own rows, and scales are "
            "measured on the answers."
        ),
        picture="states",
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
        outputs=("logits", "hidden_states"),
        uses=("projection", "pairs", "groups"),
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
        view="ctkd_core.losses.views.dskd_eta:projected_states",
        view_entries="the student's tokens, from the teacher's projected state",
        view_lost="rows of tokens that the other side cuts differently",
        cost_of="dskd",
        picture="groups",
    ),
)
