"""Special tokens and chat templates as tables: roles side by side, where two prompts differ, tokens around a seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ctkd_core.markup.visible import shorten, visible, visible_bytes
from ctkd_core.tokenizers.special_tokens import CHAT, ROLE_TITLES, facts

if TYPE_CHECKING:
    import pandas as pd

    from ctkd_core.tokenizers.chat_templates import DiffPiece, Rendered, Seam
    from ctkd_core.tokenizers.encoding import Encoding
    from ctkd_core.tokenizers.tokenizer import Tokenizer

SHOWN_TOKENS, SHOWN_CHARACTERS = 400, 120
ABSENT = "none"


def role_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`special_tokens.compare` for people: role, student, student id, teacher, teacher id; see `role_notes`."""
    import pandas as pd

    found = [
        {
            "role": ROLE_TITLES.get(row["role"], row["role"]),
            "student": _shown(row["student"]),
            "student id": row["student_id"],
            "teacher": _shown(row["teacher"]),
            "teacher id": row["teacher_id"],
        }
        for row in rows
    ]
    frame = pd.DataFrame(found, columns=["role", "student", "student id", "teacher", "teacher id"])
    return frame.astype({"student id": "Int64", "teacher id": "Int64"})


def role_notes(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(role and tokens it speaks of, note) for every note of `special_tokens.compare`; equal notes are said once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["note"]:
            names = dict.fromkeys(_shown(row[side]) for side in ("student", "teacher") if row[side] is not None)
            found.setdefault((ROLE_TITLES.get(row["role"], row["role"]), row["note"]), []).extend(names)
    return [
        (f"{role} ({', '.join(names)})" if role == ROLE_TITLES[CHAT] else role, note)
        for (role, note), names in found.items()
    ]


def _shown(token: str | None) -> str:
    return ABSENT if token is None else shorten(visible(token), 60) or "(empty)"


def fact_table(student: Tokenizer, teacher: Tokenizer) -> pd.DataFrame:
    """`special_tokens.facts` of both sides: fact, student, teacher, what it means."""
    import pandas as pd

    own, other = facts(student), facts(teacher)
    said = (
        ("tokens", "tokens", "added ones included: len(tokenizer)"),
        ("ids", "highest id + 1", "rows that logits must at least have"),
        ("holes", "ids without a token", "below the highest id"),
        ("special", "special tokens", "declared special by tokenizer.json"),
        ("adds_bos", "puts BOS before a text", "by itself"),
        ("adds_eos", "puts EOS after a text", "by itself"),
        ("chat", "chat template", "tokenizer_config.json or chat_template.jinja"),
    )
    return pd.DataFrame(
        [
            {"fact": title, "student": _value(getattr(own, name)), "teacher": _value(getattr(other, name))}
            | {"meaning": meaning}
            for name, title, meaning in said
        ]
    )


def _value(value: bool | int) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:,}"


def difference_table(pieces: Sequence[DiffPiece]) -> pd.DataFrame:
    """Stretches of two rendered conversations in their order: same, student, teacher; whitespace is visible."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "same": piece.same,
                "student": shorten(visible(piece.student), SHOWN_CHARACTERS),
                "teacher": shorten(visible(piece.teacher), SHOWN_CHARACTERS),
            }
            for piece in pieces
        ],
        columns=["same", "student", "teacher"],
    )


def token_table(encoding: Encoding, limit: int = SHOWN_TOKENS) -> pd.DataFrame:
    """The first tokens of a rendered conversation: index, token, id, special."""
    import pandas as pd

    n = min(limit, len(encoding))
    return pd.DataFrame(
        {
            "index": range(n),
            "token": [shorten(visible_bytes(data), 40) for data in encoding.token_bytes[:n]],
            "id": encoding.ids[:n],
            "special": encoding.special[:n],
        }
    )


def marker_table(found: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """`chat_templates.markers` for people: marker, times, tokens of the reader."""
    import pandas as pd

    rows = [{"marker": visible(name), "times": times, "tokens": tokens} for name, (times, tokens) in found.items()]
    return pd.DataFrame(rows, columns=["marker", "times", "tokens"])


def marker_sentence(reader: str, writer: str, found: Mapping[str, tuple[int, int]]) -> str:
    """What the markers of one side's template are to the other side, in words."""
    spelled = {name: tokens for name, (_, tokens) in found.items() if tokens > 1}
    if not found:
        return f"The {writer}'s text holds no special token."
    if not spelled:
        return f"The {reader} has every marker in the {writer}'s text as one token."
    name, tokens = max(spelled.items(), key=lambda item: item[1])
    extra = sum(times * (count - 1) for times, count in found.values())
    return (
        f"The {reader} spells {len(spelled)} of {len(found)} markers in the {writer}'s text as plain text "
        f"({visible(name)} in {tokens} tokens): {extra} tokens more, and no single row that says “end of turn”."
    )


def seam_text(seam: Seam) -> tuple[str, str]:
    """The tokens around a seam cut apart and cut together, on one line each; ‖ is where the answer begins."""
    apart = " │ ".join(visible_bytes(data) if data else "‖" for data in seam.apart)
    return apart.replace(" │ ‖ │ ", " ‖ "), " │ ".join(map(visible_bytes, seam.together))


def chat_sentence(student: Rendered, teacher: Rendered) -> str:
    """What two rendered conversations have in common, in one sentence."""
    if student.text is None and teacher.text is None:
        return "Neither side has a template for this conversation; render it as plain text for both."
    if student.text is None or teacher.text is None:
        with_text, without = ("teacher", "student") if student.text is None else ("student", "teacher")
        return f"Only the {with_text} can write this conversation; give the {without} the same text, or plain text."
    if student.text == teacher.text:
        return "Both templates write the same text."
    return (
        "The templates write different texts. Both models must read the same text: choose one template for both, or "
        "compare the answers alone."
    )
