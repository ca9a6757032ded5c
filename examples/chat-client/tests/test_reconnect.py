"""Streams that are lost. The first test records `reconnect.jsonl`, of a client that left in the middle of an answer and
came back; the others lose the same stream in worse ways."""

from __future__ import annotations

import asyncio

import pytest
from chat import Chat

from omnirecord.pytest_plugin import Server

QUESTION = "What is a flight recorder?"
replays = pytest.mark.omnirecord("reconnect.jsonl", record="none")
ENDINGS = [f"cut after 2nd response.output_text.delta {how}" for how in ("cleanly", "short", "by reset")]


@pytest.mark.omnirecord("reconnect.jsonl")
async def test_a_client_that_left_comes_back_for_the_rest(chat: Chat, omnirecord_server: Server) -> None:
    asking = asyncio.create_task(chat.ask(QUESTION))
    chat.show = lambda text: text.count(" ") < 3 or asking.cancel()  # hang up after a few words
    await asyncio.wait([asking])
    shown: list[str] = []
    chat.show = shown.append
    assert await chat.resume() == shown[-1]
    omnirecord_server.assert_all_played()  # the snapshot between the two streams too


@replays
@pytest.mark.parametrize("omnirecord_config", [{"faults": ending} for ending in ENDINGS], ids=ENDINGS)
async def test_a_stream_that_is_cut_is_gone_on_with(chat: Chat, omnirecord_server: Server) -> None:
    shown: list[str] = []
    chat.show = shown.append
    assert await chat.ask(QUESTION) == shown[-1]
    omnirecord_server.assert_all_played()


@replays
@pytest.mark.omnirecord(faults="freeze after 2nd response.output_text.delta")
async def test_a_stream_that_freezes_is_gone_on_with(chat: Chat, omnirecord_server: Server) -> None:
    chat.patience = 0.2
    assert (await chat.ask(QUESTION)).startswith("A flight recorder")
    omnirecord_server.assert_all_played()
