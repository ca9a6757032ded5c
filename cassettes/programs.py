"""Makes `cities/cities.jsonl` again: the agent of that folder, recorded by `omnirecord run`, with a scripted provider.

The upstream in the cassette is that of OpenAI, so that a fork of it goes there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from cassettes.stacks import publish
from tests.support import forked
from tests.support.cities import CitiesApi

HERE = Path(__file__).parent / "cities"


async def record() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with CitiesApi() as provider:
            around = {"PATH": os.environ["PATH"], "OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "key"}
            words = ["run", "-o", "cities.db", "--upstream", f"openai={provider.url}", "--", sys.executable]
            done = await asyncio.to_thread(
                forked.run, [*words, str(HERE / "agent.py")], Path(folder), environment=around
            )
        assert done.code == 0, done.errors.decode()
        publish(Path(folder) / "cities.db", HERE / "cities.jsonl")
    text = (HERE / "cities.jsonl").read_text()
    place = provider.url.removesuffix("/v1")
    text = text.replace(f'"{place}"', '"https://api.openai.com"')
    (HERE / "cities.jsonl").write_text(text.replace(place.removeprefix("http://"), "api.openai.com"))


if __name__ == "__main__":
    asyncio.run(record())
