"""The harness's tables of `docs/reliability.md`. `python -m tests.end_to_end.hostile.page` prints them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.end_to_end.hostile.row import Row
from tests.end_to_end.hostile.rows_client import SHAPES, Shape
from tests.end_to_end.hostile.rows_upstream import ROWS

SAME = "as without the proxy"


def upstream_lines() -> Iterator[str]:
    yield "| action of upstream | result for the client | `ending` |"
    yield "|---|---|---|"
    yield from map(_upstream_line, ROWS)


def _upstream_line(row: Row) -> str:
    seen = SAME
    if row.through is not None:
        status, _ = row.through
        seen = f"{status.decode() or 'the end of the connection'}: {row.why}"
    elif row.may_lack:
        seen += "; bytes of the broken chunk may be missing"
    return f"| {row.name} | {seen} | `{row.ending}` |"


def client_lines() -> Iterator[str]:
    yield "| request of a client | response | upstream gets |"
    yield "|---|---|---|"
    yield from map(_client_line, SHAPES)


def _client_line(shape: Shape) -> str:
    return f"| {shape.name} | {shape.status} | {'the request' if shape.arrives else 'nothing'} |"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in (*upstream_lines(), "", *client_lines()))
