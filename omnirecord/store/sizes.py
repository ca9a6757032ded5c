"""How many bytes of an exchange are kept, for one that has no end yet and so no count in its row."""

from __future__ import annotations

from ..cassette import Side


def size_of(side: Side) -> str:
    """An SQL expression over a row `x` of exchanges: bytes on the wire for a stream, else as they are stored."""
    direction = "up" if side == "request" else "down"
    reads = "SELECT sum(size) FROM reads WHERE exchange = x.exchange"
    chunks = f"SELECT sum(length(data)) FROM chunks WHERE exchange = x.exchange AND side = '{side}'"
    messages = f"SELECT sum(length(data)) FROM messages WHERE exchange = x.exchange AND dir = '{direction}'"
    first = f"({reads}), " if side == "response" else ""
    return f"coalesce({first}({chunks}), ({messages}), 0)"
