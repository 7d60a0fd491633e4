"""`ctkd view`: what a page shows, kept under a short id, and as one file that opens elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ctkd_core.cli import complete
from ctkd_core.cli.common import Output, Student, Teacher, UsageError, new_file, read_text, sources_of, write_out
from ctkd_core.cli.display import facts, table
from ctkd_core.files import read_regular
from ctkd_core.lab import saved_views as views
from ctkd_core.lab.saved_views import SavedView

if TYPE_CHECKING:
    from rich.console import RenderableType

One = Annotated[str, typer.Argument(metavar="ID", help="The id of a view, see `ctkd view ls`.")]


def save(
    page: Annotated[str, typer.Argument(metavar="PAGE", help=f"One of {', '.join(views.PAGES)}.")],
    student: Student = None,
    teacher: Teacher = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--method",
            metavar="METHOD",
            help="The method; a second is compared with it, on page losses up to four. Page vocabulary: the map.",
            autocompletion=complete.every_method,
        ),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="STR", help="The text of page align.")] = None,
    file: Annotated[str | None, typer.Option("--file", metavar="F", help="A UTF-8 file with it.")] = None,
    sample: Annotated[
        str | None,
        typer.Option("--sample", metavar="NAME", help="A text that comes along.", autocompletion=complete.samples),
    ] = None,
    group: Annotated[int | None, typer.Option("--group", metavar="G", min=0, help="The group that is pinned.")] = None,
    more: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Anything else of the page's address; may be repeated."),
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="STR", help="What lists call it.")] = "",
) -> Output:
    """Keep a view: pair, text, methods, group and options, as they stand in the address of a page."""
    from ctkd_core.errors import unknown

    if page not in views.PAGES:
        raise unknown("page", page, views.PAGES, UsageError)
    address: dict[str, list[str]] = {
        **{side: [source] for side, source in zip(views.SIDES, sources_of(student, teacher))},
        **_methods(page, method or []),
        **_text(page, text, file, sample),
    }
    if group is not None:
        address["group"] = [str(group)]
    for pair in more or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE; got {pair[:60]!r}.")
        address.setdefault(name, []).append(value)
    view = views.make(page, address, title)
    return _one(views.keep(view), view)


def _methods(page: str, names: list[str]) -> dict[str, list[str]]:
    from ctkd_core import methods
    from ctkd_core.cli.common import one_of
    from ctkd_core.vocabulary import MAPS

    if page == "vocabulary" and names:  # the bar's method is none of this page's
        if len(names) > 1:
            raise UsageError(f"page vocabulary shows one map; got {len(names)}.")
        return {"map": [str(one_of("map", MAPS)(names[0]))]}
    for name in names:
        methods.get(name, UsageError)
    if page == "losses":
        return {"losses": names} if names else {}
    most = 2 if page == "align" else 1
    if len(names) > most:
        raise UsageError(f"page {page} shows {most} of the methods at once; got {len(names)}.")
    return {key: [name] for key, name in zip(("method", "against"), names)}


def _text(page: str, text: str | None, file: str | None, sample: str | None) -> dict[str, list[str]]:
    from ctkd_core.tokenizers.snapshots import save_text

    if text is None and file is None and sample is None:
        return {}
    if page != "align":
        raise UsageError(f"page {page} has no text of its own in its address; leave --text, --file and --sample out.")
    whole = read_text(text, file, sample)  # checks the name of a sample, too
    return {"text": [sample]} if sample is not None else {"text": ["own"], "snapshot": [save_text(whole)]}


def show(name: One) -> Output:
    """Show one view: page, pair, methods, text, address."""
    return _one(name, views.load(name))


def ls() -> Output:
    """List the views that are kept here, newest first."""
    found = views.kept()
    rows = [_plain(name, view) for name, view in found]
    keys = ("id", "page", "title", "teacher", "student", "saved")
    shown: list[RenderableType] = [table(list(keys), [[row[key] for key in keys] for row in rows])]
    return Output(
        lambda: rows, lambda: shown if rows else ["No view is kept yet: ctkd view save align --sample numbers"]
    )


def export(
    name: One,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help=f"Default: ID{views.ENDING} in this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> Output:
    """Write a view as one file that opens elsewhere: with its texts and tokenizers, or its runs without checkpoints."""
    view = views.load(name)
    path = new_file(out or f"{name}{views.ENDING}", force)
    data = views.export(view)
    write_out("view", data, path)
    document = _plain(name, view) | {"path": str(path.absolute()), "bytes": len(data)}
    return Output(lambda: document, lambda: [f"{len(data) / 1e3:.1f} kB in {path}"])


def open_(
    name: Annotated[str, typer.Argument(metavar="FILE", help=f"A file that ends in {views.ENDING}.")],
) -> Output:
    """Check a view from elsewhere and keep it here: texts and tokenizers, which become uploads, or runs to look at."""
    path = Path(name)
    try:
        data = read_regular(path, views.MOST_FILE)
    except OSError as fault:
        raise UsageError(f"{name!r} can't be read: {fault.strerror or fault}.") from None
    found, view, notes = views.open_file(data, path.name)
    return _one(found, view, notes)


def rm(
    names: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of views.")],
) -> Output:
    """Forget views; their texts and tokenizers stay, runs that a file brought go."""
    for name in names:
        views.remove(name)
    return Output(lambda: {"removed": names}, lambda: ["\n".join(f"removed {name}" for name in names)])


def _plain(name: str, view: SavedView) -> dict[str, Any]:
    import time

    return {
        "id": name,
        "page": view.page,
        "title": view.title,
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(view.made)),
        "student": view.get("student"),
        "teacher": view.get("teacher"),
        "methods": view.address.get("losses") or [n for key in ("map", "method", "against") if (n := view.get(key))],
        "text": view.get("snapshot") or view.get("text") or view.get("lab"),
        "group": int(view.get("group")) if view.get("group").isdecimal() else None,
        "runs": views.names_of_runs(view),
        "runs_dir": _runs_dir(view),
        "address": view.address,
        "path": view.path,
        "link": f"/?{views.PARAMETER}={name}",
    }


def _runs_dir(view: SavedView) -> str:
    """Where the runs lie that a file brought; "" for those of this machine, and for some that are gone."""
    from ctkd_core.errors import CtkdError
    from ctkd_core.lab import opened_runs

    try:
        return str(opened_runs.store(view.get(views.OPENED)).root) if view.get(views.OPENED) else ""
    except CtkdError:
        return ""


def _one(name: str, view: SavedView, notes: list[str] | None = None) -> Output:
    document = _plain(name, view) | {"notes": notes or []}
    lines = [(f"{key}:", " ".join(value) if isinstance(value, list) else value) for key, value in document.items()]
    left_out = ("address:", "notes:")
    shown = [(key, str(value)) for key, value in lines if key not in left_out and value not in (None, "")]
    folder = document["runs_dir"]
    return Output(
        lambda: document,
        lambda: [
            facts(shown),
            f"In the app (`ctkd app`) add {document['link']} to its address.",
            *([f"`ctkd runs ls --runs-dir {folder}` lists the runs that came along."] if folder else []),
            *(f"note: {note}" for note in notes or ()),
        ],
    )


ACTIONS = {"save": save, "show": show, "ls": ls, "export": export, "open": open_, "rm": rm}
