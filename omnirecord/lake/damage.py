"""Finds the object of a lake that an engine could not decode, so that an error names it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate, islice

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import LakeError
from .files import File
from .location import Lake

_SIGNS = (
    "magic bytes", "too small to be", "TProtocolException", "thrift", "decompress", "corrupt", "string encoding found",
    "Failed to read file", "page header", "invalid parquet", "parquet file size is", "out of buffer", "end of stream",
)  # fmt: skip
_DAMAGE = re.compile("|".join(_SIGNS), re.IGNORECASE)
_PATH = re.compile(r"""(?:'[^']*\.parquet'|"[^"]*\.parquet"):? ?""")
_MOST_BYTES = 1 << 30
"""Bytes of objects that are read to find a damaged one, about."""
_THREADS = 8
_AT_ONCE = 64


def sentence(lake: Lake, tables: Mapping[str, Iterable[File]], said: str) -> str | None:
    """Return what to say about an error of DuckDB or Arrow that an object cannot be decoded; None for any other error.

    `tables`: the objects that the query reads, by table. They are read until one fails, if the error names none.
    """
    if _DAMAGE.search(said) is None:
        return None
    there = {f"{name}/{one.path}": one for name, of in tables.items() for one in of}
    found = next((path for path in there if path in said), None)
    if found is None:
        named = [path for path, one in there.items() if one.path in said]
        by_size = sorted(named or there, key=lambda path: there[path].size)
        ends = list(accumulate(there[path].size for path in by_size))
        some = by_size[: bisect_right(ends, _MOST_BYTES)]
        found = _unreadable(lake, some)
        if found is None and len(some) == len(there):
            return None
    return _sentence(f"{lake.url}/{found}" if found else f"{lake.url}: an object of {' or '.join(tables)}", said)


@contextmanager
def naming(lake: Lake, path: str) -> Iterator[None]:
    """Convert the errors of Arrow about an object to `LakeError`. `path`: in the lake."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise LakeError(_sentence(f"{lake.url}/{path}", str(error))) from error


def _sentence(what: str, said: str) -> str:
    said = _PATH.sub("", said.rpartition(" failed: ")[2].partition("\n")[0])
    return f"{what} is damaged: restore this object from a copy of the lake ({' '.join(said.split())[:120]})"


def _unreadable(lake: Lake, paths: Iterable[str]) -> str | None:
    """Return the path of the first object that Arrow cannot read."""

    def is_bad(path: str) -> bool:
        try:
            pq.ParquetFile(pa.BufferReader(pa.py_buffer(lake.objects.get(path).bytes()))).read()
        except (pa.ArrowException, OSError):
            return True
        return False

    left = iter(paths)
    with ThreadPoolExecutor(_THREADS) as threads:
        while some := list(islice(left, _AT_ONCE)):
            if bad := [path for path, is_ in zip(some, threads.map(is_bad, some), strict=True) if is_]:
                return bad[0]
    return None
