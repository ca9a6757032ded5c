"""Deltas that are read together give what they give one by one."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from omnirecord.analysis.doctor.stream import StreamChecks
from omnirecord.analysis.turns import SessionBuilder
from omnirecord.contract import Api
from omnirecord.model import Exchange, Request, Response, TimedFrame, Verdict
from omnirecord.omnigent.contract import load
from omnirecord.omnigent.line import merged
from omnirecord.wire.strict_json import fresh_payload, fresh_payloads

MS = 1_000_000
S = 1_000 * MS
DELTA = "response.output_text.delta"
OTHERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("response.created", {"response": {"id": "r1"}}),
    ("response.completed", {"response": {"id": "r1"}}),
    ("session.status", {"status": "running"}),
    ("response.output_item.done", {"item": {"type": "message", "id": "m", "content": "one two"}}),
    ("response.heartbeat", {}),
)

ODD_FIELDS: dict[str, dict[str, Any]] = {
    "another message": {"message_id": "m2"},
    "no number": {"sequence_number": None},
    "no delta": {"delta": None},
    "empty": {"delta": ""},
    "no text": {"delta": 3},
}
ODD = [*ODD_FIELDS, "silent", "late", "again", "back", "no event line", "lost", "never sent", "sent late", "invalid"]


def frames(seed: int) -> Iterator[TimedFrame]:
    """A stream of mostly deltas, in which now and then one thing is odd."""
    chance = random.Random(seed)
    at_ns = number = 0
    for seq in range(1, 120):
        odd = chance.choice(ODD) if chance.random() < 0.02 else None
        at_ns += {"silent": 20 * S, "late": 70 * S}.get(odd or "", chance.randrange(30 * MS))
        number += {"again": 0, "back": -3}.get(odd or "", 1)
        type_, fields = chance.choice(OTHERS) if chance.random() < 0.03 else (DELTA, {"delta": f"word{seq} "})
        data: dict[str, Any] = {"type": type_, "sequence_number": number, **fields, **ODD_FIELDS.get(odd or "", {})}
        event = "" if odd == "no event line" else f"event: {type_}\n"
        raw: bytes | None = f"{event}data: {json.dumps(data)}\n\n".encode()
        raw = None if odd == "lost" else raw
        sent_ns = None if odd == "never sent" else at_ns + (2 * S if odd == "sent late" else MS)
        verdict: Verdict = "invalid" if odd == "invalid" else "valid"
        yield TimedFrame(1, seq, at_ns, sent_ns, raw, len(raw or b""), type_, verdict, ())


@pytest.mark.parametrize("seed", range(40))
def test_frames_that_are_parsed_together_have_the_payloads_that_each_has_alone(seed: int) -> None:
    some = list(frames(seed))
    assert fresh_payloads(some) == [fresh_payload(frame) for frame in some]


@pytest.mark.parametrize("seed", range(40))
def test_deltas_that_are_added_together_make_the_turns_that_they_make_one_by_one(seed: int) -> None:
    together, alone = SessionBuilder(is_child=False), SessionBuilder(is_child=False)
    line = merged(frames(seed))
    together.add_all(line)
    for heard in line:
        alone.add(heard)
    assert told(together) == told(alone)


def told(builder: SessionBuilder) -> list[object]:
    drafts = builder.turns.finish(builder.last_ns)
    facts = [
        (draft.parts, draft.spoke, draft.quiet_refs, [block.times for block in draft.messages]) for draft in drafts
    ]
    turns = [draft.freeze(1, None, number) for number, draft in enumerate(drafts, 1)]
    return [turns, [(str(parts), *rest) for parts, *rest in facts], builder.middles.keys()]


@pytest.mark.parametrize("seed", range(40))
def test_deltas_that_are_checked_together_show_what_they_show_one_by_one(seed: int) -> None:
    some = list(frames(seed))
    assert signs([some]) == signs([frame] for frame in some)


def signs(lists: Any) -> list[object]:
    api: Api = load("omnigent").api
    response = Response(0, 9_000 * S, 200, "OK", ())
    x = Exchange(1, 1, "sse", 1, "s", "client", Request(0, "GET", "/v1/sessions/s/stream", ()), response, "eof")
    checks = StreamChecks(x, (), lambda _: False, api, 0)
    checks.read(lists)
    return [*checks.signs(), checks.count, checks.activity.active, checks.is_slow]
