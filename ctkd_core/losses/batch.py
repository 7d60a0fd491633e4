"""Aligned samples and batches: one response under two tokenizers, with the groups that join both sides.

Alignment is precomputed once per sample, in worker processes that never import torch; `collate` turns samples into
tensors. How a text becomes ids, on each side alone:

    [BOS] + prompt ids + completion ids + [EOS]

or, for a conversation, the prompt as the side's own chat template writes it, the answer, and the token that ends its
turn.

The completion is encoded by itself, as it stands in the middle of a text. Encoding prompt and completion in one go
would let a token straddle the seam, on one side only, so that the two responses would no longer spell the same bytes;
encoded apart, both sides cover exactly the completion. Special-token strings inside a completion stay plain text: data
can't smuggle an end-of-text token into the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core import methods
from ctkd_core.errors import AlignmentError, LossInputError
from ctkd_core.tokenizers.chat_prompts import ChatPrompt, end_behind
from ctkd_core.tokenizers.encoding import Encoding
from ctkd_core.tokenizers.load import as_pair, as_tokenizer
from ctkd_core.tokenizers.token_bytes import encode_text

if TYPE_CHECKING:
    import torch

    from ctkd_core.tokenizers.tokenizer import Tokenizer

IGNORE = -100  # label of a token that isn't learnt


@dataclass(frozen=True, eq=False)
class AlignedSample:
    """One prompt and response under two tokenizers.

    student_ids, teacher_ids                        int32 [n]: BOS, prompt, response, EOS
    student_response_start, teacher_response_start  first response token
    groups     int32 [G, 4]: s0, s1, t0, t1, half-open positions in the ids, two-sided, the EOS group last
    truncated  whether max_length cut a side
    pairs      int32 [P, 2]: student, teacher positions on the path of a method that has one (EOS with EOS last)
    tokenizers  fingerprints of the student's and the teacher's tokenizer; () where nobody noted them
    """

    student_ids: NDArray[np.int32]
    teacher_ids: NDArray[np.int32]
    student_response_start: int
    teacher_response_start: int
    groups: NDArray[np.int32]
    truncated: bool = False
    pairs: NDArray[np.int32] | None = None
    tokenizers: tuple[str, ...] = ()

    @property
    def n_learnt(self) -> int:
        """Student response tokens that a row predicts: those after the very first token."""
        return len(self.student_ids) - max(1, self.student_response_start) if len(self.student_ids) else 0


@dataclass(frozen=True, eq=False)
class AlignedBatch:
    """Samples padded to tensors; logits row i of either model predicts token i + 1.

    student_ids, teacher_ids              int64 [B, Ts], [B, Tt]
    student_labels, teacher_labels        int64, the ids inside the response, -100 elsewhere; not shifted
    student_attention, teacher_attention  int64, 1 on tokens, 0 on padding
    groups  int64 [G, 5]: sample, s0, s1, t0, t1; positions in the padded sequences; two-sided response groups and
            one EOS-EOS group at the end of each complete response
    student, teacher  the tokenizers, for losses that move token identities; may be None for others. Fast tokenizers of
            transformers are converted (`tokenizers.load.as_tokenizer`)
    pairs   int64 [P, 3]: sample, student, teacher position of each step of a path; None for methods without paths
    """

    student_ids: torch.Tensor
    teacher_ids: torch.Tensor
    student_labels: torch.Tensor
    teacher_labels: torch.Tensor
    student_attention: torch.Tensor
    teacher_attention: torch.Tensor
    groups: torch.Tensor
    student: Tokenizer | None = None
    teacher: Tokenizer | None = None
    pairs: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for side in ("student", "teacher"):
            given = getattr(self, side)
            if given is not None:
                object.__setattr__(self, side, as_tokenizer(given, side))

    def __len__(self) -> int:
        return len(self.student_ids)

    @classmethod
    def from_ids(
        cls,
        student_ids: torch.Tensor,
        teacher_ids: torch.Tensor,
        student_labels: torch.Tensor,
        teacher_labels: torch.Tensor,
        *,
        student: Any,
        teacher: Any,
        student_attention: torch.Tensor | None = None,
        teacher_attention: torch.Tensor | None = None,
        method: str = "sedi",
        variant: str = "clean",
        **align_options: Any,
    ) -> AlignedBatch:
        """A batch from ids that were made elsewhere: the responses of each sample are aligned here.

        student_ids, teacher_ids  int64 [B, Ts], [B, Tt], padded at any end, on one device
        *_labels     int64, the ids where they are learnt and -100 elsewhere, not shifted; or bool masks of the response
        *_attention  1 on tokens, 0 on padding; None: nothing is padded
        student, teacher  tokenizers, what `load_tokenizer` gives or fast ones of transformers
        method, variant, align_options  whose alignment joins the sides, as for `align_sample`

        The learnt tokens of a sample are its response, and must spell the same text on both sides (special tokens
        apart). Labels may have gaps, as between the turns of a conversation: stretch k of the one side is aligned with
        stretch k of the other. Where the gaps lie in different places of the text, everything from the first learnt
        token to the last is aligned, and losses leave out what isn't learnt. Where both sides of a stretch end with
        EOS, these two form its last group.
        Raises LossInputError for tensors that don't fit together and for responses that differ, AlignmentError for
        unknown methods and options, TokenizerError for slow tokenizers.
        """
        import torch

        sides = as_pair(student, teacher)
        tensors: list[torch.Tensor] = []
        for side, ids, labels, attention in (
            ("student", student_ids, student_labels, student_attention),
            ("teacher", teacher_ids, teacher_labels, teacher_attention),
        ):
            tensors += _checked_ids(side, ids, labels, attention)
        s_ids, s_labels, s_attention, t_ids, t_labels, t_attention = tensors
        if len(s_ids) != len(t_ids) or s_ids.device != t_ids.device:
            raise LossInputError(
                f"student_ids hold {len(s_ids)} samples on {s_ids.device}, teacher_ids {len(t_ids)} on "
                f"{t_ids.device}; give the same samples on one device."
            )
        groups, pairs = [np.zeros((0, 5), dtype=np.int64)], []
        for b in range(len(s_ids)):
            found, path = _groups_of_ids(
                b, (s_ids[b], s_labels[b], t_ids[b], t_labels[b]), sides, method, variant, align_options
            )
            groups.append(found)
            if path is not None:
                pairs.append(path)
        joined = torch.from_numpy(np.concatenate(groups)).to(s_ids.device)
        steps = torch.from_numpy(np.concatenate(pairs)).to(s_ids.device) if pairs else None
        return cls(s_ids, t_ids, s_labels, t_labels, s_attention, t_attention, joined, *sides, steps)

    def to(self, device: Any) -> AlignedBatch:
        """The same batch on another device."""
        names = ("student_ids", "teacher_ids", "student_labels", "teacher_labels", "groups")
        masks = ("student_attention", "teacher_attention")
        moved = {name: getattr(self, name).to(device) for name in names + masks}
        return replace(self, **moved, pairs=None if self.pairs is None else self.pairs.to(device))


def align_sample(
    prompt: str | ChatPrompt,
    completion: str,
    student: Tokenizer,
    teacher: Tokenizer,
    method: str = "sedi",
    max_length: int | None = None,
    *,
    teacher_prompt: str | ChatPrompt | None = None,
    variant: str = "clean",
    student_response: Encoding | None = None,
    ended: bool = True,
    truncation_side: str = "right",
    **align_options: Any,
) -> AlignedSample:
    """One text for both models, aligned; imports no torch.

    prompt          context, never learnt; rendered already (chat templates and all). Its special tokens are parsed. A
                    ChatPrompt also says what stands right before the completion and which token ends it
    completion      what is learnt, as given: put the separating space or newline at its beginning or the prompt's end
    teacher_prompt  the prompt as the teacher should see it (its own chat template), default the same text
    max_length      tokens a side keeps; groups that aren't complete on both sides are dropped
    truncation_side  what a longer side loses: "right" its end; "left" the beginning of its prompt (but for BOS), and
                    its end only where the response alone is too long
    student_response  the completion's tokens on the student's side, where they are known (the student wrote them)
    ended           whether the completion is whole, so that EOS ends it
    method          whose alignment joins the sides; one that trains on another's groups (SFT, ULD: `groups_of` in its
                    row, SeDi's byte spans) gets those and takes no alignment options

    A tokenizer that puts BOS before a text by itself does so here. EOS ends the side whose tokenizer has one (behind a
    prompt that a chat template wrote, the token that ends its turns); where both have, they form the last group. Fast
    tokenizers of transformers are taken, too.
    Raises AlignmentError for unknown methods, options or an impossible max_length, TokenizerError for a slow tokenizer
    or a name.
    """
    student, teacher = as_pair(student, teacher)
    if max_length is not None and max_length < 1:
        raise AlignmentError(f"max_length must be at least 1; got {max_length}.")
    if truncation_side not in ("right", "left"):
        raise AlignmentError(f"truncation_side must be 'right' or 'left'; got {truncation_side!r}.")
    other = prompt if teacher_prompt is None else teacher_prompt
    s = answer_of(prompt, completion, student) if student_response is None else student_response
    t = answer_of(other, completion, teacher)
    s_end, t_end = (end_of(p, tokenizer) if ended else None for p, tokenizer in ((prompt, student), (other, teacher)))
    room = max_length if truncation_side == "left" else None
    s_whole, t_whole = prompt_ids(prompt, student), prompt_ids(other, teacher)
    s_prompt = shortened(s_whole, len(s) + (s_end is not None), room, student)
    t_prompt = shortened(t_whole, len(t) + (t_end is not None), room, teacher)
    shorter = len(s_prompt) < len(s_whole) or len(t_prompt) < len(t_whole)
    groups, pairs = _response_groups(s, t, method, variant, align_options)
    before = np.array([len(s_prompt), len(t_prompt)], dtype=np.int32)
    groups = groups + before.repeat(2)
    pairs = None if pairs is None else pairs + before
    s_ids, t_ids = [*s_prompt, *s.ids.tolist()], [*t_prompt, *t.ids.tolist()]
    if s_end is not None and t_end is not None:
        eos = np.array([[len(s_ids), len(s_ids) + 1, len(t_ids), len(t_ids) + 1]], dtype=np.int32)
        groups = np.concatenate([groups, eos])
        pairs = None if pairs is None else np.concatenate([pairs, eos[:, [0, 2]]])
    s_ids += [] if s_end is None else [s_end]
    t_ids += [] if t_end is None else [t_end]
    limit = max(len(s_ids), len(t_ids)) if max_length is None else max_length
    kept = (groups[:, 1] <= limit) & (groups[:, 3] <= limit)
    return AlignedSample(
        student_ids=np.array(s_ids[:limit], dtype=np.int32),
        teacher_ids=np.array(t_ids[:limit], dtype=np.int32),
        student_response_start=min(len(s_prompt), limit),
        teacher_response_start=min(len(t_prompt), limit),
        groups=groups[kept].astype(np.int32),
        truncated=shorter or max(len(s_ids), len(t_ids)) > limit,
        pairs=None if pairs is None else pairs[(pairs < limit).all(axis=1)].astype(np.int32),
        tokenizers=(student.fingerprint, teacher.fingerprint),
    )


def prompt_ids(prompt: str | ChatPrompt, tokenizer: Tokenizer) -> list[int]:
    """The prompt's ids; before what no chat template wrote BOS (once, if the tokenizer begins texts with it)."""
    text = prompt.text if isinstance(prompt, ChatPrompt) else prompt
    encode_text(text, "the prompt")
    (ids,) = tokenizer.encode_batch([text])
    if isinstance(prompt, ChatPrompt) and prompt.template:  # it has written what belongs there
        return list(ids)
    bos = tokenizer.bos_id
    return [bos, *ids] if bos is not None and tokenizer.begins_with_bos and ids[:1] != [bos] else list(ids)


