"""What a page shows, kept: under a short id on this machine, or as one file that opens on another one.

A view is a page and its address, which holds pair, text, methods, group and options. On this machine the address
names texts and uploaded tokenizers by the hash of their content (`tokenizers.snapshots`, `tokenizers.uploads`); a file
carries their content along. A file from elsewhere is untrusted: its shape and sizes are checked, each content must have
the hash that it claims, and a tokenizer passes the checks of every upload before it is kept. A view of runs carries the
runs (`distill.held_runs`); opened, they lie beside the view, apart from the runs of this machine.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import re
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlencode

from pydantic import Field, StringConstraints, ValidationError

from ctkd_core.distill.held_runs import HeldRun, hold
from ctkd_core.distill.held_runs import why_it_stays as why_a_run_stays
from ctkd_core.distill.runs import Run, RunStore
from ctkd_core.errors import CtkdError, short
from ctkd_core.files import documents, home, read_regular, write_atomic
from ctkd_core.lab import opened_runs
from ctkd_core.tokenizers import snapshots, uploads
from ctkd_core.tokenizers.catalog import TOKENIZERS
from ctkd_core.tokenizers.sample_texts import TEXTS

ENDING = ".ctkd-view.json"
PARAMETER = "open"  # of an address that names a view by its id
Page = Literal["pair", "rank", "align", "vocabulary", "losses", "evidence", "runs"]
PAGES: tuple[Page, ...] = get_args(Page)
SIDES = ("student", "teacher")
RANKED = "ranked"  # the parameter of page Rank that names tokenizers, several of them
MEASURED_ON, CORPUS = "measure_on", "a corpus"  # of page Rank, and its value for files of one's own
TEXT_IDS = ("snapshot", "lab")  # parameters whose value is the id of a kept text
RUN, COMPARED, OPENED = "run", "compare", "opened"  # of page Runs; the last names runs that a file brought
MOST_VIEWS = 1_000  # kept on this machine
MOST_RECORD = 200_000  # bytes of one of them
MOST_FILE = 30 * 2**20  # bytes
MOST_RUNS = 200  # in a file
MOST_TOKENIZERS = 26  # in a file: those that page Rank takes, and the pair
MOST_UNPACKED = 200 * 2**20  # bytes of all tokenizers of a file
MOST_TITLE, MOST_VALUE, MOST_VALUES, MOST_KEYS = 120, 4_000, 32, 120
_OWN = "own"
_TOO_MUCH = f"{{}} have more than {MOST_UNPACKED // 2**20} MiB together; rank fewer of them."
_OF_THIS_MACHINE = (OPENED, "copy", "carry", "view", "method", "against")  # of page Runs, beside what it shows
_ID = re.compile(r"[0-9a-f]{8,64}")

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,79}$")]
Value = Annotated[str, StringConstraints(max_length=MOST_VALUE)]
Values = Annotated[list[Value], Field(min_length=1, max_length=MOST_VALUES)]
Address = Annotated[dict[Key, Values], Field(max_length=MOST_KEYS)]


class SavedView(documents.Document):
    """A page with its address: the values of each parameter. `made` is seconds since 1970."""

    page: Page
    address: Address
    title: Annotated[str, StringConstraints(max_length=MOST_TITLE)] = ""
    made: Annotated[float, Field(ge=0, le=1e11)] = 0.0

    @property
    def digest(self) -> str:
        """SHA-256 of page and address in hex: equal views have one id."""
        return hashlib.sha256(json.dumps([self.page, self.address], sort_keys=True).encode()).hexdigest()

    @property
    def path(self) -> str:
        """Path and query of the page that shows it."""
        return f"/{self.page}?{urlencode(self.address, doseq=True)}"

    def get(self, key: str) -> str:
        """The first value of a parameter, "" without one."""
        return next(iter(self.address.get(key, ())), "")


class HeldTokenizer(documents.Document):
    """A tokenizer.json in a file: its name, SHA-256 of its content in hex, the content as gzip in base64."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    gzip: str


