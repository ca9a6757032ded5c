"""The application transactions of a table: which recordings it has.

`DeltaTable.transaction_version` reads the whole log for each id. So this module reads the log once for all ids, and
later its new commits.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, Transaction
from obstore.exceptions import NotFoundError

from .location import Lake
from .scan import Kept

_REQUESTS = 32
"""Commits that are read at a time."""
_MARK = b'"txn"'
_LOG = "_delta_log"


@dataclass(slots=True)
class _Log:
    """The transactions of a table up to a commit. One with a time has expired (`ids`)."""

    version: int
    """The number of the commit."""
    checkpoint: pa.Table
    """`appId`, `version` and `lastUpdated` of the last checkpoint."""
    newer: dict[str, int | None] = field(default_factory=dict)
    """The versions of the transactions since then, by id; None for one that has expired."""


class Transactions:
    """The transactions of the tables of a lake. Not for several threads with one table."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._logs: dict[str, _Log] = {}

    def versions(self, name: str, table: DeltaTable, ids: Iterable[str]) -> dict[str, int]:
        """Return the versions of the transactions with these ids in a version of a table. Raises what deltalake,
        obstore and Arrow raise."""
        wanted = [*ids]
        if not wanted:
            return {}
        try:
            log = self._log(name, table.version())
        except (NotFoundError, FileNotFoundError):  # an old commit, or a checkpoint of another program
            self._logs.pop(name, None)
            each = {one: table.transaction_version(one) for one in wanted}
            return {one: version for one, version in each.items() if version is not None}
        rows = log.checkpoint.filter(pc.is_in(log.checkpoint["appId"], pa.array(wanted, pa.string()))).to_pylist()
        found = {row["appId"]: row["version"] for row in rows if row["lastUpdated"] is None}
        found |= {one: log.newer[one] for one in wanted if one in log.newer}
        return {one: version for one, version in found.items() if version is not None}

    def _log(self, name: str, version: int) -> _Log:
        log = self._logs.get(name)
        if log is None or log.version > version:
            log = self._logs[name] = self._begun(name, version)
        paths = [f"{name}/{_LOG}/{number:020}.json" for number in range(log.version + 1, version + 1)]
        with ThreadPoolExecutor(_REQUESTS) as threads:
            for data in threads.map(lambda path: bytes(self._lake.objects.get(path).bytes()), paths):
                for line in data.splitlines():
                    if _MARK in line and (one := json.loads(line).get("txn")):
                        log.newer[one["appId"]] = None if one.get("lastUpdated") else one["version"]
        log.version = version
        return log

    def _begun(self, name: str, version: int) -> _Log:
        """Return the transactions of the last checkpoint; without one up to that version, none."""
        empty = pa.table({"appId": pa.array([], pa.string()), "version": [], "lastUpdated": []})
        try:
            last = json.loads(bytes(self._lake.objects.get(f"{name}/{_LOG}/_last_checkpoint").bytes()))
        except (NotFoundError, FileNotFoundError):
            return _Log(-1, empty)
        if last["version"] > version:
            return _Log(-1, empty)
        path = f"{name}/{_LOG}/{last['version']:020}.checkpoint.parquet"
        file = Kept().opened(self._lake, path, self._lake.objects.head(path)["size"])
        assert file is not None
        rows = file.read(["txn"])["txn"].combine_chunks()
        return _Log(last["version"], pa.Table.from_struct_array(rows.filter(rows.is_valid())))


def has_rows(recording_id: str, versions: Mapping[str, int], folded: Collection[str]) -> bool:
    """Whether a table has all rows of a recording, or had them until they expired.

    `versions`: those of the transactions of the table. `folded`: the recordings of `ids` without a transaction, as they
    were looked for after the table was read.
    """
    version = versions.get(recording_id)
    return recording_id in folded if version is None else version % 2 == 0


def following(ids: Iterable[str], versions: Mapping[str, int], *, drops: bool) -> list[Transaction]:
    """Return the transactions that add or drop the rows of these recordings. `versions`: those of the last ones."""
    return [Transaction(one, int(drops) if one not in versions else versions[one] + 1) for one in ids]
