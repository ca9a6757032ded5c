"""Makes the shipped cassettes again: a real Omnigent server, runner and client, and omnirecord in between.

    make cassettes                      all of them
    python -m cassettes.record tool     only one

Everything runs on loopback, in a neutral home under the system's temporary folder, so that no path of anybody's
machine gets into a cassette. The model provider is a scripted stand-in; all else is what people run. Ids, times and
how text is cut into deltas differ from run to run.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from omnirecord.exporting import jsonl_bytes
from omnirecord.library import open_store
from omnirecord.proxy import Proxy
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.responses_standin import ResponsesStandin
from tests.omnigent_rig.scenarios import SCENARIOS, responses_query
from tests.omnigent_rig.script import SCRIPT
from tests.omnigent_rig.stack import Stack

HERE = Path(__file__).parent
HOME = Path(tempfile.gettempdir()) / "omnirecord-home"
LIVE = ("text", "tool", "approval", "interrupt", "failed", "two_clients", "reconnect", "subagent")
STANDIN = "responses"
"""`POST /v1/responses`, which the live server has no more: against the stand-in that the tests use."""


async def record(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if STANDIN in names:
            async with ResponsesStandin() as server, Proxy(server.url, Path(folder) / "standin.db") as proxy:
                await responses_query(proxy.url)
            publish(Path(folder) / "standin.db", STANDIN)
        live = [name for name in names if name != STANDIN]
        if live:
            await record_live(live, Path(folder))


async def record_live(names: list[str], folder: Path) -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    async with Provider(SCRIPT) as provider, Stack(provider.url, home=HOME) as stack:
        await stack.start_runner()
        for name in names:
            db = folder / f"{name}.db"
            async with Proxy(stack.url, db) as proxy:
                await SCENARIOS[name](proxy.url, stack.runner_id)
                await everyone_left(proxy)
            publish(db, name)
    shutil.rmtree(HOME, ignore_errors=True)


async def everyone_left(proxy: Proxy) -> None:
    """Let the proxy see that the client closed its stream: it is not the recorder that ends it."""
    async with asyncio.timeout(5):
        while proxy.open_exchanges:  # noqa: ASYNC110  # a script may look
            await asyncio.sleep(0.01)


def publish(db: Path, name: str) -> None:
    store = open_store(db)
    try:
        path = HERE / f"{name}.jsonl"
        path.write_bytes(b"".join(jsonl_bytes(store)))
    finally:
        store.close()
    print(f"recorded {path.name}: {path.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:] or [*LIVE, STANDIN]))
