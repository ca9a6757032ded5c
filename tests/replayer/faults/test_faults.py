"""What each fault does to a stream and to requests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.replayer.event_address.matcher import Stream
from omnirecord.replayer.faults import Bound, Faults, Faulty, RequestFault
from omnirecord.replayer.faults.verbs import Answer, parse_fault
from omnirecord.replayer.stream_parts import Part
from omnirecord.wire.sse import Parser
from tests.support.cassettes import DONE, completed, created, delta, event, heartbeat, ns, presence, status
from tests.support.examples import each
from tests.support.recorded import calls, parts_of, recorded, wire

FRAMES = [heartbeat(), presence(), status("running"), created(), delta("Hel", 2), delta("lo", 3), completed(),
          status("idle"), heartbeat(), DONE]  # fmt: skip
H1, PRESENCE, RUNNING, CREATED, HEL, LO, COMPLETED, IDLE, H2, _ = FRAMES
STREAM = recorded(1, *FRAMES)
SECOND = recorded(2, heartbeat(), delta("again", 2), heartbeat(), completed("r2"))
MADE_UP = Part(0, heartbeat(), stream=1)
"""A heartbeat that nobody recorded."""


def bound(*faults: str, streams: Iterable[Stream] = (STREAM, SECOND)) -> Bound:
    return Faults.parse(faults).bind(streams)


def played(*faults: str, stream: Stream = STREAM, parts: list[Part] | None = None) -> Faulty:
    """What a client gets of a stream."""
    streams = (STREAM, SECOND) if stream in (STREAM, SECOND) else (stream,)
    return bound(*faults, streams=streams).on(stream.number, parts_of(stream) if parts is None else parts)


def refusal(*faults: str, stream: Stream = STREAM) -> str:
    with pytest.raises(UsageError) as caught:
        bound(*faults, streams=[stream])
    return str(caught.value)


def without(*numbers: int) -> bytes:
    """The stream's bytes without these frames, counted from 1."""
    return b"".join(frame for n, frame in enumerate(FRAMES, 1) if n not in numbers)


# What comes


def test_without_a_fault_the_parts_are_what_they_were() -> None:
    assert played() == Faulty(tuple(parts_of(STREAM)))
    assert played("drop response.completed in stream 2") == Faulty(tuple(parts_of(STREAM)))


def test_a_dropped_event_does_not_come_and_the_others_keep_their_times() -> None:
    faulty = played("drop 2nd response.output_text.delta")
    assert faulty.parts == tuple(part for part in parts_of(STREAM) if part.seq != 6)
    assert faulty.names == ("drop 2nd response.output_text.delta",)
    assert faulty.end is None


def test_every_event_of_a_kind_can_be_dropped_in_all_streams() -> None:
    faults = bound("drop every session.heartbeat")
    assert wire(faults.on(1, parts_of(STREAM)).parts) == without(1, 9)
    assert wire(faults.on(2, parts_of(SECOND)).parts) == delta("again", 2) + completed("r2")


def test_a_duplicated_event_comes_twice_at_the_same_time_the_second_a_frame_of_its_own() -> None:
    parts = played("duplicate response.completed").parts
    assert wire(parts) == b"".join(FRAMES).replace(COMPLETED, COMPLETED * 2)
    assert parts[7] == replace(parts[6], seq=0)


def test_swapped_events_change_places_and_each_comes_when_the_other_came() -> None:
    parts = played("swap session.presence with response.created").parts
    assert wire(parts) == H1 + CREATED + RUNNING + PRESENCE + wire(parts_of(STREAM)[4:])
    assert [(part.offset_ns, part.seq, part.read) for part in parts[1:4]] == [
        (ns(2), 4, 2), (ns(3), 3, 3), (ns(4), 2, 4),
    ]  # fmt: skip


