"""A turn. The first test records `turn.jsonl`, the others replay it."""

from __future__ import annotations

import asyncio

import pytest
from chat import Chat, StreamLost, TurnFailed
from omnigent_client import OmnigentError

from omnirecord.pytest_plugin import Server

QUESTION = "What is a flight recorder?"
replays = pytest.mark.omnirecord("turn.jsonl", record="none")


@pytest.mark.omnirecord("turn.jsonl")
async def test_the_answer_is_what_was_shown(chat: Chat, omnirecord_server: Server) -> None:
    shown: list[str] = []
    chat.show = shown.append
    answer = await chat.ask(QUESTION)
    assert shown[-1] == answer
    omnirecord_server.assert_all_matched()


@replays
async def test_half_an_answer_is_shown_while_the_rest_is_to_come(chat: Chat, omnirecord_server: Server) -> None:
    screen: asyncio.Queue[str] = asyncio.Queue()
    chat.show = screen.put_nowait
    asking = asyncio.create_task(chat.ask(QUESTION))
    await asyncio.to_thread(omnirecord_server.run_until, "response.output_text.delta", nth=3)
    assert [await screen.get() for _ in range(3)] == ["A", "A flight", "A flight recorder"]
    assert not asking.done()
    omnirecord_server.play()
    assert (await asking).startswith("A flight recorder keeps what happened on board")


@replays
@pytest.mark.parametrize("omnirecord_config", [{"chunks": how} for how in ("frame", "byte", "random:7")], ids=str)
async def test_how_the_bytes_are_cut_makes_no_difference(chat: Chat) -> None:
    assert (await chat.ask(QUESTION)).endswith("in a file that survives the crash.")


@replays
@pytest.mark.omnirecord(faults="drop 2nd response.output_text.delta")
async def test_a_word_that_got_lost_is_in_the_answer_all_the_same(chat: Chat) -> None:
    assert (await chat.ask(QUESTION)).startswith("A flight recorder")


@replays
@pytest.mark.omnirecord(faults="answer POST /v1/sessions/*/events with 429")
async def test_a_server_with_too_much_to_do_is_told_again(chat: Chat, omnirecord_server: Server) -> None:
    chat.backoff = (0.01,)
    assert (await chat.ask(QUESTION)).startswith("A flight recorder")
    assert [one.status for one in omnirecord_server.requests if one.method == "POST"] == [201, 429, 202]


@replays
@pytest.mark.omnirecord(faults="answer POST /v1/sessions/*/events with 503")
async def test_a_server_that_is_down_is_not_hidden(chat: Chat) -> None:
    with pytest.raises(OmnigentError) as raised:
        await chat.ask(QUESTION)
    assert raised.value.status_code == 503


@replays
@pytest.mark.omnirecord(faults="drop response.completed")
async def test_a_turn_without_an_ending_has_failed(chat: Chat) -> None:
    with pytest.raises(TurnFailed, match="it just ended"):
        await chat.ask(QUESTION)


@replays
@pytest.mark.omnirecord(faults="cut before response.completed")
async def test_a_stream_that_is_cut_before_the_turn_is_over_is_lost(chat: Chat) -> None:
    chat.reconnects = 0
    with pytest.raises(StreamLost, match="ended before the turn did"):
        await chat.ask(QUESTION)


@replays
@pytest.mark.omnirecord(faults="freeze at response.completed")
async def test_a_stream_that_freezes_is_lost_after_a_while(chat: Chat) -> None:
    chat.patience, chat.reconnects = 0.2, 0
    with pytest.raises(StreamLost, match=r"silent for 0\.2 s"):
        await chat.ask(QUESTION)


@pytest.mark.omnirecord("failed.jsonl")
async def test_a_turn_that_fails_says_why(chat: Chat) -> None:
    with pytest.raises(TurnFailed, match="larger sibling"):
        await chat.ask("Answer this with the largest model you have.")
