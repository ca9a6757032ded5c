"""Faults that end a stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from omnirecord.replayer.faults import Faulty
from tests.replayer.faults.test_faults import (
    CREATED,
    H1,
    PRESENCE,
    RUNNING,
    STREAM,
    bound,
    played,
    without,
)
from tests.support.examples import each
from tests.support.recorded import parts_of, recorded, wire


@each(
    ("fault", "end", "comes"),
    [
        ("cut before response.created", "clean", H1 + PRESENCE + RUNNING),
        ("cut before response.created cleanly", "clean", H1 + PRESENCE + RUNNING),
        ("cut before response.created short", "short", H1 + PRESENCE + RUNNING),
        ("cut after session.status by reset", "reset", H1 + PRESENCE + RUNNING),
        ("cut before session.heartbeat", "clean", b""),
        ("cut inside session.heartbeat by reset", "reset", H1[: len(H1) // 2]),
        ("freeze at response.created", "freeze", H1 + PRESENCE + RUNNING),
        ("freeze after session.status", "freeze", H1 + PRESENCE + RUNNING),
        ("cut before [DONE]", "clean", without(10)),
        ("cut after [DONE]", "clean", without()),
    ],
)
def test_a_stream_ends_before_inside_or_after_an_event(fault: str, end: str, comes: bytes) -> None:
    faulty = played(fault)
    assert (faulty.end, wire(faulty.parts)) == (end, comes)
    assert faulty.by == fault.removesuffix(" cleanly")
    assert faulty.names == (faulty.by,)


def test_a_cut_part_keeps_its_time_and_its_event() -> None:
    last = played("cut inside response.created").parts[-1]
    assert replace(last, data=CREATED) == parts_of(STREAM)[3]


def test_a_cut_inside_an_event_is_between_two_characters() -> None:
    for text in ("é" * 20, "x" + "é" * 20, "😀" * 9, "a😀" * 9):
        frame = f'data: {{"type": "x", "a": "{text}"}}\n\n'.encode()
        comes = wire(played("cut inside x", stream=recorded(1, frame)).parts)
        assert frame.startswith(comes)
        assert abs(len(comes) - len(frame) // 2) < 4
        comes.decode()


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_a_cut_inside_a_character_leaves_the_first_of_its_bytes(character: str) -> None:
    frame = f'data: {{"type": "x", "a": "ab{character}"}}\n\n'.encode()
    comes = wire(played("cut inside a character of x", stream=recorded(1, frame)).parts)
    assert comes == frame[: frame.index(character.encode()) + 1]


def test_a_cut_falls_into_the_read_that_brought_the_byte() -> None:
    whole = parts_of(STREAM)
    halves = [replace(whole[0], data=H1[:10], offset_ns=1), replace(whole[0], data=H1[10:], read=2)]
    parts = played("cut inside session.heartbeat", parts=[*halves, *whole[1:]]).parts
    assert parts == (halves[0], replace(halves[1], data=H1[10 : len(H1) // 2]))


def test_the_first_end_on_the_way_is_the_one_that_happens() -> None:
    lines = ["cut after response.created short", "cut inside response.created", "freeze at response.created"]
    assert played(*lines).end == "freeze"
    assert played(*lines[:2]).by == "cut inside response.created"
    assert played("cut before response.completed", "cut after session.presence").by == "cut after session.presence"
    assert played("freeze at session.status", "cut before session.status").end == "freeze"


def test_an_end_happens_to_the_first_connection_that_comes_to_it_so_that_a_reconnect_recovers() -> None:
    faults = bound("cut before response.completed by reset")
    for _ in range(2):  # a client that leaves before it does not use it up
        assert faults.on(1, parts_of(STREAM)).end == "reset"
    assert faults.happened("cut before response.completed by reset")
    assert faults.on(1, parts_of(STREAM)) == Faulty(tuple(parts_of(STREAM)))


def test_of_two_connections_on_the_way_to_it_one_goes_on() -> None:
    faults = bound("cut inside response.completed")
    before = wire(faults.on(1, parts_of(STREAM)).parts)
    assert faults.happened("cut inside response.completed")
    assert not faults.happened("cut inside response.completed")
    assert wire(faults.on(1, parts_of(STREAM)).parts).startswith(before)


def test_an_end_can_happen_each_time() -> None:
    faults = bound("freeze at response.completed each time")
    for _ in range(3):
        by = faults.on(1, parts_of(STREAM)).by
        assert by == "freeze at response.completed each time"
        assert faults.happened(by)


def test_the_same_end_given_twice_happens_twice_and_different_ones_one_after_the_other() -> None:
    faults = bound("cut before response.created", "cut before response.created", "cut after response.created")
    seen = []
    while by := faults.on(1, parts_of(STREAM)).by:
        seen.append(by)
        assert faults.happened(by)
    assert seen == ["cut before response.created", "cut before response.created", "cut after response.created"]


def test_a_reset_forgets_what_has_happened() -> None:
    faults = bound("cut before response.created")
    assert faults.happened("cut before response.created")
    faults.reset()
    assert faults.on(1, parts_of(STREAM)).end == "clean"
