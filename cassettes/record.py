"""Makes the shipped cassettes again: a real Omnigent server, runner and client, and omnirecord in between.

    make cassettes                      all of them
    python -m cassettes.record tool     only one

Those in `troubled` and `corpus` take minutes: a server waits for 90 seconds until it gives a runner up. The web UI and
older versions have recorders of their own, `cassettes.webui` and `cassettes.versions`.

Everything runs on loopback, in a neutral home under the system's temporary folder, so that no path of anybody's
machine gets into a cassette. The model provider is a scripted stand-in; all else is what people run. Ids, times and
how text is cut into deltas differ from run to run.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cassettes.breaking import record_corpus
from cassettes.stacks import a_stack, everyone_left, no_lines, publish, publish_small
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig import both_hops
from tests.omnigent_rig.agents import HELPER
from tests.omnigent_rig.corpus import STORIES
from tests.omnigent_rig.driver import conversation
from tests.omnigent_rig.narrow import NarrowLine
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.responses_standin import ResponsesStandin
from tests.omnigent_rig.scenarios import SCENARIOS, responses_query
from tests.omnigent_rig.script import TELL
from tests.omnigent_rig.stack import Stack, free_port
from tests.omnigent_rig.troubles import IMPATIENT, TROUBLES, Bench

HERE = Path(__file__).parent
LIVE = ("text", "tool", "approval", "interrupt", "failed", "two_clients", "reconnect", "subagent", "turns")
STANDIN = "responses"
"""`POST /v1/responses`, which the live server has no more: against the stand-in that the tests use."""
BOTH_HOPS = tuple(name for name in both_hops.SCENARIOS if name != "both_messages")
"""With the model calls of the runner: they are a recording of their own, with the hop `model`. A test records
`both_messages`, whose prompt is the Claude CLI's own text."""
LARGEST_OF_BOTH_HOPS = 300_000
"""Bytes of such a cassette that is kept as text. A request to the model has 25 KB of tools."""
OF_MODEL = ("text", "tool", "approval", "failed", "subagent", "full", "turns")
"""Scenarios with every conversation of `LIVE`, but for the interrupted story: that one is recorded whole."""
MODEL = "model"
"""The model calls of these scenarios, in `tests/omnigent_rig`: real-stack tests replay them instead of a provider."""
ALL = (*LIVE, STANDIN, MODEL, *TROUBLES, *STORIES, *BOTH_HOPS)


async def record(names: list[str]) -> None:
    if unknown := [name for name in names if name not in ALL]:
        sys.exit(f"no cassette is called {', '.join(unknown)}; there are {', '.join(ALL)}")
    with tempfile.TemporaryDirectory() as folder:
        if STANDIN in names:
            async with ResponsesStandin() as server, Proxy(server.url, Path(folder) / "standin.db") as proxy:
                await responses_query(proxy.url)
            publish(Path(folder) / "standin.db", HERE / f"{STANDIN}.jsonl")
        if live := [name for name in names if name in LIVE]:
            await record_live(live, Path(folder))
        if MODEL in names:
            await record_model(Path(folder) / "model.db")
        for name in names:
            if name in TROUBLES:
                await record_trouble(name, Path(folder) / f"{name}.db")
        if both := [name for name in names if name in BOTH_HOPS]:
            await record_both_hops(both, Path(folder))
        if corpus := [name for name in names if name in STORIES]:
            await record_corpus(corpus, Path(folder), lambda name, db: publish_small(db, HERE / "corpus", name))


async def record_live(names: list[str], folder: Path) -> None:
    async with a_stack() as (_, stack):
        for name in names:
            db = folder / f"{name}.db"
            async with Proxy(stack.url, db) as proxy:
                await SCENARIOS[name](proxy.url, stack.runner_id)
                await everyone_left(proxy)
            publish(db, HERE / f"{name}.jsonl")


async def record_both_hops(names: list[str], folder: Path) -> None:
    """The runner's provider is the recorder, at the same address for each cassette."""
    place = f"127.0.0.1:{free_port()}"
    env = {**both_hops.CLAUDE_ENV, "ANTHROPIC_BASE_URL": f"http://{place}"}
    async with a_stack(both_hops.SCRIPT, env, model=f"http://{place}/v1") as (provider, stack):
        for name in names:
            db = folder / f"{name}.db"
            upstreams = {"model": provider.url.removesuffix("/v1")}
            async with Proxy(stack.url, db, upstreams=upstreams, listens={"model": place}) as proxy:
                await both_hops.SCENARIOS[name](proxy.url, stack.runner_id)
                await everyone_left(proxy)
            publish_small(db, HERE / "both_hops", name, LARGEST_OF_BOTH_HOPS)


async def record_model(db: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    async with a_stack(model=f"http://{place}/v1") as (provider, stack):
        upstreams = {"model": provider.url.removesuffix("/v1")}
        async with Proxy(stack.url, db, upstreams=upstreams, listens={"model": place}) as proxy:
            for name in OF_MODEL:
                await SCENARIOS[name](stack.url, stack.runner_id)
            async with conversation(stack.url, stack.runner_id, HELPER) as talk:
                await talk.ask(TELL)
            await everyone_left(proxy)
    publish_small(db, HERE.parent / "tests" / "omnigent_rig", MODEL)


async def record_trouble(name: str, db: Path) -> None:
    """On a stack of its own, which does not outlive it."""
    async with a_stack(env=IMPATIENT if name == "retries" else None) as running:
        async with (narrow_lines if name == "slow_reader" else no_lines)(*running, db) as (proxy, bench):
            await TROUBLES[name](bench)
            await everyone_left(proxy)
        publish(db, HERE / "troubled" / f"{name}.jsonl")


@asynccontextmanager
async def narrow_lines(provider: Provider, stack: Stack, db: Path) -> AsyncIterator[tuple[Proxy, Bench]]:
    """The recorder does not read ahead, and buffers are small on both of its sides: the server feels a slow client."""
    async with (
        NarrowLine(stack.url) as upstream,
        Proxy(upstream.url, db, read_ahead=0) as proxy,
        NarrowLine(proxy.url) as line,
    ):
        yield proxy, Bench(line.url, provider, stack, proxy.stop, line)


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:] or list(ALL)))
