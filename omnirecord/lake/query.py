"""SQL over a lake, read-only: DuckDB over the Parquet files that the newest commits name.

A query sees complete recordings only: those with a row in `recordings`, which is committed last. It reads the files of
the tables that it names, and no other file: external access is off but for them, settings are locked, and only
statements that read are run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from ..cassette.files import TemporaryFolder
from ..cassette.sqlite.query import Result
from ..errors import LakeError, UsageError
from .files import File, files_of
from .location import Lake
from .mistakes import checked_statement, mistake, with_parameters
from .tables import SCHEMAS
from .views import ABOUT, COLUMNS, READS, SELECTS

NAMES: Mapping[str, tuple[str, ...]] = {
    name: COLUMNS[name] if name in COLUMNS else tuple(SCHEMAS[name].names) for name in ABOUT
}
"""The columns of each view and table, in the order in which a list shows them."""
_COMPLETE = "complete_recordings"
_FETCHED = 10_000


class LakeQuery:
    """Runs queries over the lake as it is when a table is first named. `days`: the first and the last UTC day of the
    recordings that a query sees."""

    def __init__(self, lake: Lake, *, days: tuple[date, date] | None = None) -> None:
        self._lake, self._days = lake, days
        self.names = NAMES
        self._folder = TemporaryFolder("lake")
        self._connection = duckdb.connect(":memory:", config={"temp_directory": str(Path(self._folder.name) / "spill")})
        self._defined: set[str] = set()
        self._complete: frozenset[str] = frozenset()
        self._paths: list[str] = []
        self._is_locked = False
        self._connection.execute(_SAFE)

    def close(self) -> None:
        self._connection.close()
        self._folder.cleanup()

    def __enter__(self) -> LakeQuery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run one statement. Raises `UsageError` with one sentence for a mistake in it, `LakeError` for a store that
        fails, `KeyboardInterrupt` for a Ctrl-C."""
        given = dict(parameters or {})
        return self.rows(with_parameters(checked_statement(sql, NAMES), given), given)

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run a statement of omnirecord itself; raises as `run` does."""
        reads = frozenset(word for word in re.findall(r"\w+", sql.lower()) if word in NAMES)
        self.define(reads)
        with self._sentences(sql):
            cursor = self._connection.cursor().execute(sql, dict(parameters or {}))
        names = [one[0] for one in cursor.description or ()]
        return Result(_distinct(names), self._fetched(cursor, sql), reads)

    def _fetched(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> Iterator[tuple[Any, ...]]:
        while True:
            with self._sentences(sql):
                some = cursor.fetchmany(_FETCHED)
            if not some:
                return
            yield from (tuple(map(plain, row)) for row in some)