def test_an_event_is_swapped_with_the_next_where_no_other_is_named() -> None:
    stream = recorded(1, delta("a", 1), b": a comment\n\n", delta("b", 2))
    assert wire(played("swap response.output_text.delta", stream=stream).parts) == (
        delta("b", 2) + b": a comment\n\n" + delta("a", 1)
    )


def test_the_other_event_of_a_swap_is_of_the_same_stream() -> None:
    faulty = played("swap 2nd session.heartbeat in stream 2 with response.completed", stream=SECOND)
    assert wire(faulty.parts) == heartbeat() + delta("again", 2) + completed("r2") + heartbeat()
    each = bound("swap session.heartbeat in every stream with response.completed")
    assert wire(each.on(2, parts_of(SECOND)).parts).startswith(completed("r2"))
    assert wire(each.on(1, parts_of(STREAM)).parts).startswith(COMPLETED)


def test_a_delay_makes_the_event_and_all_that_follow_late_and_delays_add_up() -> None:
    parts = played("delay response.created by 2s", "delay every response.output_text.delta by 250ms").parts
    late = [0, 0, 0, 2000, 2250, 2500, 2500, 2500, 2500, 2500]
    assert [part.late_ns for part in parts] == [ms * 10**6 for ms in late]
    assert [replace(part, late_ns=0) for part in parts] == parts_of(STREAM)


def test_a_delay_is_added_to_one_that_was_there() -> None:
    given_late = [replace(part, late_ns=5) for part in parts_of(STREAM)]
    parts = played("delay response.created by 2s", parts=given_late).parts
    assert [part.late_ns for part in parts][:4] == [5, 5, 5, ns(2) + 5]


def test_a_corrupted_event_has_its_length_and_its_frame_but_no_json() -> None:
    parts = played("corrupt response.completed").parts
    (frame,) = Parser().feed(parts[6].data)
    assert len(parts[6].data) == len(COMPLETED)
    assert frame.event == "response.completed"
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(frame.data or "")
    assert wire(parts).replace(parts[6].data, COMPLETED) == b"".join(FRAMES)


def test_a_field_is_set_and_all_else_keeps_its_spelling() -> None:
    raw = b'event:x\r\ndata:{ "type":"x",\t"a" : {"b":[1, 2.50 ,"\\u00e9\xc3\xa9"]}, "n":1e3 }\r\n\r\n'
    parts = played('set a.b[1] of x to "new"', stream=recorded(1, raw)).parts
    assert wire(parts) == raw.replace(b"2.50", b'"new"')


def test_a_field_is_removed_with_one_comma() -> None:
    raw = b'data: {"type": "x", "a": 1, "b": [1, 2, 3], "c": {"d": 1}}\n\n'
    for line, expected in [
        ("remove a of x", raw.replace(b'"a": 1, ', b"")),
        ("remove c of x", raw.replace(b', "c": {"d": 1}', b"")),
        ("remove b[0] of x", raw.replace(b"[1, 2, 3]", b"[2, 3]")),
        ("remove b[2] of x", raw.replace(b"[1, 2, 3]", b"[1, 2]")),
        ("remove c.d of x", raw.replace(b'{"d": 1}', b"{}")),
    ]:
        assert wire(played(line, stream=recorded(1, raw)).parts) == expected


def test_data_in_several_lines_a_byte_order_mark_comments_and_ids_stay() -> None:
    raw = b'\xef\xbb\xbf: hi\rid: 7\rdata: {"type":\rdata:"x", "a":\rdata: [1,\rdata: 2]\rretry: 5\rdata: }\r\r'
    stream = recorded(1, raw)
    assert wire(played("set type of x to null", stream=stream).parts) == raw.replace(b'"x"', b"null")
    assert wire(played("set a of x to 3", stream=stream).parts) == (
        b'\xef\xbb\xbf: hi\rid: 7\rdata: {"type":\rdata:"x", "a":\rdata: 3\rdata: }\rretry: 5\r\r'
    )
    assert len(wire(played("corrupt x", stream=stream).parts)) == len(raw)
    marked = b"\xef\xbb\xbfdata: {}\n\n".replace(b"{}", b'{"type": "x"}')
    assert wire(played("set type of x to 1", stream=recorded(1, marked)).parts) == marked.replace(b'"x"', b"1")


