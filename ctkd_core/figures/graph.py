"""One group and its neighbours as a bipartite graph: teacher tokens above, student tokens below, an edge for each pair.

Two sorts of edge, because they may differ: what the method pairs, and where two tokens share bytes of the text (the
truth that string-based methods can't see). networkx draws; it computes nothing of the alignment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctkd_core.alignment.base import Alignment
from ctkd_core.alignment.kinds import KIND_STYLES, KINDS, UNEQUAL, UNEQUAL_MEANING
from ctkd_core.figures.theme import escape, figure
from ctkd_core.markup.colours import BLACK, GREY, ORANGE, PURPLE, VERMILLION
from ctkd_core.markup.visible import shorten, visible_bytes

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd
    import plotly.graph_objects as go

MAX_NODES = 200
NEIGHBOURS = 6  # groups to each side of the pinned one
MAX_LABELS = 80
LABEL_CHARACTERS = 12

Node = tuple[str, int]  # side ("student" or "teacher") and position


@dataclass(frozen=True, eq=False)
class Component:
    """Tokens of some groups as a graph; nodes are (side, position).

    Nodes carry `group`; edges carry `pair` (the method joins the two) and `overlap` (bytes of the text they share).
    `hidden`: tokens of these groups that had no room.
    """

    graph: nx.Graph
    group: int
    first: int
    last: int  # exclusive
    hidden: int


def component(alignment: Alignment, group: int, neighbours: int = NEIGHBOURS, most: int = MAX_NODES) -> Component:
    """`group` with up to `neighbours` groups to each side, at most `most` tokens.

    Neighbours join in turn as long as there is room; of a group that is larger than that its first tokens are drawn.
    A method without pairs joins every token of a group with the tokens it shares bytes with, or, where none does, with
    all of the other side. Raises AlignmentError for a group that doesn't exist.
    """
    import networkx as nx

    alignment.check_group(group)
    first, last = _reach(alignment, group, neighbours, most)
    graph = nx.Graph()
    for g in range(first, last):
        for side, start, end in _sides(alignment, g, most):
            graph.add_nodes_from(((side, k) for k in range(start, end)), group=g)
    _join(graph, alignment)
    hidden = int(alignment.sizes[first:last].sum()) - len(graph)
    return Component(graph, group, first, last, hidden)


def place(found: Component) -> dict[Node, NDArray[np.float64]]:
    """Where each token stands: networkx's bipartite layout, both rows in the order of the text."""
    import networkx as nx

    graph = found.graph
    rows = {side: sorted(node for node in graph if node[0] == side) for side in ("teacher", "student")}
    if not rows["teacher"] or not rows["student"]:
        return {node: np.array([k, 0.0]) for k, node in enumerate(sorted(graph))}
    at = nx.bipartite_layout(graph, rows["teacher"], align="horizontal")
    # the layout goes through sets, whose order is none; its places are given out anew from left to right
    out: dict[Node, NDArray[np.float64]] = {}
    for height, row in ((1.0, rows["teacher"]), (0.0, rows["student"])):
        for node, x in zip(row, sorted(float(at[node][0]) for node in row)):
            out[node] = np.array([x, height])
    return out


def component_figure(alignment: Alignment, found: Component) -> go.Figure:
    """The graph; points carry their group as `customdata[0]`, which is what a click gives back."""
    where = place(found)
    traces = [*_edges(found, where), *_nodes(alignment, found, where)]
    if alignment.unequal[found.first : found.last].any():
        traces.append(_unequal_key())
    shown = f"groups {found.first} to {found.last - 1}" if found.last - found.first > 1 else f"group {found.first}"
    fig = figure(traces, f"{escape(alignment.method)}: {shown}", height=330)
    plain: dict[str, Any] = {"showgrid": False, "zeroline": False, "showticklabels": False}
    fig.update_xaxes(**plain)
    fig.update_yaxes(**plain | {"range": [-0.35, 1.35], "fixedrange": True})
    for y, side in ((1.0, "teacher"), (0.0, "student")):
        fig.add_annotation(
            x=0, xref="paper", xanchor="left", y=y + 0.28 * (1 if y else -1), text=side, showarrow=False, opacity=0.8
        )
    return fig.update_layout(clickmode="event+select", hovermode="closest")


