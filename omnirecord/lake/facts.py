"""What the analyses tell about a recording, as rows of the lake: its sessions, turns, tools, approvals, findings and
problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..analysis.query import Frames, Whole
from ..cassette.sqlite import Store
from .tables import CHILDREN, SCHEMAS

_COMPUTED = ("sessions", "turns", "tools", "approvals", "findings")


def facts(store: Store, recording: int, frames: Frames | None = None) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """Yield the tables with rows, each with its columns. `frames` returns those of a stream. Raises `CassetteError`."""
    analysis = Whole(store, recording, frames)
    children: dict[str, list[str]] = defaultdict(list)
    for child, parent in analysis.parents.items():
        children[parent].append(child)
    for name in _COMPUTED:
        rows = list(getattr(analysis, name)())
        if name == "sessions":
            rows = [{**row, CHILDREN: children.get(row["session_id"] or "")} for row in rows]
        if rows:
            yield name, _columns(name, rows)
    if problems := [{**one.row, **one.row["first"]} for one in analysis.problems()]:
        yield "problems", _columns("problems", problems)


def _columns(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    made = {}
    for column in SCHEMAS[name].names[2:]:
        values = [row.get(column) for row in rows]
        made[column] = list(map(_time, values)) if column.endswith("_at") else values
    return made


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