def end_of(prompt: str | ChatPrompt, tokenizer: Tokenizer) -> int | None:
    """The token that ends an answer to this prompt: the template's end of a turn, else EOS."""
    return prompt.end if isinstance(prompt, ChatPrompt) else end_behind(prompt, tokenizer)


def shortened(ids: list[int], following: int, most: int | None, tokenizer: Tokenizer) -> list[int]:
    """A prompt without its beginning, so that `following` more tokens fit into `most`; BOS stays.

    Where even the answer alone is too long, the prompt goes but for its last token, which predicts the answer's first.
    """
    if most is None or not ids or len(ids) + following <= most:
        return ids
    room = max(1, most - following)
    begins = ids[0] == tokenizer.bos_id and room > 1
    return [ids[0], *ids[len(ids) - room + 1 :]] if begins else ids[len(ids) - room :]


def answer_of(prompt: str | ChatPrompt, completion: str, tokenizer: Tokenizer) -> Encoding:
    """`completion` as the tokenizer cuts it behind this prompt, its spans counted from the completion's first byte.

    The blank that a template puts before an answer belongs to the first token and to no byte of the completion. So does
    the blank that a tokenizer puts before a text, where there is no prompt.
    """
    text, lead = (prompt.text, prompt.lead) if isinstance(prompt, ChatPrompt) else (prompt, "")
    if not text and not lead:
        begun = tokenizer.encode_continuation(completion, behind=False)
        return begun if begun.bytes_in_text == begun.token_bytes else _spelling(begun, begun.bytes_in_text)
    if not lead:
        return encode_response(completion, tokenizer)
    whole = encode_response(lead + completion, tokenizer)
    n_bytes, n_chars = len(lead.encode()), len(lead)
    hidden = np.clip(n_bytes - whole.spans[:, 0], 0, None)
    return replace(
        _spelling(whole, [b[h:] for b, h in zip(whole.token_bytes, hidden.tolist())]),
        text=completion,
        spans=np.clip(whole.spans - n_bytes, 0, None),
        char_spans=np.clip(whole.char_spans - n_chars, 0, None),
    )


