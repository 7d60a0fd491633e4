"""MultiLevelOT (Cui et al. 2025): a few columns, ranked over the whole answer."""

from __future__ import annotations

from ctkd_core.methods.families.shared import CE_WEIGHT, TEACHER_TEMPERATURE, TEMPERATURE
from ctkd_core.methods.options import Is, Option
from ctkd_core.methods.row import Method

ROWS = (
    Method(
        name="multilevel_ot",
        title="MultiLevelOT: ranked columns on three levels",
        paper="Cui et al., AAAI 2025, arXiv 2412.14528",
        url="https://arxiv.org/abs/2412.14528",
        idea="Rank the columns of the whole answer, keep fifty, and compare them by token, logarithm and sequence.",
        formula=(
            r"L=\lambda\,\mathrm{CE}+(1-\lambda)\Bigl[\sum_{i\le k}|t_i-s_i|-\beta\sum_{i\le k}t_i\log s_i"
            r"+\gamma\,\mathrm{Sinkhorn}(t,s)\Bigr]"
        ),
        cannot_see=(
            "Which token a column is (only its rank over the answer counts), and that positions drift apart: rows face "
            "each other by index."
        ),
        outputs=("logits",),
        groups_of="sedi",
        loss="ctkd_core.losses.multilevel_ot:multilevel_ot_loss",
        loss_options=(
            CE_WEIGHT,
            TEMPERATURE,
            TEACHER_TEMPERATURE,
            Option("top_k", "int", 50, "Columns that are kept.", low=1, high=4096, source="paper: 50"),
            Option(
                "matching",
                "choice",
                "rank",
                "How the student's columns are matched to the teacher's ranked ones.",
                choices=("rank", "greedy", "exact"),
                source="released code: rank; exact is the paper's, for small vocabularies",
            ),
            Option("sl_weight", "float", 0.1, "Weight of the logarithmic term.", low=0.0, high=10.0, source="paper"),
            Option("sd_weight", "float", 0.1, "Weight of the Sinkhorn distance.", low=0.0, high=10.0, source="paper"),
            Option(
                "sd_temperature",
                "float",
                2.0,
                "Temperature of the Sinkhorn distance.",
                low=0.05,
                high=20.0,
                source="paper",
                advanced=True,
                read_if=(Is("sd_weight", (0.0,), but=True),),
            ),
            Option(
                "sinkhorn_epsilon",
                "float",
                0.1,
                "Entropic weight of the transport.",
                low=1e-3,
                high=100.0,
                source="paper: lambda = 0.1",
                advanced=True,
                read_if=(Is("sd_weight", (0.0,), but=True),),
            ),
            Option(
                "sinkhorn_iterations",
                "int",
                20,
                "Scalings of rows and columns.",
                low=1,
                high=1000,
                source="paper: 20; released code: 10",
                advanced=True,
                released=10,
                read_if=(Is("sd_weight", (0.0,), but=True),),
            ),
            Option(
                "reduction",
                "choice",
                "mean",
                "Mean or sum over the tokens of an answer.",
                choices=("mean", "sum"),
                source="paper: sum; released code: mean for the first term",
                advanced=True,
                variants=("clean",),
            ),
            Option(
                "skip_student_eos",
                "bool",
                False,
                "Leave out the last token of the student's answer (its EOS), whatever it is.",
                source="paper: not mentioned; released code: the student's is left out",
                advanced=True,
                released=True,
                later=True,
            ),
            Option(
                "skip_teacher_eos",
                "bool",
                False,
                "Leave out the last token of the teacher's answer (its EOS), whatever it is.",
                source="released code: it stays",
                advanced=True,
                later=True,
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: logits are divided by their standard deviation, columns are ranked over the whole batch, "
            "student and teacher are exchanged in the logarithmic term, padded rows take part, the Sinkhorn term is "
            "scaled by 0.001. clean: the paper's formulas, per sample, as means over tokens."
        ),
        view="ctkd_core.losses.views.multilevel_ot:ranked_columns",
        view_entries="the teacher's columns, each with the student's of equal rank",
        view_lost="columns outside the top K; what the tokens mean",
        picture="target",
    ),
)
