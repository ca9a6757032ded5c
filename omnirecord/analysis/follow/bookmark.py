"""How far somebody has read, as a line that a client can send back: `0f3a9c1e@20261125T101500Z,7,5:120,7:3`.

That is the cassette, the second in which it was begun if a rotation made it, the highest stream, and each stream that
goes on with the last `seq` of it. Where several files are read, the oldest comes first, with a semicolon behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .file import File
from .values import Cursor

_PLACE = re.compile(r"([0-9a-f]{8})(?:@([0-9]{8}T[0-9]{6}Z))?,([0-9]{1,15})((?:,[0-9]{1,15}:[0-9]{1,15})*)")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in one cassette."""

    cassette: str
    stamp: str | None
    cursor: Cursor


def write(files: Iterable[tuple[File, str | None]]) -> str:
    """Each file with its stamp."""
    return ";".join(_written(file, stamp) for file, stamp in files)


def _written(file: File, stamp: str | None) -> str:
    at, cursor = f"@{stamp}" if stamp else "", file.cursor or Cursor()
    return ",".join([file.cassette + at, str(cursor.highest), *(f"{at}:{seq}" for at, seq in cursor.at.items())])


def read(bookmark: str) -> list[Place]:
    """The places that a bookmark is of; none where it is anything else than a bookmark."""
    found = [_PLACE.fullmatch(one) for one in bookmark.split(";")]
    return [] if None in found else [_place(*one.groups()) for one in found if one]


def _place(cassette: str, stamp: str | None, highest: str, streams: str) -> Place:
    pairs = (pair.split(":") for pair in streams.split(",")[1:])
    return Place(cassette, stamp, Cursor(int(highest), {int(stream): int(seq) for stream, seq in pairs}))
