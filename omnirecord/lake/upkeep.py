"""Keeps a lake small: removes old days, and the objects that no version of a table needs any more.

What leaves a table leaves it in one Delta commit: a reader sees all of a day or none of it. The object itself stays for
a retention time, since a query may still read an older version. App transactions stay for ever, so a recording that
expired does not come back when it is shipped again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from deltalake import DeltaTable

from ..errors import LakeError
from .compaction import is_committed, removal
from .files import File, files_in
from .location import Lake
from .tables import TABLES

RETAIN = timedelta(days=7)
"""Least age of an object that is removed from the store: since it left its table, or without a commit since it was
written. It exceeds the longest query, and the time that a shipper needs from an object to its commit."""
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Expired:
    """One day that expires in one table."""

    table: str
    day: str
    objects: int
    bytes: int
    rows: int


def first_day_kept(age: timedelta, now: datetime | None = None) -> date:
    """Return the first UTC day that does not expire: a day expires when all of it is older than `age`."""
    return ((now or datetime.now(UTC)) - age).date()


def expiring(lake: Lake, until: date) -> list[Expired]:
    """Return the days before `until`, by table and day. Raises `LakeError`."""
    found = list[Expired]()
    for name in reversed(TABLES):
        days: dict[str, list[File]] = {}
        for one in _before(lake, name, until)[0]:
            days.setdefault(one.day, []).append(one)
        for day, of_day in days.items():
            sizes, rows = sum(one.size for one in of_day), sum(one.rows or 0 for one in of_day)
            found.append(Expired(name, day, len(of_day), sizes, rows))
    return found


def expire(lake: Lake, until: date) -> Iterator[str]:
    """Remove the days before `until` from the tables, one commit for each table. Yields each table's name when it is
    done: `recordings` first, so that no recording is there in part. Raises `LakeError`."""
    for name in reversed(TABLES):
        _expire(lake, name, until)
        yield name


def _expire(lake: Lake, name: str, until: date) -> None:
    for _ in range(_ATTEMPTS):
        files, table = _before(lake, name, until)
        with lake.failures():
            if not files or is_committed(table, [removal(one, data_change=True) for one in files]):
                return
    raise LakeError(f"{lake.url}: other commits to {name} came first {_ATTEMPTS} times: try again, nothing is lost")


def _before(lake: Lake, name: str, until: date) -> tuple[list[File], DeltaTable]:
    table = lake.table(name)
    with lake.failures():
        files = files_in(table)
    return [one for one in files if one.day < until.isoformat()], table


def removable(lake: Lake, name: str, retain: timedelta = RETAIN) -> list[str]:
    """Return the paths of a table's objects that `remove` would remove. Raises `LakeError`."""
    with lake.failures():
        return _vacuum(lake.table(name), retain, dry_run=True)


def remove(lake: Lake, name: str, retain: timedelta = RETAIN) -> list[str]:
    """Remove the objects that left a table before `retain`, and those without a commit that are older.

    Returns the paths. Raises `LakeError`.
    """
    with lake.failures():
        table = lake.table(name)
        removed = _vacuum(table, retain, dry_run=True)
        if removed:
            removed = _vacuum(table, retain, dry_run=False)
        return removed


def shorten_log(lake: Lake, names: Sequence[str]) -> Iterator[str]:
    """Write a checkpoint of each table, and remove log files that are older than the log's retention (30 days)."""
    for name in names:
        with lake.failures():
            table = lake.table(name)
            table.create_checkpoint()
            table.cleanup_metadata()
        yield name


def _vacuum(table: DeltaTable, retain: timedelta, *, dry_run: bool) -> list[str]:
    hours = round(retain.total_seconds() / 3600)
    return sorted(set(table.vacuum(hours, dry_run=dry_run, enforce_retention_duration=False, full=True)))
