"""Options that several families have in common."""

from __future__ import annotations

from ctkd_core.methods.options import Is, Option

TEMPERATURE = Option(
    "temperature", "float", 1.0, "Both logit sets are divided by this before the soft-max.", low=0.05, high=20.0
)
TEACHER_TEMPERATURE = Option(
    "teacher_temperature",
    "float",
    None,
    "Divides the teacher's logits instead of `temperature`; none: both sides have one temperature.",
    low=0.05,
    high=20.0,
    advanced=True,
    later=True,
)
CE_WEIGHT = Option(
    "ce_weight",
    "float",
    0.5,
    "Share of cross-entropy on the data; the rest is distillation.",
    low=0.0,
    high=1.0,
    source="SeDi eq. 9: lambda = 0.5",
)
WINDOW = Option(
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
DIVERGENCES = (
    *("forward_kl", "reverse_kl", "jsd", "skewed_forward_kl", "skewed_reverse_kl", "adaptive_kl"),
    "tvd",
)
BETA = Option(
    "beta",
    "float",
    0.5,
    "With jsd: weight of the teacher in the mixture; 0 is the forward KL, 1 the reverse KL.",
    low=0.0,
    high=1.0,
    source="TRL's GKD trainer: 0.5",
    read_if=(Is("divergence", ("jsd",)),),
)
SKEW = Option(
    "skew",
    "float",
    0.1,
    "With the skewed KLs: share of the first distribution that is mixed into the second.",
    low=0.0,
    high=1.0,
    source="DistiLLM: 0.1",
    read_if=(Is("divergence", ("skewed_forward_kl", "skewed_reverse_kl")),),
)
