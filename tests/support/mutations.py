"""Faults at random places of healthy cassettes: what each should make `doctor` say, and whether it changes the meaning.

The meaning is what a client shows of a session, and what it does: texts and thoughts, tools and their outputs,
questions, messages taken in, statuses, how turns and streams end. Not part of it: keep-alives, who looks on, usage, and
whatever the live server says twice. `python -m tests.support.mutations` prints the table in
`docs/doctor-coverage.md`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omnirecord.analysis.doctor.examine import examine
from omnirecord.cassette.open import open_store
from omnirecord.model import Exchange, TimedFrame
from omnirecord.wire.strict_json import payload_of
from tests.support.faulted import faulted

FOLDER = Path(__file__).parent.parent.parent / "cassettes"
HEALTHY = sorted(path for path in FOLDER.glob("*.jsonl") if path.stem != "failed")
LONG = FOLDER / "troubled" / "runner_killed.jsonl"
"""Long enough for heartbeats: the only one in which they can be stopped."""
EACH = 6
"""How many places of each cassette get each kind of fault."""
DELTAS = frozenset({"response.output_text.delta", "response.reasoning_text.delta"})
STREAM_ENDS = frozenset({"server-stopped", "upstream-lost", "reader-dropped", "no-done"})
UNHEARD = frozenset({"turn-unfinished", "reconnect-missed", "message-not-taken", "client-left-in-turn"})
Codes = frozenset[str]


@dataclass(frozen=True)
class Event:
    """An event of a cassette, and what can be asked of it."""

    frame: TimedFrame
    x: Exchange
    data: dict[str, Any]
    following: tuple[TimedFrame, ...]
    """The events behind it in its stream."""

    @property
    def type(self) -> str:
        return self.frame.type or ("[DONE]" if self.frame.verdict == "sentinel" else "")

    @property
    def name(self) -> str:
        return f"#{self.frame.seq} in stream {self.frame.stream}"

    @property
    def item(self) -> dict[str, Any]:
        item = self.data.get("item")
        return item if isinstance(item, dict) else {}

    @property
    def in_snapshot(self) -> bool:
        return self.frame.seq <= 5 and self.type in ("session.heartbeat", "session.presence")

    def comes_again(self, *types: str) -> bool:
        """Whether the next event of these types says the same."""
        again = next((frame for frame in self.following if frame.type in types), None)
        return again is not None and again.raw == self.frame.raw


@dataclass(frozen=True)
class Mutation:
    kind: str
    line: str
    """The fault, as `docs/faults.md` has it."""
    expected: Codes
    """Any of these is right; empty: it does not change the meaning."""


# What each kind of fault should bring about -------------------------------------------------------------------------


def dropped(event: Event) -> Codes:
    type_, item = event.type, event.item
    if type_ == "response.output_item.done":
        return _item_lost(item)
    if type_ in ("response.elicitation_resolved", "session.status") and (
        event.comes_again(type_) or _came_before(event)
    ):
        return frozenset()
    return _DROPPED.get(type_, frozenset())


_LOST_TEXT = frozenset({"text-differs-from-item", "text-never-stored"})
_DROPPED: dict[str, Codes] = {
    "response.output_text.delta": _LOST_TEXT,
    "response.reasoning_text.delta": frozenset({"(none)"}),
    "session.input.consumed": frozenset({"message-not-taken", "items-missed"}),
    "session.status": frozenset({"status-unknown-transition", "status-left-running", "turn-unfinished"}),
    "response.in_progress": frozenset({"turn-without-beginning"}),
    "response.completed": frozenset({"turn-unfinished"}),
    "session.interrupted": frozenset({"turn-unfinished"}),
    "response.elicitation_request": frozenset({"approval-unasked"}),
    "[DONE]": frozenset({"no-done"}),
}


def _came_before(event: Event) -> bool:
    """Elicitations are said to be resolved twice, and an interrupted session to be idle: one of both may be lost."""
    return event.data.get("__again__") is True


def _item_lost(item: dict[str, Any]) -> Codes:
    kind = item.get("type")
    if kind == "message":
        return frozenset({"text-never-stored", "items-missed"})
    if kind == "function_call_output":
        return frozenset({"tool-without-output"})
    return frozenset()  # a call comes twice, in progress and completed; a sub-agent's is told by its session's events


def duplicated(event: Event) -> Codes:
    if event.type in DELTAS or event.type in ("session.input.consumed", "response.completed"):
        return frozenset({"event-repeated"})
    if event.type == "response.output_item.done":
        return frozenset({"event-repeated"})
    if event.type == "response.elicitation_request":
        return frozenset({"approval-asked-again"})
    return frozenset()


_CONTENT = DELTAS | {"response.in_progress", "response.completed", "response.output_item.done"}


def swapped(event: Event) -> Codes:
    """With the next event. Only what belongs to a turn has an order that matters."""
    other = event.following[0] if event.following else None
    if other is None or event.type not in _CONTENT or other.type not in _CONTENT or event.in_snapshot:
        return frozenset()
    if other.type in DELTAS and event.type in DELTAS and event.data.get("delta") == (_data(other)).get("delta"):
        return frozenset()
    return frozenset({"sequence-goes-back", "event-after-end", "text-differs-from-item", "text-never-stored"})


def delayed(event: Event) -> Codes:
    return frozenset({"heartbeats-late", "silent-while-running"}) if event.type != "[DONE]" else frozenset()


def frozen(event: Event) -> Codes:
    """From behind the event on; who waits for `[DONE]` when all has come waits for nothing."""
    return frozenset() if event.type == "[DONE]" else frozenset({"heartbeats-stopped", "no-done", "runner-silent"})


def cut(event: Event) -> Codes:
    return frozenset() if event.type == "[DONE]" else STREAM_ENDS


def corrupted(_event: Event) -> Codes:
    return frozenset({"malformed"})


_SETS: dict[str, list[tuple[str, str, Codes]]] = {
    "response.output_text.delta": [
        ("delta", '" XYZ"', _LOST_TEXT),
        ("delta", "7", frozenset({"contract-invalid"})),
        ("sequence_number", "1", frozenset({"sequence-goes-back"})),
        ("type", '"response.output_text.sparkle"', frozenset({"contract-unknown"})),
    ],
    "session.status": [
        ("status", '"sleeping"', frozenset({"contract-invalid"})),
        ("status", '"failed"', frozenset({"turn-failed", "status-unknown-transition"})),
    ],
    "response.completed": [
        ("type", '"response.failed"', frozenset({"event-type-differs", "turn-failed"})),
        ("response.status", '"failed"', frozenset({"contract-invalid"})),
        ("response", "null", frozenset({"contract-invalid"})),
    ],
    "response.in_progress": [("response.id", '"resp_x"', frozenset({"turn-unfinished", "turn-without-beginning"}))],
    "response.elicitation_request": [("elicitation_id", '"x"', frozenset({"approval-unanswered", "approval-unasked"}))],
    "session.input.consumed": [
        ("data.item_id", '"x"', frozenset({"message-not-taken", "items-missed"})),
        ("data.data.content[0].text", '"Hm?"', frozenset({"item-differs-from-stored"})),
    ],
    "session.created": [("child_session_id", '"x"', frozenset({"child-unfinished"}))],
}
_SETS_OF_ITEMS: dict[str, list[tuple[str, str, Codes]]] = {
    "message": [("item.content[0].text", '"Hm."', frozenset({"text-differs-from-item", "item-differs-from-stored"}))],
    "function_call_output": [
        ("item.output", '"nothing"', frozenset({"item-differs-from-stored"})),
        ("item.call_id", '"x"', frozenset({"tool-without-output", "output-without-call"})),
    ],
}
_REMOVES: dict[str, list[str]] = {
    "response.output_text.delta": ["delta", "type"],
    "response.completed": ["response", "type"],
    "session.status": ["status", "type"],
    "session.input.consumed": ["data", "type"],
    "response.output_item.done": ["item", "type"],
    "response.elicitation_request": ["elicitation_id", "params"],
    "response.in_progress": ["response"],
}


def sets(event: Event) -> Iterator[tuple[str, Codes]]:
    known = _SETS.get(event.type, [])
    if event.type == "response.output_item.done":
        known = _SETS_OF_ITEMS.get(event.item.get("type") or "", [])
    for path, value, codes in known:
        if path == "sequence_number" and event.data.get("sequence_number") in (None, 1):
            continue
        is_same = path == "status" and f'"{event.data.get("status")}"' == value
        if not is_same and not _twice(event):
            yield f"set {path} of {event.name} to {value}", codes


def removes(event: Event) -> Iterator[tuple[str, Codes]]:
    for path in _REMOVES.get(event.type, []):
        if path in event.data:
            code = "malformed" if path == "type" else "contract-invalid"
            yield f"remove {path} of {event.name}", frozenset({code})


def _twice(event: Event) -> bool:
    return event.type == "session.status" and _came_before(event)


# Making them --------------------------------------------------------------------------------------------------------


def _one(form: str, expect: Callable[[Event], Codes]) -> Callable[[Event], Iterator[tuple[str, Codes]]]:
    return lambda event: iter([(form.format(event.name), expect(event))])


KINDS: dict[str, Callable[[Event], Iterator[tuple[str, Codes]]]] = {
    "drop": _one("drop {}", dropped),
    "duplicate": _one("duplicate {}", duplicated),
    "swap with the next": _one("swap {}", swapped),
    "delay by 2 s": _one("delay {} by 2s", lambda _: frozenset()),
    "delay by 2 min": _one("delay {} by 2min", delayed),
    "freeze after": _one("freeze after {}", frozen),
    "cut before": _one("cut before {}", cut),
    "cut after, short": _one("cut after {} short", cut),
    "cut inside, by reset": _one("cut inside {} by reset", lambda _: STREAM_ENDS),
    "corrupt": _one("corrupt {}", corrupted),
    "set a field": sets,
    "remove a field": removes,
}


def mutations(path: Path, seed: int, each: int = EACH) -> Iterator[Mutation]:
    """Faults of every kind at random places of a cassette."""
    chance = random.Random(f"{seed} {path.stem}")
    found = events_of(path)
    for kind, make in KINDS.items():
        places = [event for event in found if event.type != "[DONE]" or kind not in ("corrupt", "swap with the next")]
        for event in chance.sample(places, len(places)):
            made = list(make(event))
            if kind == "swap with the next" and not event.following:
                continue
            if not made:
                continue
            line, codes = chance.choice(made)
            yield Mutation(kind, line, codes)
            each -= 1
            if each <= 0:
                break
        each = EACH
    yield from _of_requests(path)
    if any(event.type == "session.heartbeat" for event in found):
        yield Mutation("stop heartbeats", "stop heartbeats after session.heartbeat", _unheard_heartbeats(found))


def _unheard_heartbeats(found: list[Event]) -> Codes:
    """Where others would have come: the short healthy sessions have only the one of the beginning."""
    first = next((event for event in found if event.type == "session.heartbeat"), None)
    are_others = first is not None and any(frame.type == "session.heartbeat" for frame in first.following)
    return frozenset({"heartbeats-late", "heartbeats-stopped"}) if are_others else frozenset()


def _of_requests(path: Path) -> Iterator[Mutation]:
    store = open_store(path)
    posts = sum(x.request.method == "POST" and x.request.target.endswith("/events") for x in store.exchanges())
    reads = [x.request.target for x in store.exchanges() if "/items" in x.request.target]
    store.close()
    for n in range(1, posts + 1):
        fault = f"answer {['', '2nd ', '3rd '][n - 1] if n < 4 else f'{n}th '}POST /v1/sessions/*/events with 503"
        yield Mutation("answer a POST with 503", fault, frozenset({"message-refused"}))
    if reads:
        line = "answer GET /v1/sessions/*/items with 500"
        yield Mutation("answer a GET with 500", line, frozenset({"request-failed"}))


def events_of(path: Path) -> list[Event]:
    store = open_store(path)
    found = []
    for x in store.streams():
        frames = list(store.frames(x))
        seen: set[bytes | None] = set()
        for place, frame in enumerate(frames):
            data = dict(_data(frame))
            repeats = frame.type == "response.elicitation_resolved" or (
                frame.type == "session.status" and place > 0 and frames[place - 1].raw == frame.raw
            )
            if repeats and frame.raw in seen:
                data["__again__"] = True
            seen.add(frame.raw)
            found.append(Event(frame, x, data, tuple(frames[place + 1 :])))
    store.close()
    return found


def _data(frame: TimedFrame) -> dict[str, Any]:
    data = payload_of(frame)
    return data if isinstance(data, dict) else {}


# Counting them ------------------------------------------------------------------------------------------------------


@dataclass
class Count:
    meant: int = 0
    found: int = 0
    unmeant: int = 0
    alarms: int = 0
    """Of those that change no meaning, how many are called worse than a note."""
    missed: list[str] = field(default_factory=list)


def run(seed: int = 1, each: int = EACH) -> dict[str, Count]:
    """What doctor says of all of them, by kind."""
    counts: dict[str, Count] = {}
    for path in [*HEALTHY, LONG]:
        store = open_store(path)
        usual = {(finding.code, finding.stream) for finding in examine(store)}
        store.close()
        for mutation in mutations(path, seed, each) if path in HEALTHY else _long(path):
            count = counts.setdefault(mutation.kind, Count())
            store = faulted(path, mutation.line).store()
            new = [one for one in examine(store) if (one.code, one.stream) not in usual or one.severity != "note"]
            store.close()
            codes = {finding.code for finding in new}
            if mutation.expected:
                count.meant += 1
                count.found += bool(codes & mutation.expected)
                if not codes & mutation.expected:
                    count.missed.append(f"{path.stem}: {mutation.line} -> {sorted(codes)}")
            else:
                count.unmeant += 1
                worse = sorted({one.code for one in new if one.severity != "note"})
                count.alarms += bool(worse)
                if worse:
                    count.missed.append(f"ALARM {path.stem}: {mutation.line} -> {worse}")
    return counts


def _long(path: Path) -> Iterator[Mutation]:
    return (mutation for mutation in mutations(path, 1, 1) if mutation.kind == "stop heartbeats")


def table(counts: dict[str, Count]) -> list[str]:
    lines = ["| fault | change the meaning | reported | | change nothing |", "|---|---|---|---|---|"]
    for kind, count in counts.items():
        share = f"{count.found / count.meant:.0%}" if count.meant else ""
        lines.append(f"| {kind} | {count.meant} | {count.found} | {share} | {count.unmeant} |")
    meant, found = (sum(getattr(count, name) for count in counts.values()) for name in ("meant", "found"))
    unmeant = sum(count.unmeant for count in counts.values())
    return [*lines, f"| **all** | {meant} | {found} | **{found / meant:.0%}** | {unmeant} |"]


if __name__ == "__main__":
    done = run(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    sys.stdout.write("\n".join(table(done)) + "\n")
    for kind, count in done.items():
        for missed in count.missed:
            sys.stdout.write(f"{kind} {missed}\n")
