"""SQL over a lake, read-only: DuckDB over the Parquet files that the newest commits name.

A query sees complete recordings only: those with a row in `recordings`, which is committed last. It reads the files of
the tables that it names, and no other file. External access is off but for them, settings are locked, and only
statements that read are run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from ..cassette.files import TemporaryFolder
from ..cassette.sql import Result, distinct
from ..errors import LakeError, UsageError
from ..model import reached
from .damage import damaged_in
from .files import File, Files, files_of
from .layout import PARTITION, SCHEMAS
from .location import Damaged, Lake, about_refusal, is_refused
from .scan import Complete, Kept, Where, scanned
from .sql import ABOUT, COLUMNS, DERIVED, NEEDS, SELECTS, checked, mistake, named, nothing, plain, quoted, sql_type

NAMES: Mapping[str, tuple[str, ...]] = {
    name: COLUMNS[name] if name in COLUMNS else (*SCHEMAS[name].names, *DERIVED.get(name, ())) for name in ABOUT
}
"""The columns of each view and table, in the order in which a list shows them."""
_ID = "recording_id"
_COMPLETE = "complete_recordings"
_HELD = "held_rows"
_DATASET = "files_of_"
"""The beginning of the name of a dataset of Arrow."""
_FETCHED = 10_000
"""Rows that are held at a time."""
_THREADS = 8
"""Logs that are read at a time."""
_REQUESTS = 32
"""Requests to a store at a time."""
_SAFE = """
SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false; SET autoload_known_extensions = false;
SET allow_community_extensions = false; SET allow_persistent_secrets = false; SET python_enable_replacements = false;
SET enable_progress_bar = false; SET allowed_directories = [{folders}]; SET enable_external_access = false;
SET lock_configuration = true;
"""
_GONE = re.compile(r"No files found|Cannot open file|No such file|not found", re.IGNORECASE)


class LakeQuery:
    """Runs queries over a lake, each table as it is when a query first names it.

    `memory`: the most memory of DuckDB, such as `1GB`. With it, tables that a query creates are in a temporary file.
    """

    def __init__(self, lake: Lake, spill: TemporaryFolder | None = None, memory: str | None = None) -> None:
        self.lake = lake
        self._memory = memory
        self._files: dict[str, Files] = {}
        self._days: tuple[date, date] = (date.min, date.max)
        self._only: frozenset[str] | None = None
        self._complete: Complete | None = None
        self._kept = Kept()
        self._is_mixed = False  # whether a file of an older version lacks a column of the others
        self._defined: set[str] = set()
        self._held: set[str] = set()
        self._datasets: dict[str, Any] = {}
        self._folder = spill or TemporaryFolder("lake")
        self._is_folder_ours = spill is None

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        folder = Path(self._folder.name)
        limit = {} if self._memory is None else {"memory_limit": self._memory}
        database = ":memory:" if self._memory is None else str(folder / "copies.db")
        made = duckdb.connect(database, config={"temp_directory": str(folder / "spill"), **limit})
        if not self.lake.is_local:
            pa.set_io_thread_count(_REQUESTS)
        folders = ", ".join(quoted(f"{self.lake.table_url(name)}/") for name in SCHEMAS)
        made.execute(_SAFE.format(folders=folders))
        return made

    def narrowed(
        self, *, days: tuple[date, date] | None = None, recordings: Collection[str] | None = None
    ) -> LakeQuery:
        """Return another query over the same state of the lake, for some recordings only. Close it first.

        `days`: the first and the last UTC day on which they began. `recordings`: their ids.
        """
        made = LakeQuery(self.lake, self._folder)
        made._files = self._files
        made._days = days or self._days
        made._complete = self._complete
        made._kept = self._kept
        made._only = self._only if recordings is None else frozenset(recordings)
        return made

    def recordings(self) -> Complete:
        """Return the UTC days of the complete recordings, `YYYY-MM-DD`, by their ids. Raises `LakeError`."""
        if self._complete is None:
            self._complete = Complete(self.lake, self._files_of("recordings")[0])
        return self._complete

    def open(self, *names: str) -> None:
        """Read the logs of these tables at the same time. Raises `LakeError`."""
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._files_of, names))

    def files(self, name: str) -> list[File]:
        """Return the files of a table that may have rows of complete recordings. Raises `LakeError`."""
        return self._visible(self._files_of(name)[0], self._only)

    def close(self) -> None:
        """Close the connection, and remove what it wrote to the temporary folder."""
        if "_connection" in self.__dict__:
            self._connection.close()
        if self._is_folder_ours:
            self._folder.cleanup()

    def __enter__(self) -> LakeQuery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run one statement. Raises `UsageError` with one sentence for a mistake in it, `LakeError` for a store that
        fails, `KeyboardInterrupt` for a Ctrl-C."""
        given = dict(parameters or {})
        result = self.rows(checked(sql, NAMES, given), given)
        return result._replace(rows=(tuple(map(plain, row)) for row in result.rows))

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run a statement of omnirecord itself; its values are those of DuckDB. Raises as `run` does.

        Files that cannot be decoded are noted in the lake, and the statement runs again without them. If rows were
        given already, they are an error.
        """
        reads = frozenset(word for word in re.findall(r"\w+", sql.lower()) if word in NAMES)
        while True:
            try:
                cursor = self._begun(sql, parameters, reads)
                first = self._some(cursor, sql)
                break
            except Damaged as error:
                if not self._leave_out(error.files):
                    raise
        columns = distinct(one[0] for one in cursor.description or ())
        return Result(columns, self._fetched(cursor, sql, first), reads)

    def _begun(
        self, sql: str, parameters: Mapping[str, Any] | None, reads: Collection[str]
    ) -> duckdb.DuckDBPyConnection:
        self._define(reads)
        try:
            return self._executed(sql, parameters)
        except duckdb.Error as error:
            if self._is_mixed or "union_by_name" not in str(error):
                raise
            self._is_mixed = True
            self._defined.clear()
            self._define(reads)
            return self._executed(sql, parameters)

    def _leave_out(self, files: Sequence[tuple[str, str]]) -> bool:
        """Leave out damaged files from now on; return whether one of them was not left out before."""
        is_new = False
        for name, path in files:
            known, schema = self._files[name]
            left = [one for one in known if one.path != path]
            is_new = is_new or len(left) < len(known)
            self._files[name] = left, schema
            self._defined.discard(name)
            self.lake.missing.add(name, path)
        return is_new

    def scan(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        *,
        where: Where | None = None,
        among: Mapping[str, Collection[Any]] | None = None,
        recordings: Collection[str] | None = None,
        files: Sequence[File] | None = None,
    ) -> pa.Table:
        """Return rows of a table without DuckDB, all columns by default. Raises `LakeError`.

        `where`: which rows. `among`: the values of columns whose rows are wanted. `recordings`: the ids of their
        recordings. `files`: those to read, of `files`.
        """
        found, schema = self._files_of(name)
        known = self.recordings()
        asked = self._only if recordings is None else recordings
        only = None if asked is None else set(asked) - known.lacking(asked)
        files = self._visible(found if files is None else files, only)
        wanted = schema if columns is None else pa.schema([one for one in schema if one.name in columns])
        of = {**(among or {}), **({} if only is None else {"recording_id": only})}
        if only is not None or all(one.recording_id is not None for one in files):
            return scanned(self.lake, name, files, wanted, where=where, among=of, kept=self._kept)
        read_as = wanted if _ID in wanted.names else wanted.append(schema.field(_ID))
        rows = scanned(self.lake, name, files, read_as, where=where, among=of, kept=self._kept)
        if lacking := known.lacking(rows[_ID].unique().to_pylist()):
            rows = rows.filter(pc.invert(pc.is_in(rows[_ID], pa.array(lacking, pa.string()))))
        return rows.select(wanted.names)

    def hold(self, name: str, rows: pa.Table) -> None:
        """Let further queries see these rows only as the table `name`. They may lack columns."""
        if name in self._defined:
            self._connection.execute(f"DROP VIEW {name}")
        self._connection.register(_HELD, rows)
        self._connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM {_HELD}")
        self._connection.unregister(_HELD)
        self._defined.discard(name)
        self._held.add(name)

    def _executed(self, sql: str, parameters: Mapping[str, Any] | None) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        for name, of in self._datasets.items():  # a cursor does not have them
            cursor.register(name, of)
        with self._sentences(sql), ThreadPoolExecutor(1) as thread:  # where Python handles no signals
            running = thread.submit(cursor.execute, sql, dict(parameters or {}))
            try:
                return running.result()
            except KeyboardInterrupt:
                cursor.interrupt()
                raise

    def _fetched(
        self, cursor: duckdb.DuckDBPyConnection, sql: str, some: list[tuple[Any, ...]]
    ) -> Iterator[tuple[Any, ...]]:
        while some:
            yield from some
            some = self._some(cursor, sql)

    def _some(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
        with self._sentences(sql):
            return cursor.fetchmany(_FETCHED)

    @contextmanager
    def _sentences(self, sql: str) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:  # of a damaged text, or of an error that quotes one
            raise self._damaged(error) or error from error
        except (duckdb.InterruptException, RuntimeError) as error:
            if "interrupted" not in str(error).lower():
                raise
            raise KeyboardInterrupt from error
        except duckdb.IOException as error:
            raise self._damaged(error) or self._of_the_store(error) from error
        except duckdb.OutOfMemoryException as error:
            raise LakeError(
                "the query needs more memory or temporary space than there is: ask for fewer days, or for fewer columns"
            ) from error
        except duckdb.Error as error:
            if not self._is_mixed and "union_by_name" in str(error):
                raise
            if damaged := self._damaged(error):
                raise damaged from error
            if _DATASET in str(error):
                raise self._of_the_store(error) from error
            raise UsageError(mistake(error, sql, NAMES)) from error

    def _damaged(self, error: Exception) -> Damaged | None:
        """Return the error for files that cannot be decoded; None for any other error."""
        files = {name: files for name, (files, _) in self._files.items()}
        is_sure = type(error) in (duckdb.Error, UnicodeDecodeError)  # the parser of Parquet has no class of its own
        return damaged_in(self.lake, files, str(error), is_sure=is_sure)

    def _of_the_store(self, error: duckdb.Error) -> LakeError:
        """Return the sentence for a file that cannot be read."""
        said = " ".join(str(error).rpartition(" failed: ")[2].split())
        if is_refused(said):
            return LakeError(f"{self.lake.url}: {about_refusal(self.lake.is_local, said[:200])}")
        return self._missing(said) if _GONE.search(said) else self._missing(said, "a file of it cannot be read")

    def _missing(self, said: str, what: str = "a file of it is missing") -> LakeError:
        return LakeError(
            f"{self.lake.url}: {what}: run the query again; if that does not help, `omnirecord lake check"
            f" {self.lake.url}` names the table ({said[:200]})"
        )

    # The tables as views

    def _define(self, names: Collection[str]) -> None:
        """Make the views that a query names. The logs of their tables are read at the same time."""
        wanted = reached(names, NEEDS) - self._defined - self._held
        tables = [one for one in SCHEMAS if one in wanted]
        views = [one for one in SELECTS if one in wanted]
        if tables:
            self.recordings()  # first: a recording that is committed later is not complete in this query
        self.open(*tables)
        for name in tables:
            self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {self._select(name)}")
        for name in views:
            self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {SELECTS[name]}")
        self._defined |= wanted

    def _files_of(self, name: str) -> Files:
        if name not in self._files:
            files, schema = files_of(self.lake, name)
            for field in SCHEMAS[name]:
                if field.name not in schema.names:  # the table is of an older version
                    schema = schema.append(field)
            self._files[name] = files, schema
        return self._files[name]

    def _visible(self, files: Iterable[File], only: Collection[str] | None) -> list[File]:
        """Return the files of the wanted days that may have rows of complete recordings, or of these recordings."""
        first, last = (one.isoformat() for one in self._days)
        known = self.recordings()
        found = [
            one for one in files if first <= one.day <= last and (one.recording_id is None or one.recording_id in known)
        ]
        if only is None:
            return found
        days = {known[one] for one in only if one in known}
        return [one for one in found if one.day in days and one.may_hold(only)]

    def _select(self, name: str) -> str:
        """Return the SELECT over the files of a table that hold complete recordings."""
        files = self._there(name, self.files(name))
        _, schema = self._files_of(name)
        single = [one for one in files if one.recording_id is not None]
        merged = [one for one in files if one.recording_id is None]
        parts = [self._part(name, some, schema) for some in (single, merged) if some]
        if merged:
            if _COMPLETE not in self._held:
                ids = pa.array(sorted(self.recordings()), pa.string())
                self.hold(_COMPLETE, pa.table({"recording_id": ids}))
            parts[-1] += f" WHERE recording_id IN (SELECT recording_id FROM {_COMPLETE})"
        rows = " UNION ALL ".join(parts) or nothing(schema)
        more = "".join(f", {sql} AS {column}" for column, sql in DERIVED.get(name, {}).items())
        return f"SELECT *{more} FROM ({rows})" if more else rows

    def _there(self, name: str, files: list[File]) -> list[File]:
        """Return the files without those that are missing, which are noted in the lake. DuckDB would read none."""
        with self.lake.failures():
            absent = self.lake.absent(name, [one.path for one in files])
        for path in absent:
            self.lake.missing.add(name, path)
        return [one for one in files if one.path not in absent] if absent else files

    def _part(self, name: str, files: list[File], schema: pa.Schema) -> str:
        """Return a SELECT with the columns of the table. A column that no file has is null."""
        read = self._read(name, files, schema, is_mixed=self._is_mixed)
        there = self._columns(read)
        if not there.issuperset(schema.names):  # the first file may be of an older version
            read = self._read(name, files, schema, is_mixed=True)
            there = self._columns(read)
        columns = (
            named(one.name) if one.name in there else f"NULL::{sql_type(one.type)} AS {named(one.name)}"
            for one in schema
        )
        return f"SELECT {', '.join(columns)} FROM {read}"

    def _columns(self, read: str) -> set[str]:
        with self._sentences(read):
            return {column for column, *_ in self._connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()}

    def _read(self, name: str, files: list[File], schema: pa.Schema, *, is_mixed: bool) -> str:
        """Return the SQL of a table over the files. `is_mixed`: some may lack columns, so that all are looked at."""
        if not self.lake.is_local:
            return self._dataset(name, files, schema)
        paths = ", ".join(quoted(f"{self.lake.table_url(name)}/{one.path}") for one in files)
        day = f"hive_partitioning = true, hive_types = {{'{PARTITION}': DATE}}"
        return f"read_parquet([{paths}], union_by_name = {str(is_mixed).lower()}, {day})"

    def _dataset(self, name: str, files: list[File], schema: pa.Schema) -> str:
        """Register a dataset of Arrow over objects of a store, and return its name.

        Credentials and addresses are those of the Delta tables. DuckDB hands columns and filters to it.
        """
        from pyarrow import dataset  # takes long to import, and only stores other than folders need it

        sizes = {one.path: one.size for one in files}
        scan = dataset.ParquetFragmentScanOptions(pre_buffer=True)
        handler = DeltaStorageHandler(self.lake.table_url(name), self.lake.storage_options, sizes)
        system = PyFileSystem(handler)
        form = dataset.ParquetFileFormat(default_fragment_scan_options=scan)
        fragments = [
            form.make_fragment(one.path, system, dataset.field(PARTITION) == date.fromisoformat(one.day))
            for one in files
        ]
        registered = f"{_DATASET}{name}_{len(self._datasets)}"
        self._datasets[registered] = dataset.FileSystemDataset(fragments, schema, form, system)
        self._connection.register(registered, self._datasets[registered])
        return registered
