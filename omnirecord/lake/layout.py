"""The layout of a lake: the Arrow schemas of its tables, the paths and names of its objects, the ids of conversations.

`omnirecord.columns` declares the columns of the tables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pyarrow as pa

from .. import columns

if TYPE_CHECKING:
    from ..analysis.model_calls.values import ModelCalls

FORMAT_VERSION = 2
"""Version of a lake's layout. A new column does not raise it: older rows have null there. Version 1 has no `ids`."""
PARTITION = "day"
CHILDREN = "child_session_ids"
"""The column of `sessions` with the sub-agents that a session started, as its own streams in this recording tell."""
LINKED = "linked_recording_ids"
"""The column of `recordings` with the others of its cassette that have turns of its model calls, or calls of its
turns."""
TURN_RECORDING = "turn_recording_id"
"""The column of `model_calls` with the id of the recording of the turn."""

AT = pa.timestamp("us", tz="UTC")
_TYPES: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_KEY = [pa.field(PARTITION, pa.date32()), pa.field("recording_id", pa.string())]
"""The first columns of every table: the UTC day on which the recording began, and its id."""
_LAKE_TYPES: dict[columns.LakeType, pa.DataType] = {
    "issues": pa.list_(pa.struct([("path", pa.string()), ("message", pa.string())])),
    "labels": pa.map_(pa.string(), pa.string()),
    "texts": pa.list_(pa.string()),
    "time": AT,
}
"""The other types of columns have the name that Arrow has for them."""


COMPUTED = tuple(columns.TABLES)
"""The tables of `query`."""
ADDED = ("model_calls",)
"""The tables that lakes of older versions lack."""


def _schema(table: str) -> pa.Schema:
    """Return the columns of a table. Those of `query` with the suffix `_at` are timestamps here."""
    types = columns.TABLES[table].types if table in COMPUTED else {}
    fields = [pa.field(name, AT if name.endswith("_at") else _TYPES[type_]) for name, type_ in types.items()]
    for name, of_lake in columns.RECORDED.get(table, columns.ONLY_IN_LAKE.get(table, {})).items():
        fields.append(pa.field(name, _LAKE_TYPES.get(of_lake) or pa.type_for_alias(of_lake)))
    return pa.schema([*_KEY, *fields])


SCHEMAS: dict[str, pa.Schema] = {
    table: _schema(table)
    for table in ("events", "reads", "exchanges", "messages", "incidents", *COMPUTED, "problems", "recordings")
}
"""The columns of each table, in the order in which a recording is committed to them: the row of `recordings` says that
it is complete."""

TABLES = tuple(SCHEMAS)
_OF_ALL = {PARTITION: "UTC day on which the recording began", "recording_id": "Id of the recording, a UUID"}


def comments_of(table: str) -> dict[str, str]:
    """Return the comments of the columns of a table in its Delta schema, by column. Only the tables of `query` have one
    for each."""
    own = columns.TABLES[table].columns if table in COMPUTED else ()
    return {**{column.name: column.about for column in own}, **_OF_ALL}


MEASURED = ("recording_id", "session_id", "code", "at", "asked_at", "started_at")
"""Columns whose least and greatest values are in the Delta log, so that an engine skips files."""


def conversation_ids(calls: ModelCalls, ids: Mapping[int, str]) -> dict[str, str]:
    """Return the session ids of conversations of model calls in a lake, by their names in the cassette.

    `RECORDING#2` is the second conversation that began in that recording. `ids`: those of the recordings by number.
    """
    counts = Counter[int]()
    found = {}
    for talk in calls.talks:
        recording = talk.links[0].call.recording
        counts[recording] += 1
        found[talk.session_id] = f"{ids[recording]}#{counts[recording]}"
    return found


def recording_of(session_id: str) -> str | None:
    """Return the id of the recording in which a conversation of model calls began; None for a session."""
    recording_id, mark, number = session_id.rpartition("#")
    return recording_id if mark and number.isascii() and number.isdecimal() else None


_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OWN = re.compile(rf"{PARTITION}=\d{{4}}-\d\d-\d\d/({_UUID}(-[0-9a-f]{{8}})?|merged-{_UUID})\.parquet")


def is_own(path: str) -> bool:
    """Whether the path of an object, below its table, is one that omnirecord chooses."""
    return _OWN.fullmatch(path) is not None


def path_of(table: str, day: str, name: str) -> tuple[str, str]:
    """Return the path of an object in the lake, and the path in its Delta log. `day`: `YYYY-MM-DD`.

    `name` is the id of its recording. If another object has that name, `-` and random digits follow. That of an object
    with several recordings is a `merged_name`.
    """
    within = f"{PARTITION}={day}/{name}.parquet"
    return f"{table}/{within}", within


def merged_name(recordings: Iterable[str] = ()) -> str:
    """Return the name of an object with several recordings: the same for the same ids, random without ids."""
    ids = " ".join(recordings)
    return f"merged-{UUID(bytes=sha256(ids.encode()).digest()[:16]) if ids else uuid4()}"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def start_of(started_at: str) -> datetime:
    """Return the start of a recording, in UTC. A time without a zone is UTC."""
    at = datetime.fromisoformat(started_at)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
