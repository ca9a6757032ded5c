"""A cassette as a stream of bytes in another format: `jsonl`, the whole of it, also compressed, or `sse`, one stream's
body; and what Datasette is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from ..model import Exchange
from . import jsonl
from .compressed import SUFFIX, named, packed
from .select import the_stream
from .sqlite import Store, datasette_metadata, is_sqlite
from .sqlite.compressed import copy_database


def jsonl_bytes(store: Store) -> Iterator[bytes]:
    """The text form, line by line."""
    return (f"{line}\n".encode() for line in jsonl.lines(store))


def sse_bytes(store: Store, stream: int | None) -> Iterator[bytes]:
    """The decoded body of a stream, byte for byte. Raises `UsageError` where it is not clear which."""
    return store.content(_the_stream(store, stream))


def packed_bytes(store: Store, cassette: Path, output: Path | None) -> Iterator[bytes]:
    """The whole cassette compressed: its text form where `output` is a `.jsonl.zst`, else a database. Raises
    `UsageError` where it is still being recorded, so that there will be more of it."""
    if store.is_being_recorded:
        raise UsageError(
            f"{cassette} is still being recorded, and what is compressed is closed: stop the recorder first, or export"
            " what there is so far with --format jsonl"
        )
    if output is not None and named(output)[0] == ".jsonl":
        return packed(jsonl_bytes(store))
    return packed(copy_database(store, output))


def datasette_bytes(cassette: Path) -> Iterator[bytes]:
    """The metadata for `datasette -m`. Raises `UsageError` where Datasette cannot open the cassette."""
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
