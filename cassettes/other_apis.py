"""Makes the cassettes of `generic/` again: other servers with their own clients, and omnirecord in between.

python -m cassettes.other_apis              all of them
python -m cassettes.other_apis mcp ag_ui    only these
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

from cassettes.stacks import everyone_left, publish
from omnirecord.recorder.proxy.server import Proxy
from tests.other_apis.ag_ui_agent import FAILS, agent, ask
from tests.other_apis.mcp_weather import Visit, weather

HERE = Path(__file__).parent / "generic"


async def _mcp(url: str) -> None:
    await Visit(url).go()


async def _mcp_json(url: str) -> None:
    await Visit(url).go(asks=False)


async def _ag_ui(url: str) -> None:
    await ask(url, "What is the weather in Oslo?")
    await ask(url, FAILS, "run-2")


SCENARIOS: dict[str, tuple[Callable[[], AbstractAsyncContextManager[str]], Callable[[str], Awaitable[None]]]] = {
    "mcp": (weather, _mcp),
    "mcp_json": (partial(weather, as_json=True), _mcp_json),
    "ag_ui": (agent, _ag_ui),
}


async def record(names: list[str], folder: Path) -> None:
    """Record these scenarios into text cassettes of that folder."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            server, client = SCENARIOS[name]
            db = Path(temporary) / f"{name}.db"
            async with server() as url, Proxy(url, db, contract="none") as proxy:
                await client(proxy.url)
                await everyone_left(proxy)
            publish(db, folder / f"{name}.jsonl")


def main(names: list[str]) -> None:
    if unknown := [name for name in names if name not in SCENARIOS]:
        sys.exit(f"no cassette is called {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    asyncio.run(record(names or list(SCENARIOS), HERE))


if __name__ == "__main__":
    main(sys.argv[1:])
