"""Adds recordings to the Delta tables of a lake, exactly once.

The id of a recording is an application transaction of each table. Delta refuses a second commit with it, also after
the rows were compacted or expired. The object of a recording has the id as its name. It is created, never overwritten.
A shipper that finds the object of a killed or concurrent shipper commits that object.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction
from obstore.exceptions import AlreadyExistsError

from ..errors import LakeError
from ..server.timers import monotonic
from .extract import Extract
from .location import Lake
from .parquet import add_action
from .tables import PARTITION, SCHEMAS, TABLES, path_of

_TRIES = 30
"""Commits that lose against another shipper before the lake counts as failing."""
_PAUSE = 0.05
"""Longest first pause after a lost commit, in seconds. It grows with each try."""
_LOOK_EVERY = 2.0
"""Seconds between two looks for recordings that other shippers have added. `add` looks again before each commit."""
_THREADS = 8
"""Tables and objects in flight at a time."""
RECORDINGS = TABLES[-1]
T = TypeVar("T")
R = TypeVar("R")


class Commits:
    """The tables of one lake, for one shipper. Not for several threads."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._tables: dict[str, DeltaTable] = {}
        self._looked = -math.inf
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="omnirecord-lake")
        self.id = lake.marker().lake
        """The id of the lake."""

    def close(self) -> None:
        """Wait for what is in flight."""
        self._pool.shutdown(cancel_futures=True)

    def complete(self) -> None:
        """Give the lake the tables and columns that it lacks. Raises `LakeError`."""
        with self._lake.failures():
            if any(self._map(self._lacks, TABLES)):
                self._lake.complete()
                self._tables.clear()

    def _lacks(self, name: str) -> bool:
        try:
            there = {field.name for field in self._table(name).schema().fields}
        except LakeError as error:
            if "run `omnirecord lake init" in str(error):
                return True
            raise
        return not there.issuperset(SCHEMAS[name].names)

    def there(self, ids: Iterable[str]) -> set[str]:
        """Return those recordings that are in the lake, or were and have expired. Raises `LakeError`."""
        with self._lake.failures():
            if (now := monotonic()) - self._looked > _LOOK_EVERY:
                self._newest(RECORDINGS)
                self._looked = now
            table = self._table(RECORDINGS)
            return {one for one in ids if _has(table, one)}

    def add(self, extracts: Sequence[Extract]) -> None:
        """Add recordings: the objects and rows of all tables, `recordings` last. Raises `LakeError`.

        After an error, some tables may have some of the recordings. The next call completes them.
        """
        with self._lake.failures():
            self._map(lambda name: self._add(name, extracts), [name for name in TABLES if name != RECORDINGS])
            self._add(RECORDINGS, extracts)
            self._looked = -math.inf

    def _add(self, name: str, extracts: Sequence[Extract]) -> None:
        wanted = {one.recording_id: one for one in extracts if name in one.files}
        if not wanted:
            return
        actions: dict[str, AddAction] = {}
        for number in range(_TRIES):
            table = self._newest(name)
            left = [one for one in wanted.values() if not _has(table, one.recording_id)]
            if not left:
                return
            actions |= {one.recording_id: self._put(name, one) for one in left if one.recording_id not in actions}
            try:
                self._commit(table, [actions[one.recording_id] for one in left], [one.recording_id for one in left])
                return
            except CommitFailedError:
                if number == _TRIES - 1:
                    raise
                time.sleep(random.uniform(0, _PAUSE * (number + 1)))

    def _commit(self, table: DeltaTable, actions: list[AddAction], ids: list[str]) -> None:
        transactions = [Transaction(one, 0) for one in ids]
        table.create_write_transaction(
            [*actions], "append", table.schema(), [PARTITION],
            commit_properties=CommitProperties(app_transactions=transactions),
        )  # fmt: skip

    def _put(self, name: str, one: Extract) -> AddAction:
        """Store the object of a recording; return its entry of the log."""
        path, within = path_of(name, one.day, one.recording_id)
        data = one.files[name]
        try:
            self._lake.objects.put(path, data, mode="create", use_multipart=False)
        except (AlreadyExistsError, FileExistsError):  # of a shipper that was killed, or runs at the same time
            data = bytes(self._lake.objects.get(path).bytes())
        return add_action(name, within, one.day, data)

    def _table(self, name: str) -> DeltaTable:
        if name not in self._tables:
            self._tables[name] = self._lake.table(name)
        return self._tables[name]

    def _newest(self, name: str) -> DeltaTable:
        table = self._table(name)
        table.update_incremental()
        return table

    def _map(self, function: Callable[[T], R], values: Iterable[T]) -> list[R]:
        """Return the results in order. After an error, what has begun is finished first."""
        futures = [self._pool.submit(function, value) for value in values]
        errors = [future.exception() for future in futures]
        for error in filter(None, errors):
            raise error
        return [future.result() for future in futures]


def _has(table: DeltaTable, recording_id: str) -> bool:
    return table.transaction_version(recording_id) is not None