def _spelling(encoding: Encoding, token_bytes: list[bytes]) -> Encoding:
    """The same tokens with what they spell of the text."""
    tokens = [data.decode("utf-8", errors="backslashreplace") for data in token_bytes]
    return replace(encoding, tokens=tokens, token_bytes=token_bytes)


def encode_response(text: str, tokenizer: Tokenizer) -> Encoding:
    """`text` as the tokenizer cuts it behind a prompt: no dummy prefix; added tokens are tokens, special ones text."""
    return tokenizer.encode_continuation(text)


def response_of_ids(ids: Sequence[int], text: str, tokenizer: Tokenizer) -> Encoding | None:
    """`text` as these tokens spell it in the middle of a longer one; None where their bytes aren't the text's."""
    table = tokenizer.all_token_bytes()
    token_bytes = [table[i] for i in ids]
    data = text.encode()
    if b"".join(token_bytes) != data:
        return None
    ends = np.cumsum([len(b) for b in token_bytes], dtype=np.int64)
    spans = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1) if ids else np.zeros((0, 2), dtype=np.int64)
    return Encoding(
        text=text,
        tokenizer=tokenizer.name,
        ids=np.array(ids, dtype=np.int32),
        tokens=[b.decode("utf-8", errors="backslashreplace") for b in token_bytes],
        token_bytes=token_bytes,
        spans=spans,
        char_spans=_char_spans(data, spans),
        special=np.zeros(len(ids), dtype=np.bool_),
        kind=tokenizer.kind,
    )


