"""The neighbourhood of one student token: its teacher tokens, and who else points at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.figures.theme import escape, figure
from ctkd_core.markup.colours import BLUE, GREY, ORANGE, VERMILLION
from ctkd_core.tokenizers.display import token_text
from ctkd_core.vocabulary.projection import REASONS

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    import plotly.graph_objects as go

    from ctkd_core.vocabulary.projection import Projection

MAX_NODES = 200
MAX_LABELS = 40
ROUNDS = 60  # of the spring layout; more changes nothing that one would see
THICK, MIDDLE = 0.75, 0.25  # weights from which an edge is drawn thick, or of middle width


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Nodes are ("s", student id) and ("t", teacher id), edges carry weight and reason (a code).

    `hidden`: student tokens that point at these teacher tokens and had no room.
    """

    graph: nx.Graph
    student_id: int
    hidden: int


def neighbourhood(projection: Projection, student_id: int, most: int = MAX_NODES) -> Neighbourhood:
    """The token, the teacher tokens of its row (heaviest first), and the heaviest others that point at them.

    At most `most` nodes; each teacher token gets an equal share of the room that is left.
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_node(("s", student_id))
    row = projection.explain(student_id).head(max(1, most // 2))
    teachers = row["teacher_id"].tolist()
    for teacher, weight, reason in zip(teachers, row["weight"].tolist(), row["reason"].tolist()):
        graph.add_edge(("s", student_id), ("t", teacher), weight=weight, reason=REASONS.index(reason))
    everyone: set[int] = set()
    waiting = []
    for teacher in teachers:
        column = projection.column(teacher)
        column = column[column["student_id"] != student_id]
        everyone.update(column["student_id"].tolist())
        entries = column[["student_id", "weight", "reason"]].itertuples(index=False)
        waiting.append([(teacher, *entry) for entry in entries])
    for k in range(max(map(len, waiting), default=0)):  # one of each in turn, so that no column takes all the room
        for others in waiting:
            if k >= len(others):
                continue
            teacher, student, weight, reason = others[k]
            if ("s", student) in graph or len(graph) < most:
                graph.add_edge(("s", student), ("t", teacher), weight=weight, reason=REASONS.index(reason))
    drawn = {node[1] for node in graph if node[0] == "s"}
    return Neighbourhood(graph, student_id, len(everyone - drawn))


def layout(found: Neighbourhood) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Where each node stands: networkx's spring layout, begun from rings so that it is the same each time."""
    import networkx as nx

    graph, centre = found.graph, ("s", found.student_id)
    teachers = [node for node in graph if node[0] == "t"]
    angles = {node: 2 * np.pi * k / max(1, len(teachers)) for k, node in enumerate(teachers)}
    start = {centre: np.zeros(2)} | {node: np.array([np.cos(a), np.sin(a)]) for node, a in angles.items()}
    for node in teachers:
        others = [other for other in graph[node] if other not in start]
        for k, other in enumerate(others):
            angle = angles[node] + 2 * np.pi * (k + 1) / (len(others) + 1)
            start[other] = start[node] + 0.6 * np.array([np.cos(angle), np.sin(angle)])
    if len(graph) < 3:
        return start
    return nx.spring_layout(graph, pos=start, fixed=[centre], iterations=ROUNDS, seed=0, k=1.6 / np.sqrt(len(graph)))


