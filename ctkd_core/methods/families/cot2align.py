"""CoT2Align (2025): transport between hidden states."""

from __future__ import annotations

from ctkd_core.methods.families.shared import CE_WEIGHT
from ctkd_core.methods.options import Is, Option
from ctkd_core.methods.row import Method

ROWS = (
    Method(
        name="cot2align",
        title="CoT2Align: transport of hidden states",
        paper="2025, arXiv 2502.16806",
        url="https://arxiv.org/abs/2502.16806",
        idea="Move the student's hidden states onto the teacher's at least cost, beside a loss on the logits.",
        formula=(
            r"L=\lambda\,\mathrm{CE}+(1-\lambda)\Bigl[L_{base}+w\sum_{l,(a,b)}"
            r"\min_{T}\langle T,\,C(h_S^{a,l},\,P h_T^{b,l})\rangle\Bigr]"
        ),
        cannot_see="The order of tokens and which text a hidden state belongs to: an answer is a cloud of points.",
        outputs=("logits", "hidden_states"),
        groups_of="sedi",
        loss="ctkd_core.losses.cot2align:cot2align_loss",
        state="ctkd_core.losses.cot2align:make_state",
        loss_options=(
            CE_WEIGHT,
            Option("base", "choice", "uld", "The loss on the logits.", choices=("uld", "none")),
            Option(
                "temperature",
                "float",
                2.0,
                "Temperature of the loss on the logits.",
                low=0.05,
                high=20.0,
                source="released script: 2",
                read_if=(Is("base", ("uld",)),),
            ),
            Option(
                "cost",
                "choice",
                "cosine",
                "Distance of two hidden states; attention has almost no gradient while the plan is uniform.",
                choices=("cosine", "attention", "euclidean"),
                source="released code: attention",
                released="attention",
                read_if=(Is("ot_weight", (0.0,), but=True),),
            ),
            Option(
                "epsilon",
                "float",
                0.1,
                "Entropic weight of the transport; large values make the plan uniform.",
                low=1e-3,
                high=100.0,
                source="released code: 10 (as alpha = 0.1)",
                released=10.0,
                read_if=(Is("ot_weight", (0.0,), but=True),),
            ),
            Option(
                "iterations",
                "int",
                50,
                "Scalings of the plan.",
                low=1,
                high=1000,
                source="released code: 100",
                advanced=True,
                released=100,
                read_if=(Is("ot_weight", (0.0,), but=True),),
            ),
            Option(
                "ot_weight",
                "float",
                0.25,
                "Weight of each transport term.",
                low=0.0,
                high=100.0,
                source="released code: a quarter",
            ),
            Option(
                "layers",
                "str",
                "first,last",
                "Layers that are compared, comma-separated.",
                advanced=True,
                read_if=(Is("ot_weight", (0.0,), but=True),),
            ),
            Option(
                "pairs",
                "str",
                "cot-cot,std-cot,cot-std",
                "Versions that face each other, student-teacher; without reasoning the plain answers do.",
                source="released code",
                advanced=True,
                read_if=(Is("ot_weight", (0.0,), but=True),),
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: attention cost at an entropic weight of 10 by default, which makes the plan nearly uniform and "
            "the gradient small, and scalings of the plain kernel. clean: cosine cost at 0.1, in logarithms."
        ),
        picture="states",
    ),
)
