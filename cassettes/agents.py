"""Makes the cassette `agents/day.jsonl` again: small agents with the real clients of four model APIs.

python -m cassettes.agents
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from cassettes.stacks import everyone_left, publish
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig.provider import Answer
from tests.support import agents, gemini
from tests.support.gemini import GeminiApi
from tests.support.providers import ModelApis

TARGET = Path(__file__).parent / "agents" / "day.jsonl"


async def record(target: Path) -> None:
    """Record the day of `tests.support.agents` into a text cassette."""
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "day.db"
        async with (
            ModelApis(agents.SCRIPT, Answer("It is sunny in Rome.")) as provider,
            GeminiApi(gemini.SCRIPT) as google,
        ):
            both = provider.url.removesuffix("/v1")
            upstreams = {"openai": both, "anthropic": both, "google": google.url}
            async with Proxy(None, db, upstreams=upstreams) as proxy:
                await agents.day(*(proxy.urls[name] for name in upstreams))
                await everyone_left(proxy)
        publish(db, target)


if __name__ == "__main__":
    asyncio.run(record(TARGET))
