"""What recorded answers said of sessions: snapshots, rows of lists, items, agents. Read when first asked. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from ...model import Exchange
from ...omnigent.routes import below_session, is_gate, query_of
from ..player.plan import Script

Data = dict[str, Any]
Timed = tuple[int, Data]
"""When it was asked for, in ns of recorded time, and what came."""


class Recorded:
    """By session id, each list in the order of time."""

    def __init__(self, script: Script) -> None:
        self._script = script

    @cached_property
    def snapshots(self) -> dict[str, list[Timed]]:
        return self._timed("")

    @cached_property
    def agents(self) -> dict[str, list[Timed]]:
        return self._timed("/agent")

    @cached_property
    def item_lists(self) -> dict[str, list[tuple[int, list[Data]]]]:
        """The oldest item first."""
        lists: dict[str, list[tuple[int, list[Data]]]] = defaultdict(list)
        for x, page in self._answers("/items", "data", list):
            items, is_latest_first = _dicts(page["data"]), ("order", "desc") in parse_qsl(query_of(x.request.target))
            lists[x.session_id or ""].append((x.request.at_ns, items[::-1] if is_latest_first else items))
        for name, many in self.snapshots.items():
            lists[name] += ((at, _dicts(one.get("items"))) for at, one in many)
            lists[name].sort(key=lambda timed: timed[0])
        return lists

    @cached_property
    def rows(self) -> dict[str, list[Timed]]:
        rows: dict[str, list[Timed]] = defaultdict(list)
        for at_ns, row in self._script.session_rows():
            rows[row["id"]].append((at_ns, row))
        return rows

    def messages(self, name: str) -> Iterator[Data]:
        """What clients said in a session, in order."""
        for x in self._script.exchanges:
            if x.session_id == name and x.party != "runner" and is_gate(x.request.method, x.request.target):
                value = read_json(self._script.request_body(x))
                if isinstance(value, dict) and isinstance(value.get("data"), dict):
                    yield value["data"]

    def _timed(self, below: str) -> dict[str, list[Timed]]:
        found: dict[str, list[Timed]] = defaultdict(list)
        for x, value in self._answers(below, "id", str):
            found[x.session_id or ""].append((x.request.at_ns, value))
        return found

    def _answers(self, below: str, has: str, kind: type) -> Iterator[tuple[Exchange, Data]]:
        """The JSON objects that answered for what lies below a session, and have such a member."""
        for x in self._script.exchanges:
            if x.session_id and x.request.method in ("GET", "PATCH") and below_session(x.request.target) == below:
                value = self.json(x)
                if isinstance(value, dict) and isinstance(value.get(has), kind):
                    yield x, value

    def json(self, exchange: Exchange) -> Any:
        """What an exchange was answered; None where that is no JSON, or no success."""
        response = exchange.response
        if exchange.kind != "http" or response is None or response.status != 200:
            return None
        return read_json(self._script.decoded_body(exchange))


def read_json(content: bytes) -> Any:
    """None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _dicts(value: Any) -> list[Data]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)]
