"""The application transactions of a table: which recordings it has."""

from __future__ import annotations

from collections.abc import Collection

from deltalake import DeltaTable


def has_rows(table: DeltaTable, recording_id: str, folded: Collection[str]) -> bool:
    """Whether a table has all rows of a recording, or had them until they expired.

    `folded`: the recordings of `ids` without a transaction, as they were looked for after the table was read.
    """
    version = table.transaction_version(recording_id)
    return recording_id in folded if version is None else version % 2 == 0


def next_version(table: DeltaTable, recording_id: str, *, drops: bool) -> int:
    """Return the version of the next transaction that adds or drops the rows of a recording."""
    version = table.transaction_version(recording_id)
    return int(drops) if version is None else version + 1
