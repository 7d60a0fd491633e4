"""Bytes: our own method."""

from __future__ import annotations

from ctkd_core.methods.families.shared import BETA, CE_WEIGHT, DIVERGENCES, SKEW, TEACHER_TEMPERATURE, TEMPERATURE
from ctkd_core.methods.options import Option
from ctkd_core.methods.row import Method

ROWS = (
    Method(
        name="bytes",
        title="Bytes: the next byte, from both models",
        paper="our own; related: arXiv 2604.07466, Phan et al. 2024, Vieira et al. 2024",
        url="https://arxiv.org/abs/2604.07466",
        idea="At every byte of the text both models say which byte comes next; that can be read off any logits.",
        formula=(
            r"L=\lambda\,\mathrm{CE}+(1-\lambda)\,\tfrac1n\sum_b D\bigl(q_b\,\|\,p_b\bigr),\quad "
            r"p_b(c)=\frac{M(u_b+c)+E(u_b)\,M'(c)}{M(u_b)}"
        ),
        cannot_see=(
            "Which of two tokenizations of the same bytes a model prefers, and what follows after a byte that the text "
            "does not take. What each model says is conditional on its own cutting of the text so far."
        ),
        outputs=("logits",),
        uses=("groups",),
        groups_of="sedi",
        loss="ctkd_core.losses.bytes:bytes_loss",
        loss_options=(
            CE_WEIGHT,
            TEMPERATURE,
            TEACHER_TEMPERATURE,
            Option(
                "divergence",
                "choice",
                "forward_kl",
                "How two distributions over the next byte are compared.",
                choices=DIVERGENCES,
                source="ours",
            ),
            BETA,
            SKEW,
            Option(
                "boundary",
                "choice",
                "mixture",
                "Where a token begins: mixture: a longer token might have gone on instead, which the row before says; "
                "next: the token's own row alone.",
                choices=("mixture", "next"),
                source="ours: 201 may go on to 2019",
            ),
            Option(
                "positions",
                "choice",
                "all",
                "all: every byte; common: bytes at which both sides begin a token.",
                choices=("all", "common"),
                source="ours",
            ),
            Option(
                "byte_weights",
                "choice",
                "equal",
                "equal: every byte counts the same; tokens: every student token does, whatever its length.",
                choices=("equal", "tokens"),
                source="ours",
            ),
            Option(
                "lump",
                "choice",
                "outcome",
                "What isn't a byte of which both sides speak: one more outcome, or left out, both sides scaled to 1.",
                choices=("outcome", "left_out"),
                source="ours",
                advanced=True,
            ),
            Option(
                "starts",
                "choice",
                "byte",
                "Where both sides begin a token: byte: the next byte; two_bytes, three_bytes: the first bytes of a "
                "token; tokens: those that both have, one by one, and the others by first byte.",
                choices=("byte", "two_bytes", "three_bytes", "tokens"),
                source="ours",
                advanced=True,
                later=True,
            ),
        ),
        view="ctkd_core.losses.views.bytes:next_byte",
        view_entries="the next byte, where a group's sides differ most",
        view_lost="which token it was",
        picture="target",
    ),
)
