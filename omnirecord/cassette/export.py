"""Exports a cassette as bytes in another format: `jsonl`, `zst`, `sse` or `datasette`.

To add a format, write its function here, and add it to `exported` and to `FORMATS` in `cli/export.py`. The page
(`html`) is in `ui/export.py`. `write_lines` writes the lines of a text form as a new cassette.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..model import Exchange, Missing
from ..text import dumps
from ..wire.content_coding import packed
from .files import folder_for, pieces_of, put, sibling, whole_or_not
from .jsonl import Line, Reader, encoded, jsonl_bytes, values
from .select import first_of, the_stream
from .sqlite import Store, Writer, datasette_metadata, is_sqlite
from .sqlite.connection import clear_errors
from .sqlite.search_index import remove_index
from .sqlite.writer import mark

SUFFIX = ".zst"
_ROWS = 5000
"""Rows per transaction."""


def named(path: Path) -> tuple[str, bool]:
    """Return the suffix of the content in a file name, such as `.db`, and whether the file is compressed."""
    is_packed = path.suffix == SUFFIX
    return (path.with_suffix("") if is_packed else path).suffix, is_packed


def exported(
    form: str,
    store: Store,
    cassette: Path,
    output: Path | None = None,
    stream: int | None = None,
    missing: list[Missing] | None = None,
) -> Iterator[bytes]:
    """Return the bytes of an open cassette in format `form`. `sse` is the decoded body of the stream with number
    `stream`, which may be None if there is only one. The frames whose bytes the cassette lacks are added to `missing`
    (`sse` and `jsonl`). Raises `UsageError` or `CassetteError`."""
    lacks: list[Missing] = [] if missing is None else missing
    writers: dict[str, Callable[[], Iterator[bytes]]] = {
        "jsonl": lambda: encoded(_noted(values(store), lacks)),
        "sse": lambda: _content(store, _the_stream(store, stream), lacks),
        "zst": lambda: packed_bytes(store, cassette, output),
        "datasette": lambda: datasette_bytes(cassette),
    }
    return writers[form]()


def _content(store: Store, x: Exchange, missing: list[Missing]) -> Iterator[bytes]:
    for frame in store.frames(x, unfinished=True):
        if frame.raw is None:
            missing.append(Missing(frame.stream, frame.seq, frame.length))
        else:
            yield frame.raw


def _noted(lines: Iterable[dict[str, Any]], missing: list[Missing]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.get("raw", "") is None:
            missing.append(Missing(line["stream"], line["seq"], line["length"]))
        yield line


def packed_bytes(store: Store, cassette: Path, output: Path | None) -> Iterator[bytes]:
    """Yield the compressed cassette: the text form if `output` is a `.jsonl.zst`, else a database. Raises `UsageError`
    if the cassette is still being recorded."""
    if store.is_being_recorded:
        raise UsageError(
            f"{cassette} is still being recorded, and only a closed one can be compressed: stop the recorder first, or"
            " export the current content with --format jsonl"
        )
    if output is not None and named(output)[0] == ".jsonl":
        return packed(jsonl_bytes(store))
    return packed(store.database_bytes(output))


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
        known = first_of([x.stream for x in streams])
        raise UsageError(f"the cassette holds {len(streams)} streams: choose one with --stream ({known})")
    chosen = the_stream(store, number)
    return next(x for x in streams if chosen in (None, x.stream))


def refuse_leftovers(output: Path) -> None:
    """Raise `UsageError` if files of another database would belong to a new `output`."""
    for beside in (sibling(output, end) for end in ("-wal", "-shm", "-journal", "-lock")):
        if not output.exists() and beside.exists():
            raise UsageError(f"{beside} is left over from another cassette: remove it, or choose another --output")


def write_lines(
    lines: Iterable[Line],
    target: Path,
    *,
    is_text: bool,
    is_compressed: bool,
    pseudonyms: tuple[bytes, bytes] | None = None,
    number: int | None = None,
) -> None:
    """Write a cassette, whole or not at all. `pseudonyms`: salt and mark of the pseudonyms of a database.

    `number`: that of a database of a rotation. Raises `UsageError` or `CassetteError`.
    """
    if not is_text:
        _write_database(lines, target, is_compressed=is_compressed, pseudonyms=pseudonyms, number=number)
    else:
        texts = (one if isinstance(one, bytes) else f"{dumps(one)}\n".encode() for one in lines)
        with whole_or_not(target) as file:
            file.writelines(packed(texts) if is_compressed else texts)
    remove_index(target)  # the index of an earlier cassette of that name


def _write_database(
    lines: Iterable[Line],
    target: Path,
    *,
    is_compressed: bool,
    pseudonyms: tuple[bytes, bytes] | None,
    number: int | None,
) -> None:
    with folder_for(target, "copy") as name:
        made = Path(name) / "copy.db"
        rows = Reader("the copy").rows(lines)
        with clear_errors(target), closing(Writer(made, named=target)) as writer:
            while some := list(islice(rows, _ROWS)):
                writer.write(some)
            if pseudonyms is not None:
                writer.salt(pseudonyms[0])
                writer.has_key(pseudonyms[1])
            if number is not None:
                mark(writer.connection, target.name, number)
            writer.settle()
        if not is_compressed:
            put(made, target)
            return
        with whole_or_not(target) as file:
            file.writelines(packed(pieces_of(made)))
