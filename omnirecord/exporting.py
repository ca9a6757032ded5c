"""A cassette as a stream of bytes in another format: `jsonl`, the whole of it, or `sse`, one stream's body; and what
Datasette is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from . import jsonl
from .cassette import Exchange
from .choosing import the_stream
from .errors import UsageError
from .store import Store, datasette_metadata, is_sqlite


def jsonl_bytes(store: Store) -> Iterator[bytes]:
    """The text form, line by line."""
    return (f"{line}\n".encode() for line in jsonl.lines(store))


def sse_bytes(store: Store, stream: int | None) -> Iterator[bytes]:
    """The decoded body of a stream, byte for byte. Raises `UsageError` where it is not clear which."""
    return store.content(_the_stream(store, stream))


def datasette_bytes(cassette: Path) -> Iterator[bytes]:
    """The metadata for `datasette -m`. Raises `UsageError` where Datasette cannot open the cassette."""
    if not is_sqlite(cassette):
        raise UsageError(f"Datasette opens a .db only: omnirecord import {cassette} --db {cassette.stem}.db")
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
