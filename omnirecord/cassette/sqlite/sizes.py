"""How many bytes of an exchange are kept, for one that has no end yet and so no count in its row."""

from __future__ import annotations

from ...model import Side


def size_of(side: Side) -> str:
    """An SQL expression over a row `x` of exchanges: bytes on the wire for a stream, else as they are stored."""
    direction = "up" if side == "request" else "down"
    pieces = "SELECT start + size FROM pieces WHERE exchange = x.exchange ORDER BY n DESC LIMIT 1"
    chunks = f"SELECT sum(length(data)) FROM chunks WHERE exchange = x.exchange AND side = '{side}'"
    messages = f"SELECT sum(length(data)) FROM messages WHERE exchange = x.exchange AND dir = '{direction}'"
    first = f"({pieces}), " if side == "response" else ""
    return f"coalesce({first}({chunks}), ({messages}), 0)"


FRAMED = "coalesce((SELECT start + length FROM pages WHERE stream = x.stream ORDER BY seq DESC LIMIT 1), 0)"
"""How many bytes of its content are in frames."""
