"""The ids of recordings whose transactions have left the logs of a lake, so that each recording is in it once.

A log keeps each transaction for ever, and each process that opens the lake reads them all. So `fold` stores the ids of
the complete recordings in `ids/`. Then it commits their transactions to all tables again, as expired ones: the next
checkpoints lack them. A commit of another process to a table that began before conflicts with
that, and the process looks again.

A recording without a transaction has its rows if `ids/` has its id. An id is in the folder of its first digits: these
are the time of the recording, for some hours. So a look reads few ids, however many there are. Objects are added only,
and never change. `lost_ids` finds lost ids, and `restore` computes them again from the table `recordings`.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from ..errors import LakeError
from .files import files_in
from .layout import PARTITION, SCHEMAS
from .location import FOLDED_FORMAT, Damaged, Lake
from .scan import naming, scanned
from .transactions import Transactions

FOLDER = "ids"
_DIGITS = 6
_ID = "recording_id"
_EXPIRED = 1
"""Time of a transaction that has expired, in ms since 1970."""
_MANY = 50_000
"""Transactions in a commit."""
_ATTEMPTS = 20


class Ids:
    """Looks for ids, in all objects but those at some paths in the folder. Not for several lakes."""

    def __init__(self, lake: Lake, without: Collection[str] = ()) -> None:
        self._lake = lake
        self._read: dict[str, pa.Array] = {f"{FOLDER}/{path}": pa.array([], pa.string()) for path in without}

    def among(self, wanted: Iterable[str], listed: dict[str, list[str]] | None = None) -> set[str]:
        """Return those of these ids that are stored now. Raises what obstore and Arrow raise.

        `listed`: the paths in folders that were listed before, by folder; it gets those that are listed now.
        """
        known = {} if listed is None else listed
        found = set[str]()
        for folder, ids in _folders(wanted).items():
            if folder not in known:
                known[folder] = self.paths(f"{folder}/")
            for path in known[folder]:
                found.update(_those(ids, self.of(path)))
        return found

    def of(self, path: str) -> pa.Array:
        """Return the ids in an object. Raises `Damaged`."""
        if path not in self._read:
            data = bytes(self._lake.objects.get(path).bytes())
            with naming(self._lake, FOLDER, path.removeprefix(f"{FOLDER}/")):
                rows = pq.read_table(pa.BufferReader(data)).select([0]).rename_columns([_ID])
                rows = rows.cast(pa.schema([(_ID, pa.string())]))
                rows.validate(full=True)
            self._read[path] = rows[_ID].combine_chunks()
        return self._read[path]

    def paths(self, folder: str = "") -> list[str]:
        """Return the paths of all objects, or of those in a folder."""
        return [one["path"] for some in self._lake.objects.list(prefix=f"{FOLDER}/{folder}") for one in some]

    def add(self, ids: Collection[str]) -> None:
        """Store ids. Raises what obstore raises."""
        for folder, some in _folders(ids).items():
            sink = io.BytesIO()
            pq.write_table(
                pa.table({_ID: pa.array(sorted(some), pa.string())}),
                sink,
                compression="ZSTD",
                use_dictionary=False,
                column_encoding={_ID: "DELTA_BYTE_ARRAY"},
            )
            self._lake.objects.put(f"{FOLDER}/{folder}/{uuid4()}.parquet", sink.getvalue(), mode="create")


def _folders(ids: Iterable[str]) -> dict[str, list[str]]:
    found = defaultdict[str, list[str]](list)
    for one in ids:
        found[one[:_DIGITS]].append(one)
    return found


def _those(ids: Sequence[str], stored: pa.Array) -> list[str]:
    wanted = pa.array(ids, pa.string())
    those: list[str] = wanted.filter(pc.is_in(wanted, stored)).to_pylist()
    return those


def fold(lake: Lake) -> int:
    """Take the transactions of complete recordings out of the logs; return the number of recordings.

    A lake of an older format keeps them: versions that read that format know no other place. Raises `LakeError`.
    """
    if lake.marker().format < FOLDED_FORMAT:
        return 0
    stored = set[str]()
    for _ in range(_ATTEMPTS):
        # First: a repair since then conflicts. After an earlier one, `recordings` lacks the recording, since a repair
        # drops its row there first.
        tables = [lake.table(name) for name in lake.tables()]
        with lake.failures():
            new = _unfolded(lake, lake.table("recordings"), stored)
            Ids(lake).add(set(new) - stored)
            stored.update(new)
            parts = [new[at : at + _MANY] for at in range(0, len(new), _MANY)]
            if all(_are_expired(table, some) for table in tables for some in parts):
                return len(new)
    raise LakeError(f"{lake.url}: other commits came first {_ATTEMPTS} times: try again, nothing is lost")


def lost_ids(lake: Lake) -> dict[str, list[str]]:
    """Return the lost ids by the path of their object: of one that cannot be decoded, else of their folder.

    A complete recording without a transaction has lost its id. Paths are those in `ids/`. Raises `LakeError`.
    """
    if lake.marker().format < FOLDED_FORMAT:
        return {}
    table = lake.table("recordings")
    with lake.failures():
        ids = Ids(lake)
        damaged = list[str]()
        for path in ids.paths():
            try:
                ids.of(path)
            except Damaged:
                damaged.append(path.removeprefix(f"{FOLDER}/"))
        unfolded = _unfolded(lake, table, (), damaged)
        known = Transactions(lake).versions("recordings", table, unfolded)
        lost = _folders(one for one in unfolded if one not in known)
    found = {path: lost.get(path.split("/")[0], []) for path in damaged}
    named = {path.split("/")[0] for path in damaged}
    return found | {f"{folder}/": some for folder, some in lost.items() if folder not in named}


def restore(lake: Lake, lost: Mapping[str, Collection[str]]) -> None:
    """Store lost ids again, and remove the objects that cannot be decoded. Raises `LakeError`."""
    with lake.failures():
        Ids(lake).add(set().union(*lost.values()))
        for path in lost:
            if not path.endswith("/"):
                lake.objects.delete(f"{FOLDER}/{path}")


def _unfolded(lake: Lake, recordings: DeltaTable, again: Collection[str], without: Collection[str] = ()) -> list[str]:
    """Return the ids of the complete recordings in a version of the table `recordings` that are not stored, or are in
    `again`.

    `without`: the paths of objects that are not read.
    """
    files = files_in(recordings)
    merged = [one for one in files if one.recording_id is None]
    rows = scanned(lake, "recordings", merged, pa.schema([SCHEMAS["recordings"].field(_ID)]))
    single = pa.array([one.recording_id for one in files if one.recording_id is not None], pa.string())
    complete = pa.chunked_array([*rows[_ID].chunks, single])
    folders = set(pc.utf8_slice_codeunits(complete, 0, _DIGITS).unique().to_pylist())
    ids = Ids(lake, without)
    stored = [ids.of(path) for path in ids.paths() if path.split("/")[1] in folders]
    is_new = pc.invert(pc.is_in(complete, pa.chunked_array(stored, pa.string())))
    if again:
        is_new = pc.or_(is_new, pc.is_in(complete, pa.array(again, pa.string())))
    return sorted(complete.filter(is_new).unique().to_pylist())


def _are_expired(table: DeltaTable, ids: Iterable[str]) -> bool:
    """Commit the transactions of recordings as expired; return whether no other process has changed one since the table
    was read."""
    properties = CommitProperties(app_transactions=[Transaction(one, 0, _EXPIRED) for one in ids])
    try:
        table.create_write_transaction([], "append", table.schema(), [PARTITION], commit_properties=properties)
    except CommitFailedError:
        return False
    return True
