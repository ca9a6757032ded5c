"""The tables of a lake: their columns, in the order in which a recording is committed to them.

`events`, `reads`, `exchanges`, `messages` and `incidents` hold a recording; the text form can be made of them, byte for
byte. `sessions`, `turns`, `tools`, `approvals` and `findings` have the columns of `omnirecord query`, `problems` those
of `validate --json`. All times with the suffix `_ns` are ns since the start of the recording.
"""

from __future__ import annotations

import pyarrow as pa

from ..analysis import COLUMNS

FORMAT_VERSION = 1
"""Version of a lake's layout. A new column does not raise it: older rows have null there."""
PARTITION = "day"
CHILDREN = "child_session_ids"
"""The column of `sessions` with the sub-agents that a session started, as its own streams in this recording tell."""

_AT = pa.timestamp("us", tz="UTC")
_TYPES: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_KEY = [pa.field(PARTITION, pa.date32()), pa.field("recording_id", pa.string())]
"""The first columns of every table: the UTC day on which the recording began, and its id."""
_ISSUES = pa.list_(pa.struct([("path", pa.string()), ("message", pa.string())]))
_LABELS = pa.map_(pa.string(), pa.string())


def _table(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([*_KEY, *(pa.field(name, type_) for name, type_ in columns)])


def _computed(name: str) -> pa.Schema:
    """Return the columns of a table of `query`. Those with the suffix `_at` are timestamps here."""
    columns = COLUMNS[name].items()
    more = [(CHILDREN, pa.list_(pa.string()))] if name == "sessions" else []
    return _table(*((column, _AT if column.endswith("_at") else _TYPES[type_]) for column, type_ in columns), *more)


SCHEMAS: dict[str, pa.Schema] = {
    "events": _table(
        ("session_id", pa.string()), ("exchange", pa.int32()), ("stream", pa.int32()), ("seq", pa.int32()),
        ("at", _AT), ("offset_ns", pa.int64()), ("sent_ns", pa.int64()), ("type", pa.string()),
        ("verdict", pa.string()), ("length", pa.int32()), ("raw", pa.string()), ("raw_bytes", pa.binary()),
        ("issues", _ISSUES),
    ),
    "reads": _table(
        ("session_id", pa.string()), ("exchange", pa.int32()), ("n", pa.int32()), ("offset_ns", pa.int64()),
        ("sent_ns", pa.int64()), ("size", pa.int32()), ("is_lost", pa.bool_()),
    ),
    "exchanges": _table(
        ("session_id", pa.string()), ("exchange", pa.int32()), ("stream", pa.int32()), ("kind", pa.string()),
        ("party", pa.string()), ("at", _AT), ("request_at_ns", pa.int64()), ("method", pa.string()),
        ("target", pa.string()), ("request_headers", pa.string()), ("request_body", pa.binary()),
        ("response_at_ns", pa.int64()), ("status", pa.int32()), ("reason", pa.string()),
        ("response_headers", pa.string()), ("response_body", pa.binary()), ("end_ns", pa.int64()),
        ("ending", pa.string()), ("request_bytes", pa.int64()), ("response_bytes", pa.int64()),
        ("max_decoded", pa.int64()), ("derives_reads", pa.bool_()),
    ),
    "messages": _table(
        ("session_id", pa.string()), ("exchange", pa.int32()), ("message", pa.int32()), ("at", _AT),
        ("at_ns", pa.int64()), ("sent_ns", pa.int64()), ("dir", pa.string()), ("opcode", pa.int32()),
        ("data", pa.binary()),
    ),
    "incidents": _table(("at", _AT), ("at_ns", pa.int64()), ("message", pa.string())),
    **{name: _computed(name) for name in ("sessions", "turns", "tools", "approvals", "findings")},
    "problems": _table(
        ("type", pa.string()), ("path", pa.string()), ("problem", pa.string()), ("count", pa.int64()),
        ("stream", pa.int32()), ("seq", pa.int32()),
    ),
    "recordings": _table(
        ("recording", pa.int32()), ("run_id", pa.string()), ("started_at", _AT), ("started_at_text", pa.string()),
        ("version", pa.string()), ("contract", pa.string()), ("upstream", pa.string()),
        ("server_version", pa.string()), ("labels", _LABELS), ("exchanges", pa.int64()), ("streams", pa.int64()),
        ("events", pa.int64()), ("sessions", pa.int64()), ("redact", pa.string()), ("shipped_at", _AT),
        ("shipped_by", pa.string()), ("hop", pa.string()),
    ),
}  # fmt: skip
"""The columns of each table. `recordings` is last: its row says that the recording is complete.

`events.raw` has the frame if it is UTF-8, else `raw_bytes`; both are null if its bytes were dropped. Of an exchange
with `derives_reads`, `reads` has only the reads that do not follow from the events (`columns.derived_reads`).
`response_body` of a stream is null unless it has a content coding. Headers are JSON pairs. `max_decoded` is the limit
in bytes at which the recorder stopped decoding.
"""

TABLES = tuple(SCHEMAS)
MEASURED = ("recording_id", "session_id", "code", "at", "asked_at", "started_at")
"""Columns whose least and greatest values are in the Delta log, so that an engine skips files."""


def path_of(table: str, day: str, name: str) -> tuple[str, str]:
    """Return the path of an object in the lake, and the path in its Delta log. `day`: `YYYY-MM-DD`.

    `name` is the id of its recording. If another object has that name, `-` and random digits follow.
    """
    within = f"{PARTITION}={day}/{name}.parquet"
    return f"{table}/{within}", within
