"""Small faults to put into a module: where its syntax tree can be changed, and the changed tree.

Left as they are: docstrings, annotations, decorators, imports, blocks for type checkers, texts, what is written into a
text (f-strings), and the arguments of a raised error, which are its message.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}
BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
EXCHANGED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
EXTREMES = {
    "min": "max",
    "amin": "amax",
    "minimum": "maximum",
    "argmin": "argmax",
    "clamp_min": "clamp_max",
    "fmin": "fmax",
    "nanmin": "nanmax",
    "clamp_min_": "clamp_max_",
}
EXTREMES |= {there: here for here, there in EXTREMES.items()}

Change = Callable[[ast.AST], ast.AST | None]


class Mutation(NamedTuple):
    """One possible fault. `place` is the number of its node in the order of `ast.walk`, `was` and `now` its text."""

    line: int
    operator: str
    place: int
    variant: int
    was: str
    now: str


def mutations(source: str) -> list[Mutation]:
    """All faults that this module can get, in the order of its lines."""
    tree = ast.parse(source)
    left_alone = set(_left_alone(tree))
    found = []
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in left_alone:
            continue
        changes = _changes(node)
        was = _text(node) if changes else ""
        for variant, (operator, change) in enumerate(changes):
            now = _text(change(_copied(node)) or ast.Pass())
            if now != was:
                found.append(Mutation(node.lineno, operator, place, variant, was, now))  # type: ignore[attr-defined]
    return sorted(found)


def mutated(source: str, mutation: Mutation) -> ast.Module:
    """The module with this fault; lines are numbered as in the source."""
    tree = ast.parse(source)
    target = next(node for place, node in enumerate(ast.walk(tree)) if place == mutation.place)
    change = _changes(target)[mutation.variant][1]

    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            if node is not target:
                return self.generic_visit(node)
            return ast.copy_location(change(node) or ast.Pass(), target)

    return ast.fix_missing_locations(Put().visit(tree))


def found_again(source: str, mutation: Mutation) -> Mutation | None:
    """The fault in a source that may have changed since it was drawn; None where its text is gone.

    Of several with the same text it is the one at its place in its line, or else that of the nearest line.
    """
    same = [
        m for m in mutations(source) if (m.operator, m.was, m.now) == (mutation.operator, mutation.was, mutation.now)
    ]
    return min(
        same,
        key=lambda m: ((m.line, m.place) != (mutation.line, mutation.place), abs(m.line - mutation.line)),
        default=None,
    )


def sample(sites: dict[str, list[Mutation]], count: int, seed: int) -> list[tuple[str, Mutation]]:
    """`count` different lines drawn from all that can get a fault, and for each one of its faults.

    A file is drawn from in proportion to such lines, and a line with many faults no more often than one with a single.
    """
    lines = sorted({(file, mutation.line) for file, found in sites.items() for mutation in found})
    draw = random.Random(seed)
    chosen = []
    for file, line in draw.sample(lines, min(count, len(lines))):
        here = [mutation for mutation in sites[file] if mutation.line == line]
        operator = draw.choice(sorted({mutation.operator for mutation in here}))
        chosen.append((file, draw.choice([mutation for mutation in here if mutation.operator == operator])))
    return chosen


def _copied(node: ast.AST) -> ast.AST:
    """A copy whose own parts can be exchanged; the parts themselves are shared."""
    other = copy.copy(node)
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            setattr(other, name, list(value))
    return other


def _left_alone(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            parts += node.decorator_list
            if not isinstance(node, ast.ClassDef):
                parts.append(node.returns)
        if isinstance(node, ast.arg | ast.AnnAssign):
            parts.append(node.annotation)
        if isinstance(node, ast.JoinedStr):
            parts.append(node)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            parts += [*node.exc.args, *node.exc.keywords]
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            parts.append(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.append(node)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            parts.append(node)
        for part in parts:
            if part is not None:
                yield from (id(inner) for inner in ast.walk(part))


def _changes(node: ast.AST) -> list[tuple[str, Change]]:
    """The operators that suit this node, in an order that only its kind decides."""
    found: list[tuple[str, Change]] = []
    if isinstance(node, ast.Compare):
        for k, operator in enumerate(node.ops):
            found.append(("comparison", _compared(k, SWAPPED)))
            if type(operator) in BOUNDARY:
                found.append(("boundary", _compared(k, BOUNDARY)))
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in EXCHANGED:
        sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
        if not any(_is_text(side) for side in sides):
            found.append(("arithmetic", _exchanged))
    elif isinstance(node, ast.BoolOp):
        found.append(("and, or", _other_bool))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        found.append(("not dropped" if isinstance(node.op, ast.Not) else "sign dropped", _operand))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        steps = (1,) if isinstance(node.value, bool) or node.value == 0 else (1, -1)
        found += [("constant", _stepped(step)) for step in steps]
    elif isinstance(node, ast.Call):
        found += _call_changes(node)
    elif isinstance(node, ast.Slice):
        for bound in ("lower", "upper"):
            if getattr(node, bound) is not None:
                found += [("slice", _moved(bound, 1)), ("slice", _moved(bound, -1))]
    elif isinstance(node, ast.Return) and node.value is not None:
        found += [("return", _returning(value)) for value in (None, 0)]
    if isinstance(node, ast.If | ast.While | ast.IfExp) and isinstance(node.test, ast.Name | ast.Attribute | ast.Call):
        found.append(("condition", _negated))
    if _can_go(node):
        found.append(("statement deleted", lambda _: None))
    return found


def _call_changes(node: ast.Call) -> list[tuple[str, Change]]:
    found: list[tuple[str, Change]] = []
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if name in EXTREMES:
        found.append(("min, max", _other_extreme))
    plain = [k for k, argument in enumerate(node.args) if not isinstance(argument, ast.Starred)]
    alike = [k for k in plain if k + 1 in plain and type(node.args[k]) is type(node.args[k + 1])]
    found += [("argument", _arguments_swapped(k)) for k in alike if not _is_text(node.args[k])]
    found += [("argument", _keyword_dropped(k)) for k, word in enumerate(node.keywords) if word.arg is not None]
    return found


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


def _can_go(node: ast.AST) -> bool:
    """Statements without which the rest still has every name that it uses."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
    return isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete)