class ViewFile(documents.Document):
    """A view with everything that it names.

    texts       by the value that names them in the address: the id of a kept text, or the name of a sample
    tokenizers  by their source in the address; catalog: fingerprint of the catalog's tokenizers that it names
    runs        that page Runs shows; such a view holds neither texts nor tokenizers
    """

    format: Literal["ctkd-view"]
    version: Literal[1]
    view: SavedView
    texts: Annotated[dict[Value, str], Field(default_factory=dict, max_length=8)]
    tokenizers: Annotated[dict[Value, HeldTokenizer], Field(default_factory=dict, max_length=MOST_TOKENIZERS)]
    catalog: Annotated[dict[Value, Value], Field(default_factory=dict, max_length=MOST_TOKENIZERS)]
    runs: Annotated[list[HeldRun], Field(default_factory=list, max_length=MOST_RUNS)]


def make(page: str, address: Mapping[str, Sequence[str] | str], title: str = "") -> SavedView:
    """A view of these parameters. Raises CtkdError for a page or an address that can't be one."""
    given = {key: [value] if isinstance(value, str) else list(value) for key, value in address.items()}
    document = {
        "page": page,
        "address": {key: values for key, values in given.items() if values and key != PARAMETER},
        "title": title.strip()[:MOST_TITLE],
        "made": time.time(),
    }
    return documents.fitting(SavedView, document, "this view can't be kept")


def keep(view: SavedView) -> str:
    """Keep a view on this machine and return its id, 10 hex digits or more; equal views have one id.

    A view that is kept already gets the new title, or keeps its own where the new one is empty. Raises CtkdError when
    there are too many already or the address is too long to be read again, OSError when it can't be written.
    """
    name, before = _room(view)
    if before is not None and not view.title:
        view = _titled(view, before.title)
    write_atomic(_place(name), _record(view))
    return name


def _room(view: SavedView) -> tuple[str, SavedView | None]:
    """The id for a view, and the equal one that is kept under it; nothing is written. Raises CtkdError as `keep`."""
    _record(view)
    for length in range(10, 64, 6):
        name = view.digest[:length]
        path = _place(name)
        if not path.exists():
            if sum(1 for _ in _folder().glob("*.json")) >= MOST_VIEWS:
                raise CtkdError(f"{MOST_VIEWS:,} views are kept already; remove some with `ctkd view rm ID`.")
            return name, None
        try:
            found = documents.fitting(SavedView, _read(path), "a view")
        except CtkdError:
            return name, None  # damaged: written anew
        if (found.page, found.address) == (view.page, view.address):
            return name, found
    return name, None


def _record(view: SavedView) -> bytes:
    """What is written of a view. Raises CtkdError for more than `load` would read."""
    data = json.dumps(view.model_dump(), ensure_ascii=False).encode()
    if len(data) > MOST_RECORD:
        raise CtkdError(
            f"this view can't be kept: with its address it has {len(data):,} bytes, and {MOST_RECORD:,} may be there. "
            "Choose fewer or shorter values."
        )
    return data


def _titled(view: SavedView, title: str) -> SavedView:
    return view.model_copy(update={"title": title})


def load(name: str) -> SavedView:
    """The view with this id. Raises CtkdError for one that isn't kept here, and for a damaged file."""
    path = _place(name) if _ID.fullmatch(name) else None
    if path is None or not path.is_file():
        raise CtkdError(
            f"there is no saved view {short(name, 60)} on this machine; ids stay where a view was saved. Ask for the "
            f"view as a file ({ENDING})."
        )
    return documents.fitting(SavedView, _read(path), f"the saved view {name}", advice="Save it again.")


def kept() -> list[tuple[str, SavedView]]:
    """Ids and views that are kept here, newest first; damaged ones are passed over (`load` tells of them)."""
    found = []
    for path in _folder().glob("*.json"):
        try:
            found.append((path.stem, load(path.stem)))
        except CtkdError:
            continue
    return sorted(found, key=lambda item: item[1].made, reverse=True)


def remove(name: str) -> None:
    """Forget a view; its texts and tokenizers stay, runs that a file brought go with the last view of them.

    Raises CtkdError for one that isn't kept here.
    """
    if not _ID.fullmatch(name) or not _place(name).is_file():
        load(name)  # says so
    try:
        opened = _opened_in(load(name))
    except CtkdError:  # damaged
        opened = set()
    _place(name).unlink(missing_ok=True)
    for gone in opened.difference(*(_opened_in(view) for _, view in kept())) if opened else ():
        opened_runs.forget(gone)


def _opened_in(view: SavedView) -> set[str]:
    """The names of runs from files that a view shows."""
    return {view.get(OPENED)} - {""} | opened_runs.names_in(names_of_runs(view))


