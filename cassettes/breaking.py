"""Records the corpus: stories of `tests.omnigent_rig.corpus`, several at a time where they can share a stack."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cassettes.stacks import a_stack, everyone_left, no_lines
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig.corpus import STORIES, Wiring
from tests.omnigent_rig.corpus.said import SAID
from tests.omnigent_rig.decoding import Decoder
from tests.omnigent_rig.narrow import NarrowLine
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.stack import Stack
from tests.omnigent_rig.troubles import Bench
from tests.support.process import Process

AT_ONCE = 4
Publish = Callable[[str, Path], None]


async def record_corpus(names: Iterable[str], folder: Path, publish: Publish, home: Path | None = None) -> None:
    """Tell these stories, and publish each cassette as soon as it is made."""
    names = list(names)
    for name in [name for name in names if STORIES[name].alone]:
        async with a_stack(SAID, home=home) as running:
            await _record(name, *running, folder, publish)
    if shared := [name for name in names if not STORIES[name].alone]:
        async with a_stack(SAID, home=home) as running:
            room = asyncio.Semaphore(AT_ONCE)

            async def one(name: str) -> None:
                async with room:
                    await _record(name, *running, folder, publish)

            await asyncio.gather(*(one(name) for name in shared))


async def _record(name: str, provider: Provider, stack: Stack, folder: Path, publish: Publish) -> None:
    story, db = STORIES[name], folder / f"{name}.db"
    try:
        async with _wired(story.wiring, provider, stack, db) as bench:
            await story.tell(bench)
    except Exception as error:  # one that cannot be told does not keep the others from it
        print(f"{name}: {error!r}")  # noqa: T201
    else:
        publish(name, db)


@asynccontextmanager
async def _wired(wiring: Wiring, provider: Provider, stack: Stack, db: Path) -> AsyncIterator[Bench]:
    match wiring:
        case "plain":
            async with no_lines(provider, stack, db) as (proxy, bench):
                yield bench
                await everyone_left(proxy)
        case "process":
            async with Process(stack.url, db) as recorder:

                async def kill() -> None:
                    await recorder.end(signal.SIGKILL)

                yield Bench(recorder.url, provider, stack, kill)
        case "line below":
            async with Proxy(stack.url, db) as proxy, NarrowLine(proxy.url) as line:
                yield Bench(line.url, provider, stack, proxy.stop, line)
                with suppress(TimeoutError):
                    await everyone_left(proxy)
        case "line above":
            async with NarrowLine(stack.url) as line, Proxy(line.url, db) as proxy:
                yield Bench(proxy.url, provider, stack, proxy.stop, line)
                await everyone_left(proxy)
        case "decoder above":
            async with Decoder(stack.url) as decoder, Proxy(decoder.url, db) as proxy:
                yield Bench(proxy.url, provider, stack, proxy.stop)
                await everyone_left(proxy)
        case "no upstream":
            async with Proxy("http://127.0.0.1:9", db) as proxy:
                yield Bench(proxy.url, provider, stack, proxy.stop)
