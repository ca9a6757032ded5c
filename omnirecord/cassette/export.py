"""Exports a cassette as bytes in another format: `jsonl`, `zst`, `sse` or `datasette`.

To add a format, write its function here, and add it to `exported` and to `FORMATS` in `cli/export.py`. The page
(`html`) is in `ui/export.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import UsageError
from ..model import Exchange
from . import jsonl
from .compressed import SUFFIX, named, packed
from .select import the_stream
from .sqlite import Store, datasette_metadata, is_sqlite
from .sqlite.compressed import copy_database


def exported(
    form: str, store: Store, cassette: Path, output: Path | None = None, stream: int | None = None
) -> Iterator[bytes]:
    """Return the bytes of an open cassette in format `form`. `stream`: the number of the stream for `sse`.

    Raises `UsageError` or `CassetteError`.
    """
    writers: dict[str, Callable[[], Iterator[bytes]]] = {
        "jsonl": lambda: jsonl_bytes(store),
        "sse": lambda: sse_bytes(store, stream),
        "zst": lambda: packed_bytes(store, cassette, output),
        "datasette": lambda: datasette_bytes(cassette),
    }
    return writers[form]()


def jsonl_bytes(store: Store) -> Iterator[bytes]:
    """Yield the text form, line by line. Raises `CassetteError`."""
    return (f"{line}\n".encode() for line in jsonl.lines(store))


def sse_bytes(store: Store, stream: int | None) -> Iterator[bytes]:
    """Yield the decoded body of a stream. Raises `UsageError` if `stream` is None and there are several."""
    return store.content(_the_stream(store, stream))


def packed_bytes(store: Store, cassette: Path, output: Path | None) -> Iterator[bytes]:
    """Yield the compressed cassette: the text form if `output` is a `.jsonl.zst`, else a database.

    Raises `UsageError` if the cassette is still being recorded.
    """
    if store.is_being_recorded:
        raise UsageError(
            f"{cassette} is still being recorded, and only a closed one can be compressed: stop the recorder first, or"
            " export the current content with --format jsonl"
        )
    if output is not None and named(output)[0] == ".jsonl":
        return packed(jsonl_bytes(store))
    return packed(copy_database(store, output))


def datasette_bytes(cassette: Path) -> Iterator[bytes]:
    """Yield the metadata for `datasette -m`. Raises `UsageError` if Datasette cannot open the cassette."""
    if not is_sqlite(cassette):
        stem = cassette.name.removesuffix(SUFFIX).rpartition(".")[0] or cassette.stem
        raise UsageError(f"Datasette opens a .db only: omnirecord import {cassette} --db {stem}.db")
    yield json.dumps(datasette_metadata(cassette.stem), indent=2).encode() + b"\n"


def _the_stream(store: Store, number: int | None) -> Exchange:
    streams = store.streams()
    if not streams:
        raise UsageError("the cassette holds no stream")
    if number is None and len(streams) > 1:
        known = ", ".join(str(x.stream) for x in streams[:20]) + (", …" if len(streams) > 20 else "")
        raise UsageError(f"the cassette holds {len(streams)} streams: choose one with --stream ({known})")
    chosen = the_stream(store, number)
    return next(x for x in streams if chosen in (None, x.stream))
