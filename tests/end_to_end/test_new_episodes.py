"""Real clients of OpenAI and Anthropic, of whose calls a cassette has some: the provider gets exactly the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import omnirecord
from omnirecord.episodes.server import Episodes
from omnirecord.recorder.proxy.server import Proxy
from tests.end_to_end.test_model_replay import base
from tests.support.model_clients import KEYS, SCRIPT, USES, use_all
from tests.support.providers import ModelApis
from tests.support.wire import bytes_on_disk

pytestmark = pytest.mark.slow


async def calls(*uses: str) -> int:
    """Return how many requests the provider gets from these uses."""
    async with ModelApis(SCRIPT) as provider:
        for use in uses:
            await USES[use](base(provider))
        return len(provider.requests)


SOME = ("responses_stream", "chat_tool", "messages_tool", "retried")


@pytest.mark.parametrize(("known", "appends"), [((), True), (SOME, True), (SOME, False), (tuple(USES), False)])
async def test_the_provider_gets_the_calls_that_are_missing_and_the_result_replays_offline(
    tmp_path: Path, known: tuple[str, ...], appends: bool
) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    async with ModelApis(SCRIPT) as provider, Proxy(base(provider), old, contract="auto") as proxy:
        for use in known:
            await USES[use](proxy.url)
    async with ModelApis(SCRIPT) as provider:
        live = await use_all(base(provider))
    async with (
        ModelApis(SCRIPT) as provider,
        Episodes(old, {None: base(provider)}, into=None if appends else new, timing="instant") as episodes,
    ):
        assert same(await use_all(episodes.url)) == same(live)
        assert len(provider.requests) == await calls(*(use for use in USES if use not in known))
    made = old if appends else new
    for _ in range(2):
        async with omnirecord.replay(made, timing="instant") as server:
            assert same(await use_all(server.url)) == same(live)
            assert (server.unmatched, server.unplayed) == ([], [])
            assert not [one for _, one in server.served if one.source != "recorded"]
    assert [key for key in KEYS.values() if key.encode() in bytes_on_disk(made)] == []


def same(value: object) -> str:
    """Return what clients got, without the numbers that the provider counts its requests with."""
    return re.sub("_[0-9]{4}", "_N", repr(value))
