"""The stack on which cassettes are recorded, and the recorder in front of it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from omnirecord.proxy import Proxy
from tests.omnigent_rig.provider import Provider, Step
from tests.omnigent_rig.script import SCRIPT
from tests.omnigent_rig.stack import Stack
from tests.omnigent_rig.troubles import Bench

HOME = Path(tempfile.gettempdir()) / "omnirecord-home"


@asynccontextmanager
async def a_stack(
    script: Mapping[str, Step] = SCRIPT, env: Mapping[str, str] | None = None, home: Path | None = None
) -> AsyncIterator[tuple[Provider, Stack]]:
    """A server and a runner in a neutral home, which is removed with them."""
    home = home or HOME
    shutil.rmtree(home, ignore_errors=True)
    try:
        async with Provider(script) as provider, Stack(provider.url, home=home, env=env) as stack:
            await stack.start_runner()
            yield provider, stack
    finally:
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def no_lines(provider: Provider, stack: Stack, db: Path) -> AsyncIterator[tuple[Proxy, Bench]]:
    async with Proxy(stack.url, db) as proxy:
        yield proxy, Bench(proxy.url, provider, stack, proxy.stop)


async def everyone_left(proxy: Proxy) -> None:
    """Let the proxy see that the client closed its stream: it is not the recorder that ends it."""
    async with asyncio.timeout(5):
        while proxy.open_exchanges:  # noqa: ASYNC110  # a script may look
            await asyncio.sleep(0.01)
