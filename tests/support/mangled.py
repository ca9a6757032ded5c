"""Shipped cassettes, mangled: values of their events and bodies replaced, events lost, told twice or out of order, and
times that no clock gives. What a seed makes is always the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "cassettes"
SMALL = 300_000
CASSETTES = sorted(path for path in FOLDER.rglob("*.jsonl") if path.stat().st_size < SMALL)
Line = dict[str, Any]


class Raw(str):
    """Text that is written into the JSON as it is."""

    __slots__ = ()


VALUES: list[Any] = [
    None, 0, -1, 1.5, 2**70, -(2**63), True, [], {}, [None], [[1], "a"], {"id": None}, {"\x1b[1m": 1}, "", " ",
    "\x1b[2J\x1b[31mred", "\x9b2J\x7f", "[red]x[/red]", "[/]", "\u202eabc\u2028", "a\0b", "\ud800", "\U0001f600é",
    "x" * 5_000, "a\nb\r\n", "2026-01-01", '{"a":', "resp_1", Raw("1e999"), Raw("NaN"), Raw('{"a":1,"a":2}'),
    Raw("[" * 400 + "]" * 400), Raw("[" * 100_000 + "]" * 100_000),
]  # fmt: skip
TIMES = [0, -1, -(10**15), 10**15, 2**61, -(2**61)]
NAMES = ["\x1b[2J", "[red]", "a\nb", "x" * 3_000, "\u202e", "0", "--json"]


def mangled(seed: int) -> str:
    """The text of a cassette."""
    return "".join(json.dumps(line) + "\n" for line in _Mangler(seed).lines())


class _Mangler:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.values = self.dice.choice([0.0, 0.05, 0.5, 1.0])
        self.order, self.times = self.dice.choice([0.0, 0.0, 0.1]), self.dice.choice([0.0, 0.0, 0.3])
        self.without = self.dice.choice([None, None, None, "http", "sse"])
        self.name = self.dice.choice(NAMES) if self.dice.random() < 0.15 else None

    def lines(self) -> Iterator[Line]:
        text = self.dice.choice(CASSETTES).read_text(encoding="utf-8")
        first, *others = map(json.loads, text.splitlines())
        yield first
        for exchange, frames, reads in _exchanges(others):
            if exchange["kind"] != self.without:
                yield self.exchange(exchange)
                yield from self.stream(exchange["stream"], frames, reads)

    def exchange(self, line: Line) -> Line:
        line["session_id"] = line["session_id"] and (self.name or line["session_id"])
        for side, times in (("request", ["at_ns"]), ("response", ["at_ns", "end_ns"])):
            part = line[side] or {}
            if isinstance(part.get("body"), str):
                part["body"] = self.json(part["body"])
            part.update({name: self.dice.choice(TIMES) for name in times if part and self.chance(self.times)})
        return line

    def stream(self, number: int, frames: list[str], reads: list[Any]) -> Iterator[Line]:
        told = [(self.frame(raw), self.read(read)) for raw, read in zip(frames, _times(frames, reads), strict=True)]
        told = [one for one in told for _ in range(self.dice.choice([0, 2]) if self.chance(self.order) else 1)]
        if self.chance(self.order):
            self.dice.shuffle(told)
        for seq, (raw, _) in enumerate(told, 1):
            yield {"stream": number, "seq": seq, "raw": raw}
        for raw, (at, sent) in told:
            yield {"stream": number, "reads": [[at, sent, len(raw.encode())]]}

    def frame(self, raw: str) -> str:
        head, data, payload = raw.partition("data: ")
        return head + data + self.json(payload.rstrip("\n")) + "\n\n" if data else raw

    def read(self, read: tuple[int, int | None]) -> tuple[int, int | None]:
        return (self.dice.choice(TIMES), self.dice.choice([None, 0])) if self.chance(self.times) else read

    def json(self, text: str) -> str:
        """A JSON text in which some values are others, or gone."""
        try:
            value = json.loads(text)
        except ValueError:
            return text
        for _ in range(self.dice.choice([1, 1, 2, 5]) if self.chance(self.values) else 0):
            places = list(_places(value))
            if places:
                inside, key = self.dice.choice(places)
                if self.chance(0.15):
                    del inside[key]
                else:
                    inside[key] = self.dice.choice(VALUES)
        return _written(value)

    def chance(self, of: float) -> bool:
        return self.dice.random() < of


def _exchanges(lines: list[Line]) -> Iterator[tuple[Line, list[str], list[Any]]]:
    """Each exchange, its frames, its reads."""
    begins = [number for number, line in enumerate(lines) if "request" in line]
    for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True):
        exchange, *rest = lines[begin:end]
        frames = [line["raw"] for line in rest if "raw" in line]
        yield exchange, frames, [read for line in rest for read in line.get("reads", ())]


def _times(frames: list[str], reads: list[Any]) -> Iterator[tuple[int, int | None]]:
    """When each frame came, and when it was sent on."""
    left, read = 0, iter(reads)
    at: int = 0
    sent: int | None = None
    for raw in frames:
        left -= len(raw.encode())
        while left < 0:
            at, sent, size = next(read)
            left += size
        yield at, sent


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each value in a JSON value: what it is in, and under which key."""
    keys: Any = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _written(value: Any) -> str:
    """As JSON, in escapes, with what is `Raw` as it is."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value)