def test_a_data_line_without_a_colon_gets_one_when_it_has_something_to_hold() -> None:
    raw = b'data: {"type": "x", "a": [\ndata: 1], "b":\ndata\ndata: 2}\n\n'
    assert wire(played("set a of x to 3", stream=recorded(1, raw)).parts) == (
        b'data: {"type": "x", "a": 3, "b":\ndata: \ndata: 2}\n\n'
    )
    assert wire(played("set b of x to 3", stream=recorded(1, raw)).parts) == raw.replace(b"2", b"3")


def test_bytes_that_are_no_utf8_stay_as_they_are() -> None:
    raw = b'data: {"type": "x", "a": "\xff\xc3", "b": 1}\n\n'
    assert wire(played("set b of x to 2", stream=recorded(1, raw)).parts) == raw.replace(b"1}", b"2}")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1), VALUES, st.sampled_from([None, 1]), st.booleans())
def test_an_edit_changes_that_field_and_no_other(
    data: dict[str, object], new: object, indent: int | None, ascii_: bool
) -> None:
    text = json.dumps({"type": "x", **data}, indent=indent, ensure_ascii=ascii_)
    raw = "".join(f"data: {line}\n" for line in text.split("\n")).encode() + b"\n"
    name = min(data)
    stream = recorded(1, raw)
    (frame,) = Parser().feed(wire(played(f"set {name} of event to {json.dumps(new)}", stream=stream).parts))
    assert json.loads(frame.data or "") == {"type": "x", **data, name: new}
    (frame,) = Parser().feed(wire(played(f"remove {name} of event", stream=stream).parts))
    assert json.loads(frame.data or "") == {"type": "x", **{k: v for k, v in data.items() if k != name}}


def test_heartbeats_stop_and_all_else_comes() -> None:
    faulty = played("stop heartbeats at session.status")
    assert wire(faulty.parts) == without(9)
    assert faulty.quiet_from == ns(3)
    assert faulty.names == ("stop heartbeats at session.status",)


def test_heartbeats_stop_with_one_or_behind_it() -> None:
    assert wire(played("stop heartbeats at session.heartbeat").parts) == without(1, 9)
    assert wire(played("stop heartbeats after session.heartbeat").parts) == without(9)


def test_heartbeats_that_nobody_recorded_stop_too_and_no_other_made_up_part() -> None:
    other = replace(MADE_UP, data=delta("all so far", None))
    parts = [MADE_UP, *parts_of(STREAM)[:4], MADE_UP, other]
    assert wire(played("stop heartbeats at session.status", parts=parts).parts) == (
        heartbeat() + wire(parts_of(STREAM)[:4]) + other.data
    )


def test_heartbeats_stay_stopped_for_a_client_that_joins_behind_and_go_on_in_other_streams() -> None:
    faults = bound("stop heartbeats at session.status")
    joined = faults.on(2, [MADE_UP, *parts_of(STREAM)[7:]])
    assert (wire(joined.parts), joined.quiet_from) == (heartbeat() + IDLE + DONE, ns(3))
    assert faults.on(1, []).quiet_from == ns(3)
    assert faults.on(2, parts_of(SECOND)) == Faulty(tuple(parts_of(SECOND)))


# Together


