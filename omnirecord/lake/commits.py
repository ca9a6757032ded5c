"""Adds recordings to the Delta tables of a lake, exactly once.

The id of a recording is an application transaction of each table. Delta refuses a second commit with it, also after
the rows were compacted or expired. `repair` makes the version of this transaction odd: then the table lacks rows of the
recording, and takes them again. The object of a recording has the id as its name. Small recordings of one commit share
an object, whose name is made of their ids. An object is created, never overwritten. A shipper that finds the same
object of a killed or concurrent shipper commits that object. An old object may be removed by `compact` at any moment,
so it is left alone, and the rows get an object with another name. Ages are those by the clock of the store, as
`compact` judges them. After its commit, a shipper looks whether its objects are there.

`Forgotten` names sessions that must not come in. If another process forgets a session after a recording was read, the
shipper notes the rows before its last commit, and removes them after it.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import TypeVar

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction
from obstore.exceptions import AlreadyExistsError, NotFoundError

from ..errors import LakeError
from ..server.timers import monotonic
from .extract import Extract
from .files import add_action, files_in, joined, same_rows
from .forget import finish, plan
from .forgotten import Forgotten
from .ids import Ids
from .layout import PARTITION, SCHEMAS, TABLES, merged_name, path_of
from .location import SKEW, Lake, MissingTable
from .transactions import Transactions, following, has_rows
from .upkeep import is_committed, removal

_TRIES = 30
"""Commits that lose against another shipper before the lake counts as failing."""
_PAUSE = 0.05
"""Longest first pause after a lost commit, in seconds. It grows with each try."""
_LOOK_EVERY = 2.0
"""Seconds between two looks for recordings that other shippers have added. `add` looks again before each commit."""
_THREADS = 8
"""Tables and objects in flight at a time."""
_LOOKS = 5
"""Looks for the objects of a commit before their removal counts as a failure."""
_OWN_OBJECT = 256 << 10
"""Size in bytes from which a recording has its own object in a table. Smaller ones share an object: what is the same in
all files, such as their footers, is most of a small file."""
_FRESH = 1800.0
"""Greatest age of an object at its commit, in seconds: half of the least `--retain`. No `compact` removes it."""
RECORDINGS = TABLES[-1]
_EXISTS = (AlreadyExistsError, FileExistsError)
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Stored:
    """An object in the store."""

    action: AddAction
    """Its entry of the log."""
    at: float
    """When it was stored, in seconds since 1970 by the clock of this process."""
    data: bytes
    until: float | None
    """When the store had it, at the latest; None if another process stored it."""


def _together(name: str, extracts: Iterable[Extract]) -> Iterator[list[Extract]]:
    """Yield the recordings that share an object of a table: those of a day whose rows are few, by their ids."""
    small = defaultdict[str, list[Extract]](list)
    for one in sorted(extracts, key=attrgetter("recording_id")):
        if len(one.files[name]) < _OWN_OBJECT:
            small[one.day].append(one)
        else:
            yield [one]
    yield from small.values()


class Commits:
    """The tables of one lake, for one shipper. Not for several threads.

    `clock` returns the seconds since 1970; they go on while the machine sleeps.
    """

    def __init__(self, lake: Lake, clock: Callable[[], float] = time.time) -> None:
        self._lake = lake
        self._clock = clock
        self._tables: dict[str, DeltaTable] = {}
        self._ids = Ids(lake)
        self._transactions = Transactions(lake)
        self._listed: dict[str, list[str]] = {}
        """The objects of `ids`, as they were listed since the last look."""
        self._looked = -math.inf
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="omnirecord-lake")
        self.id = lake.marker().lake
        """The id of the lake."""
        self.skew = timedelta(0)
        """How far the clock of the store is ahead, by the last object that was stored; zero for less than a minute."""
        self.forgotten = Forgotten(lake, self.id)
        """What the lake has forgotten, as `there` found it last."""
        self._is_renewed = False
        """Whether that changed since recordings were added."""
        self._complete = set[str]()
        """The tables that are known to have all columns of this version."""

    def close(self) -> None:
        """Wait for what is in flight."""
        self._pool.shutdown(cancel_futures=True)

    def _completed(self, names: Sequence[str]) -> None:
        """Give the lake the tables and columns that it lacks, if one of these tables lacks some."""
        if any(self._map(self._lacks, [name for name in names if name not in self._complete])):
            self._lake.complete()
            self._tables.clear()
        self._complete.update(names)

    def _lacks(self, name: str) -> bool:
        try:
            there = {field.name for field in self._table(name).schema().fields}
        except MissingTable:
            return True
        return not there.issuperset(SCHEMAS[name].names)

    def there(self, ids: Iterable[str]) -> set[str]:
        """Return those recordings that are in the lake, or were and have expired. Raises `LakeError`."""
        with self._lake.failures():
            if (now := monotonic()) - self._looked > _LOOK_EVERY:
                self._newest(RECORDINGS)
                self._listed = {}
                self._looked = now
            table = self._table(RECORDINGS)
            self._is_renewed |= self.forgotten.renew(table)
            wanted = [*ids]
            folded = self._ids.among(wanted, self._listed)
            versions = self._transactions.versions(RECORDINGS, table, wanted)
            return {one for one in wanted if has_rows(one, versions, folded)}

    def add(self, extracts: Sequence[Extract]) -> None:
        """Add recordings: the objects and rows of all tables, `recordings` last. Raises `LakeError`.

        After an error, some tables may have some of the recordings. The next call completes them.
        """
        with self._lake.failures():
            of_rows = [name for name in TABLES[:-1] if any(name in one.files for one in extracts)]
            self._completed([*of_rows, RECORDINGS])
            self._map(lambda name: self._add(name, extracts), of_rows)
            self._add(RECORDINGS, extracts)
            self._looked = -math.inf
            if self.forgotten.leaving():
                for _ in finish(self._lake, self.forgotten):
                    pass

    def _add(self, name: str, extracts: Sequence[Extract]) -> None:
        # A recording of which everything is forgotten has no rows, and counts as shipped.
        wanted = {one.recording_id: one for one in extracts if name in one.files or name == RECORDINGS}
        if not wanted:
            return
        stored: dict[tuple[str, ...], _Stored] = {}
        for number in range(_TRIES):
            table = self._newest(name)
            folded = self._ids.among(wanted)
            versions = self._transactions.versions(name, table, wanted)
            left = [one for one in wanted.values() if not has_rows(one.recording_id, versions, folded)]
            if not left:
                return
            self._look_for_forgotten(name, table, [one.recording_id for one in left])
            objects = {}
            for some in _together(name, [one for one in left if name in one.files]):
                ids = tuple(one.recording_id for one in some)
                if ids not in stored or not self._is_fresh(stored[ids].at):
                    stored[ids] = self._put(name, some)
                objects[ids] = stored[ids]
            try:
                transactions = following([one.recording_id for one in left], versions, drops=False)
                self._commit(table, [one.action for one in objects.values()], transactions)
            except CommitFailedError:
                if number == _TRIES - 1:
                    raise
                time.sleep(random.uniform(0, _PAUSE * (number + 1)))
            else:
                self._look(name, objects)
                return

    def _look_for_forgotten(self, name: str, table: DeltaTable, ids: Sequence[str]) -> None:
        """Before the last commit, note the rows of sessions that were forgotten after these recordings were read."""
        if name != RECORDINGS:
            return
        self._is_renewed |= self.forgotten.renew(table)
        if self._is_renewed and (leaving := plan(self._lake, self.forgotten.has, recordings=ids)):
            self.forgotten.note((), leaving)
        self._is_renewed = False

    def _is_fresh(self, at: float) -> bool:
        """Whether no `compact` removes an object that was stored at this time. A clock may be wrong either way."""
        return abs(self._clock() - at) < _FRESH

    def _look(self, name: str, objects: Mapping[tuple[str, ...], _Stored]) -> None:
        """Store again what is not there after the commit. If that does not help, take the commit back, and raise
        `LakeError`.

        A process with a wrong clock may have removed it, or the machine slept during the commit.
        """
        for number in range(_LOOKS):
            lost = {ids: one for ids, one in objects.items() if not self._is_there(name, one)}
            named = {one.path: one for one in files_in(self._newest(name))} if lost else {}
            # `compact` has merged the others
            lost = {ids: one for ids, one in lost.items() if one.action.path in named}
            if not lost:
                return
            for one in lost.values():
                with suppress(*_EXISTS):
                    self._lake.objects.put(f"{name}/{one.action.path}", one.data, mode="create", use_multipart=False)
            time.sleep(random.uniform(0, _PAUSE * number))
        gone = [removal(self._lake, named[one.action.path], data_change=True) for one in lost.values()]
        table = self._newest(name)
        withdrawn = [id_ for ids in lost for id_ in ids]
        versions = self._transactions.versions(name, table, withdrawn)
        is_committed(table, gone, following(withdrawn, versions, drops=True))
        raise LakeError(
            f"{self._lake.url}: {name}/{next(iter(lost.values())).action.path} was removed {_LOOKS} times while it was"
            " shipped: check the clocks of the machines that run `omnirecord lake compact`, and ship again"
        )

    def _is_there(self, name: str, one: _Stored) -> bool:
        try:
            found = self._lake.objects.head(f"{name}/{one.action.path}")
        except (NotFoundError, FileNotFoundError):
            return False
        if one.until is not None:
            stored_at = found["last_modified"].timestamp()
            ahead = stored_at - min(max(stored_at, one.at), one.until)
            self.skew = timedelta(seconds=ahead if abs(ahead) > SKEW.total_seconds() else 0)
        return True

    def _commit(self, table: DeltaTable, actions: list[AddAction], transactions: list[Transaction]) -> None:
        properties = CommitProperties(app_transactions=transactions)
        table.create_write_transaction([*actions], "append", table.schema(), [PARTITION], commit_properties=properties)

    def _put(self, name: str, some: Sequence[Extract]) -> _Stored:
        """Store the object of one recording or several, or find it: the same rows, stored not long ago."""
        first = some[0]
        if len(some) == 1:
            data = first.files[name]
            own_name = first.recording_id
        else:
            data = joined(name, [one.files[name] for one in some])
            own_name = merged_name(one.recording_id for one in some)
        at = self._clock()
        path, within = path_of(name, first.day, own_name)
        try:
            self._lake.objects.put(path, data, mode="create", use_multipart=False)
        except _EXISTS:  # of a shipper that was killed, or runs at the same time
            found = self._found(name, path, data)
            if found is None:
                again = f"{own_name}-{secrets.token_hex(4)}" if len(some) == 1 else merged_name()
                path, within = path_of(name, first.day, again)
                self._lake.objects.put(path, data, mode="create", use_multipart=False)
            else:
                at, data = found
                return _Stored(add_action(within, first.day, data), at, data, None)
        return _Stored(add_action(within, first.day, data), at, data, self._clock())

    def _found(self, name: str, path: str, data: bytes) -> tuple[float, bytes] | None:
        """Return when an object was stored, in seconds since 1970 by the clock of this process, and its bytes; None if
        its commit could name other rows or none."""
        with suppress(NotFoundError, FileNotFoundError):  # removed since
            there = self._lake.objects.get(path)
            age = self._lake.now() - there.meta["last_modified"]
            at = self._clock() - age.total_seconds()
            stored = bytes(there.bytes())
            # Two shippers differ in the rows of `recordings`.
            is_same = stored == data or (name == RECORDINGS and same_rows(stored, data, ("shipped_at", "shipped_by")))
            if is_same and self._is_fresh(at):
                return at, stored
        return None

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
        wait(futures)
        return [future.result() for future in futures]
