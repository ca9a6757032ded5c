"""`--resume` before a real Omnigent server: a client that is killed in the middle of a turn comes back and has it all,
and the real client does not mind the ids."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

from omnirecord.cassette.open import open_store
from omnirecord.model import TimedFrame
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from omnirecord.wire.event_ids import event_id, stamp
from omnirecord.wire.sse import Parser
from tests.omnigent_rig import agents, script
from tests.omnigent_rig.driver import conversation
from tests.omnigent_rig.scenarios import SCENARIOS, held
from tests.omnigent_rig.stack import Stack
from tests.support import wire

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class Rig:
    proxy: Proxy
    runner_id: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rig(tmp_path_factory: pytest.TempPathFactory, shared_stack: Stack) -> AsyncIterator[Rig]:
    db = tmp_path_factory.mktemp("resume") / "session.db"
    async with Proxy(shared_stack.url, db, resume=True) as proxy:
        yield Rig(proxy, shared_stack.runner_id)


class Curl:
    """`curl -N`, and what it has printed."""

    def __init__(self, url: str, last_event_id: str | None) -> None:
        self._command = ["curl", "-sN", "--noproxy", "*", url, "-H", "Accept: text/event-stream"]
        if last_event_id is not None:
            self._command += ["-H", f"Last-Event-ID: {last_event_id}"]
        self.body = b""

    async def __aenter__(self) -> Curl:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=asyncio.subprocess.PIPE)
        return self

    async def until(self, mark: bytes, count: int = 1) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while self.body.count(mark) < count:
                more = await self._process.stdout.read(1 << 16)
                assert more, f"it ended: {self.body[-500:]!r}"
                self.body += more

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.communicate()

    @property
    def frames(self) -> list[bytes]:
        """Those that are whole: what a client takes of what it got."""
        return [frame.raw or b"" for frame in Parser().feed(self.body)]

    @property
    def last_event_id(self) -> str:
        return [frame.id for frame in Parser().feed(self.body) if frame.id is not None][-1]


def recorded(db: Path, session_id: str) -> list[list[TimedFrame]]:
    store = open_store(db)
    try:
        return [list(store.frames(stream)) for stream in store.streams(session_id)]
    finally:
        store.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_a_curl_that_is_killed_in_a_turn_comes_back_and_nothing_is_lost_or_doubled(rig: Rig) -> None:
    """Three times, each time with what it had read so far."""
    got: list[bytes] = []
    last: str | None = None
    async with conversation(rig.proxy.url, rig.runner_id, agents.HELPER) as talk:
        url = f"{rig.proxy.url}/v1/sessions/{talk.session_id}/stream"
        for deltas in (5, 12, 9):
            async with Curl(url, last) as curl:
                await curl.until(b"session.heartbeat" if last is None else b"id: ")
                if last is None:
                    await talk.say(script.TELL)
                await curl.until(b"event: response.output_text.delta", count=deltas)
            got += curl.frames
            last = curl.last_event_id
            await asyncio.sleep(0.3)  # the turn goes on without it
        async with Curl(url, last) as curl:
            await curl.until(b"event: response.output_text.delta", count=60)
            got += curl.frames
        await talk.interrupt()
    await wire.eventually(lambda: max(map(len, recorded(rig.proxy.db, talk.session_id))) >= len(got))
    streams = recorded(rig.proxy.db, talk.session_id)
    assert len(streams) == 2, "the conversation's own, and one for every curl"
    (ours,) = [frames for frames in streams if event_id(frames[0].stream, 1).encode() in got[0]]
    sent = [stamp(frame.raw or b"", event_id(frame.stream, frame.seq)) for frame in ours]
    assert got == sent[: len(got)]
    assert len(got) > 80
    assert {frame.verdict for frame in ours} == {"valid"}


@pytest.mark.parametrize(
    "name", ["reconnect", *(pytest.param(x, marks=pytest.mark.long) for x in ("text", "two_clients"))]
)
async def test_the_real_client_works_unchanged_on_a_stamped_stream(rig: Rig, shared_model: Replay, name: str) -> None:
    seen = await held(SCENARIOS[name], shared_model)(rig.proxy.url, rig.runner_id)
    assert seen.text == getattr(script.SCRIPT[script.EXPLAIN], "text", None)

    def is_recorded() -> bool:
        streams = recorded(rig.proxy.db, seen.session_id)
        return any([frame.type for frame in frames[: len(seen.types)]] == seen.types for frames in streams)

    await wire.eventually(is_recorded)