def graph_figure(found: Neighbourhood, projection: Projection) -> go.Figure:
    """Circles are student tokens, squares teacher tokens; thicker lines weigh more. Points carry the student id."""
    import plotly.graph_objects as go

    graph, place = found.graph, layout(found)
    traces: list[Any] = []
    edges = [(a, b, float(data["weight"])) for a, b, data in graph.edges(data=True)]
    for low, high, width, name in (
        (THICK, np.inf, 3.0, f"weight ≥ {THICK}"),
        (MIDDLE, THICK, 1.6, f"{MIDDLE} to {THICK}"),
        (-np.inf, MIDDLE, 0.7, f"below {MIDDLE}"),
    ):
        chosen = [(a, b) for a, b, weight in edges if low <= weight < high]
        if not chosen:
            continue
        points = np.array([[place[a], place[b], (np.nan, np.nan)] for a, b in chosen]).reshape(-1, 2)
        traces.append(
            go.Scatter(
                x=points[:, 0].astype(np.float32),
                y=points[:, 1].astype(np.float32),
                mode="lines",
                line={"color": GREY, "width": width},
                hoverinfo="skip",
                name=name,
            )
        )
    others = [n for n in graph if n[0] == "s" and n[1] != found.student_id]
    teachers = [n for n in graph if n[0] == "t"]
    few = len(others) <= MAX_LABELS
    traces.append(_nodes(others, place, projection, "other student tokens", BLUE, "circle", 9 if few else 6, few))
    traces.append(_nodes(teachers, place, projection, "teacher tokens", ORANGE, "square", 14, False))
    centre = ("s", found.student_id)
    traces.append(_nodes([centre], place, projection, "this token", VERMILLION, "circle", 16, False))
    fig = figure(traces, f"Neighbours of {escape(token_text(projection.student, found.student_id, 24))}", height=520)
    for node, colour in [*((node, ORANGE) for node in teachers[:MAX_LABELS]), (centre, VERMILLION)]:
        _sign(fig, node, place[node], projection, colour)
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False, scaleanchor="x")
    return fig.update_layout(clickmode="event+select", hovermode="closest", dragmode="pan")


def graph_table(found: Neighbourhood, projection: Projection) -> pd.DataFrame:
    """The edges of `graph_figure`: student_id, student, teacher_id, teacher, weight, reason; the token's own first."""
    import pandas as pd

    rows = []
    for a, b, data in found.graph.edges(data=True):
        student, teacher = (a[1], b[1]) if a[0] == "s" else (b[1], a[1])
        rows.append(
            {
                "student_id": student,
                "student": token_text(projection.student, student),
                "teacher_id": teacher,
                "teacher": token_text(projection.teacher, teacher),
                "weight": float(data["weight"]),
                "reason": REASONS[data["reason"]],
            }
        )
    rows.sort(key=lambda row: (row["student_id"] != found.student_id, -row["weight"], row["student_id"]))
    return pd.DataFrame(rows, columns=["student_id", "student", "teacher_id", "teacher", "weight", "reason"])


def _sign(fig: go.Figure, node: tuple[str, int], at: NDArray[np.float64], projection: Projection, colour: str) -> None:
    """A label with a ground of its own: lines run under it."""
    tokenizer = projection.student if node[0] == "s" else projection.teacher
    fig.add_annotation(
        x=float(at[0]),
        y=float(at[1]),
        text=escape(token_text(tokenizer, node[1], 18)),
        showarrow=False,
        yshift=19,
        bgcolor=colour,
        borderpad=2,
        font={"family": "monospace", "size": 13, "color": "black" if colour == ORANGE else "white"},
    )


def _nodes(
    nodes: list[tuple[str, int]],
    place: dict[tuple[str, int], NDArray[np.float64]],
    projection: Projection,
    name: str,
    colour: str,
    symbol: str,
    size: int,
    labelled: bool,
) -> go.Scatter:
    import plotly.graph_objects as go

    sides = {"s": projection.student, "t": projection.teacher}
    texts = [escape(token_text(sides[side], k, 18)) for side, k in nodes]
    points = np.array([place[node] for node in nodes], dtype=np.float32).reshape(-1, 2)
    return go.Scatter(
        x=points[:, 0],
        y=points[:, 1],
        # A teacher token isn't looked up by a click: -1.
        customdata=np.array([[k if side == "s" else -1] for side, k in nodes], dtype=np.int32).reshape(-1, 1),
        text=texts,
        hovertext=[f"{text}<br>id {k}" for text, (_, k) in zip(texts, nodes)],
        hovertemplate="%{hovertext}<extra>" + name + "</extra>",
        mode="markers+text" if labelled else "markers",
        textposition="top center",
        textfont={"family": "monospace", "size": 12},
        marker={"color": colour, "symbol": symbol, "size": size, "line": {"width": 1, "color": "white"}},
        name=name,
    )