def component_table(alignment: Alignment, found: Component) -> pd.DataFrame:
    """The edges: group, mark (≠ where its sides spell different bytes), student, teacher (texts), student_token,
    teacher_token, paired, bytes in common."""
    import pandas as pd

    rows = []
    for a, b, data in found.graph.edges(data=True):
        ends = dict([a, b])
        s, t = ends["student"], ends["teacher"]
        rows.append(
            {
                "group": found.graph.nodes[a]["group"],
                "mark": UNEQUAL if alignment.unequal[found.graph.nodes[a]["group"]] else "",
                "student": _text(alignment, "student", s),
                "teacher": _text(alignment, "teacher", t),
                "student_token": s,
                "teacher_token": t,
                "paired": data["pair"],
                "bytes": data["overlap"],
            }
        )
    columns = ["group", "mark", "student", "teacher", "student_token", "teacher_token", "paired", "bytes"]
    return pd.DataFrame(rows, columns=columns).sort_values(["student_token", "teacher_token"], ignore_index=True)


def _reach(alignment: Alignment, group: int, neighbours: int, most: int) -> tuple[int, int]:
    """First and last (exclusive) group that have room beside the pinned one."""
    tokens = alignment.sizes.sum(axis=1)
    room = most - min(int(tokens[group]), most)
    first, last = group, group + 1
    for _ in range(neighbours):
        if first > 0 and tokens[first - 1] <= room:
            first -= 1
            room -= int(tokens[first])
        if last < len(alignment) and tokens[last] <= room:
            room -= int(tokens[last])
            last += 1
    return first, last


def _sides(alignment: Alignment, group: int, most: int) -> list[tuple[str, int, int]]:
    s0, s1, t0, t1 = (int(v) for v in alignment.groups[group])
    if s1 - s0 + t1 - t0 > most:
        half = most // 2
        s1, t1 = min(s1, s0 + half), min(t1, t0 + half)
    return [("student", s0, s1), ("teacher", t0, t1)]


def _join(graph: nx.Graph, alignment: Alignment) -> None:
    """Add the edges: bytes in common anywhere, pairs of the path, or what stands for them inside a group."""
    students = sorted(k for side, k in graph if side == "student")
    teachers = sorted(k for side, k in graph if side == "teacher")
    spans_s, spans_t = alignment.student.spans[students], alignment.teacher.spans[teachers]
    low = np.maximum(spans_s[:, None, 0], spans_t[None, :, 0])
    shared = np.maximum(np.minimum(spans_s[:, None, 1], spans_t[None, :, 1]) - low, 0)
    for i, j in np.argwhere(shared > 0).tolist():
        graph.add_edge(("student", students[i]), ("teacher", teachers[j]), overlap=int(shared[i, j]), pair=False)
    for s, t in _pairs(graph, alignment, students, teachers):
        known = graph.get_edge_data(("student", s), ("teacher", t), {"overlap": 0})
        graph.add_edge(("student", s), ("teacher", t), overlap=known["overlap"], pair=True)


def _pairs(graph: nx.Graph, alignment: Alignment, students: list[int], teachers: list[int]) -> list[tuple[int, int]]:
    if alignment.pairs is not None:
        drawn = np.isin(alignment.pairs[:, 0], students) & np.isin(alignment.pairs[:, 1], teachers)
        return [(int(s), int(t)) for s, t in alignment.pairs[drawn]]
    group = graph.nodes
    joined = [
        (s, t)
        for (_, s), (_, t) in (sorted(edge) for edge in graph.edges)
        if group["student", s]["group"] == group["teacher", t]["group"]
    ]
    touched = {("student", s) for s, _ in joined} | {("teacher", t) for _, t in joined}
    alone = {node for node in graph if node not in touched}
    by_group: dict[int, tuple[list[int], list[int]]] = {}
    for side, k in graph:
        by_group.setdefault(group[side, k]["group"], ([], []))[side == "teacher"].append(k)
    for mine, theirs in by_group.values():
        joined += [(s, t) for s in mine for t in theirs if ("student", s) in alone or ("teacher", t) in alone]
    return joined


