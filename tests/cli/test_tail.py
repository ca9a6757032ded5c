"""`omnirecord tail` as a program: by file and by URL, over kills and restarts, until the end or Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.follow.rows import Wanted
from omnirecord.analysis.follow.tail import follow
from tests.cli.test_cli import EVENT_KEYS
from tests.server.test_tls import Files
from tests.support import wire
from tests.support.cassettes import Made, delta, status
from tests.support.command import invoke
from tests.support.forked import Running
from tests.support.process import ForkedProcess
from tests.support.wire import Upstream, connected, event, get, recorded
from tests.ui.test_control import Talker

run = partial(invoke, "tail")


class Tail:
    """A running `omnirecord tail --json`."""

    def __init__(self, source: str | Path, *options: str, token: str | None = None) -> None:
        self._words = ["tail", str(source), "--json", *options]
        self._environment = {**os.environ, **({} if token is None else {"OMNIRECORD_TOKEN": token})}

    async def __aenter__(self) -> Tail:
        self._process = Running(self._words, self._environment)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def row(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            line = await self._process.readline()
        assert line, (await self._process.communicate())[1].decode()
        row = json.loads(line)
        assert list(row) == EVENT_KEYS
        return dict(row)

    async def rest(self) -> list[dict[str, Any]]:
        """What comes until it ends by itself, with exit code 0."""
        async with asyncio.timeout(30):
            out, errors = await self._process.communicate()
        assert (self._process.returncode, errors) == (0, b"")
        return [json.loads(line) for line in out.splitlines()]

    async def stop(self) -> list[dict[str, Any]]:
        self._process.send_signal(signal.SIGINT)
        return await self.rest()


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    tape = Made()
    tape.stream("s", 1.0, *((1.0 + n, delta(f"{n} \x1b[2J")) for n in range(20)), (30.0, status("idle")), end=40.0)
    return tape.save(tmp_path / "a.db")


def test_of_a_finished_cassette_the_last_events_are_shown_and_that_it_is_one(finished: Path) -> None:
    result = run(finished)
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ["stream", "assistant", "stream"]
    assert "(20 deltas, 1/s, 19.0 s)  1:1" in lines[1]
    assert lines[-1] == f"-- no recorder writes to {finished}: end of the recording"
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("option", [["--verbose"], ["--type", "*"], ["--verdict", "valid"]])
def test_each_event_gets_a_line_if_asked_for(finished: Path, option: list[str]) -> None:
    result = run(finished, *option)
    lines = result.stdout.splitlines()
    places = [line.split()[-1] for line in lines[:-1]]
    assert [place for place in places if not place.isdecimal()] == [f"1:{n}" for n in range(12, 22)]
    assert lines[-1] == f"-- no recorder writes to {finished}: end of the recording"
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout


def test_the_rows_are_those_of_events(finished: Path) -> None:
    shown = invoke("events", finished, "--json").stdout.splitlines()
    assert run(finished, "--json", "-n", "3").stdout.splitlines() == shown[-3:]
    assert run(finished, "--json", "-n", "100", "--type", "session.*").stdout.splitlines() == shown[-1:]
    assert run(finished, "--json", "--last", "0").stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.db"], "does not exist"),
        (["{}", "--session", "x"], "no session begins with 'x'"),
        (["{}", "--stream", "9"], "holds no stream 9"),
        (["http://127.0.0.1:1"], "nothing answers at http://127.0.0.1:1 (Connection refused)"),
        (["http://user@127.0.0.1"], "names no host, or a user"),
        (["http://127.0.0.1:99999999"], "is no URL"),
        (["http://127.0.0.1:1", "--ca", "a.pem"], "--ca is for a proxy with https"),
        (["{}", "--ca", "a.pem"], "is a file"),
        (["https://127.0.0.1:1", "--ca", "missing.pem"], "--ca missing.pem cannot be read"),
    ],
)
def test_a_mistake_is_a_sentence(finished: Path, words: list[str], said: str) -> None:
    result = run(*(word.format(finished) for word in words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


async def test_a_server_that_tells_nothing_of_the_kind_is_no_proxy_to_follow(tmp_path: Path) -> None:
    async def answer(conn: wire.Wire) -> None:
        await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")(conn)

    async with recorded(answer, tmp_path) as (proxy, _):
        result = await asyncio.to_thread(run, proxy.url)
    assert result.exit_code == 2
    assert "start it with `omnirecord proxy --control`" in result.stderr


async def test_what_the_proxy_says_is_passed_on(tmp_path: Path) -> None:
    async with recorded(Talker().handle, tmp_path, control=True) as (proxy, _):
        result = await asyncio.to_thread(run, proxy.url + "/-/omnirecord/", "--stream", "-1")
    assert result.exit_code == 2
    assert "says: stream='-1' is not a number" in result.stderr


async def test_a_token_is_sent_that_was_given_by_option_or_environment_and_asked_for_in_words(tmp_path: Path) -> None:
    token, talker = "a-token-of-my-own", Talker()
    async with (
        recorded(talker.handle, tmp_path, control=True, token=token) as (proxy, _),
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        await talker.say(event(0))
        await wire.eventually(lambda: len(wire.frames(proxy.db)) == 1)
        for words, said in (
            ([], "asks for a token: give the token that the proxy printed or was given at its start"),
            (["--token", "another-token-of-mine"], "does not take this token"),
            (["--token", "short"], "the token has to be 16"),
        ):
            result = await asyncio.to_thread(run, proxy.url, *words)
            assert (result.exit_code, result.stdout) == (2, "")
            assert said in result.stderr
        async with Tail(proxy.url, "--token", token) as by_option, Tail(proxy.url, token=token) as by_environment:
            for tail in (by_option, by_environment):
                assert (await tail.row())["seq"] == 1
                await tail.stop()


async def test_a_proxy_with_tls_has_to_be_vouched_for(tmp_path: Path) -> None:
    talker, files = Talker(), Files(tmp_path)
    async with (
        recorded(talker.handle, tmp_path, control=True, tls_cert=files.both) as (proxy, _),
        connected(proxy.url, get(), tls=files.trusting()) as client,
    ):
        await client.head()
        await talker.say(event(0))
        await wire.eventually(lambda: len(wire.frames(proxy.db)) == 1)
        result = await asyncio.to_thread(run, proxy.url, "--retry")
        assert result.exit_code == 2
        assert "is not to be trusted: its certificate is signed by an authority that is not trusted" in result.stderr
        async with Tail(proxy.url, "--ca", str(files.ca)) as tail:
            assert (await tail.row())["seq"] == 1
            await tail.stop()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["url", "file"])
async def test_each_event_is_printed_as_it_is_recorded_until_the_recorder_stops(by: str, tmp_path: Path) -> None:
    talker = Talker()
    async with (
        recorded(talker.handle, tmp_path, control=True) as (proxy, _),
        connected(proxy.url, get("/v1/sessions/s/stream")) as client,
    ):
        await client.head()
        await talker.say(*map(event, range(20)))
        await wire.eventually(lambda: len(wire.frames(proxy.db)) == 20)
        async with Tail(proxy.url if by == "url" else proxy.db, "-n", "2", "--session", "s") as tail:
            assert [(await tail.row())["seq"] for _ in range(2)] == [19, 20]
            for n in range(20, 40):
                await talker.say(event(n))
                assert (await tail.row())["seq"] == n + 1
            await talker.say(*map(event, range(40, 700)))  # more than a batch of 500
            assert [(await tail.row())["seq"] for _ in range(40, 700)] == list(range(41, 701))
            await proxy.stop()
            assert await tail.rest() == []
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]


@pytest.mark.slow
@pytest.mark.timed
async def test_most_events_are_printed_within_300_ms(tmp_path: Path) -> None:
    talker, db = Talker(), tmp_path / "run.db"
    async with (
        Upstream(talker.handle) as upstream,
        ForkedProcess(upstream.url, db, "--control") as proxy,
        connected(proxy.url, get("/v1/sessions/s/stream")) as client,
        Tail(db) as by_file,
        Tail(proxy.url) as by_url,
    ):
        await client.head()
        late = []
        for n in range(11):
            begun = time.monotonic()
            await talker.say(event(n))
            for tail in (by_file, by_url):
                assert (await tail.row())["seq"] == n + 1
            late.append(time.monotonic() - begun)
    assert sorted(late)[5] < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("by", ["url", "file"])
async def test_ctrl_c_ends_it_and_nothing_is_wrong(by: str, tmp_path: Path) -> None:
    talker = Talker()
    async with (
        recorded(talker.handle, tmp_path, control=True) as (proxy, _),
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        await talker.say(event(0))
        async with Tail(proxy.url if by == "url" else proxy.db) as tail:
            assert (await tail.row())["seq"] == 1
            assert await tail.stop() == []


async def say_and_kill(upstream: Upstream, talker: Talker, db: Path, listen: str, seen: Awaitable[Any]) -> None:
    """A recorder that is killed with -9 once its event was seen."""
    async with (
        ForkedProcess(upstream.url, db, "--control", "--listen", listen) as proxy,
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        await talker.say(event(0), stream=-1)
        await seen
        await proxy.end(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["url", "file"])
async def test_with_retry_it_waits_for_what_is_not_there_and_goes_on_over_kills(
    by: str, tmp_path: Path, long: bool
) -> None:
    talker, db, url = Talker(), tmp_path / "run.db", wire.nobody_listens()
    listen = url.removeprefix("http://")
    async with Upstream(talker.handle) as upstream, Tail(db if by == "file" else url, "--retry") as tail:
        for recording in (1, 2, 3) if long else (1, 2):
            row = asyncio.create_task(tail.row())
            await say_and_kill(upstream, talker, db, listen, row)
            assert (row.result()["recording"], row.result()["seq"]) == (recording, 1)
        assert await tail.stop() == []


@pytest.mark.slow
@pytest.mark.parametrize("by", ["url", "file"])
async def test_without_retry_a_killed_recorder_is_the_end(by: str, tmp_path: Path) -> None:
    talker, db = Talker(), tmp_path / "run.db"
    async with (
        Upstream(talker.handle) as upstream,
        ForkedProcess(upstream.url, db, "--control") as proxy,
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        await talker.say(event(0))
        async with Tail(proxy.url if by == "url" else db) as tail:
            assert (await tail.row())["seq"] == 1
            await proxy.end(signal.SIGKILL)
            assert await tail.rest() == []


@pytest.mark.slow
async def test_a_file_that_is_moved_away_makes_room_for_the_next(tmp_path: Path) -> None:
    def made(*frames: bytes) -> Path:
        tape = Made()
        tape.stream("s", 1.0, *((1.0, frame) for frame in frames))
        return tape.save(tmp_path / "made.db")

    db = tmp_path / "a.db"
    made(delta("one")).rename(db)
    async with Tail(db, "--retry") as tail:
        assert (await tail.row())["data"]["delta"] == "one"
        db.rename(tmp_path / "old.db")
        await asyncio.sleep(0.2)
        made(delta("two")).rename(db)
        assert (await tail.row())["data"]["delta"] == "two"


@pytest.mark.parametrize("by", ["url", "file"])
async def test_requests_are_told_beside_events_but_not_as_json(by: str, tmp_path: Path) -> None:
    body = b'{"error": {"code": "not_found", "message": "No such session."}}'
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"

    async def refuse(conn: wire.Wire) -> None:
        await conn.request()
        await conn.send(answer % (len(body), body))

    async with recorded(refuse, tmp_path, control=True) as (proxy, _):
        source = proxy.url if by == "url" else str(proxy.db)
        rows = follow(source, Wanted(requests=True), say=lambda _: None)
        async with connected(proxy.url, get("/v1/sessions/gone")) as client:
            await client.head()
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
        row = await asyncio.to_thread(next, rows)
        await proxy.stop()
        assert list(follow(str(proxy.db), Wanted(), say=lambda _: None)) == []
    assert (row["status"], row["error"]) == (404, "not_found: No such session.")


async def test_a_proxy_of_an_older_version_is_followed_without_requests() -> None:
    asked: list[bytes] = []

    async def older(conn: wire.Wire) -> None:
        for _ in range(2):
            line, *_rest = await conn.request()
            asked.append(line)
            if b"requests=1" in line:
                await conn.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            await conn.send(wire.STREAM.replace(b"\r\n\r\n", b"\r\nX-Omnirecord: events\r\n\r\n"))
            await conn.send(wire.chunk(b'event: end\ndata: {"ended": true}\n\n') + wire.END)

    async with Upstream(older) as server:
        rows = await asyncio.to_thread(list, follow(server.url, Wanted(requests=True), say=lambda _: None))
    assert rows == []
    assert [b"requests=1" in line for line in asked] == [True, False]
