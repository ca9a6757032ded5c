"""What a lake has lost: files that a Delta log names, and that the store lacks, or that cannot be decoded.

`repair` drops lost files from the logs. A recording with rows in them is in the lake no more, until it is shipped
again: then the tables that lost its rows take them, and the others keep theirs. It leaves `recordings` first, so that a
repair that is killed leaves no recording that seems complete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
from obstore.exceptions import NotFoundError

from ..errors import LakeError
from ..text import counted
from .commits import RECORDINGS
from .damage import damaged
from .files import File, files_in
from .ids import FOLDER, Ids, lost_ids, restore
from .layout import SCHEMAS
from .location import Lake, TableState
from .scan import scanned
from .transactions import Transactions, following, has_rows
from .upkeep import TableChange, changed

_ID = "recording_id"


@dataclass(frozen=True, slots=True)
class Lost:
    """A lost file. Keys of `lake check --deep --json` and `lake repair --json` are fixed."""

    table: str
    """Or `ids`, the folder with the ids of complete recordings."""
    day: str | None
    path: str
    """Below the table."""
    recordings: tuple[str, ...]
    """The recordings with rows in it, or whose id is lost."""


def examined(lake: Lake, states: Iterable[TableState]) -> Iterator[TableState]:
    """Yield the state of each table, with all files that cannot be decoded in `damaged_files`. Reads all files.

    Raises `LakeError`.
    """
    for one in states:
        if one.version is None:
            yield one
            continue
        with lake.failures(one.table):
            files = [file for file in files_in(lake.table(one.table)) if file.path not in one.lost_files]
            found = (path for _, path in damaged(lake, [(one.table, file) for file in files]))
            yield replace(one, damaged_files=tuple(sorted({*one.damaged_files, *found})))


def lost_in(lake: Lake, states: Iterable[TableState]) -> list[Lost]:
    """Return the lost files of a lake with these states, with their recordings, and lost ids. Raises `LakeError`."""
    lost = _lost_files(states)
    known: dict[str, set[str]] = {}
    of_ids = lost_ids(lake)
    stored = Ids(lake, [path for path in of_ids if not path.endswith("/")])
    unstored = set[str]().union(*of_ids.values())
    found = [Lost(FOLDER, None, path, tuple(ids)) for path, ids in of_ids.items()]
    transactions = Transactions(lake)
    for name, paths in lost.items():
        if not paths:
            continue
        table = lake.table(name)
        with lake.failures(name):
            files = files_in(table)
        without_rows: dict[str, set[str]] = {}
        """The recordings of each day that have no rows in the other files of the table."""
        for file in (one for one in files if one.path in paths):
            if file.recording_id is not None:
                ids = {file.recording_id}
            else:
                if file.day not in known:
                    known[file.day] = {id_ for each in lake.tables() for id_ in _all(lake, each, lost, file.day)}
                if file.day not in without_rows:
                    left = [one for one in files if one.day == file.day and one.path not in paths]
                    without_rows[file.day] = known[file.day] - _ids(lake, name, left)
                ids = {one for one in without_rows[file.day] if file.least <= one <= file.most}
                ids |= {file.least, file.most}  # a part of their rows may be in another file
            folded = stored.among(ids) | unstored
            with lake.failures(name):
                versions = transactions.versions(name, table, ids)
            ids = {one for one in ids if has_rows(one, versions, folded)}
            found.append(Lost(name, file.day, file.path, tuple(sorted(ids))))
    return found


def incomplete(lake: Lake, states: Iterable[TableState]) -> list[str]:
    """Return the ids of the recordings with rows in the lake that are not completely shipped. Raises `LakeError`."""
    lost = _lost_files(states)
    recordings, exchanges = (_all(lake, name, lost) for name in (RECORDINGS, "exchanges"))
    return sorted(exchanges - recordings)


def _lost_files(states: Iterable[TableState]) -> dict[str, frozenset[str]]:
    return {state.table: frozenset(state.lost_files) for state in states if state.failure is None}


def _all(lake: Lake, name: str, lost: Mapping[str, Collection[str]], day: str | None = None) -> set[str]:
    """Return the ids of the recordings with rows in a table, on one day or on all. Of a lost file with several
    recordings, nothing is known."""
    table = lake.table(name)
    with lake.failures(name):
        files = [one for one in files_in(table) if day in (None, one.day)]
    return _ids(
        lake, name, [file for file in files if file.recording_id is not None or file.path not in lost.get(name, ())]
    )


def _ids(lake: Lake, name: str, files: Sequence[File]) -> set[str]:
    """Return the ids of the recordings with rows in these files."""
    merged = [file for file in files if file.recording_id is None]
    rows = scanned(lake, name, merged, pa.schema([SCHEMAS[name].field(_ID)]))
    return {*pc.unique(rows[_ID]).to_pylist(), *(file.recording_id for file in files if file.recording_id is not None)}


def repair(lake: Lake, lost: Sequence[Lost]) -> Iterator[str]:
    """Drop lost files from the logs, and the recordings with rows in them from the lake. Store lost ids again.

    Yields each table's name when it is done. Raises `LakeError`.
    """
    if of_ids := {one.path: one.recordings for one in lost if one.table == FOLDER}:
        restore(lake, of_ids)
        yield FOLDER
        lost = [one for one in lost if one.table != FOLDER]
    ids = {id_ for one in lost for id_ in one.recordings}
    _drop(lake, RECORDINGS, ids, [one for one in lost if one.table == RECORDINGS])
    yield RECORDINGS
    for name in dict.fromkeys(one.table for one in lost if one.table != RECORDINGS):
        of_table = [one for one in lost if one.table == name]
        _drop(lake, name, {id_ for one in of_table for id_ in one.recordings}, of_table)
        yield name


def _drop(lake: Lake, name: str, ids: Collection[str], lost: Sequence[Lost]) -> None:
    """Remove lost files and all rows of these recordings from a table, in one commit."""
    paths = {one.path for one in lost}
    of_withdrawn = set[str]()

    def without(rows: pa.Table) -> pa.Table:
        return rows.slice(0, 0) if rows["recording_id"][0].as_py() in of_withdrawn else rows

    def drop(change: TableChange) -> None:
        with lake.failures(name):
            folded = Ids(lake).among(ids)
            of_withdrawn.clear()
            versions = Transactions(lake).versions(name, change.table, ids)
            of_withdrawn.update(one for one in ids if has_rows(one, versions, folded))
            gone = [one for one in change.files if one.path in paths and _is_lost(lake, name, one)]
        change.withdrawn = following(of_withdrawn, versions, drops=True)
        for file in change.files:
            if file in gone or file.recording_id in of_withdrawn:
                change.remove(file)
            elif file.may_hold(of_withdrawn):
                change.rewrite(file, without)

    changed(lake, name, drop)


def _is_lost(lake: Lake, name: str, file: File) -> bool:
    try:
        size: int = lake.objects.head(f"{name}/{file.path}")["size"]
    except (NotFoundError, FileNotFoundError):
        return True
    return size != file.size or bool(damaged(lake, [(name, file)]))


def about_ids(lake: Lake, lost: Iterable[Lost]) -> Iterator[str]:
    """Yield the sentence for lost ids."""
    ids = {id_ for one in lost if one.table == FOLDER for id_ in one.recordings}
    if paths := [one.path for one in lost if one.table == FOLDER]:
        yield (
            f"the ids of {counted(len(ids), 'recording')} are lost, the first in {FOLDER}/{paths[0]}. These could be"
            f" shipped twice: run omnirecord lake repair {lake.url}"
        )


def missing_now(lake: Lake) -> list[dict[str, str]]:
    """Return the files that queries did not find or could not decode, by `table` and `path`.

    Raises `LakeError` for a file that left its table in the meantime: then the query has read an old version.
    """
    found = lake.missing.files()
    for name in sorted({table for table, _ in found}):
        table = lake.table(name)
        with lake.failures(name):
            named = {one.path for one in files_in(table)}
        if gone := [path for of, path in found if of == name and path not in named]:
            raise LakeError(
                f"{lake.url}: the file {name}/{gone[0]} left the table during the query, as `omnirecord lake compact`"
                " removes old files: run the query again"
            )
    return [{"table": table, "path": path} for table, path in found]


def about_missing(lake: Lake, missing: Sequence[object]) -> str:
    """Return the sentence for files that an answer lacks."""
    return (
        f"the answer is not complete, since {counted(len(missing), 'file')} of {lake.url}"
        f" {'is' if len(missing) == 1 else 'are'} missing or damaged: omnirecord lake check --deep {lake.url} names the"
        " recordings"
    )
