"""Draws the picture of each method's page with the project's own figures: `python docs/pictures.py [METHOD ...]`.

Alignments show one sentence under DeepSeek's (student) and SmolLM2's (teacher) tokenizers. Losses show the first
example of page Losses, with the bundled teacher and its twin. Attention and transport are drawn after a minute in which
only the projectors learn. Needs the development tools (chromium); the pictures lie in docs/img/methods.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from ctkd_core import align, load_tokenizer, methods  # noqa: E402
from ctkd_core.figures.graph import component, component_figure  # noqa: E402
from ctkd_core.figures.losses import Lab, target_figure  # noqa: E402
from ctkd_core.figures.theme import figure  # noqa: E402
from ctkd_core.lab import question as loss_lab  # noqa: E402
from ctkd_core.lab.example import question  # noqa: E402
from ctkd_core.lab.question import Choice  # noqa: E402
from ctkd_core.methods import METHODS  # noqa: E402
from ctkd_core.tokenizers import catalog  # noqa: E402

TEXT = "In 2024 unbelievable naïve llamas sold 1234567 units."
LEARNING_STEPS = 40  # steps in which projectors learn before attention is drawn
WIDTH = 900
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def graph(method: str) -> Any:
    """Which tokens face which, over the whole sentence."""
    student, teacher = (load_tokenizer(name) for name in catalog.DEFAULT_PAIR)
    return _whole(align(TEXT, student=student, teacher=teacher, method=method))


def collapse(method: str) -> Any:
    """The same with a teacher that begins with BOS: the released walk never closes a group again."""
    student, teacher = load_tokenizer(catalog.DEFAULT_PAIR[0]), load_tokenizer("mistral-v3")
    given = {"variant": "released", "special_tokens": True}
    return _whole(align(TEXT, student=student, teacher=teacher, method=method, **given))


def identical(method: str) -> Any:
    """One tokenizer on both sides."""
    same = load_tokenizer(catalog.DEFAULT_PAIR[1])
    fig = _whole(align(TEXT, student=same, teacher=same, method="sedi"))
    return fig.update_layout(title_text=f"{method}: one tokenizer, every token faces itself")


def _whole(alignment: Any) -> Any:
    fig = component_figure(alignment, component(alignment, 0, neighbours=len(alignment), most=200))
    for trace in fig.data:  # no group is pinned in a picture
        if trace.marker.line.width is not None:
            trace.marker.line.width = 0
    return fig


def path(method: str) -> Any:
    """Costs of each pair of tokens and the cheapest path."""
    from ctkd_core.figures.dtw import dtw_figure

    student, teacher = (load_tokenizer(name) for name in catalog.DEFAULT_PAIR)
    return dtw_figure(align(TEXT, student=student, teacher=teacher, method=method))


def target(method: str) -> Any:
    """The method's target in the group that differs most in length."""
    asked, choice = question(), Choice(method)
    status = loss_lab.start(asked, [choice]).wait(600.0, lambda share, words: print(f"  {share:4.0%} {words}"))
    if status.state != "finished":
        raise SystemExit(status.message)
    answer = loss_lab.ask(asked, [choice], packaged=False)
    lab = Lab(answer.scene, tuple(answer.views.values()), asked.student, asked.teacher)
    groups = [one.group for one in lab.views[0].targets]
    sizes = {g: sum(b - a for a, b in (answer.scene.groups[g][:2], answer.scene.groups[g][2:])) for g in groups}
    return target_figure(lab, max(groups, key=lambda g: (sizes[g], -g)))


