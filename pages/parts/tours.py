"""Tours: a few steps over one page, each with what to look at and the address that shows it.

A tour stands in the address as `tour=NAME.STEP`, so it can be left, linked to and come back to. `tour=NAME` alone
begins it: the first step then sets up the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One step. `look_at` is the key of the control that is framed; `address` what the page is set to.

    A value of None takes a parameter out of the address. Texts are Markdown.
    """

    title: str
    text: str
    look_at: str
    address: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Tour:
    """A tour over one page, by the name that the address has.

    own_pair: what it says holds for the default pair alone, so each step puts that one into the bar
    """

    name: str
    title: str
    page: str  # a key of `state.PAGES`
    icon: str
    steps: tuple[Step, ...]
    own_pair: bool = True


_DRIFT = Tour(
    "drift",
    "Find the drift in 60 seconds",
    "align",
    ":material/timer:",
    (
        Step(
            "One text, cut twice",
            "The teacher's tokens stand above, the student's below. Tokens of one **group** are joined: "
            "`·granddaughter` is one token of the student and two of the teacher, `247` one and three. Hover over a "
            "token for its bytes.",
            "chips",
            {"text": "prose", "method": "sedi", "against": "uld", "group": None, "tab": None},
        ),
        Step(
            "Two methods, two answers",
            "ULD pairs tokens by their position. Dashed lines are its pairs where they differ from SeDi's groups. "
            "They begin at `·granddaughter`; from there on the two never agree again, so this button has one place to"
            " jump to.",
            "next_difference",
            {"text": "prose", "method": "sedi", "against": "uld", "group": "4", "tab": None},
        ),
        Step(
            "There it begins",
            "Now ULD is the method. All its groups are one to one and look perfect, but behind `·granddaughter` every"
            " **≠** says that the two sides spell different bytes. It lost its place, and nothing brings it back: "
            "that is drift.",
            "chips",
            {"text": "prose", "method": "uld", "against": "sedi", "group": "4", "tab": None},
        ),
        Step(
            "The same as a picture",
            "Where groups end, in bytes: on the diagonal both sides have read the same text. ULD leaves it and stays "
            "away; SeDi, dashed, never does. A loss would compare predictions of different places.",
            "staircase",
            {"text": "prose", "method": "uld", "against": "sedi", "group": None, "tab": "Path"},
        ),
        Step(
            "All methods at once",
            "A lane for each method; the last one counts how many different groups hold a token. Try another text, or"
            " a pair of your own: drift needs one number, an emoji or a rare word.",
            "stack_lanes",
            {"text": "prose", "method": "sedi", "against": "uld", "group": None, "tab": "Methods"},
        ),
    ),
)

# The methods that page Losses begins with; those that other pages left in the address would take their places.
_FOUR: dict[str, str | None] = {
    "example": "number",
    "group": "1",
    "part": None,
    "losses": None,
    "method": None,
    "against": None,
}
_NUMBER = Tour(
    "201",
    "See 201 fail",
    "losses",
    ":material/trending_down:",
    (
        Step(
            "A number that the teacher knows",
            "After *Pages 197, 198, 199, 200,* comes ` 201`. The student has one token for it, the teacher reads 2, "
            "0, 1 and is sure of each. Each group has a bar per method: its share of that method's loss.",
            "strip",
            _FOUR,
        ),
        Step(
            "Down under one, up under the other",
            "Bars are what a step of descent does to the logit of each token. GOLD and H-KL press `201` **down**, "
            "though the teacher wants it; P-KL and SeDi raise it. The loss goes down all the same: nobody would see "
            "it in a curve.",
            "lab_gradients",
            _FOUR,
        ),
        Step(
            "Why",
            "What each method compares. `201` has no equal token at the teacher's, so GOLD and H-KL lose it (grey, "
            "hatched); P-KL lets it stand for the teacher's `2`; SeDi writes the teacher's digits as student tokens.",
            "lab_targets",
            _FOUR,
        ),
        Step(
            "With the text's own cross-entropy",
            "In a whole loss the text's own token is raised by fine-tuning, which hides the fault. Now go on: another"
            " text, other methods, or *Use in a run* below.",
            "part",
            _FOUR | {"part": "whole loss"},
        ),
    ),
)

_TRANSFER = Tour(
    "transfer",
    "Transfer a tokenizer",
    "runs",
    ":material/swap_driving_apps_wheel:",
    (
        Step(
            "A body and another tokenizer",
            "A transfer gives the teacher's body another tokenizer: the student's. The bar has the pair; the preset "
            "*transfer* is made for it, *quick* shows the same in minutes.",
            "preset",
            {"view": "New run", "preset": "transfer", "run": None, "compare": None},
        ),
        Step(
            "The student is a transplant",
            "*transplant*: every token of the new vocabulary begins with an embedding built from the teacher's tokens"
            " that spell the same. So the student can already write a little before the first step.",
            "new_transfer_student_model",
            {"view": "New run", "preset": "transfer", "run": None, "compare": None},
        ),
        Step(
            "The method teaches it",
            "Teacher and student cut the text differently, so a method must bring their predictions together. Page "
            "Pair says which one suits the pair, page Losses what it does to one token.",
            "new_transfer_method",
            {"view": "New run", "preset": "transfer", "run": None, "compare": None},
        ),
        Step(
            "Before it starts",
            "The list checks what would fail an hour later; the line above says how long it takes here. *Quick* is "
            "enough to see the curve of bits per byte fall from the transplant towards the teacher.",
            "start_run",
            {"view": "New run", "preset": "quick", "run": None, "compare": None},
        ),
        Step(
            "What comes out",
            "A run goes on when the page is closed. Its page shows bits per byte now, at the start and of the "
            "teacher, what both write, and the trained student as a folder for transformers.",
            "view",
            {"view": None, "run": None, "compare": None},
        ),
    ),
    own_pair=False,
)

TOURS: dict[str, Tour] = {tour.name: tour for tour in (_DRIFT, _NUMBER, _TRANSFER)}