def test_changes_come_in_the_order_given_and_ends_after_them() -> None:
    assert played("cut after response.created", "drop response.created").parts == tuple(parts_of(STREAM)[:3])
    assert wire(played("cut after response.created", "duplicate response.created").parts[3:]) == CREATED * 2
    assert wire(played("drop response.created", "duplicate response.created").parts) == without(4)
    faulty = played("swap response.created", "cut before response.created")
    assert wire(faulty.parts) == H1 + PRESENCE + RUNNING + HEL
    faulty = played(
        'set delta of response.output_text.delta to "é"', "cut inside a character of response.output_text.delta"
    )
    assert faulty.parts[-1].data.endswith(b'"delta": "\xc3')


def test_two_edits_of_one_event_are_made_one_after_the_other() -> None:
    frame = event("x", a={"b": 1})
    lines = ['set a of x to {"c": [1]}', "set a.c[0] of x to 2", "remove type of x"]
    (made,) = Parser().feed(wire(played(*lines, stream=recorded(1, frame)).parts))
    assert json.loads(made.data or "") == {"sequence_number": None, "a": {"c": [2]}}


def test_faults_that_came_to_nothing_before_the_end_are_not_named() -> None:
    lines = ["drop session.presence", "drop response.completed", "cut after session.status", "drop event in stream 2"]
    assert played(*lines).names == ("drop session.presence", "cut after session.status")


def test_a_changed_event_comes_in_the_reads_in_which_it_came() -> None:
    raw = event("x", a="1234567890")
    first = Part(1, raw[:30], stream=1, seq=1, read=1)
    parts = [first, Part(2, raw[30:], stream=1, seq=1, read=2)]
    longer = played('set a of x to "12345678901234567890"', stream=recorded(1, raw), parts=parts).parts
    assert [(part.offset_ns, part.read, part.seq) for part in longer] == [(1, 1, 1), (2, 2, 1)]
    assert longer[0] == first
    long_first = [Part(1, raw[:-1], stream=1, seq=1, read=1), Part(2, raw[-1:], stream=1, seq=1, read=2)]
    shorter = played("remove a of x", stream=recorded(1, raw), parts=long_first).parts
    assert shorter[-1].data == b"\n"
    assert wire(shorter) == raw.replace(b', "a": "1234567890"', b"")


def test_the_second_of_two_swapped_events_may_come_in_one_read_and_the_first_in_two() -> None:
    whole = parts_of(STREAM)
    halves = [replace(whole[2], data=RUNNING[:10], read=30), replace(whole[2], data=RUNNING[10:])]
    parts = played("swap session.status", parts=[*whole[:2], *halves, *whole[3:]]).parts
    assert wire(parts) == wire(played("swap session.status").parts)
    assert [part.seq for part in parts[2:5]] == [4, 4, 3]


def test_a_client_that_joins_behind_an_event_gets_the_rest_as_it_is() -> None:
    rest = parts_of(STREAM)[6:]
    lines = ["freeze at response.created", "drop response.created", "delay response.created by 1s",
             "swap response.created with response.completed"]  # fmt: skip
    assert played(*lines, parts=rest) == Faulty(tuple(rest))


def test_a_client_that_joined_gets_the_faults_of_each_stream_that_it_hears() -> None:
    parts = [MADE_UP, *parts_of(STREAM)[6:8], *parts_of(SECOND)[2:]]
    faulty = bound("drop 2nd session.status", "cut before response.completed in stream 2").on(3, parts)
    assert wire(faulty.parts) == heartbeat() + COMPLETED + heartbeat()


def test_the_connect_snapshot_stays_one_whatever_is_put_in_its_place() -> None:
    parts = [replace(part, in_snapshot=part.seq < 3) for part in parts_of(STREAM)]
    made = played("swap session.presence with response.created", "duplicate session.heartbeat", parts=parts).parts
    assert [part.in_snapshot for part in made][:5] == [True, True, True, False, False]


