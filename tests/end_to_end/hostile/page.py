"""The harness's tables of `docs/reliability.md`. `python -m tests.end_to_end.hostile.page` prints them."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.end_to_end.hostile.row import Row
from tests.end_to_end.hostile.rows_client import SHAPES, Shape
from tests.end_to_end.hostile.rows_upstream import ROWS

SAME = "the same as without the proxy"
NAMED = 6
"""Most cases that a row names; of more, it names three."""


def upstream_lines() -> Iterator[str]:
    yield "| the client gets | `ending` | actions of upstream |"
    yield "|---|---|---|"
    yield from _lines((_upstream_result(row), row.name) for row in ROWS)


def _upstream_result(row: Row) -> str:
    seen = SAME
    if row.through is not None:
        status, _ = row.through
        seen = f"{status.decode() or 'the end of the connection'}: {row.why}"
    elif row.may_lack:
        seen += ", but bytes of the broken chunk may be missing"
    return f"{seen} | `{row.ending}`"


def client_lines() -> Iterator[str]:
    yield "| response | upstream gets | requests of a client |"
    yield "|---|---|---|"
    yield from _lines((_client_result(shape), shape.name) for shape in SHAPES)


def _client_result(shape: Shape) -> str:
    return f"{shape.status} | {'the request' if shape.arrives else 'nothing'}"


def _lines(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each result, with the names that have it; of many, or if the proxy changes nothing, their number."""
    named = defaultdict[str, list[str]](list)
    for result, name in rows:
        named[result].append(name)
    for result, names in named.items():
        yield f"| {result} | {_cases(names, alike=result.startswith(SAME))} |"


def _cases(names: list[str], *, alike: bool) -> str:
    if alike:
        return f"{len(names)} cases"
    if len(names) > NAMED:
        return f"{len(names)} cases, such as: {'; '.join(_by_subject(names[:: len(names) // 3][:3]))}"
    return "<br>".join(_by_subject(names))


def _by_subject(names: Iterable[str]) -> Iterator[str]:
    """`close: before the body; in a frame` for two names that begin with `close: `."""
    found = defaultdict[str, list[str]](list)
    for name in names:
        subject, colon, case = name.rpartition(": ")
        found[subject + colon].append(case)
    for subject, cases in found.items():
        yield subject + "; ".join(cases)


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in (*upstream_lines(), "", *client_lines()))
