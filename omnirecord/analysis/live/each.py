"""Every event, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...omnigent.summary import gist
from .line import Kind, Told

Row = dict[str, Any]
_KINDS: dict[str, Kind] = {"valid": "said", "comment": "note", "sentinel": "note", "unknown": "warning"}
_ISSUES = 3
"""The most issues of an event that are told."""


def each(row: Row, before_ns: int, place: str) -> Iterator[Told]:
    """An event: the gap, its type, verdict and gist; below it what the contract objects to."""
    gap = f"{(row['offset_ns'] - before_ns) / 1e9:+.3f}" if row["offset_ns"] else "-"
    verdict, type_ = row["verdict"], row["type"] or row["verdict"]
    kind = _KINDS.get(verdict, "trouble")
    shown = type_ if verdict in ("valid", "comment", "sentinel") else f"{type_} ({verdict})"
    yield Told(row["offset_ns"], gap, kind, shown, gist(row["type"], row["data"]), place=place)
    for issue in row["issues"][:_ISSUES]:
        yield Told(row["offset_ns"], "", "trouble", f"{issue['path']}:", issue["message"])