def why_it_stays(view: SavedView) -> str:
    """Why a view can't go elsewhere as a file, as a sentence; "" where it can."""
    if view.page == "runs":
        try:
            return next(filter(None, map(why_a_run_stays, runs_in(view))), "")
        except CtkdError as fault:
            return str(fault)
    if len(_sources_of(view)) > MOST_TOKENIZERS:
        return f"a file holds at most {MOST_TOKENIZERS} tokenizers; rank fewer."
    if view.page == "rank" and view.get(MEASURED_ON) == CORPUS:
        return "a file holds no corpus; measure on the samples or on one text to take this view along."
    return ""


def _sources_of(view: SavedView) -> list[str]:
    """The tokenizers that an address names, each once."""
    named = [*(view.get(side) for side in SIDES), *(view.address.get(RANKED, ()) if view.page == "rank" else ())]
    return [source for source in dict.fromkeys(named) if source]


def runs_in(view: SavedView) -> tuple[Run, ...]:
    """The runs that a view of page Runs shows. Raises CtkdError where it shows none, and for one that isn't here."""
    if not (names := names_of_runs(view)):
        raise CtkdError("lists and forms of runs are about this machine; open a run, or compare some of them.")
    if len(names) > MOST_RUNS:
        raise CtkdError(f"a file holds at most {MOST_RUNS} runs; compare fewer.")
    store = opened_runs.store(view.get(OPENED)) if view.get(OPENED) else RunStore()
    return tuple(opened_runs.named(names, store)[0])


def names_of_runs(view: SavedView) -> list[str]:
    """The ids, or parts of them, of the runs that the address names; NAME:ID for runs of files beside others."""
    return [view.get(RUN)] if view.get(RUN) else [name for name in view.get(COMPARED).split(",") if name]


def export(view: SavedView) -> bytes:
    """The view as a file with everything that it names.

    A tokenizer that isn't the catalog's goes along as its tokenizer.json, also one that came from a folder or the hub:
    elsewhere it is an upload. Raises CtkdError where `why_it_stays` has a reason, for a text or tokenizer that isn't
    here any more, and for more than MOST_FILE bytes.
    """
    if reason := why_it_stays(view):
        raise CtkdError(reason)
    if view.page == "runs":
        return _exported_runs(view)
    texts, held, unpacked, catalog = _texts_of(view), {}, {}, {}
    for source in _sources_of(view):
        if source in TOKENIZERS:
            from ctkd_core.tokenizers.load import load_tokenizer

            catalog[source] = load_tokenizer(source).fingerprint
        else:
            held[source], unpacked[source] = _held(source)
            if sum(map(len, unpacked.values())) > MOST_UNPACKED:
                raise CtkdError(_TOO_MUCH.format("the tokenizers of this view"))
    # The names of folders of this machine are nobody's business elsewhere.
    names = {source: uploads.source_of(uploads.place(unpacked[source], one.name)) for source, one in held.items()}
    moved = _renamed(view, names)
    file = ViewFile(
        format="ctkd-view",
        version=1,
        view=moved,
        texts=texts,
        tokenizers={names[source]: one for source, one in held.items()},
        catalog=catalog,
        runs=[],
    )
    return _within(file, "Rank fewer tokenizers." if view.page == "rank" else "Take a shorter text.")


def _exported_runs(view: SavedView) -> bytes:
    runs = runs_in(view)
    ids = [run.id for run in runs]
    shown = {RUN: ids} if view.get(RUN) else {COMPARED: [",".join(ids)]}
    moved = _without(_with(view, shown), (*_OF_THIS_MACHINE, *_strangers(view)))
    held = [hold(run) for run in runs]
    file = ViewFile(format="ctkd-view", version=1, view=moved, texts={}, tokenizers={}, catalog={}, runs=held)
    return _within(file, "Compare fewer runs, or take their report along.")


def _strangers(view: SavedView) -> list[str]:
    """Sides whose tokenizer isn't the catalog's: page Runs loads none, so none goes along."""
    return [side for side in SIDES if view.get(side) not in TOKENIZERS]


def _within(file: ViewFile, advice: str) -> bytes:
    data = file.model_dump_json().encode()
    if len(data) > MOST_FILE:
        raise CtkdError(f"the view would have {len(data):,} bytes; a file may have {MOST_FILE:,}. {advice}")
    return data


