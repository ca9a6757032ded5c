"""Calls of one session, by the provider's ids: a request names items and tool calls of earlier answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...providers.call import ModelCall
from .features import is_counted


def threads(calls: Sequence[ModelCall]) -> list[list[int]]:
    """Return the indexes of calls whose ids are connected, of two or more calls each. An id of two answers does not
    count, nor does a counted id of a tool."""
    owners: dict[str, int | None] = {}
    for number, call in enumerate(calls):
        counted = {one.call_id for one in call.tool_calls if is_counted(one.call_id)}
        for id_ in (id_ for id_ in call.own_ids if id_ not in counted):
            owners[id_] = number if owners.get(id_, number) == number else None
    root = list(range(len(calls)))

    def top(number: int) -> int:
        while root[number] != number:
            root[number] = root[root[number]]
            number = root[number]
        return number

    for number, call in enumerate(calls):
        for id_ in call.history_ids:
            owner = owners.get(id_)
            if owner is not None:
                root[top(number)] = top(owner)
    found: dict[int, list[int]] = {}
    for number in range(len(calls)):
        found.setdefault(top(number), []).append(number)
    return [group for group in found.values() if len(group) > 1]