def _checked_ids(
    side: str, ids: torch.Tensor, labels: torch.Tensor, attention: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, labels and attention int64 [B, T] of one side."""
    import torch

    if not isinstance(ids, torch.Tensor) or ids.ndim != 2 or ids.dtype.is_floating_point or ids.dtype == torch.bool:
        got = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, torch.Tensor) else type(ids).__name__
        raise LossInputError(f"{side}_ids must be whole numbers [samples, positions]; got {got}.")
    for name, given in ((f"{side}_labels", labels), (f"{side}_attention", attention)):
        if given is not None and (not isinstance(given, torch.Tensor) or given.shape != ids.shape):
            got = str(list(given.shape)) if isinstance(given, torch.Tensor) else type(given).__name__
            raise LossInputError(f"{name} must have the shape of {side}_ids, {list(ids.shape)}; got {got}.")
    ids = ids.long()
    labels = torch.where(labels, ids, IGNORE) if labels.dtype == torch.bool else labels.long()
    if bool(((labels != IGNORE) & (labels != ids)).any()):
        b, at = ((labels != IGNORE) & (labels != ids)).nonzero()[0].tolist()
        raise LossInputError(
            f"{side}_labels hold {int(labels[b, at])} in sample {b} at position {at}, where the id is "
            f"{int(ids[b, at])}: labels are the ids themselves where they are learnt, -100 elsewhere, and not shifted."
        )
    attention = torch.ones_like(ids) if attention is None else (attention != 0).long()
    return ids, torch.where(attention != 0, labels, IGNORE), attention


def _groups_of_ids(
    b: int,
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    tokenizers: tuple[Tokenizer, Tokenizer],
    method: str,
    variant: str,
    options: dict[str, Any],
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Groups [G, 5] and pairs [P, 3] of one sample from its ids and labels of both sides."""
    sides = (
        _Side("student", b, tensors[0].tolist(), _stretches(tensors[1]), tokenizers[0]),
        _Side("teacher", b, tensors[2].tolist(), _stretches(tensors[3]), tokenizers[1]),
    )
    rows, path = [np.zeros((0, 4), dtype=np.int64)], [np.zeros((0, 2), dtype=np.int64)]
    has_path = False
    for (s, starts_s, end_s), (t, starts_t, end_t) in _facing_stretches(*sides):
        starts = np.array([starts_s, starts_t], dtype=np.int64)
        groups, pairs = _response_groups(s, t, method, variant, options)
        has_path |= pairs is not None
        rows.append(np.array(groups, dtype=np.int64) + starts.repeat(2))
        if pairs is not None:
            path.append(np.array(pairs, dtype=np.int64) + starts)
        if end_s is not None and end_t is not None:
            rows.append(np.array([[end_s, end_s + 1, end_t, end_t + 1]], dtype=np.int64))
            if pairs is not None:
                path.append(np.array([[end_s, end_t]], dtype=np.int64))

    def numbered(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        whole = np.concatenate(parts)
        return np.concatenate([np.full((len(whole), 1), b, dtype=np.int64), whole], axis=1)

    return numbered(rows), numbered(path) if has_path else None


Stretch = tuple[Encoding, int, "int | None"]  # its tokens without EOS, where they begin, where its EOS stands


@dataclass(frozen=True)
class _Side:
    """One side of a sample: ids, and the stretches [start, end) of its learnt tokens."""

    name: str
    sample: int
    ids: list[int]
    stretches: list[tuple[int, int]]
    tokenizer: Tokenizer

    def read(self, start: int, end: int) -> Stretch:
        """The tokens of a stretch. Raises LossInputError where they spell no text."""
        own = self.ids[start:end]
        ended = bool(own) and own[-1] == self.tokenizer.eos_id
        text = _encoding_of_ids(own[:-1] if ended else own, self.tokenizer, self.name, self.sample)
        return text, start, end - 1 if ended else None


def _stretches(labels: torch.Tensor) -> list[tuple[int, int]]:
    """Runs [start, end) of learnt tokens in labels int64 [T]."""
    learnt = np.concatenate([[False], (labels != IGNORE).cpu().numpy(), [False]])
    edges = np.flatnonzero(learnt[1:] != learnt[:-1]).reshape(-1, 2)
    return [(int(start), int(end)) for start, end in edges]


def _facing_stretches(student: _Side, teacher: _Side) -> list[tuple[Stretch, Stretch]]:
    """The stretches of both sides, which spell the same; where they don't, the whole from first to last learnt token.

    Raises LossInputError where that differs, too.
    """
    sides = student, teacher
    fault: LossInputError | None = None
    if len(student.stretches) == len(teacher.stretches):
        try:
            pairs = [(student.read(*own), teacher.read(*other)) for own, other in zip(*(x.stretches for x in sides))]
        except LossInputError as cut:  # inside a character
            fault = cut
        else:
            if all(s[0].text == t[0].text for s, t in pairs):
                return pairs
    if fault is not None and all(len(x.stretches) == 1 for x in sides):
        raise fault
    own, other = (x.read(x.stretches[0][0], x.stretches[-1][1]) if x.stretches else x.read(0, 0) for x in sides)
    s, t = own[0], other[0]
    if s.text == t.text:
        return [(own, other)]
    same = next((k for k, (x, y) in enumerate(zip(s.text, t.text)) if x != y), min(len(s.text), len(t.text)))
    gaps = " and ".join(f"{len(x.stretches)} of the {x.name}'s" for x in sides)
    more = f" (learnt stretches: {gaps})" if any(len(x.stretches) > 1 for x in sides) else ""
    raise LossInputError(
        f"the responses of sample {student.sample} differ from character {same} on: the student's tokens spell "
        f"{s.text[same : same + 40]!r}, the teacher's {t.text[same : same + 40]!r}{more}. Both must hold the same "
        "text, stretch by stretch where labels have gaps; cut texts rather than tokens, or let align_sample(..., "
        "max_length=...) encode them."
    )


def _encoding_of_ids(ids: list[int], tokenizer: Tokenizer, side: str, b: int) -> Encoding:
    """The text that these tokens spell, as an encoding; special tokens stand in it without text."""
    wrong = next((i for i in ids if not 0 <= i < tokenizer.n_ids), None)
    if wrong is not None:
        raise LossInputError(
            f"sample {b} holds {side} id {wrong}, but tokenizer {tokenizer.name!r} has ids up to {tokenizer.n_ids - 1}."
        )
    special = np.array([i in tokenizer.special_ids and i != tokenizer.unk_id for i in ids], dtype=np.bool_)
    plain = [i for i, added in zip(ids, special) if not added]
    try:
        text = b"".join(tokenizer.all_token_bytes()[i] for i in plain).decode()
    except UnicodeDecodeError:
        raise LossInputError(
            f"the {side}'s response of sample {b} begins or ends inside a character, so that it has no text of its "
            "own; move the border of the labels to a whole character."
        ) from None
    exact = response_of_ids(plain, text, tokenizer) if tokenizer.kind in ("byte-level", "sentencepiece") else None
    if exact is None:
        exact = tokenizer.encode(tokenizer.decode(plain))
        if exact.ids.tolist() != plain:
            raise LossInputError(
                f"tokenizer {tokenizer.name!r} ({tokenizer.kind}) hides what its tokens spell, and the {side}'s "
                f"response of sample {b} can't be decoded and encoded again without a change; use align_sample with "
                "the text."
            )
    if not special.any():
        return exact
    place = np.cumsum(~special) - 1  # of each token, the plain one at or before it
    ends = np.concatenate([[0], exact.spans[:, 1]])[place + 1]
    chars = np.concatenate([[0], exact.char_spans[:, 1]])[place + 1]
    pick = place.clip(min=0)
    none = special[:, None] | (len(plain) == 0)
    empty = np.zeros((len(ids), 2), dtype=np.int64)
    return replace(
        exact,
        ids=np.array(ids, dtype=np.int32),
        tokens=["" if added else exact.tokens[k] for added, k in zip(special, pick)],
        token_bytes=[b"" if added else exact.token_bytes[k] for added, k in zip(special, pick)],
        spans=np.where(none, np.stack([ends, ends], axis=1), exact.spans[pick] if len(plain) else empty),
        char_spans=np.where(none, np.stack([chars, chars], axis=1), exact.char_spans[pick] if len(plain) else empty),
        special=special,
    )


def _char_spans(data: bytes, spans: NDArray[np.int64]) -> NDArray[np.int64]:
    # A character touched by a token belongs to its range, as tokenizers report it.
    starts = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
    begun = np.concatenate([[0], np.cumsum(starts)])  # characters begun before this byte
    inside = np.concatenate([~starts, [False]])  # this byte continues a character
    first = begun[spans[:, 0]] - inside[spans[:, 0]]
    return np.stack([first, begun[spans[:, 1]]], axis=1).astype(np.int64)


def _response_groups(
    s: Encoding, t: Encoding, method: str, variant: str, options: dict[str, Any]
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None]:
    row = methods.get(method, AlignmentError)
    row.check_variant(variant, AlignmentError)
    resolved = row.resolve_groups(options, AlignmentError, variant)
    if row.groups_of:
        # SFT joins nothing and ULD pairs rows by index; their values per group still want groups.
        row, variant, resolved = methods.get(row.groups_of), "clean", {}
    alignment = methods.load(row.aligner or "")(s, t, variant=variant, **resolved)
    groups = alignment.groups
    two_sided = (groups[:, 0] < groups[:, 1]) & (groups[:, 2] < groups[:, 3])
    return groups[two_sided].astype(np.int32), alignment.pairs


def collate(
    samples: Sequence[AlignedSample],
    student: Tokenizer | None = None,
    teacher: Tokenizer | None = None,
    pad: str = "right",
) -> AlignedBatch:
    """Samples as one AlignedBatch, padded at the "right" or "left" end.

    Padding ids are the tokenizer's pad, else EOS, else 0; no loss looks at them. Raises LossInputError for an unknown
    `pad`, no samples, or tokenizers that the samples weren't made with.
    """
    import torch

    if pad not in ("right", "left"):
        raise LossInputError(f"pad must be 'right' or 'left'; got {pad!r}.")
    if not samples:
        raise LossInputError("a batch needs at least one sample; got none.")
    student = None if student is None else as_tokenizer(student, "student")
    teacher = None if teacher is None else as_tokenizer(teacher, "teacher")
    _check_tokenizers(samples, student, teacher)
    s = _side([x.student_ids for x in samples], [x.student_response_start for x in samples], student, pad)
    t = _side([x.teacher_ids for x in samples], [x.teacher_response_start for x in samples], teacher, pad)
    groups = [
        np.concatenate([np.full((len(x.groups), 1), i), x.groups + _shift(s[3][i], t[3][i])], axis=1)
        for i, x in enumerate(samples)
    ]
    pairs = [
        np.concatenate([np.full((len(x.pairs), 1), i), x.pairs + _shift(s[3][i], t[3][i])[1:3]], axis=1)
        for i, x in enumerate(samples)
        if x.pairs is not None
    ]
    return AlignedBatch(
        student_ids=torch.from_numpy(s[0]),
        teacher_ids=torch.from_numpy(t[0]),
        student_labels=torch.from_numpy(s[1]),
        teacher_labels=torch.from_numpy(t[1]),
        student_attention=torch.from_numpy(s[2]),
        teacher_attention=torch.from_numpy(t[2]),
        groups=torch.from_numpy(np.concatenate(groups).astype(np.int64).reshape(-1, 5)),
        student=student,
        teacher=teacher,
        pairs=torch.from_numpy(np.concatenate(pairs).astype(np.int64)) if pairs else None,
    )


def _check_tokenizers(samples: Sequence[AlignedSample], student: Tokenizer | None, teacher: Tokenizer | None) -> None:
    for sample in samples:
        for side, given, made in zip(("student", "teacher"), (student, teacher), sample.tokenizers):
            if given is not None and given.fingerprint != made:
                raise LossInputError(
                    f"the samples were aligned with another {side} tokenizer than {given.name!r}; pass the two of "
                    "align_sample in the same order, collate(samples, student, teacher)."
                )


def _shift(student: int, teacher: int) -> NDArray[np.int64]:
    return np.array([student, student, teacher, teacher], dtype=np.int64)


def _side(
    ids: list[NDArray[np.int32]], starts: list[int], tokenizer: Tokenizer | None, pad: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Padded ids, labels, attention mask [B, T] and how far each sample moved to the right."""
    filler = 0
    if tokenizer is not None:
        filler = next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0)
    width = max(1, max(len(x) for x in ids))
    padded = np.full((len(ids), width), filler, dtype=np.int64)
    labels = np.full_like(padded, IGNORE)
    attention = np.zeros_like(padded)
    shifts = [0 if pad == "right" else width - len(x) for x in ids]
    for i, (x, start, shift) in enumerate(zip(ids, starts, shifts)):
        padded[i, shift : shift + len(x)] = x
        attention[i, shift : shift + len(x)] = 1
        labels[i, shift + start : shift + len(x)] = x[start:]
    return padded, labels, attention, shifts
