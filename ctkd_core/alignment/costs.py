"""What CDM and MinED compare: token strings, their edit distances, and weights from the models' uncertainty.

Source: Chen et al., Findings of ACL 2025 (arXiv 2502.11104) and its released code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.errors import AlignmentError

if TYPE_CHECKING:
    from ctkd_core.tokenizers.encoding import Encoding

# Released code: weight = trunc(BASE + SPREAD * sigmoid(SLOPE * x - SHIFT)) with x the entropy scaled to [0, 1].
BASE, SPREAD, SLOPE, SHIFT = 3.0, 3.0, 4.0, 2.0
# Weight where entropies say nothing (none given, or all equal): any positive constant gives the same path.
CONSTANT_WEIGHT = 4.0
# Added to every probability before its logarithm (released code).
PROBABILITY_FLOOR = 1e-10
# One of these facing the other costs nothing (released code); any key against any value, in either order.
RELEASED_SPECIAL_PAIRS = (("</s>", "<|im_end|>"), ("<|endoftext|>", "<|endoftext|>"))

_META_SYMBOLS = str.maketrans("", "", " \u2581\u0120")


def entropy(logits: Any) -> NDArray[np.float64]:
    """Entropy in nats of softmax(logits), float64 [n], from logits [n, V].

    Probabilities are raised by 1e-10 before the logarithm, as in the released code. Raises AlignmentError for another
    number of dimensions, no vocabulary, or logits that aren't finite.
    """
    z = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or z.shape[1] == 0:
        raise AlignmentError(f"entropy takes logits of shape [tokens, vocabulary]; got {list(z.shape)}.")
    if not np.isfinite(z).all():
        row = int(np.flatnonzero(~np.isfinite(z).all(axis=1))[0])
        raise AlignmentError(f"logits must be finite; row {row} holds {z[row][~np.isfinite(z[row])][0]}.")
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True) + PROBABILITY_FLOOR
    return -(p * np.log(p)).sum(axis=1)


def raw_weights(entropies: Any) -> NDArray[np.float64]:
    """Real-valued weights 3 + 3 sigmoid(4 x - 2), x = entropies [n] scaled to [0, 1] over the sequence.

    Equal entropies (always so for one token) have no scale: then every weight is 4, where the released code divides
    0 by 0.
    """
    h = np.asarray(entropies, dtype=np.float64)
    if len(h) == 0:
        return h
    spread = h.max() - h.min()
    if spread <= 0:
        return np.full(len(h), CONSTANT_WEIGHT)
    return BASE + SPREAD / (1.0 + np.exp(SHIFT - SLOPE * (h - h.min()) / spread))


def weights(entropies: Any, integer: bool = True) -> NDArray[np.float64]:
    """Weights [n] of tokens from their entropies [n] in nats; `integer` truncates them to 3, 4 or 5."""
    raw = raw_weights(entropies)
    return np.trunc(raw) if integer else raw


def normalise(token: str) -> str:
    """A token string as it is compared: without blanks and without the markers ▁ and Ġ; newlines and case stay."""
    return token.translate(_META_SYMBOLS)


def normalise_released(token: str) -> str:
    """The same in the released program, which deletes U+0020 only."""
    return token.replace(" ", "")


def content_strings(encoding: Encoding, released: bool = False) -> list[str]:
    """What each token adds to the text, blanks deleted.

    A piece of a character that isn't valid UTF-8 keeps its bytes apart (surrogate escapes), so that different pieces
    differ; the released program makes each of them U+FFFD.
    """
    errors = "replace" if released else "surrogateescape"
    return [piece.decode("utf-8", errors).replace(" ", "") for piece in encoding.token_bytes]


def released_free_pairs() -> list[tuple[str, str]]:
    """Pairs that cost nothing in the released program: any key of its table against any value, in either order."""
    keys, values = [a for a, _ in RELEASED_SPECIAL_PAIRS], [b for _, b in RELEASED_SPECIAL_PAIRS]
    return [(a, b) for a in keys for b in values] + [(b, a) for a in keys for b in values]


@dataclass(frozen=True, eq=False)
class TokenCosts:
    """Strings and weights of both sequences; the cost of cell (i, j) is distance(i, j) * ws[i] * wt[j].

    student_strings, teacher_strings  distinct strings; *_codes int32 [n]: which of them each token is
    student_weights, teacher_weights  float64 [n]
    free                              pairs (student string number, teacher string number) that cost nothing
    """

    student_strings: tuple[str, ...]
    teacher_strings: tuple[str, ...]
    student_codes: NDArray[np.int32]
    teacher_codes: NDArray[np.int32]
    student_weights: NDArray[np.float64]
    teacher_weights: NDArray[np.float64]
    free: tuple[tuple[int, int], ...] = ()

    @property
    def integer(self) -> bool:
        """Whether all costs are whole numbers (then int32 sums are exact)."""
        return bool(
            (self.student_weights == np.trunc(self.student_weights)).all()
            and (self.teacher_weights == np.trunc(self.teacher_weights)).all()
        )

    def distances(self, student: NDArray[np.int32], teacher: NDArray[np.int32]) -> NDArray[np.int32]:
        """Edit distances int32 [a, b] of distinct strings, given by their numbers."""
        table = edit_distances(
            [self.student_strings[k] for k in student.tolist()], [self.teacher_strings[k] for k in teacher.tolist()]
        )
        for u, v in self.free:
            table[np.ix_(student == u, teacher == v)] = 0
        return table

    def take(self, rows: slice | NDArray[Any], columns: slice | NDArray[Any]) -> TokenCosts:
        """The costs of some student tokens against some teacher tokens."""
        return TokenCosts(
            self.student_strings,
            self.teacher_strings,
            self.student_codes[rows],
            self.teacher_codes[columns],
            self.student_weights[rows],
            self.teacher_weights[columns],
            self.free,
        )

    def swapped(self) -> TokenCosts:
        """The same costs with the roles of student and teacher exchanged."""
        return TokenCosts(
            self.teacher_strings,
            self.student_strings,
            self.teacher_codes,
            self.student_codes,
            self.teacher_weights,
            self.student_weights,
            tuple((v, u) for u, v in self.free),
        )

    def local(self) -> NDArray[np.float32]:
        """The whole cost matrix float32 [n, m]."""
        u, u_of = np.unique(self.student_codes, return_inverse=True)
        v, v_of = np.unique(self.teacher_codes, return_inverse=True)
        weighted = self.distances(u, v)[:, v_of] * self.teacher_weights.astype(np.float32)
        return np.asarray(weighted[u_of] * self.student_weights.astype(np.float32)[:, None], dtype=np.float32)


def token_costs(
    student: Sequence[str],
    teacher: Sequence[str],
    student_weights: NDArray[np.float64],
    teacher_weights: NDArray[np.float64],
    free: Iterable[tuple[str, str]] = (),
) -> TokenCosts:
    """Costs of two sequences of normalised strings; `free`: pairs (student, teacher string) that cost nothing."""
    s_strings, s_codes = _distinct(student)
    t_strings, t_codes = _distinct(teacher)
    s_number = {string: k for k, string in enumerate(s_strings)}
    t_number = {string: k for k, string in enumerate(t_strings)}
    pairs = tuple((s_number[u], t_number[v]) for u, v in free if u in s_number and v in t_number)
    return TokenCosts(s_strings, t_strings, s_codes, t_codes, student_weights, teacher_weights, pairs)


def edit_distances(left: Sequence[str], right: Sequence[str]) -> NDArray[np.int32]:
    """Levenshtein distances int32 [a, b] of all pairs."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    if not left or not right:
        return np.zeros((len(left), len(right)), dtype=np.int32)
    return cdist(left, right, scorer=Levenshtein.distance, dtype=np.int32, workers=1)


def _distinct(strings: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    number: dict[str, int] = {}
    codes = np.fromiter((number.setdefault(x, len(number)) for x in strings), dtype=np.int32, count=len(strings))
    return tuple(number), codes
