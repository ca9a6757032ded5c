"""Bookmarks: a cursor for each followed file, in one string."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .file import Cursor, File

_PLACE = re.compile(r"([0-9a-f]{8})(?:@([0-9]{8}T[0-9]{6}Z))?,([0-9]{1,15})((?:,[0-9]{1,15}:[0-9]{1,15})*)")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in one cassette."""

    cassette: str
    stamp: str | None
    cursor: Cursor


def write(files: Iterable[tuple[File, str | None]]) -> str:
    """Return the bookmark of these files, each with its stamp."""
    return ";".join(_written(file, stamp) for file, stamp in files)


def _written(file: File, stamp: str | None) -> str:
    at, cursor = f"@{stamp}" if stamp else "", file.cursor or Cursor()
    return ",".join([file.cassette + at, str(cursor.highest), *(f"{at}:{seq}" for at, seq in cursor.at.items())])


def read(bookmark: str) -> list[Place]:
    """Return the places in a bookmark; none if the text is no bookmark."""
    found = [_PLACE.fullmatch(one) for one in bookmark.split(";")]
    return [] if None in found else [_place(*one.groups()) for one in found if one]


def _place(cassette: str, stamp: str | None, highest: str, streams: str) -> Place:
    pairs = (pair.split(":") for pair in streams.split(",")[1:])
    return Place(cassette, stamp, Cursor(int(highest), {int(stream): int(seq) for stream, seq in pairs}))