def _edges(found: Component, where: dict[Node, NDArray[np.float64]]) -> list[Any]:
    import plotly.graph_objects as go

    graph = found.graph
    styles = (
        ("paired, with bytes in common", True, True, {"color": GREY, "width": 2.2}),
        ("paired, without", True, False, {"color": VERMILLION, "width": 2.2, "dash": "dash"}),
        ("not paired, though bytes are in common", False, True, {"color": PURPLE, "width": 1.6, "dash": "dot"}),
    )
    traces = []
    for name, pair, common, line in styles:
        ends = [(a, b) for a, b, e in graph.edges(data=True) if e["pair"] == pair and bool(e["overlap"]) == common]
        if not ends:
            continue
        points = np.array([[where[a], where[b], (np.nan, np.nan)] for a, b in ends]).reshape(-1, 2)
        traces.append(go.Scatter(x=points[:, 0], y=points[:, 1], mode="lines", line=line, hoverinfo="skip", name=name))
    return traces


def _nodes(alignment: Alignment, found: Component, where: dict[Node, NDArray[np.float64]]) -> list[Any]:
    """Circles for students, squares for teachers, coloured by the kind of their group; the pinned one has a rim.

    Tokens of a group whose sides spell different bytes are crossed out and have a ≠ before their text.
    """
    import plotly.graph_objects as go

    traces = []
    unequal = alignment.unequal
    few = len(found.graph) <= MAX_LABELS
    for side, symbol, position in (("teacher", "square", "top center"), ("student", "circle", "bottom center")):
        nodes = sorted(node for node in found.graph if node[0] == side)
        groups = [found.graph.nodes[node]["group"] for node in nodes]
        kinds = [KIND_STYLES[KINDS[alignment.kind_codes[g]]] for g in groups]
        pinned = [g == found.group for g in groups]
        texts = [
            f"{UNEQUAL} " * bool(unequal[g]) + escape(_text(alignment, side, k)) for g, (_, k) in zip(groups, nodes)
        ]
        said = [f"{kind.name}" + f": {UNEQUAL_MEANING}" * bool(unequal[g]) for g, kind in zip(groups, kinds)]
        traces.append(
            go.Scatter(
                x=[where[node][0] for node in nodes],
                y=[where[node][1] for node in nodes],
                customdata=[[g, k, text, words] for g, (_, k), text, words in zip(groups, nodes, texts, said)],
                mode="markers+text" if few else "markers",
                text=texts,
                textposition=position,
                textfont={"family": "monospace", "size": 11},
                marker={
                    "symbol": [f"{symbol}-x" if unequal[g] else symbol for g in groups],
                    "size": [15 if p else 11 for p in pinned],
                    "color": [kind.colour for kind in kinds],
                    "line": {
                        "color": [ORANGE if p else BLACK if unequal[g] else GREY for p, g in zip(pinned, groups)],
                        "width": [3 if p else 1 for p in pinned],
                    },
                    "opacity": 1,
                },
                hovertemplate=(
                    f"{side} token %{{customdata[1]}}: %{{customdata[2]}}<br>group %{{customdata[0]}}, "
                    "%{customdata[3]}<extra></extra>"
                ),
                name=f"{side} token",
            )
        )
    return traces


def _unequal_key() -> Any:
    """A trace without points: what a crossed-out token means, for the legend."""
    import plotly.graph_objects as go

    marker = {"symbol": "square-x", "size": 11, "color": GREY, "line": {"color": BLACK, "width": 1}}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=f"{UNEQUAL} {UNEQUAL_MEANING}")


def _text(alignment: Alignment, side: str, token: int) -> str:
    encoding = alignment.student if side == "student" else alignment.teacher
    return shorten(visible_bytes(encoding.token_bytes[token]), LABEL_CHARACTERS)
