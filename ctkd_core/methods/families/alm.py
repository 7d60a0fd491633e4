"""ALM (Minixhofer et al. 2025): likelihoods of chunks."""

from __future__ import annotations

from ctkd_core.methods.families.shared import CE_WEIGHT
from ctkd_core.methods.options import Is, Option
from ctkd_core.methods.row import Method

ROWS = (
    Method(
        name="alm",
        title="ALM: Approximate Likelihood Matching",
        paper="Minixhofer et al., NeurIPS 2025, arXiv 2503.20083",
        url="https://arxiv.org/abs/2503.20083",
        idea="Cut the text where both tokenizers have a boundary and compare how likely each chunk is.",
        formula=(
            r"L=\tfrac1C\sum_c f\bigl(p_T(c)^{1/\tau}\,\|\,p_S(c)^{1/\tau}\bigr),\quad"
            r"p(c)=\prod_{i\in c}p(y_i\mid y_{<i})\;p(\text{boundary}\mid y_{\le c})"
        ),
        cannot_see=(
            "Anything but the text at hand: of each distribution only the probability of the token that follows "
            "counts, not what else the teacher would have said."
        ),
        outputs=("logits", "hidden_states"),
        hidden_states_if="hidden_weight",
        compares="text",
        also_reads={"released": ("last_row",)},
        aligner_inputs=("space_probability",),
        uses=("groups",),
        aligner="ctkd_core.alignment.alm:alm",
        loss="ctkd_core.losses.alm:alm_loss",
        state="ctkd_core.losses.alm:make_state",
        loss_options=(
            CE_WEIGHT,
            Option(
                "temperature",
                "float",
                5.0,
                "Divides both log-probabilities of a chunk before they are compared as a yes-or-no event.",
                low=0.1,
                high=1e6,
                source="ours, by the experiments; paper: 100, 5 was better in its ablation; released code: 100",
                read_if=(Is("divergence", ("kl_limit", "tvd_limit", "renyi"), but=True),),
            ),
            Option(
                "divergence",
                "choice",
                "kl",
                "How the two events are compared; kl is 0 at equality and has the gradient of binary_ce.",
                choices=(
                    *("kl", "reverse_kl", "tvd", "binary_ce", "reverse_binary_ce", "kl_limit", "tvd_limit"),
                    *("k2", "k3", "renyi"),
                ),
                source="paper: KL; released code: binary_ce",
            ),
            Option(
                "debias",
                "choice",
                "merge",
                "none; append: add the chance of a new word after the chunk; merge: also join chunks after which the "
                "teacher hardly expects one; merge_only: join and add nothing.",
                choices=("none", "append", "merge", "merge_only"),
                source="released code: merge and append",
            ),
            Option(
                "gamma",
                "float",
                0.1,
                "A chunk is joined with the next unless the teacher gives a new word more than this.",
                low=0.0,
                high=1.0,
                source="paper: 0.1",
                read_if=(Is("debias", ("merge", "merge_only")),),
            ),
            Option(
                "renyi_alpha",
                "float",
                0.5,
                "Order of the divergence 'renyi'; 1: the KL.",
                low=0.01,
                high=10.0,
                source="ours; the released code names none",
                advanced=True,
                later=True,
                read_if=(Is("divergence", ("renyi",)),),
            ),
            Option(
                "eos_as_space",
                "bool",
                False,
                "What begins a new word is the end-of-text token alone, not every token that begins with a blank.",
                source="released code: off",
                advanced=True,
                later=True,
                read_if=(Is("debias", ("none",), but=True),),
            ),
            Option(
                "numerator",
                "choice",
                "chunk_count",
                "Weight of a chunk: 1, its teacher tokens, or the logarithm of one more.",
                choices=("chunk_count", "token_count", "log1p_token_count"),
                source="released code: chunk_count",
                advanced=True,
                later=True,
            ),
            Option(
                "denominator",
                "choice",
                "chunk_count",
                "What the sum is divided by: chunks, or their teacher tokens.",
                choices=("chunk_count", "token_count"),
                source="released code: chunk_count",
                advanced=True,
                later=True,
            ),
            Option(
                "chunk_sizes",
                "str",
                "1",
                "How many chunks in a row are compared as one, comma-separated: 1,2 compares each alone and each two.",
                source="released code: 1 (distill_chunk_sizes)",
                advanced=True,
                later=True,
            ),
            Option(
                "hidden_weight",
                "float",
                0.0,
                "Weight of the distance between hidden states at the end of each chunk; it trains a projector.",
                low=0.0,
                high=100.0,
                source="paper: helps transfer to bytes, off for subwords",
                advanced=True,
            ),
        ),
        align_options=(
            Option(
                "chunking",
                "choice",
                "plain",
                "Where a chunk may end: at every common boundary, before spaces, or where the teacher expects one.",
                choices=("plain", "space", "bias"),
                source="paper: plain; released code: space; paper section 4: bias",
            ),
            Option(
                "space_threshold",
                "float",
                0.1,
                "With chunking bias: a chunk is merged with the next unless the teacher's probability of a boundary "
                "after it is larger.",
                low=0.0,
                high=1.0,
                source="paper: gamma = 0.1",
                read_if=(Is("chunking", ("bias",)),),
            ),
        ),
        variants=("clean", "released"),
        variant_note=(
            "released: lengths of token strings are walked, chunks whose strings differ and what follows the last "
            "chunk are dropped. clean: bytes of the text are walked, chunks whose strings differ are kept and flagged."
        ),
        view="ctkd_core.losses.views.alm:text_or_other",
        view_entries="this text, any other text",
        view_lost="which other text",
        picture="groups",
    ),
)
