"""A cassette served to itself: what counts as equal, and how a timing error is measured."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.model import Exchange, Recording
from omnirecord.omnigent.routes import is_gate
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.player.timeline import timing_of
from omnirecord.replayer.server import Replay
from omnirecord.replayer.verify import Expected, Rerun, StreamSeen, Verification, compare, verify
from tests.support.cassettes import Made, delta, event, heartbeat, status
from tests.support.watchdog import slowness

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_store(CASSETTES / "text.jsonl")
    yield store
    store.close()


def errors_of(store: Store, seen: StreamSeen, timing: str = "original") -> list[float]:
    return list(Expected(store, seen.exchange, timing_of(timing)).errors_ms(seen))


def seen_as_recorded(store: Store) -> StreamSeen:
    """What a rerun would have seen of a perfect replay."""
    (stream,) = store.streams()
    return as_recorded(store, stream)


def as_recorded(store: Store, stream: Exchange) -> StreamSeen:
    assert stream.response is not None
    seen = StreamSeen(stream, bytearray(store.wire(stream)))
    seen.asked_ns, seen.began_ns = stream.request.at_ns, stream.response.at_ns
    size = 0
    for read in store.reads(stream.exchange):
        size += read.size
        seen.arrivals.append((size, read.offset_ns))
    return seen


@pytest.mark.timed
async def test_a_real_session_with_two_clients_is_equal() -> None:
    result = await verify(CASSETTES / "two_clients.jsonl", timing="compressed")
    assert result.differences == []
    assert result.streams == 2
    assert result.row()["timing_error_ms"]["p99"] < 20 * slowness()


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.watched(most=0.1)  # s: of a handler that runs after a pause of seconds, on a processor that was idle
async def test_the_shipped_sessions_are_equal_and_the_timing_holds(tmp_path: Path, long: bool) -> None:
    """They are recordings of a real server, played one after the other at their own pace; in short, two of them."""
    names = [path.stem for path in CASSETTES.glob("*.jsonl")] if long else ["text", "two_clients"]
    for name in names:
        import_file(CASSETTES / f"{name}.jsonl", tmp_path / "all.db")
    p99 = []
    for _ in range(3):  # the machine has other work too: what the replay can do is the best of three
        result = await verify(tmp_path / "all.db", timing="original")
        assert result.differences == []
        assert result.streams >= len(names)
        p99.append(result.row()["timing_error_ms"]["p99"])
        if p99[-1] <= 5.0:
            break
    assert min(p99) <= 40.0  # ms: 5 on a machine that other guests leave alone


def test_the_same_bytes_are_equal(store: Store) -> None:
    result = Verification()
    compare(store, seen_as_recorded(store), result)
    assert (result.equal, result.streams) == (True, 1)


def test_a_byte_that_differs_is_named(store: Store) -> None:
    seen, result = seen_as_recorded(store), Verification()
    seen.body[100] ^= 1
    compare(store, seen, result)
    assert not result.equal
    assert "byte 100 differs" in result.differences[0]


def test_a_body_that_is_short_is_not_equal(store: Store) -> None:
    seen, result = seen_as_recorded(store), Verification()
    del seen.body[-5:]
    compare(store, seen, result)
    assert f"{len(seen.body)} replayed" in result.differences[0]


def test_a_cut_where_none_was_recorded_is_not_equal(store: Store) -> None:
    seen, result = seen_as_recorded(store), Verification()
    seen.cut = True
    compare(store, seen, result)
    assert "was cut" in result.differences[0]


def test_a_perfect_replay_has_no_timing_error(store: Store) -> None:
    errors = errors_of(store, seen_as_recorded(store))
    assert len(errors) > 20
    assert max(errors) == 0


def test_a_read_that_is_late_is_an_error_in_both_gaps_beside_it(store: Store) -> None:
    seen = seen_as_recorded(store)
    size, at = seen.arrivals[-5]
    seen.arrivals[-5] = (size, at + 3_000_000)
    errors = sorted(errors_of(store, seen))
    assert errors[-2:] == [3.0, 3.0]


def test_a_client_that_asks_later_than_it_did_is_no_timing_error(store: Store) -> None:
    """The connect snapshot comes when a stream is opened, and all that follows when the client has asked."""
    seen, snapshot = seen_as_recorded(store), 2
    seen.arrivals[snapshot:] = [(size, at + 12_000_000) for size, at in seen.arrivals[snapshot:]]
    assert max(errors_of(store, seen)) == 0


def test_a_first_event_without_its_delay_is_an_error_of_the_whole_delay() -> None:
    tape = Made()
    tape.stream("/events", 2.0, (4.0, event("a")), (4.5, event("b")), asked=1.0, ending="eof")
    store = tape.store()
    seen = seen_as_recorded(store)
    seen.arrivals = [(size, at - 2_000_000_000) for size, at in seen.arrivals]
    expected = Expected(store, seen.exchange, timing_of("original"))
    assert list(expected.errors_ms(seen)) == [0]
    assert list(expected.first_byte_ms(seen)) == [0]
    assert list(expected.first_event_ms(seen)) == [2000]
    seen.began_ns -= 300_000_000
    assert list(expected.first_byte_ms(seen)) == [300]


def test_a_first_event_that_follows_a_message_is_not_timed_from_the_open() -> None:
    tape = Made()
    tape.stream("s", 2.0, (4.0, status("running")), asked=1.0)
    tape.post("/v1/sessions/s/events", 3.0, status=202)
    store = tape.store()
    seen = seen_as_recorded(store)
    assert list(Expected(store, seen.exchange, timing_of("original")).first_event_ms(seen)) == []


def test_the_first_event_of_a_stream_that_joins_another_is_timed_from_the_open_only_in_its_snapshot() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (9.0, status("idle")))
    tape.stream("s", 5.0, (5.0, heartbeat()), (9.0, status("idle")))
    tape.stream("s", 6.0, (9.0, status("idle")))
    store = tape.store()
    compared = []
    for stream in store.streams():
        seen = as_recorded(store, stream)
        compared.append(list(Expected(store, stream, timing_of("original")).first_event_ms(seen)))
    assert compared == [[0], [0], []]


def test_the_events_of_another_session_do_not_divide_a_capped_gap() -> None:
    tape = Made()
    tape.stream("s", 0.0, (0.0, heartbeat()), (1.0, delta("a")), (61.0, delta("b")))
    tape.stream("t", 0.0, *((float(second), delta("c")) for second in range(60)))
    store = tape.store()
    seen = as_recorded(store, store.streams()[0])
    seen.arrivals[2] = (seen.arrivals[2][0], 1_500_000_000)
    assert errors_of(store, seen, "compressed") == [0]


async def test_the_delay_of_the_first_event_is_replayed_and_verified(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("/events", 0.3, (0.8, event("a")), (0.9, event("b")), asked=0.0, ending="eof")
    result = await verify(tape.save(tmp_path / "late.db"), timing="original")
    row = result.row()
    assert row["equal"]
    assert row["first_byte_error_ms"]["max"] < 150 * slowness()
    assert row["first_event_error_ms"]["max"] < 250 * slowness()


def test_what_was_not_compared_has_no_error() -> None:
    row = Verification().row()
    assert (row["first_byte_error_ms"], row["first_event_error_ms"]) == (None, None)


def test_quantiles_of_a_cassette_without_gaps_are_zero() -> None:
    assert Verification().row()["timing_error_ms"] == {"p50": 0.0, "p99": 0.0, "max": 0.0}


async def test_a_stream_that_is_not_replayed_is_a_difference(tmp_path: Path) -> None:
    """What was not asked is not equal: here a stream with a status that no server may send."""
    import_file(CASSETTES / "responses.jsonl", tmp_path / "odd.db")
    with closing(sqlite3.connect(tmp_path / "odd.db")) as database, database:
        database.execute("UPDATE exchanges SET status = 999")
    result = await verify(tmp_path / "odd.db", timing="instant")
    assert len(result.differences) == 1


async def test_a_stream_that_its_client_left_before_the_first_byte_does_not_hold_it_up(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, ending="client_left")
    result = await verify(tape.save(tmp_path / "none.db"), timing="instant")
    assert (result.streams, result.differences) == (1, [])


def order(store: Store) -> list[str]:
    """Posts and the first frame after each, as they followed each other."""
    marks = [(x.request.at_ns, "post") for x in store.exchanges() if is_gate(x.request.method, x.request.target)]
    marks += [(frame.offset_ns, str(frame.type)) for x in store.streams() for frame in store.frames(x)]
    return [what for _, what in sorted(marks)]


@pytest.mark.parametrize("name", ["approval", "interrupt", "responses", "subagent"])
async def test_a_rerun_of_a_replay_is_recorded_as_the_same_session(name: str, tmp_path: Path) -> None:
    source = open_store(CASSETTES / f"{name}.jsonl")
    async with (
        Replay(CASSETTES / f"{name}.jsonl", timing="compressed") as server,
        Proxy(server.url, tmp_path / "again.db") as proxy,
    ):
        await Rerun(source, 1, proxy.url).run()
    again = open_store(tmp_path / "again.db")
    bodies = [[b"".join(store.content(x)) for x in store.streams()] for store in (source, again)]
    orders = order(source), order(again)
    source.close()
    again.close()
    assert bodies[0] == bodies[1]
    assert orders[0].count("post") == orders[1].count("post")


async def test_a_server_that_never_answers_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.replayer.verify.STUCK_AFTER", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    source = open_store(CASSETTES / "approval.jsonl")
    try:
        with pytest.raises(TimeoutError, match=r"no byte came for 0 s; still open: /v1/"):
            await Rerun(source, 1, f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}").run()
    finally:
        source.close()
        silent.close()


@pytest.mark.parametrize("target", ["//127.0.0.2:9/x", "/@127.0.0.2:9/x", "/http://127.0.0.2:9/x", "*"])
async def test_no_target_in_a_cassette_leads_to_another_server(target: str) -> None:
    """What is asked, if anything, is the server that the rerun was given."""
    tape = Writer(None)
    tape.write(
        [
            rows.recording(Recording(1, "2026-01-01T00:00:00+00:00", "0", "omnigent", None)),
            rows.request(1, 1, "http", None, "client", 0, "POST", target, (("Host", "x"),)),
            rows.response(1, "sse", 1, 1, 200, "OK", (("content-type", "text/event-stream"),)),
            rows.end(1, 2, "eof", 0, 0),
        ]
    )
    hosts: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        hosts.append(request.headers["Host"])
        return web.Response()

    server = TestServer(web.Application(), host="127.0.0.1")
    server.app.router.add_route("*", "/{tail:.*}", answer)  # type: ignore[arg-type]
    async with server:
        base = f"http://127.0.0.1:{server.port}"
        store = Store(tape.connection)
        await Rerun(store, 1, base).run()
        store.close()
    assert set(hosts) <= {base.removeprefix("http://")}