def read_file(data: bytes, name: str = "this file") -> ViewFile:
    """The content of a file from elsewhere, its shape, sizes and hashes checked; nothing is kept yet.

    Raises CtkdError.
    """
    return _checked(data, name)[0]


def _checked(data: bytes, name: str) -> tuple[ViewFile, dict[str, bytes]]:
    """As `read_file`, and each tokenizer.json by its source in the address."""
    if len(data) > MOST_FILE:
        raise CtkdError(f"{short(name, 80)} has {len(data):,} bytes; a view has at most {MOST_FILE:,}.")
    try:
        file = ViewFile.model_validate_json(data)
    except ValidationError as fault:
        raise CtkdError(f"{short(name, 80)} isn't a view of CTKD Lab: {documents.sentences(fault)}") from None
    for key, text in file.texts.items():
        size = len(text.encode("utf-8", "replace"))
        if not text or size > snapshots.MAX_TEXT_BYTES:
            raise CtkdError(
                f"text {short(key, 40)} in {short(name, 80)} has {size:,} bytes; 1 to {snapshots.MAX_TEXT_BYTES:,} may "
                "be there."
            )
        if key not in TEXTS and _digest_of(text) != key:
            raise CtkdError(f"text {short(key, 40)} in {short(name, 80)} isn't the one that its id names.")
    unpacked: dict[str, bytes] = {}
    for source, held in file.tokenizers.items():
        unpacked[source] = content(held)
        if sum(map(len, unpacked.values())) > MOST_UNPACKED:
            raise CtkdError(_TOO_MUCH.format(f"the tokenizers in {short(name, 80)}"))
    return file, unpacked


def open_file(data: bytes, name: str = "this file") -> tuple[str, SavedView, list[str]]:
    """Check a file from elsewhere, keep its texts and tokenizers as uploads are kept, its runs apart from those of this
    machine, and the view under an id.

    Returns the id, the view as it stands in addresses here, and sentences about what differs from where it was saved.
    What the address doesn't name is checked, but not kept; the title of an equal view that is kept already stays.

    Raises CtkdError for a file that isn't sound and for what `keep` refuses, TokenizerError for a tokenizer that no
    upload could be; nothing is kept then.
    """
    file, unpacked = _checked(data, name)
    if file.view.page == "runs":
        return _opened(file, name)
    # All of it is checked before any of it is kept, and only what the address names is kept.
    for source, held in file.tokenizers.items():
        snapshots.check_tokenizer(unpacked[source], held.name)
    named = _sources_of(file.view)
    taken = {source: held.name for source, held in file.tokenizers.items() if source in named}
    view = _renamed(file.view, {k: uploads.source_of(uploads.place(unpacked[k], taken[k])) for k in taken})
    notes, texts = [], [text for key in TEXT_IDS if (text := file.texts.get(file.view.get(key)))]
    sample = file.view.get("text")
    if sample in TEXTS and file.texts.get(sample, TEXTS[sample].text) != TEXTS[sample].text:
        notes.append(f"The sample {sample!r} has another text here, so that of the file stands as your own.")
        texts.append(file.texts[sample])
        view = _with(view, {"text": [_OWN], "snapshot": [_digest_of(file.texts[sample])]})
    for source, fingerprint in file.catalog.items():
        notes += _differs(source, fingerprint)
    _, before = _room(view)
    for source, called in taken.items():
        snapshots.keep_tokenizer(unpacked[source], called)
    for text in texts:
        snapshots.save_text(text)
    if before is not None and before.title:
        view = _titled(view, before.title)  # a stranger's file renames nothing
    return keep(view), view, notes


def _opened(file: ViewFile, name: str) -> tuple[str, SavedView, list[str]]:
    """As `open_file`, of a view of runs."""
    held = {run.id: run for run in file.runs}
    wanted = list(dict.fromkeys(names_of_runs(file.view)))
    if not wanted:
        raise CtkdError(f"{short(name, 80)} is a view of page Runs that names no run; there is nothing to open.")
    if missing := [run for run in wanted if run not in held]:
        raise CtkdError(f"{short(name, 80)} doesn't hold run {short(missing[0], 60)}, which it names.")
    runs = [held[run] for run in wanted]
    view = _without(
        _with(file.view, {OPENED: [opened_runs.name_of(runs)]}), (*_OF_THIS_MACHINE[1:], *_strangers(file.view))
    )
    _, before = _room(view)
    opened_runs.keep(runs)
    if before is not None and before.title:
        view = _titled(view, before.title)  # a stranger's file renames nothing
    return keep(view), view, []


