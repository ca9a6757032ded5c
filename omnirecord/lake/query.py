"""SQL over a lake, read-only: DuckDB over the Parquet files that the newest commits name.

A query sees complete recordings only: those with a row in `recordings`, which is committed last. It reads the files of
the tables that it names, and no other file. External access is off but for them, settings are locked, and only
statements that read are run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake.fs import DeltaStorageHandler
from pyarrow import dataset
from pyarrow.fs import PyFileSystem

from ..cassette.files import TemporaryFolder
from ..cassette.sql import Result, distinct
from ..errors import LakeError, UsageError
from . import damage
from .files import File, Files, files_of
from .location import Lake
from .mistakes import checked, mistake
from .tables import PARTITION, SCHEMAS
from .views import ABOUT, COLUMNS, SELECTS, needed

NAMES: Mapping[str, tuple[str, ...]] = {
    name: COLUMNS[name] if name in COLUMNS else tuple(SCHEMAS[name].names) for name in ABOUT
}
"""The columns of each view and table, in the order in which a list shows them."""
_COMPLETE = "complete_recordings"
_DATASET = "files_of_"
"""The beginning of the name of a dataset of Arrow."""
_FETCHED = 10_000
"""Rows that are held at a time."""
_THREADS = 8
"""Logs that are read at a time."""
_REQUESTS = 32
"""Requests to a store at a time."""
_SCAN = dataset.ParquetFragmentScanOptions(pre_buffer=True)
_SAFE = """
SET TimeZone = 'UTC'; SET autoinstall_known_extensions = false; SET autoload_known_extensions = false;
SET allow_community_extensions = false; SET allow_persistent_secrets = false; SET python_enable_replacements = false;
SET enable_progress_bar = false; SET allowed_directories = [{folders}]; SET enable_external_access = false;
SET lock_configuration = true;
"""
_GONE = re.compile(r"No files found|Cannot open file|No such file|not found", re.IGNORECASE)


class LakeQuery:
    """Runs queries over a lake, each table as it is when a query first names it."""

    names = NAMES

    def __init__(self, lake: Lake, spill: TemporaryFolder | None = None) -> None:
        self._lake = lake
        self._files: dict[str, Files] = {}
        self._days, self._only = (date.min, date.max), None  # type: tuple[date, date], frozenset[str] | None
        self._complete: set[str] | None = None
        self._is_mixed = False  # whether a file of an older version lacks a column of the others
        self._defined: set[str] = set()
        self._held: set[str] = set()
        self._datasets: dict[str, dataset.Dataset] = {}
        self._folder, self._is_folder_ours = spill or TemporaryFolder("lake"), spill is None

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        spill = str(Path(self._folder.name) / "spill")
        made = duckdb.connect(":memory:", config={"temp_directory": spill})
        if not self._lake.is_local:
            pa.set_io_thread_count(_REQUESTS)
        folders = ", ".join(_quoted(f"{self._place(name)}/") for name in SCHEMAS)
        made.execute(_SAFE.format(folders=folders))
        return made

    def narrowed(
        self, *, days: tuple[date, date] | None = None, recordings: Collection[str] | None = None
    ) -> LakeQuery:
        """Return another query over the same state of the lake, for some recordings only. Close it first.

        `days`: the first and the last UTC day on which they began. `recordings`: their ids.
        """
        made = LakeQuery(self._lake, self._folder)
        made._files, made._days = self._files, days or self._days
        made._only = self._only if recordings is None else frozenset(recordings)
        return made

    def recording_ids(self) -> frozenset[str]:
        """Return the ids of the complete recordings. Raises `LakeError`."""
        return frozenset(self._recordings())

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
        """Run a statement of omnirecord itself; its values are those of DuckDB. Raises as `run` does."""
        reads = frozenset(word for word in re.findall(r"\w+", sql.lower()) if word in NAMES)
        self._define(reads)
        try:
            cursor = self._executed(sql, parameters)
        except duckdb.Error as error:
            if self._is_mixed or "union_by_name" not in str(error):
                raise
            self._is_mixed = True
            self._defined.clear()
            self._define(reads)
            cursor = self._executed(sql, parameters)
        columns = distinct(one[0] for one in cursor.description or ())
        return Result(columns, self._fetched(cursor, sql), reads)

    def hold(
        self, name: str, where: str | None = None, parameters: Mapping[str, Any] | None = None, columns: str = "*"
    ) -> None:
        """Read some rows of a table into memory, or none. Further queries see these only, and open no file for them."""
        if where is None:
            self._connection.execute(f"CREATE TABLE {name} AS {_nothing(SCHEMAS[name])}")
        else:
            self.rows(f"CREATE TABLE held AS SELECT {columns} FROM {name} WHERE {where}", parameters)
            self._connection.execute(f"DROP VIEW {name}; ALTER TABLE held RENAME TO {name}")
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

    def _fetched(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> Iterator[tuple[Any, ...]]:
        while True:
            with self._sentences(sql):
                some = cursor.fetchmany(_FETCHED)
            if not some:
                return
            yield from some

    @contextmanager
    def _sentences(self, sql: str) -> Iterator[None]:
        try:
            yield
        except duckdb.InterruptException as error:
            raise KeyboardInterrupt from error
        except RuntimeError as error:
            if "interrupted" not in str(error).lower():
                raise
            raise KeyboardInterrupt from error
        except duckdb.IOException as error:
            raise self._damaged(error) or self._of_the_store(error) from error
        except duckdb.OutOfMemoryException as error:
            raise LakeError("the query needs more memory or temporary space than there is: ask for fewer days, or for"
                            " fewer columns") from error  # fmt: skip
        except duckdb.Error as error:
            if not self._is_mixed and "union_by_name" in str(error):
                raise
            if damaged := self._damaged(error):
                raise damaged from error
            if _DATASET in str(error):
                raise self._of_the_store(error) from error
            raise UsageError(mistake(error, sql, NAMES)) from error

    def _damaged(self, error: duckdb.Error) -> LakeError | None:
        """Return the sentence for an object that cannot be decoded; None for any other error."""
        tables = {name: files for name, (files, _) in self._files.items()}
        found = damage.sentence(self._lake, tables, str(error))
        return None if found is None else LakeError(found)

    def _of_the_store(self, error: duckdb.Error) -> LakeError:
        """Return the sentence for a file that cannot be read."""
        said = " ".join(str(error).rpartition(" failed: ")[2].split())
        gone = "a file of it is missing" if _GONE.search(said) else "a file of it cannot be read"
        return LakeError(
            f"{self._lake.url}: {gone}: run the query again; if that does not help, `omnirecord lake check"
            f" {self._lake.url}` names the table ({said[:200]})"
        )

    # The tables as views

    def _define(self, names: Collection[str]) -> None:
        """Make the views that a query names. The logs of their tables are read at the same time."""
        wanted = needed(names) - self._defined - self._held
        tables, views = [one for one in SCHEMAS if one in wanted], [one for one in SELECTS if one in wanted]
        if tables:
            known = self._recordings()
            with ThreadPoolExecutor(_THREADS) as pool:
                found = list(pool.map(self._files_of, tables))
            for name, (files, schema) in zip(tables, found, strict=True):
                self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {self._select(name, files, schema, known)}")
        for name in views:
            self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {SELECTS[name]}")
        self._defined |= wanted

    def _files_of(self, name: str) -> Files:
        if name not in self._files:
            files, schema = files_of(self._lake, name)
            for field in SCHEMAS[name]:
                if field.name not in schema.names:  # the table is of an older version
                    schema = schema.append(field)
            self._files[name] = files, schema
        return self._files[name]

    def _recordings(self) -> set[str]:
        """Return the ids of the complete recordings. They are also in a table, for files with several recordings."""
        if self._complete is None:
            files, schema = self._files_of("recordings")
            self._complete = {one.recording_id for one in files if one.recording_id is not None}
            if merged := [one for one in files if one.recording_id is None]:
                found = self._connection.execute(
                    f"SELECT DISTINCT recording_id FROM {self._read('recordings', merged, schema, is_mixed=False)}"
                )
                self._complete.update(one for (one,) in found.fetchall())
            self._connection.execute(f"CREATE TABLE {_COMPLETE} (recording_id VARCHAR)")
            if merged:
                self._connection.execute(
                    f"INSERT INTO {_COMPLETE} SELECT unnest($1::VARCHAR[])", [sorted(self._complete)]
                )
        return self._complete

    def _select(self, name: str, files: list[File], schema: pa.Schema, known: set[str]) -> str:
        """Return the SELECT over the files of a table that hold complete recordings."""
        first, last = (one.isoformat() for one in self._days)
        files = [one for one in files if first <= one.day <= last]
        if self._only is not None:
            files = [one for one in files if one.may_hold(self._only)]
        single = [one for one in files if one.recording_id in known]
        merged = [one for one in files if one.recording_id is None]
        parts = [self._part(name, some, schema) for some in (single, merged) if some]
        if merged:
            parts[-1] += f" WHERE recording_id IN (SELECT recording_id FROM {_COMPLETE})"
        if not parts:
            return _nothing(schema)
        return " UNION ALL ".join(parts)

    def _part(self, name: str, files: list[File], schema: pa.Schema) -> str:
        """Return a SELECT with the columns of the table. A column that no file has is null."""
        read = self._read(name, files, schema, is_mixed=self._is_mixed)
        there = self._columns(read)
        if not self._lake.is_local or there.issuperset(schema.names):
            return f"SELECT {', '.join(map(_named, schema.names))} FROM {read}"
        read = self._read(name, files, schema, is_mixed=True)  # the first file may be of an older version
        there = self._columns(read)
        columns = (
            _named(one.name) if one.name in there else f"NULL::{_type(one.type)} AS {_named(one.name)}"
            for one in schema
        )
        return f"SELECT {', '.join(columns)} FROM {read}"

    def _columns(self, read: str) -> set[str]:
        with self._sentences(read):
            return {column for column, *_ in self._connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()}

    def _read(self, name: str, files: list[File], schema: pa.Schema, *, is_mixed: bool) -> str:
        """Return the SQL of a table over the files. `is_mixed`: some may lack columns, so that all are looked at."""
        if not self._lake.is_local:
            return self._dataset(name, files, schema)
        paths = ", ".join(_quoted(f"{self._place(name)}/{one.path}") for one in files)
        day = f"hive_partitioning = true, hive_types = {{'{PARTITION}': DATE}}"
        return f"read_parquet([{paths}], union_by_name = {str(is_mixed).lower()}, {day})"

    def _dataset(self, name: str, files: list[File], schema: pa.Schema) -> str:
        """Register a dataset of Arrow over objects of a store, and return its name.

        Credentials and addresses are those of the Delta tables. DuckDB hands columns and filters to it.
        """
        sizes = {one.path: one.size for one in files}
        handler = DeltaStorageHandler(self._lake.table_url(name), self._lake.storage_options, sizes)
        system, form = PyFileSystem(handler), dataset.ParquetFileFormat(default_fragment_scan_options=_SCAN)
        fragments = [
            form.make_fragment(one.path, system, dataset.field(PARTITION) == date.fromisoformat(one.day))
            for one in files
        ]
        registered = f"{_DATASET}{name}_{len(self._datasets)}"
        self._datasets[registered] = dataset.FileSystemDataset(fragments, schema, form, system)
        self._connection.register(registered, self._datasets[registered])
        return registered

    def _place(self, name: str) -> str:
        return f"{self._lake.url}/{name}"


def plain(value: Any) -> Any:
    """Return a value of DuckDB as one of JSON, or bytes.

    Times are in ISO 8601, decimals are numbers, intervals seconds; NaN is null.
    """
    if value is None or type(value) in (str, int, bool, bytes):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else str(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _nothing(schema: pa.Schema) -> str:
    """Return a SELECT with these columns and no row."""
    return f"SELECT {', '.join(f'NULL::{_type(one.type)} AS {_named(one.name)}' for one in schema)} WHERE false"


def _type(of: pa.DataType) -> str:
    """Return the SQL type of an Arrow type."""
    if pa.types.is_map(of):
        return f"MAP({_type(of.key_type)}, {_type(of.item_type)})"
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        return f"{_type(of.value_type)}[]"
    if pa.types.is_struct(of):
        return "STRUCT(" + ", ".join(f"{_named(one.name)} {_type(one.type)}" for one in of) + ")"
    if pa.types.is_timestamp(of):
        return "TIMESTAMPTZ"
    return _SQL_TYPES.get(str(of), "VARCHAR")


_SQL_TYPES = {
    "bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "float": "FLOAT",
    "double": "DOUBLE", "date32[day]": "DATE", "binary": "BLOB", "large_binary": "BLOB", "binary_view": "BLOB",
}  # fmt: skip
