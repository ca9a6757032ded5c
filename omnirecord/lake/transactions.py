"""The application transactions of a table: which recordings it has."""

from __future__ import annotations

from deltalake import DeltaTable


def has_rows(table: DeltaTable, recording_id: str) -> bool:
    """Whether a table has all rows of a recording, or had them until they expired."""
    version = table.transaction_version(recording_id)
    return version is not None and version % 2 == 0


def next_version(table: DeltaTable, recording_id: str) -> int:
    """Return the version of the next transaction that adds or drops the rows of a recording."""
    version = table.transaction_version(recording_id)
    return 0 if version is None else version + 1
