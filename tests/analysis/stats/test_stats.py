"""The numbers of sessions: small recordings counted by hand, shipped ones counted again without our code."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import omnirecord
from omnirecord.analysis.stats import measured, values
from omnirecord.analysis.stats.values import SessionStats, Spread, percentiles, stats_row
from omnirecord.analysis.turns.builder import union
from omnirecord.cassette.open import import_file
from omnirecord.cassette.sqlite import stream_rows
from omnirecord.errors import UsageError
from tests.support.cassettes import DONE, Made, child, completed, created, delta, event, heartbeat, presence, status
from tests.support.cost import cost
from tests.support.examples import each
from tests.support.watchdog import slowness

ROOT = Path(__file__).parent.parent.parent.parent
CASSETTES = sorted((ROOT / "cassettes").glob("*.jsonl"))


def message(text: str, item: str) -> dict[str, Any]:
    return {"body": {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": text}]}},
            "answer": {"item_id": item}, "status": 202}  # fmt: skip


def consumed(text: str, item: str) -> bytes:
    data = {"role": "user", "content": [{"type": "input_text", "text": text}]}
    return event("session.input.consumed", data={"item_id": item, "type": "message", "data": data})


def thought(text: str) -> bytes:
    return event("response.reasoning_text.delta", delta=text, sequence_number=2)


def done(response: str, output: int, **more: Any) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": output, "total_tokens": 10 + output, "model": "big", **more}
    return event("response.completed", response={"id": response, "status": "completed", "usage": usage})


def item(type_: str, **fields: Any) -> bytes:
    return event("response.output_item.done", item={"type": type_, "call_id": "c", "status": "completed", **fields})


def one(tape: Made) -> SessionStats:
    (found,) = measured(tape.store())
    return found


def asked(at: float = 2.0) -> Made:
    """A session that was told something."""
    tape = Made()
    tape.post("/v1/sessions/s/events", at, until=at + 0.1, **message("Hi", "i"))
    return tape


def answered() -> Made:
    """Asked at 2 s; its first event at 2.5, the first thought at 4, text from 6 to 8 s, all of it at 8.5 s."""
    tape = asked()
    tape.stream(
        "s", 1.0, (1.25, heartbeat()), (1.25, presence()), (2.5, status("running")), (2.5, consumed("Hi", "i")),
        (3.0, created()), (4.0, thought("Hm")), (5.0, thought("mm")), (6.0, delta("One ", 3)), (7.0, delta("two ", 4)),
        (8.0, delta("three", 5)), (8.5, done("r", 60, cost_usd=0.25)), (8.5, status("idle")), (10.0, heartbeat()),
        end=12.0,
    )  # fmt: skip
    return tape


def test_how_soon_counts_from_the_post_of_the_message() -> None:
    (turn,) = one(answered()).turns
    assert (turn.first_event_s, turn.first_token_s, turn.first_text_s, turn.duration_s) == (0.5, 2.0, 4.0, 6.5)
    assert one(answered()).streams[0].first_event_s == 0.25


def test_without_a_recorded_post_nobody_knows_how_soon() -> None:
    tape = Made()
    tape.stream("s", 1.0, (2.0, status("running")), (2.0, consumed("Hi", "i")), (3.0, delta("One")), (4.0, completed()))
    found = one(tape)
    assert (found.first_token_s, found.turns[0].first_token_s, found.turns[0].duration_s) == (None, None, 2.0)


def test_rates_are_over_the_time_of_the_deltas() -> None:
    found = one(answered())
    assert (found.streaming_s, found.deltas, found.output_tokens) == (3.0, 5, 60)  # 4 to 5 s, and 6 to 8 s
    assert (found.output_tokens_per_s, found.deltas_per_s) == (20.0, 1.0)  # 60 in 3 s; 1 + 2 behind the first ones
    assert found.events_per_s == 1.5  # 9 from 2.5 to 8.5 s: not the greeting, nor what came after the end


def test_a_turn_that_was_run_again_counts_once_with_the_rates_of_its_last_attempt() -> None:
    tape = asked()
    tape.stream(
        "s", 1.0, (2.5, consumed("Hi", "i") + status("running")), (3.0, created()), (4.0, delta("One ", 3)),
        (30.0, status("running") + created("r2")), (31.0, delta("One ", 3)), (33.0, delta("two", 4)),
        (34.0, done("r2", 8)), (34.0, status("idle")), end=35.0,
    )  # fmt: skip
    found = one(tape)
    assert found.turns_ended == {"completed": 1}
    assert (found.first_token_s, found.turns[0].duration_s, found.deltas) == (found.first_text_s, 32.0, 3)
    assert (found.turns[0].first_token_s, found.streaming_s, found.output_tokens_per_s) == (2.0, 2.0, 4.0)


def test_tokens_that_came_in_no_delta_are_in_no_rate() -> None:
    tape = asked()
    tape.stream("s", 1.0, (3.0, created()), (4.0, delta("One ")), (6.0, delta("two")),
                (7.0, done("r", 60, output_tokens_details={"reasoning_tokens": 20})))  # fmt: skip
    assert one(tape).output_tokens_per_s == 20.0
    tape = asked()
    tape.stream("s", 1.0, (3.0, created()), (4.0, item("function_call", name="shell", arguments="{}")),
                (5.0, item("function_call_output", output="")), (6.0, delta("One ")), (7.0, delta("two")),
                (8.0, done("r", 60)))  # fmt: skip
    assert (one(tape).output_tokens_per_s, one(tape).deltas_per_s, one(tape).output_tokens) == (None, 1.0, 60)


def test_a_turn_whose_beginning_nobody_heard_has_no_first_token() -> None:
    tape = asked()
    greeting = [(4.0, heartbeat()), (4.0, created()), (4.0, delta("All so far ", None))]
    tape.stream("s", 3.9, *greeting, (5.0, delta("two ", 7)), (6.0, delta("three", 8)), (7.0, done("r", 60)))
    found = one(tape)
    assert (found.first_token_s, found.output_tokens_per_s, found.output_tokens) == (None, None, 60)


def test_gaps_and_where_the_longest_is_with_and_without_heartbeats() -> None:
    tape = Made()
    tape.stream(
        "s", 1.0, (1.0, presence()), (2.0, status("running")), (5.0, heartbeat()), (7.0, status("idle")), end=20.0
    )
    found = one(tape)
    assert found.gaps is not None
    assert found.gaps_without_heartbeats is not None
    assert (found.gaps.count, found.gaps.p50_s, found.gaps.longest_s) == (3, 2.0, 3.0)
    assert (found.gaps.longest_from, found.gaps.longest_to) == ("1:2", "1:3")
    assert (found.gaps.longest_from_type, found.gaps.longest_to_type) == ("session.status", "session.heartbeat")
    assert (found.gaps_without_heartbeats.count, found.gaps_without_heartbeats.longest_s) == (2, 5.0)
    assert found.gaps_without_heartbeats.p99_s == 4.96  # 1 and 5 s: 0.99 of the way from the one to the other
    assert found.silent_at_end_s == 13.0


def test_no_gap_is_counted_while_nobody_listened() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running")), end=3.0)
    tape.stream("s", 50.0, (50.0, heartbeat()), (51.0, status("idle")), end=52.0)
    found = one(tape)
    assert found.gaps is not None
    assert (found.gaps.count, found.gaps.longest_s, found.silent_at_end_s) == (2, 1.0, 1.0)


def test_what_two_clients_heard_is_counted_once_and_bytes_are_of_each_stream() -> None:
    said = [(3.0, created()), (4.0, delta("One ", 2)), (5.0, delta("two", 3)), (6.0, completed())]
    alone, both = asked(), asked()
    for tape in (alone, both):
        tape.stream("s", 1.0, (1.0, heartbeat()), *said, end=7.0)
    both.stream("s", 1.5, (1.5, heartbeat()), *said, party="client-2", end=7.0)
    one_heard, two_heard = one(alone), one(both)
    assert two_heard.events == one_heard.events == 5
    assert two_heard.events_by_type == one_heard.events_by_type
    assert (two_heard.deltas, two_heard.turns_ended) == (2, {"completed": 1})
    assert [stream.events for stream in two_heard.streams] == [5, 5]
    assert [s.content_bytes for s in two_heard.streams] == [one_heard.streams[0].content_bytes] * 2


def test_events_are_frames_with_data_by_type_and_verdict() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.1, b": a comment\n\n"), (1.2, b"data: no json\n\n"), (1.3, DONE))
    found = one(tape)
    assert found.events == 3
    assert found.events_by_type == {"(no type)": 1, "[DONE]": 1, "session.heartbeat": 1}
    assert found.verdicts == {"comment": 1, "malformed": 1, "sentinel": 1, "valid": 1}
    assert (found.heartbeats, found.heartbeat_share, found.endings) == (1, 0.3333, {"client_left": 1})


def test_tools_by_name_and_how_long_they_took() -> None:
    tape = asked()
    calls = [
        (at, item(type_, call_id=id_, **fields))
        for at, type_, id_, fields in (
            (3.0, "function_call", "a", {"name": "shell", "arguments": "{}"}),
            (4.0, "function_call_output", "a", {"output": ""}),
            (5.0, "function_call", "b", {"name": "shell", "arguments": "{}"}),
            (8.0, "function_call_output", "b", {"output": ""}),
            (9.0, "function_call", "c", {"name": "search", "arguments": "{}"}),
        )
    ]
    tape.stream("s", 1.0, (2.5, created()), *calls)
    found = one(tape)
    assert [(t.name, t.calls, t.answered, t.total_s, t.longest_s) for t in found.tools] == [
        ("shell", 2, 2, 4.0, 3.0), ("search", 1, 0, None, None),
    ]  # fmt: skip
    assert (found.tool_s, found.turns[0].tool_s) == (4.0, 4.0)


def test_approvals_by_who_was_waited_for() -> None:
    tape = asked()
    tape.post("/v1/sessions/s/elicitations/e1/resolve", 5.5, body={"action": "accept"}, party="client-2")
    asks = [event("response.elicitation_request", elicitation_id=id_, params={"message": "?"}) for id_ in ("e1", "e2")]
    resolved = event("response.elicitation_resolved", elicitation_id="e1", action="accept")
    tape.stream(
        "s", 1.0, (3.0, asks[0]), (5.6, resolved), (6.0, created()), (7.0, asks[1]), (8.0, heartbeat()), end=20.0
    )
    found = one(tape)
    assert [(a.answered_by, a.count, a.total_s, a.longest_s) for a in found.approvals] == [
        (None, 1, 13.0, 13.0), ("client-2", 1, 2.5, 2.5),
    ]  # fmt: skip
    assert found.approval_s == 15.5


def test_usage_by_model_as_the_turns_and_as_the_server_has_it() -> None:
    tape = asked()
    total = {"small": {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11, "total_cost_usd": 0.5}}
    tape.stream("s", 1.0, (3.0, created()), (4.0, done("r", 60, cost_usd=0.25)), (5.0, created("r2")),
                (6.0, done("r2", 40, cost_usd=0.5)), (7.0, event("session.usage", usage_by_model=total)))  # fmt: skip
    (counted,), (reported,) = one(tape).usage, one(tape).reported_usage
    assert (counted.model, counted.turns, counted.input_tokens, counted.output_tokens) == ("big", 2, 20, 100)
    assert (counted.reasoning_tokens, counted.total_tokens, counted.cost_usd) == (None, 120, 0.75)
    assert (reported.model, reported.turns, reported.output_tokens, reported.cost_usd) == ("small", None, 6, 0.5)


def test_numbers_that_no_server_counts_are_taken_for_none() -> None:
    tape = asked()
    data = b'{"type": "response.completed", "response": {"id": "r", "usage": {"output_tokens": %s, "cost_usd": 1e999}}}'
    end = b"data: " + data % (b"9" * 400) + b"\n\n"
    server = b'data: {"type": "session.usage", "usage_by_model": {"m": {"input_tokens": -1, "output_tokens": %s}}}\n\n'
    tape.stream(
        "s", 1.0, (3.0, created()), (4.0, delta("a")), (5.0, delta("b")), (6.0, end), (6.5, server % (b"9" * 400))
    )
    (usage,), (reported,) = one(tape).usage, one(tape).reported_usage
    assert (reported.model, reported.input_tokens, reported.output_tokens) == ("m", None, None)
    assert (usage.output_tokens, usage.cost_usd, one(tape).output_tokens_per_s) == (None, None, None)


def test_the_proxys_own_delay_is_until_the_hand_over() -> None:
    tape = answered()
    store = tape.store()
    store._connection.execute("COMMIT")
    (stream,) = store.streams()
    reads = store.reads(stream.exchange)
    never = json.dumps([[read.offset_ns - reads[0].offset_ns, None, read.size] for read in reads])
    store._connection.execute("UPDATE read_blocks SET reads = ?", (never,))
    late = [(n, read.offset_ns + 1_000_000 * (n + 1)) for n, read in enumerate(reads[:4])]
    store._connection.execute(*stream_rows.reads_sent(stream.exchange, late))
    (found,) = measured(store)
    assert found.proxy_delay_ms == Spread(4, 2.5, 3.97, 4.0)
    assert (found.never_sent, found.streams[0].never_sent) == (9, 9)
    store._connection.execute("UPDATE read_blocks SET reads = ?", (never,))
    (found,) = measured(store)
    assert (found.proxy_delay_ms, found.never_sent) == (None, 13)


def test_a_session_of_one_event() -> None:
    tape = Made()
    tape.stream("s", 1.0, (2.0, heartbeat()), end=3.0)
    found = one(tape)
    assert (found.events, found.gaps, found.gaps_without_heartbeats, found.silent_at_end_s) == (1, None, None, None)
    assert (found.heartbeat_share, found.turns, found.events_per_s, found.first_event_s) == (1.0, (), None, None)


def test_a_session_of_which_there_are_only_reads() -> None:
    tape = Made()
    tape.get("/v1/sessions/s", 1.0, {"status": "idle"}, until=1.5)
    tape.get("/v1/sessions/s", 2.0, {"status": "idle"}, until=3.0)
    found = one(tape)
    assert (found.exchanges, found.duration_s, found.response_bytes) == (2, 2.0, 36)
    assert (found.streams, found.events, found.heartbeat_share, found.proxy_delay_ms) == ((), 0, None, None)
    assert (found.output_tokens, found.usage, found.deltas_per_s) == (None, (), None)


def test_a_runner_alone_is_no_session() -> None:
    tape = Made()
    tape.post("/v1/sessions/s/events", 1.0, **message("From the runner", "i"), party="runner")
    assert list(measured(tape.store())) == []


def test_an_unfinished_turn_of_a_killed_recorder() -> None:
    tape = asked()
    tape.stream("s", 1.0, (3.0, created()), (4.0, delta("One ")), (9.0, delta("two")), ending="open")
    (found,) = measured(tape.store())
    assert found.endings == {"recorder_killed": 1}
    assert found.turns_ended == {"unfinished": 1}
    assert (found.turns[0].duration_s, found.duration_s, found.silent_at_end_s) == (None, 7.0 + 1.0, 0.0)
    assert (found.output_tokens, found.output_tokens_per_s, found.deltas_per_s) == (None, None, 0.2)


def test_a_stream_without_times_has_none(tmp_path: Path) -> None:
    (tmp_path / "one.sse").write_bytes(heartbeat() + created() + delta("a") + delta("b") + done("r", 9) + DONE)
    import_file(tmp_path / "one.sse", tmp_path / "one.db")
    (found,) = omnirecord.stats(tmp_path / "one.db")
    timed = {name for name, value in walked(stats_row(found)) if name.endswith(("_s", "_ms")) and value is not None}
    assert (timed, found.gaps, found.gaps_without_heartbeats) == (set(), None, None)
    assert (found.events, found.output_tokens, found.turns_ended) == (6, 9, {"completed": 1})


def walked(value: Any) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield name, inner
        yield from walked(inner)
        yield from (pair for each in (inner if isinstance(inner, tuple) else ()) for pair in walked(each))


def test_times_that_go_back_are_no_gaps() -> None:
    tape = Made()
    tape.stream("s", 1.0, (5.0, heartbeat()), (3.0, status("running")), (4.0, status("idle")), end=6.0)
    found = one(tape)
    assert found.gaps is not None
    assert (found.gaps.count, found.gaps.longest_s) == (2, 1.0)


def test_sessions_come_in_the_order_in_which_they_began_and_each_recording_has_its_own() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.5, child("t")))
    tape.stream("t", 2.0, (2.0, heartbeat()))
    tape.another_recording()
    tape.stream("s", 0.0, (0.0, heartbeat()))
    found = [(one.recording, one.session_id, one.parent_session_id) for one in measured(tape.store())]
    assert found == [(1, "s", None), (1, "t", "s"), (2, "s", None)]
    assert [one.recording for one in measured(tape.store(), "s")] == [1, 2]


def test_the_function_takes_a_session_by_the_beginning_of_its_id() -> None:
    path = ROOT / "cassettes" / "subagent.jsonl"
    both = omnirecord.stats(path)
    assert omnirecord.stats(path, (both[1].session_id or "")[:6]) == [both[1]]
    with pytest.raises(UsageError, match="no session begins with 'nosuch'"):
        omnirecord.stats(path, "nosuch")


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_percentiles_lie_between_the_least_and_the_most(values: list[int]) -> None:
    p50, p99 = percentiles(sorted(values))
    assert min(values) <= p50 <= p99 <= max(values)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted)))
def test_spans_are_apart_and_hold_each_moment_that_one_of_them_held(spans: list[list[int]]) -> None:
    joined = union((begin, end) for begin, end in spans)
    assert all(a[1] < b[0] for a, b in pairwise(joined))
    moments = {moment for begin, end in spans for moment in range(begin, end + 1)}
    assert {moment for begin, end in joined for moment in range(begin, end + 1)} >= moments


# The shipped cassettes, counted again from their text alone.


class Counted:
    """One stream of a .jsonl cassette, read with nothing but json."""

    def __init__(self, lines: list[dict[str, Any]], stream: int) -> None:
        self.exchange = next(line for line in lines if line.get("stream") == stream and "request" in line)
        reads = [read for line in lines if line.get("stream") == stream for read in line.get("reads", ())]
        raws = [line["raw"] for line in lines if line.get("stream") == stream and "raw" in line]
        self.bytes = sum(len(raw.encode()) for raw in raws)
        self.events, self.delays = [], []
        position, n, end = 0, 0, reads[0][2] if reads else 0
        for raw in raws:
            position += len(raw.encode())
            while end < position:
                n += 1
                end += reads[n][2]
            data = re.search(r"^data: (.*)$", raw, re.MULTILINE)
            if data:
                value = json.loads(data[1]) if data[1] != "[DONE]" else {"type": "[DONE]"}
                self.events.append((reads[n][0], value))
                self.delays.append(reads[n][1] - reads[n][0])


def ordered(values: list[int], q: float) -> float:
    """A percentile, by the book: between the two nearest."""
    at = q * (len(values) - 1)
    low = sorted(values)[int(at)]
    return low + (at - int(at)) * (sorted(values)[min(int(at) + 1, len(values) - 1)] - low)


ALONE = ["text", "tool", "approval", "failed", "interrupt", "responses"]


@each("name", ALONE)
def test_a_shipped_session_counted_without_our_code(name: str) -> None:
    path = ROOT / "cassettes" / f"{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    raw, (found,) = Counted(lines, 1), omnirecord.stats(path)
    times = [at for at, _ in raw.events]
    gaps = [b - a for a, b in pairwise(times)]
    assert found.events_by_type == Counter(value["type"] for _, value in raw.events)
    assert found.streams[0].content_bytes == raw.bytes
    assert found.gaps is not None
    assert found.gaps.longest_s == max(gaps) / 1e9
    assert found.gaps.p50_s == pytest.approx(ordered(gaps, 0.5) / 1e9)
    assert found.gaps.p99_s == pytest.approx(ordered(gaps, 0.99) / 1e9)
    assert found.proxy_delay_ms is not None
    assert found.proxy_delay_ms.p99 == pytest.approx(ordered(raw.delays, 0.99) / 1e6)
    assert found.proxy_delay_ms.max == max(raw.delays) / 1e6
    ends = [value["response"].get("usage") or {} for _, value in raw.events if value["type"] == "response.completed"]
    tokens = [usage["output_tokens"] for usage in ends if "output_tokens" in usage]
    assert found.output_tokens == (sum(tokens) if tokens else None)


@each("path", CASSETTES)
def test_counts_of_a_shipped_cassette_agree_with_each_other(path: Path) -> None:
    for found in omnirecord.stats(path):
        assert sum(found.events_by_type.values()) == found.events
        assert sum(found.verdicts.values()) - found.verdicts.get("comment", 0) == found.events
        assert sum(found.endings.values()) == len(found.streams)
        assert sum(found.turns_ended.values()) == len(found.turns)
        assert json.loads(json.dumps(stats_row(found), allow_nan=False))


KINDS = [kind for kind in vars(values).values() if isinstance(kind, type) and kind.__module__ == values.__name__]


@each("kind", KINDS)
def test_the_page_has_the_fields_that_there_are(kind: Any) -> None:
    page = (ROOT / "docs" / "stats.md").read_text().partition(f"\n## {kind.__name__}\n")[2].partition("\n## ")[0]
    told = [
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert told == [field.name for field in fields(kind)]


LONG = """
import sys, omnirecord
(found,) = omnirecord.stats(sys.argv[1])
print(found.events)
"""


def test_a_hundred_thousand_events_in_three_seconds_and_300_mb(tmp_path: Path, long: bool) -> None:
    """Without `--long`, 20,000 events in a share of the time and of the memory."""
    share = 1.0 if long else 0.2
    count, tape = int(100_000 * share), asked(2.0)
    deltas = [(3.0 + n / 100, delta(f"word{n} ", n)) for n in range(count)]
    tape.stream("s", 1.0, (2.5, created()), *deltas, (1004.0, done("r", 120_000)))
    path = tape.save(tmp_path / "long.db")
    spent = cost(LONG, path)
    assert int(spent.stdout) == count + 2
    assert spent.seconds < (1 + 2 * share) * slowness()
    assert spent.megabytes < 80 + 220 * share