def facing(method: str) -> Any:
    """Which hidden states face which, after the projectors have learnt for a while on this one sentence."""
    import torch

    from ctkd_core import losses
    from ctkd_core.distill.models import students, teachers
    from ctkd_core.losses.base import StateContext, States
    from ctkd_core.losses.batch import align_sample, collate

    student, teacher = (load_tokenizer(name) for name in catalog.DEFAULT_PAIR)
    batch = collate([align_sample("The keeper wrote:", " " + TEXT, student, teacher)], student, teacher)
    big = teachers.load_model(teachers.prepare(), role="teacher").eval()
    small = students.transplant(big, student, teacher).eval()
    logits, states = [], []
    with torch.no_grad():
        for model, ids in ((small, batch.student_ids), (big, batch.teacher_ids)):
            out = model(input_ids=ids, output_hidden_states=True)
            logits.append(out.logits)
            head = model.get_output_embeddings().weight.detach()
            states.append(States(tuple(h.detach() for h in out.hidden_states), head, head))
    torch.manual_seed(0)
    widths = [s.head.shape[1] for s in states]
    context = StateContext(len(states[0].head), len(states[1].head), *widths)
    state = losses.make_state(method, len(states[0].head), context=context)
    assert state is not None
    optimiser = torch.optim.AdamW(state.parameters(), lr=1e-3)
    options = {**methods.get(method).resolve_loss({}), "ce_weight": 0.0}
    for step in range(LEARNING_STEPS):
        optimiser.zero_grad()
        given = {"state": state, "student_states": states[0], "teacher_states": states[1]}
        out = losses.loss(method, logits[0].requires_grad_(), logits[1], batch, **given, **options)
        out.loss.backward()
        optimiser.step()
        print(f"  step {step + 1}: loss {float(out.loss.detach()):.3f}")
    weights = FACES[method](state, batch, states)
    return _matrix(weights, student, teacher, batch, method)


def _attention(state: Any, batch: Any, states: Any) -> Any:
    import torch

    from ctkd_core.losses.base import response_rows
    from ctkd_core.losses.dskd import answer_side, attend

    parts = ((batch.student_ids, batch.student_labels), (batch.teacher_ids, batch.teacher_labels))
    sides = [answer_side(ids, response_rows(x), s, torch.float32) for (ids, x), s in zip(parts, states)]
    with torch.no_grad():
        return attend(sides[0], sides[1], state).t2s_weights[0]


def _plan(state: Any, batch: Any, states: Any) -> Any:
    import torch

    from ctkd_core.losses.cot2align import COSTS, answer_rows, transport

    rows = [answer_rows(x)[0] for x in (batch.student_labels, batch.teacher_labels)]
    with torch.no_grad():
        x, y = (s.hidden[-1][0, r].float() for s, r in zip(states, rows))
        plan = transport(COSTS["cosine"](x, state(y)), 0.1, 50)
    return plan / plan.sum(dim=1, keepdim=True)


FACES: dict[str, Callable[..., Any]] = {"dskd": _attention, "cot2align": _plan}


def _matrix(weights: Any, student: Any, teacher: Any, batch: Any, method: str) -> Any:
    import plotly.graph_objects as go

    from ctkd_core.markup.visible import visible_bytes

    ids = batch.student_labels[0], batch.teacher_labels[0]
    own, other = (
        [f"{k} {visible_bytes(t.token_bytes(i))}" for k, i in enumerate(x[x != -100].tolist())]
        for t, x in zip((student, teacher), ids)
    )
    heat = go.Heatmap(z=weights.T.tolist(), x=own, y=other, colorscale="Blues", colorbar={"title": "share"})
    fig = figure([heat], f"{method}: where each student row (across) looks among the teacher's (down)", height=560)
    fig.update_xaxes(tickangle=-60, type="category")
    return fig.update_yaxes(autorange="reversed", type="category")


# By the kind that a method's row names.
PICTURES: dict[str, Callable[[str], Any]] = {
    "groups": graph,
    "collapse": collapse,
    "identical": identical,
    "path": path,
    "target": target,
    "states": facing,
}


@cache
def _script() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def main() -> None:
    """Draw the named methods' pictures, or all."""
    from playwright.sync_api import sync_playwright

    folder = HERE / "img" / "methods"
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for method in sys.argv[1:] or [row.name for row in METHODS.values() if row.picture]:
            print(method)
            fig = PICTURES[methods.get(method).picture](method).update_layout(width=WIDTH, template="plotly_white")
            page = browser.new_page(viewport={"width": WIDTH + 20, "height": 1200})
            page.set_content(f"<script>{_script()}</script>" + fig.to_html(full_html=False, include_plotlyjs=False))
            page.wait_for_selector(".main-svg")
            page.locator(".js-plotly-plot").screenshot(path=str(folder / f"{method}.png"))
            page.close()


if __name__ == "__main__":
    main()
