"""Sample texts for the pages and the command line, each with what to look at. Written for this project."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleText:
    """One sample: `note` says in a sentence what to look at."""

    name: str
    title: str
    text: str
    note: str


_CODE = '''def mean(values: list[float]) -> float:
    """Arithmetic mean; 0.0 for an empty list."""
    if not values:
        return 0.0
    total = sum(values)
\treturn total / len(values)  # mixed tab and spaces


print(mean([3.14159, 201, 1_234_567]))
'''

_CHAT = """<|im_start|>system
You answer briefly.<|im_end|>
<|im_start|>user
How many days does the year 2024 have?<|im_end|>
<|im_start|>assistant
366, because 2024 is a leap year.<|im_end|>
"""

_ROWS = (
    SampleText(
        "prose",
        "Prose",
        "The lighthouse keeper's granddaughter catalogued 1,247 seashells in 2024, and 201 of them were "
        "unidentifiable. “Extraordinary!” she whispered 👩‍🚀 as the naïve tide crept towards the windowsill. "
        "By midnight the weatherproof notebook held 36 sketches, three misspellings and one coffee stain.",
        "Numbers are cut in two ways, the emoji inside its bytes at different places, and after the first "
        "difference pairs by position drift apart.",
    ),
    SampleText(
        "code",
        "Code",
        _CODE,
        "Runs of spaces, tabs and newlines are single tokens for one tokenizer and many for the other.",
    ),
    SampleText(
        "numbers",
        "Numbers",
        "Order 201 shipped on 2024-02-29 at 17:45:09. Total: 1234567 units at 3.14159 each, 12.5% off; "
        "pi to ten places is 3.1415926535 and 2^64 = 18446744073709551616. Call +49 30 1234 5678.",
        "One tokenizer reads digits one by one, the other in threes, so every number is a group of several tokens.",
    ),
    SampleText(
        "emoji",
        "Emoji and scripts",
        "Family 👨‍👩‍👧‍👦, astronaut 👩‍🚀, flag 🇯🇵, thumbs 👍🏽, llama 🦙. 東京都庁は新宿区にある。 "
        "Привет, мир! cafe\u0301 and café, nai\u0308ve and naïve, Z\u0351\u036balgo. नमस्ते, 𝒳 + 𝔜.",
        "Characters are cut into bytes at different places; combining accents show which tokenizer normalises.",
    ),
    SampleText(
        "chat",
        "Chat template",
        _CHAT,
        "The same markers are special tokens for one tokenizer and ordinary text for the other; "
        "alignments leave special tokens out.",
    ),
    SampleText(
        "rtl",
        "Right to left",
        "في عام 2024 أحصى حارس المنارة 1247 صدفة، وكانت 201 منها مجهولة 🐚. كتب في دفتره Extraordinary day ثم نام. "
        "בבוקר הוא אמר שלום.",
        "Groups run from right to left as the text does; numbers and English words in it stand the other way round.",
    ),
)

TEXTS: dict[str, SampleText] = {row.name: row for row in _ROWS}
