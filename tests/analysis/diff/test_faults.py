"""No fault that changes what happened goes unnoticed: each fault of the grammar, at each event of each cassette."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from omnirecord.analysis.diff import DiffSession, compare
from omnirecord.analysis.diff.align import IGNORED
from omnirecord.analysis.diff.differences import counts
from omnirecord.errors import UsageError
from omnirecord.model import TimedFrame
from omnirecord.omnigent.line import connect_snapshot_length
from omnirecord.wire.normal import role
from omnirecord.wire.strict_json import payload_of
from tests.support.cassettes import SHIPPED
from tests.support.examples import a_third, each, examples
from tests.support.retold import Recorded

NAMES = sorted(path.stem for path in SHIPPED.glob("*.jsonl"))
FAULTS = ("drop {}", "duplicate {}", "corrupt {}", "cut before {}", "swap {}")
MEANS_NOTHING = {
    "the last piece that a client got before it left, and that another, or itself, got as well": {
        ("reconnect", "drop #21 in stream 1"), ("two_clients", "drop #21 in stream 2"),
    },
    "two events that are the same": {
        ("approval", "swap #5 in stream 1"), ("interrupt", "swap #13 in stream 1"), ("turns", "swap #6 in stream 1"),
        ("turns", "swap #79 in stream 1"), ("turns", "swap #100 in stream 1"),
    },
    "`running` and the input, or two summaries of one child: the live server sends them in either order": {
        ("approval", "swap #7 in stream 1"), ("failed", "swap #4 in stream 1"), ("interrupt", "swap #4 in stream 1"),
        ("interrupt", "swap #16 in stream 1"), ("reconnect", "swap #4 in stream 1"), ("text", "swap #4 in stream 1"),
        ("subagent", "swap #4 in stream 1"), ("subagent", "swap #11 in stream 1"), ("tool", "swap #5 in stream 1"),
        ("subagent", "swap #36 in stream 1"), ("subagent", "swap #4 in stream 2"), ("turns", "swap #8 in stream 1"),
        ("turns", "swap #81 in stream 1"), ("turns", "swap #102 in stream 1"),
    },
}  # fmt: skip
"""What looks like a change and is none, and why."""


@cache
def recorded(name: str) -> Recorded:
    return Recorded(SHIPPED / f"{name}.jsonl")


@cache
def base(name: str) -> list[DiffSession]:
    """The sessions of a cassette without faults."""
    return recorded(name).tellings()


def happened(name: str) -> Iterator[tuple[int, TimedFrame]]:
    """The events of a cassette that say that something happened, each with its stream."""
    for stream in recorded(name).streams:
        frames = recorded(name).frames(stream.number)
        for frame in frames[connect_snapshot_length(frames) :]:
            if frame.verdict != "comment" and frame.type not in IGNORED:
                yield stream.number, frame


@cache
def events() -> list[tuple[str, int, TimedFrame]]:
    return [(name, stream, frame) for name in NAMES for stream, frame in happened(name)]


def is_noticed(name: str, fault: str) -> bool:
    try:
        return counts(compare(base(name), recorded(name).tellings(fault)))
    except UsageError:  # there is nothing to swap it with, or nothing to corrupt
        return True


@each("name", NAMES)
@each("fault", FAULTS)
def test_a_fault_at_any_event_is_noticed(name: str, fault: str, long: bool) -> None:
    """Without `--long`, at every tenth event, each fault at others."""
    some = list(happened(name))[2 * FAULTS.index(fault) :: 2 * len(FAULTS)]
    unnoticed = {
        (name, fault.format(f"#{frame.seq} in stream {stream}"))
        for stream, frame in (happened(name) if long else some)
        if not is_noticed(name, fault.format(f"#{frame.seq} in stream {stream}"))
    }
    assert unnoticed <= set().union(*MEANS_NOTHING.values())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Path, name of the field, and value."""
    if isinstance(value, dict):
        for key, one in value.items():
            below = f"{path}.{key}" if path else key
            yield from leaves(one, below) if isinstance(one, dict | list) else [(below, key, one)]
    elif isinstance(value, list):
        for n, one in enumerate(value):
            yield from leaves(one, f"{path}[{n}]") if isinstance(one, dict | list) else [(f"{path}[{n}]", "", one)]


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    return f"other {value}" if isinstance(value, str) else value + 7


@cache
def fields() -> list[tuple[str, int, int, str, Any]]:
    return [
        (name, stream, frame.seq, path, value)
        for name, stream, frame in events()
        for path, field, value in leaves(payload_of(frame))
        if value is not None and role(field) == ""
    ]


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(field=st.deferred(lambda: st.sampled_from(fields())), verb=st.sampled_from(["set", "remove"]))
def test_a_field_that_is_replaced_or_removed_is_noticed(field: tuple[str, int, int, str, Any], verb: str) -> None:
    name, stream, seq, path, value = field
    ending = f" to {json.dumps(other(value))}" if verb == "set" else ""
    assert is_noticed(name, f"{verb} {path} of #{seq} in stream {stream}{ending}")


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(event=st.deferred(lambda: st.sampled_from(events())), fault=st.sampled_from(FAULTS))
def test_a_fault_at_some_event_is_noticed_the_other_way_round_too(
    event: tuple[str, int, TimedFrame], fault: str
) -> None:
    name, stream, frame = event
    spec = fault.format(f"#{frame.seq} in stream {stream}")
    try:
        faulty = recorded(name).tellings(spec)
    except UsageError:
        assume(False)
    assume(not any((name, spec) in known for known in MEANS_NOTHING.values()))
    there, back = compare(base(name), faulty), compare(faulty, base(name))
    assert counts(there)
    assert sorted((x.kind, repr(x.a), repr(x.b)) for x in there) == sorted((x.kind, repr(x.b), repr(x.a)) for x in back)


@each("name", sorted({*NAMES} - {"two_clients"}))  # where one of two copies is none any more
def test_another_time_or_number_of_the_wire_is_not_noticed(name: str) -> None:
    for stream, frame in a_third(happened(name)):
        for path, field, value in leaves(payload_of(frame)):
            if role(field) in ("noise", "time") and isinstance(value, int):
                fault = f"set {path} of #{frame.seq} in stream {stream} to {value + 1}"
                assert not counts(compare(base(name), recorded(name).tellings(fault))), fault
                break