def _compared(k: int, table: dict[type[ast.cmpop], type[ast.cmpop]]) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Compare)
        node.ops[k] = table[type(node.ops[k])]()
        return node

    return change


def _exchanged(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.BinOp | ast.AugAssign)
    node.op = EXCHANGED[type(node.op)]()
    return node


def _other_bool(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.BoolOp)
    node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    return node


def _operand(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.UnaryOp)
    return node.operand


def _stepped(step: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Constant)
        node.value = not node.value if isinstance(node.value, bool) else node.value + step
        return node

    return change


def _other_extreme(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.Call)
    node.func = copy.copy(node.func)
    if isinstance(node.func, ast.Name):
        node.func.id = EXTREMES[node.func.id]
    elif isinstance(node.func, ast.Attribute):
        node.func.attr = EXTREMES[node.func.attr]
    return node


def _arguments_swapped(k: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Call)
        node.args[k], node.args[k + 1] = node.args[k + 1], node.args[k]
        return node

    return change


def _keyword_dropped(k: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Call)
        del node.keywords[k]
        return node

    return change


def _moved(bound: str, step: int) -> Change:
    def change(node: ast.AST) -> ast.AST:
        was = getattr(node, bound)
        setattr(node, bound, ast.BinOp(was, ast.Add() if step > 0 else ast.Sub(), ast.Constant(1)))
        return node

    return change


def _returning(value: object) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Return)
        node.value = ast.Constant(value)
        return node

    return change


def _negated(node: ast.AST) -> ast.AST:
    assert isinstance(node, ast.If | ast.While | ast.IfExp)
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return node


def _text(node: ast.AST) -> str:
    """The first line of what a node is written as (of a block only its condition)."""
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(ast.fix_missing_locations(node.test))}"
    try:
        return ast.unparse(ast.fix_missing_locations(node))
    except (AttributeError, TypeError, ValueError):  # parts that stand for nothing alone: operators, contexts
        return ""
