"""Commands, followers and replays read the files of a rotating recorder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord import record
from omnirecord.analysis.follow.rows import Wanted
from omnirecord.analysis.follow.tail import follow
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.wire.limits import Rotation
from tests.cassette.test_rotation import SMALL, Run, files, quick, receive
from tests.support import wire
from tests.support.cassettes import completed, created, delta, heartbeat, status
from tests.support.forked import Running
from tests.support.wire import Wire, chunk, connected, event, get
from tests.ui.test_control import Talker

__all__ = ["quick"]


async def test_every_command_reads_every_file(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.stream()
    for n in range(3):
        receive(recorder, event(2 * n), event(2 * n + 1))
        await run.rotates()
    receive(recorder, event(7))
    recorder.end("client_left")
    run.stop()
    for path in [*files(tmp_path), tmp_path / "run.db"]:
        assert omnirecord.validate(path).ok
        assert len(omnirecord.stats(path)) == len({x.session_id for x in wire.exchanges(path) if x.session_id})
        assert {one.severity for one in omnirecord.doctor(path)} <= {"note"}
        omnirecord.search(path, "x")
        text = tmp_path / "copy.jsonl"
        with wire.opened(path) as store:
            text.write_bytes(b"".join(jsonl_bytes(store)))
        assert omnirecord.diff(path, text) == []


@asynccontextmanager
async def numbered(folder: Path, **how: Any) -> AsyncIterator[Proxy]:
    async def handle(conn: Wire) -> None:
        await conn.stream()
        for n in range(400):
            await conn.send(chunk(event(n)))
            await asyncio.sleep(0.005)
        await conn.gone()

    async with wire.Upstream(handle) as upstream, record(upstream.url, folder / "run.db", rotate="1h", **how) as proxy:
        proxy._recorder_thread.files._rotation = Rotation(seconds=0.4)
        yield proxy


@pytest.mark.slow
@pytest.mark.parametrize("by", ["file", "url"])
async def test_who_follows_hears_every_event_once_over_all_files(tmp_path: Path, by: str) -> None:
    heard: list[int] = []
    async with numbered(tmp_path, control=True) as proxy, connected(proxy.url, get()) as client:
        await client.head()

        def listen() -> None:
            source = proxy.url if by == "url" else str(tmp_path / "run.db")
            for row in follow(source, Wanted(), last=1000, say=lambda _: None):
                heard.append(row["sequence_number"])
                if heard[-1] == 399:
                    return

        task = asyncio.create_task(asyncio.to_thread(listen))
        await client.until(b'"delta":"399')
        await asyncio.wait_for(task, 20)
    assert len(files(tmp_path)) > 2
    assert heard == list(range(400))


@pytest.mark.parametrize("by", ["file", "url"])
async def test_an_answer_that_ends_in_an_old_file_is_told_to_its_end_and_what_is_in_the_new_one_meanwhile(
    tmp_path: Path, by: str
) -> None:
    talker, heard = Talker(), list[int]()
    async with (
        wire.Upstream(talker.handle) as upstream,
        record(upstream.url, tmp_path / "run.db", rotate="1h", control=True) as proxy,
        connected(proxy.url, b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") as posts,
        connected(proxy.url, get()) as gets,
    ):
        await posts.head()
        await gets.head()

        def listen() -> None:
            source = proxy.url if by == "url" else str(tmp_path / "run.db")
            for row in follow(source, Wanted(), last=1000, say=lambda _: None):
                heard.append(row["sequence_number"])

        async def say(numbers: range) -> None:
            """Half of them by the answer to the POST."""
            for n in numbers:
                await talker.say(event(n), stream=n % 2)
            await wire.eventually(lambda: sorted(heard) == list(range(numbers.stop)))

        following = asyncio.create_task(asyncio.to_thread(listen))
        await say(range(2))
        old, proxy._recorder_thread.files._rotation = proxy._recorder_thread.file, SMALL
        await say(range(2, 4))
        await wire.eventually(lambda: proxy._recorder_thread.file is not old)
        proxy._recorder_thread.files._rotation = Rotation(seconds=3600)
        await say(range(4, 8))
        assert not old.is_closed
        await talker.say(event(8), stream=0)
        await wire.eventually(lambda: event(8) in wire.content(old.path, 1) + wire.content(old.path, 2))
    await asyncio.wait_for(following, 20)
    assert sorted(heard) == list(range(9)), "with what came last before the recorder stopped"


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["lines", "json"])
async def test_show_follows_turns_from_file_to_file(tmp_path: Path, options: list[str]) -> None:
    never = Rotation(seconds=3600)
    run = Run(tmp_path / "run.db", rotation=never)
    recorder = run.stream()
    shown, lines = Running(["show", tmp_path / "run.db", "--follow", *options]), list[str]()

    async def turn(text: str) -> None:
        receive(recorder, heartbeat(), created(text), delta(text), completed(text), status("idle"))
        while not lines or text not in lines[-1]:
            lines.append((await shown.readline()).decode())
            assert lines[-1], "it has ended"

    await turn("of the first file")
    for n in range(2):
        run.thread.files._rotation = SMALL
        await run.rotates()
        run.thread.files._rotation = never
        await turn(f"of file {n}")
    recorder.end("client_left")
    run.stop()
    _, errors = await shown.communicate()
    assert (shown.returncode, errors) == (0, b"")
    assert options or any(line.startswith("-- run-") for line in lines)


async def test_a_cassette_of_several_is_served_from_its_first_event_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    recorder = run.stream()
    receive(recorder, event(1))
    await run.rotates()
    receive(recorder, event(2), event(3))
    recorder.end("eof")
    run.stop()
    second = files(tmp_path)[1]
    async with omnirecord.replay(second) as server, asyncio.timeout(5):
        answer = await wire.ask(server.url, get("/v1/sessions/s/stream"))
    assert answer.body == event(3)