SOME_FAULTS = [
    "drop session.status", "duplicate response.created", "swap response.created with session.heartbeat",
    "swap session.status", "swap 2nd event with response.completed", "delay response.created by 1s",
    "delay every response.output_text.delta by 2ms", "corrupt response.completed", "corrupt 2nd session.status",
    'set delta of response.output_text.delta to "a much longer text than it was, with é"',
    "remove response.id of response.created", "stop heartbeats at session.status", "cut inside response.completed",
    "cut after last event by reset", "freeze at 2nd session.status", "duplicate last", "drop response.created",
]  # fmt: skip


@given(st.lists(st.sampled_from(SOME_FAULTS), max_size=5, unique=True), st.lists(st.integers(1, 60), min_size=30))
def test_how_the_reads_were_cut_changes_no_byte_and_no_frame_comes_earlier(faults: list[str], sizes: list[int]) -> None:
    plan = bound(*faults)
    cut = []
    for part, size in zip(parts_of(STREAM), sizes, strict=False):
        early = replace(part, data=part.data[:size], offset_ns=part.offset_ns - 1, read=part.read - 1)
        cut += [early, replace(part, data=part.data[size:])] if size < len(part.data) else [part]
    whole, pieces = plan.on(1, parts_of(STREAM)), plan.on(1, cut)
    assert wire(pieces.parts) == wire(whole.parts)
    assert (pieces.end, pieces.by, pieces.names) == (whole.end, whole.by, whole.names)
    assert all(part.data for part in pieces.parts[:-1])  # where it ends before an event there is an empty one
    for parts in (whole.parts, pieces.parts):
        assert [part.late_ns for part in parts] == sorted(part.late_ns for part in parts)
        assert [part.offset_ns for part in parts] == sorted(part.offset_ns for part in parts)
    assert plan.on(1, cut) == pieces


# What cannot happen


@each(
    ("line", "said"),
    [
        ("drop sesion.status", "the fault 'drop sesion.status' cannot happen: there is no sesion.status: no event"
         " matches sesion.status, the nearest are session.status (2)"),
        ("cut before 3rd response.completed", "there is no 3rd response.completed: stream 1 has 1 response.completed"),
        ("stop heartbeats at zzz", "there is no zzz"),
        ("swap last event", "frame (#10 of stream 1) is the last event of its stream"),
        ("swap response.created with zzz", "there is no zzz"),
        ("swap response.created with #4", "response.created (#4 of stream 1) cannot change places with itself"),
        ("corrupt [DONE]", "frame (#10 of stream 1) has data that cannot be changed: it is not JSON"),
        ("set a of [DONE] to 1", "cannot be changed: it is not JSON"),
        ("set respons.id of response.created to 1", "response.created (#4 of stream 1) has no field respons.id,"
         " the nearest are response"),
        ("remove response.idd of response.created", "has no field response.idd, the nearest are response.id"),
        ("remove type.x of response.created", "has no field type.x"),
        ("cut inside a character of response.created", "has no character of more than one byte, nor has another"),
    ],
)  # fmt: skip
def test_a_fault_that_cannot_happen_is_refused_with_why_and_what_is_near(line: str, said: str) -> None:
    message = refusal(line)
    assert message.startswith(f"the fault '{line}' cannot happen: ")
    assert said in message


def test_a_character_that_another_event_has_is_named() -> None:
    stream = recorded(1, event("x"), event("x", a="plain"), b'data: {"type": "x", "a": "\xc3\xa9"}\n\n')
    assert "no character of more than one byte, others have: #3 of stream 1" in refusal(
        "cut inside a character of x", stream=stream
    )


def test_a_byte_order_mark_and_stray_bytes_are_no_characters() -> None:
    raw = b'\xef\xbb\xbfdata: {"type": "x", "a": "\xe0\x80\x80\xff\xed\xa0\x80"}\n\n'
    assert "no character of more than one byte" in refusal("cut inside a character of x", stream=recorded(1, raw))


def test_data_that_are_no_object_cannot_be_edited() -> None:
    for data in ("[1]", "1", '"x"', "", '{"a": 1, "a": 2}'):
        said = refusal("corrupt event", stream=recorded(1, f"data: {data}\n\n".encode()))
        assert "has data that cannot be changed: it " in said


