"""Special tokens of two tokenizers side by side: who has which role, who adds what by itself, where ids end.

Most silent faults of a cross-tokenizer setup sit here: BOS before one side's text only, padding that is EOS, a row of
logits without a token. Nothing is aligned and no text but one letter is encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ctkd_core.tokenizers.load import as_pair
from ctkd_core.tokenizers.roles import ROLES

if TYPE_CHECKING:
    from ctkd_core.tokenizers.tokenizer import Tokenizer

CHAT, LAST_ID = "chat", "last_id"
MAX_CHAT = 24  # markers of a chat template that are listed

ROLE_TITLES = {
    "bos": "begin of text (BOS)",
    "eos": "end of text (EOS)",
    "pad": "padding",
    "unk": "unknown text",
    CHAT: "chat marker",
    LAST_ID: "last id",
}


@dataclass(frozen=True)
class Facts:
    """What one tokenizer says of its special tokens and ids.

    tokens      tokens it has, added ones included (what `len(tokenizer)` gives in transformers)
    ids         one more than its largest id: rows that logits must at least have
    holes       ids below `ids` without a token
    special     tokens that tokenizer.json declares special
    adds_bos    whether it puts BOS before a text by itself; adds_eos: EOS after it
    chat        whether it has a chat template
    """

    tokens: int
    ids: int
    holes: int
    special: int
    adds_bos: bool
    adds_eos: bool
    chat: bool


def facts(tokenizer: Tokenizer) -> Facts:
    """See `Facts`; about a millisecond."""
    last = tokenizer.encode("a", special_tokens=True).ids
    return Facts(
        tokens=tokenizer.vocab_size,
        ids=tokenizer.n_ids,
        holes=tokenizer.n_ids - tokenizer.vocab_size,
        special=len(tokenizer.special_ids),
        adds_bos=bool(tokenizer.begins_with_bos),
        adds_eos=tokenizer.eos_id is not None and len(last) > 1 and int(last[-1]) == tokenizer.eos_id,
        chat=tokenizer.chat_template is not None,
    )


def compare(student: Tokenizer, teacher: Tokenizer) -> list[dict[str, Any]]:
    """One row a role: role, student_id, student, teacher_id, teacher, note; None for a role that a side doesn't have.

    Roles are those of ROLES; "chat" for every special token that a chat template writes and no role names; "last_id"
    for the largest id. `note` is "" or sentences about what to look out for.
    """
    student, teacher = as_pair(student, teacher)
    rows = [_row(role, student, teacher, *_of_role(role, student, teacher)) for role in ROLES]
    notes = {"bos": _bos_notes, "eos": _eos_notes, "pad": _pad_notes, "unk": _unk_notes}
    for row in rows:
        row["note"] = " ".join(notes[row["role"]](student, teacher))
    rows += _chat_rows(student, teacher)
    last = _row(LAST_ID, student, teacher, student.n_ids - 1, teacher.n_ids - 1)
    return [*rows, last | {"note": " ".join(_id_notes(student, teacher))}]


def _row(
    role: str, student: Tokenizer, teacher: Tokenizer, student_id: int | None, teacher_id: int | None
) -> dict[str, Any]:
    return {
        "role": role,
        "student_id": student_id,
        "student": _name(student, student_id),
        "teacher_id": teacher_id,
        "teacher": _name(teacher, teacher_id),
        "note": "",
    }


def _name(tokenizer: Tokenizer, token_id: int | None) -> str | None:
    return None if token_id is None or not 0 <= token_id < tokenizer.n_ids else tokenizer.token(token_id)


def _of_role(role: str, student: Tokenizer, teacher: Tokenizer) -> tuple[int | None, int | None]:
    return getattr(student, f"{role}_id"), getattr(teacher, f"{role}_id")


def _sides(student: Tokenizer, teacher: Tokenizer) -> tuple[tuple[str, Tokenizer], tuple[str, Tokenizer]]:
    return ("student", student), ("teacher", teacher)


def _absent(role: str, student: Tokenizer, teacher: Tokenizer) -> list[str]:
    """The sides without a role, by name."""
    return [side for side, tokenizer in _sides(student, teacher) if getattr(tokenizer, f"{role}_id") is None]


def _one_side(role: str, what: str, student: Tokenizer, teacher: Tokenizer) -> list[str]:
    absent = _absent(role, student, teacher)
    if len(absent) == 1:
        return [f"The {absent[0]} has no {what}: nothing there answers to the other side's."]
    return []


def _bos_notes(student: Tokenizer, teacher: Tokenizer) -> list[str]:
    notes = _one_side("bos", "BOS", student, teacher)
    adding = [side for side, tokenizer in _sides(student, teacher) if tokenizer.begins_with_bos]
    if len(adding) == 1:
        notes.append(f"Only the {adding[0]} puts BOS before a text by itself: its rows are shifted by one.")
    elif adding:
        notes.append("Both sides put BOS before a text by themselves.")
    else:
        notes.append("Neither side puts BOS before a text by itself.")
    for side, tokenizer in _sides(student, teacher):
        if tokenizer.bos_id is not None and tokenizer.bos_id == tokenizer.eos_id:
            notes.append(f"The {side}'s BOS is its EOS.")
    return notes


def _eos_notes(student: Tokenizer, teacher: Tokenizer) -> list[str]:
    notes = _one_side("eos", "EOS", student, teacher)
    adding = [side for side, tokenizer in _sides(student, teacher) if facts(tokenizer).adds_eos]
    if len(adding) == 1:
        notes.append(f"Only the {adding[0]} puts EOS after a text by itself.")
    return notes


def _pad_notes(student: Tokenizer, teacher: Tokenizer) -> list[str]:
    notes = []
    absent = _absent("pad", student, teacher)
    if absent:
        who = "Neither side has" if len(absent) == 2 else f"The {absent[0]} has no"
        own = " padding of its own" if len(absent) == 2 else " padding"
        notes.append(f"{who}{own}: batches need a token for it, masked by length and not by id.")
    same = [
        side
        for side, tokenizer in _sides(student, teacher)
        if tokenizer.pad_id is not None and tokenizer.pad_id == tokenizer.eos_id
    ]
    if same:
        who = "Both sides pad" if len(same) == 2 else f"The {same[0]} pads"
        notes.append(f"{who} with EOS: a mask made from the id would hide the real end of an answer, too.")
    return notes


def _unk_notes(student: Tokenizer, teacher: Tokenizer) -> list[str]:
    return [
        f"Text that the {side} can't spell becomes {tokenizer.token(tokenizer.unk_id)}."
        for side, tokenizer in _sides(student, teacher)
        if tokenizer.unk_id is not None and not _spells_all(tokenizer)
    ]


def _spells_all(tokenizer: Tokenizer) -> bool:
    """Whether it has a token for every byte, so that nothing is ever unknown."""
    spec = tokenizer.spec
    return tokenizer.kind == "byte-level" or bool(spec["model"].get("byte_fallback"))


def _chat_rows(student: Tokenizer, teacher: Tokenizer) -> list[dict[str, Any]]:
    """Special tokens that the templates write: those of the same text on both sides in one row."""
    own, other = _markers(student), _markers(teacher)
    names = [*own, *(name for name in other if name not in own)][:MAX_CHAT]
    rows = [_row(CHAT, student, teacher, own.get(name), other.get(name)) for name in names]
    for row, name in zip(rows, names):
        known = {"student": student.id_of(name), "teacher": teacher.id_of(name)}
        for side in ("student", "teacher"):
            if row[f"{side}_id"] is None and known[side] is not None:
                row["note"] = f"The {side} knows this token, too, but its template doesn't write it."
            elif row[f"{side}_id"] is None:
                row["note"] = f"The {side} has no such token and would spell it as plain text."
    return rows


def _markers(tokenizer: Tokenizer) -> dict[str, int]:
    """Special tokens that the chat template spells out and that have no role of their own, by their text."""
    template = tokenizer.chat_template or ""
    roles = {getattr(tokenizer, f"{role}_id") for role in ROLES}
    ids = sorted(tokenizer.special_ids - roles)
    return {name: i for i in ids if (name := tokenizer.token(i)) and name in template}


def _id_notes(student: Tokenizer, teacher: Tokenizer) -> list[str]:
    notes = []
    for side, tokenizer in _sides(student, teacher):
        known = facts(tokenizer)
        if known.holes:
            notes.append(f"{known.holes:,} ids of the {side} below its last one have no token.")
    wide = f"{student.n_ids:,} (student) and {teacher.n_ids:,} (teacher)"
    notes.append(f"A model's logits may be wider than {wide}: what lies beyond is padding and spells nothing.")
    return notes
