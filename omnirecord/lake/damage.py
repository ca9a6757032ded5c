"""Finds the files of a lake that cannot be decoded.

Parquet files have no checksums, so a changed value may stay unnoticed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import NotFoundError

from ..errors import LakeError
from .files import File
from .location import Damaged, Lake
from .scan import detail_of, naming

_SIGNS = (
    "magic bytes",
    "too small to be",
    "TProtocolException",
    "thrift",
    "decompress",
    "corrupt",
    "string encoding found",
    "Failed to read file",
    "page header",
    "invalid parquet",
    "parquet file size is",
    "out of buffer",
    "end of stream",
    "converted type",
    "invalid unicode",
    "footer",
    "enough bytes",
)
_DAMAGE = re.compile("|".join(_SIGNS), re.IGNORECASE)
_MOST_BYTES = 1 << 30
"""Bytes of objects that are read to find a damaged one, about."""
_CHECKED = 4
"""Objects that are read at a time to find damaged ones."""


def damaged_in(lake: Lake, tables: Mapping[str, Iterable[File]], said: str, *, is_sure: bool) -> Damaged | None:
    """Return the files that an error of DuckDB or Arrow is about; None for an error that is about none.

    `tables`: the files that the query reads, by table. Those that the error names are read, or all: a query can quote
    such an error, and the name of an intact file. `is_sure`: whether the error is about a file.
    """
    if not is_sure and _DAMAGE.search(said) is None:
        return None
    there = {(name, one.path): one for name, of in tables.items() for one in of}
    named = [key for key in there if "/".join(key) in said] or [key for key in there if key[1] in said]
    by_size = sorted(named or there, key=lambda key: there[key].size)
    ends = list(accumulate(there[key].size for key in by_size))
    some = by_size[: bisect_right(ends, _MOST_BYTES)]
    found = damaged(lake, [(name, there[name, path]) for name, path in some])
    if not found and len(some) == len(by_size):
        return None
    return Damaged(lake, found, detail_of(said))


def damaged(lake: Lake, files: Sequence[tuple[str, File]]) -> list[tuple[str, str]]:
    """Return the table and the path of those of these files that cannot be decoded. Files that are missing are none.

    Raises `LakeError`. DuckDB refuses some files that Arrow takes, and reads the files of a folder itself.
    """

    def is_bad(of: tuple[str, File]) -> bool:
        name, one = of
        try:
            with naming(lake, name, one.path):
                file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(lake.objects.get(f"{name}/{one.path}").bytes())))
                for number in range(file.num_row_groups):
                    file.read_row_group(number, use_threads=False).validate(full=True)
        except (NotFoundError, FileNotFoundError):
            return False
        except Damaged:
            return True
        if lake.is_local and _is_refused(connection, f"{lake.url}/{name}/{one.path}"):
            with duckdb.connect() as another:  # an error may have ended the first one
                return _is_refused(another, f"{lake.url}/{name}/{one.path}")
        return one.rows is not None and file.metadata.num_rows != one.rows

    with lake.failures(), duckdb.connect() as connection, ThreadPoolExecutor(_CHECKED) as threads:
        bad = list(threads.map(is_bad, files))
    return [(name, one.path) for (name, one), is_one in zip(files, bad, strict=True) if is_one]


def _is_refused(connection: duckdb.DuckDBPyConnection, path: str) -> bool:
    """Whether DuckDB cannot decode a file."""
    try:
        rows = connection.cursor().read_parquet(path, hive_partitioning=False)
        rows.aggregate("sum(hash(COLUMNS(*)))").fetchall()
    except (duckdb.Error, UnicodeDecodeError) as error:
        if isinstance(error, duckdb.OutOfMemoryException) or re.search("Cannot open file|No files found", str(error)):
            raise LakeError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
        return True
    return False