def test_an_edit_is_tried_on_what_the_edits_before_it_left() -> None:
    assert "it is not JSON" in refusal("corrupt response.created", "set type of response.created to 1")
    assert "has no field type" in refusal("remove type of response.created", "set type of response.created to 1")


def test_events_of_two_streams_do_not_change_places() -> None:
    with pytest.raises(UsageError, match=r"\(#4 of stream 1\) and .* \(#2 of stream 2\) are not of one stream"):
        bound("swap response.created with response.output_text.delta in stream 2")


# Requests


def test_the_nth_request_of_a_kind_is_answered_with_a_status() -> None:
    faults = bound("answer 2nd POST /v1/sessions/*/events with 503")
    asked = [("POST", "/v1/sessions/a/events?x=1"), ("GET", "/v1/sessions/a/events"), ("POST", "/v1/sessions"),
             ("POST", "/v1/sessions/b/events"), ("POST", "/v1/sessions/b/events")]  # fmt: skip
    got = [faults.on_request(*one) for one in asked]
    answer = parse_fault("answer 2nd POST /v1/sessions/*/events with 503")
    assert isinstance(answer, Answer)
    assert got == [None, None, None, RequestFault(answer, 0, (str(answer),)), None]
    faults.reset()
    assert [faults.on_request(*asked[0]) is None, faults.on_request(*asked[0]) is None] == [True, False]


def test_faults_on_one_request_add_up_and_the_first_status_counts() -> None:
    faults = bound(
        "slow every * /v1/* by 1s", "answer GET /v1/x with 500", "answer GET * with 404", "slow GET * by 5ms"
    )
    got = faults.on_request("get", "/v1/x")
    assert got is not None
    assert (got.answer and got.answer.status, got.late_ns, len(got.names)) == (500, 1_005_000_000, 4)
    assert faults.on_request("GET", "/v1/x") == RequestFault(None, ns(1), ("slow every * /v1/* by 1s",))
    assert faults.on_request("GET", "/") is None


def test_a_fault_on_a_request_that_was_not_recorded_is_refused_with_the_nearest_where_requests_are_given() -> None:
    faults = Faults.parse("answer POST /v1/sesions with 500")
    assert faults.bind([])
    asked = [("POST", "/v1/sessions?a=b"), ("GET", "/health")]
    with pytest.raises(UsageError, match=r"no such request was recorded, there are POST /v1/sessions$"):
        faults.bind([], asked)
    assert Faults.parse("answer POST /v1/se* with 500").bind([], asked)


# Work


def test_the_work_grows_with_the_parts_whatever_the_faults() -> None:
    lines = ["drop every session.status with status=idle", "delay every response.completed by 1ms",
             "set status of every session.status to 1", "swap 3rd event", "stop heartbeats at 4th event",
             "cut after last event", "duplicate every response.completed"]  # fmt: skip

    def work(size: int) -> int:
        stream = recorded(1, *[status("running"), status("idle"), completed(), heartbeat()] * (size // 4))
        return calls(lambda: bound(*lines, streams=[stream]).on(1, parts_of(stream)))

    work(8)
    assert work(2000) < 2.3 * work(1000)


def test_ten_thousand_frames_are_looked_at_and_one_is_touched() -> None:
    stream = recorded(1, *[delta("a", 2)] * 10_000, completed())
    parts = parts_of(stream)
    lines = [
        "set response.id of response.completed to 1",
        "cut after response.completed with response.status=completed",
    ]
    faults = bound(*lines, streams=[stream])
    assert calls(lambda: bound(*lines, streams=[stream]), "payload_of", "edited") == 2
    faulty = faults.on(1, parts)
    assert all(one is other for one, other in zip(faulty.parts, parts[:-1], strict=False))
    assert len(faulty.parts) == len(parts)
