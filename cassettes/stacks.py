"""The stack on which cassettes are recorded, and the recorder in front of it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from omnirecord.cassette.export import jsonl_bytes
from omnirecord.cassette.open import open_store
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.wire.content_coding import packed
from tests.omnigent_rig.provider import Provider, Step
from tests.omnigent_rig.script import SCRIPT
from tests.omnigent_rig.stack import Stack
from tests.omnigent_rig.troubles import Bench
from tests.support.providers import ModelApis

LARGEST_TEXT = 60_000
"""Bytes of a cassette that is kept as text in `corpus`."""
HOME = Path(tempfile.gettempdir()) / "omnirecord-home"


@asynccontextmanager
async def a_stack(
    script: Mapping[str, Step] = SCRIPT,
    env: Mapping[str, str] | None = None,
    home: Path | None = None,
    model: str | None = None,
) -> AsyncIterator[tuple[Provider, Stack]]:
    """A server and a runner in a neutral home, which is removed with them. `model`: the URL at which they call the
    provider, if it is not the provider's own."""
    home = home or HOME
    shutil.rmtree(home, ignore_errors=True)
    try:
        async with ModelApis(script) as provider, Stack(model or provider.url, home=home, env=env) as stack:
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


def publish(db: Path, path: Path) -> None:
    """Write a cassette as text."""
    path.write_bytes(_text_of(db))
    print(f"recorded {path.parent.name}/{path.name}: {path.stat().st_size:,} bytes")  # noqa: T201


def publish_small(db: Path, folder: Path, name: str, largest: int = LARGEST_TEXT) -> None:
    """Write a cassette as text, or compressed if the text has more than `largest` bytes."""
    text = _text_of(db)
    (folder / f"{name}.jsonl").unlink(missing_ok=True)
    (folder / f"{name}.jsonl.zst").unlink(missing_ok=True)
    if len(text) > largest:
        path = folder / f"{name}.jsonl.zst"
        path.write_bytes(b"".join(packed([text])))
    else:
        path = folder / f"{name}.jsonl"
        path.write_bytes(text)
    print(f"recorded {path.parent.name}/{path.name}: {path.stat().st_size:,} bytes")  # noqa: T201


def _text_of(db: Path) -> bytes:
    store = open_store(db)
    try:
        return b"".join(jsonl_bytes(store))
    finally:
        store.close()