def content(held: HeldTokenizer) -> bytes:
    """The tokenizer.json itself. Raises CtkdError unless it is what the hash names, and no larger than an upload."""
    limit = snapshots.MAX_TOKENIZER_BYTES
    try:
        unpacking = zlib.decompressobj(31)
        data = unpacking.decompress(base64.b64decode(held.gzip, validate=True), limit + 1)
    except (binascii.Error, zlib.error, ValueError) as fault:
        raise CtkdError(f"tokenizer {short(held.name, 80)} in this view can't be unpacked: {fault}.") from None
    if len(data) > limit:
        raise CtkdError(
            f"tokenizer {short(held.name, 80)} in this view has more than the {limit:,} bytes of an upload."
        )
    if not unpacking.eof or hashlib.sha256(data).hexdigest() != held.sha256:
        raise CtkdError(f"tokenizer {short(held.name, 80)} in this view isn't the one that its hash names.")
    return data


def _texts_of(view: SavedView) -> dict[str, str]:
    found = {}
    for key in TEXT_IDS:
        if snapshot := view.get(key):
            found[snapshot] = snapshots.load_text(snapshot)
    if (sample := view.get("text")) in TEXTS and view.page in ("align", "rank"):
        found[sample] = TEXTS[sample].text
    return found


def _held(source: str) -> tuple[HeldTokenizer, bytes]:
    """The tokenizer of a source that isn't the catalog's, as it goes into a file, and its tokenizer.json itself.

    Raises TokenizerError, CtkdError.
    """
    from ctkd_core.tokenizers.sources import json_of

    path, name = json_of(source)
    try:
        data = read_regular(path, snapshots.MAX_TOKENIZER_BYTES)
    except OSError as fault:
        raise CtkdError(f"tokenizer {short(source, 80)} can't go along: {fault.strerror or fault}.") from None
    packed = base64.b64encode(gzip.compress(data, mtime=0)).decode()
    return HeldTokenizer(name=name, sha256=hashlib.sha256(data).hexdigest(), gzip=packed), data


def _differs(source: str, fingerprint: str) -> list[str]:
    from ctkd_core.tokenizers.load import load_tokenizer

    if source not in TOKENIZERS:
        return [f"The catalog of this version has no tokenizer {short(source, 40)}; choose another one."]
    try:
        here = load_tokenizer(source).fingerprint
    except CtkdError as fault:
        return [str(fault)]
    return (
        [] if here == fingerprint else [f"The tokenizer {source!r} here is another version than where this was saved."]
    )


def _renamed(view: SavedView, names: Mapping[str, str]) -> SavedView:
    """The view with other sources of its tokenizers."""
    # A page reads the first value of a side alone, and page Rank's list nowhere else.
    given = {side: view.address[side][:1] for side in SIDES if side in view.address}
    given |= {RANKED: view.address.get(RANKED, [])} if view.page == "rank" else {RANKED: []}
    new = {key: [names.get(source, source) for source in values] for key, values in given.items()}
    return _with(view, {key: list(dict.fromkeys(values)) for key, values in new.items()})


def _with(view: SavedView, changes: Mapping[str, list[str]]) -> SavedView:
    address = {key: values for key, values in (view.address | dict(changes)).items() if values and key != PARAMETER}
    return documents.fitting(SavedView, view.model_dump() | {"address": address}, "this view can't be kept")


def _without(view: SavedView, keys: Sequence[str]) -> SavedView:
    address = {key: values for key, values in view.address.items() if key not in keys}
    return view.model_copy(update={"address": address})


def _digest_of(text: str) -> str:
    return snapshots.id_of(text.encode("utf-8", "surrogatepass"))


def _folder() -> Path:
    return home() / "views"


def _place(name: str) -> Path:
    return _folder() / f"{name}.json"


def _read(path: Path) -> Any:
    try:
        return json.loads(read_regular(path, MOST_RECORD))
    except (OSError, ValueError, RecursionError) as fault:
        raise CtkdError(f"the saved view {path.stem} can't be read: {fault}. Save it again.") from None
