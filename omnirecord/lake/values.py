"""Values of DuckDB as those of JSON, and names, texts and types in its SQL. Pure."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa


def plain(value: Any) -> Any:
    """Return a value of DuckDB as one of JSON, or bytes.

    Times are in ISO 8601, decimals are numbers, intervals seconds; NaN is null.
    """
    if value is None or type(value) in (str, int, bool, bytes):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else str(value)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def nothing(schema: pa.Schema) -> str:
    """Return a SELECT with these columns and no row."""
    return f"SELECT {', '.join(f'NULL::{sql_type(one.type)} AS {named(one.name)}' for one in schema)} WHERE false"


def sql_type(of: pa.DataType) -> str:
    """Return the SQL type of an Arrow type."""
    if pa.types.is_map(of):
        return f"MAP({sql_type(of.key_type)}, {sql_type(of.item_type)})"
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        return f"{sql_type(of.value_type)}[]"
    if pa.types.is_struct(of):
        return "STRUCT(" + ", ".join(f"{named(one.name)} {sql_type(one.type)}" for one in of) + ")"
    if pa.types.is_timestamp(of):
        return "TIMESTAMPTZ"
    return _SQL_TYPES.get(str(of), "VARCHAR")


_SQL_TYPES = {
    "bool": "BOOLEAN", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "float": "FLOAT",
    "double": "DOUBLE", "date32[day]": "DATE", "binary": "BLOB", "large_binary": "BLOB", "binary_view": "BLOB",
}  # fmt: skip
