"""An agent that asks before it reads a message. The first test records `approval.jsonl`, the other replays it."""

from __future__ import annotations

import pytest
from chat import Chat

from omnirecord.pytest_plugin import Server

QUESTION = "Please summarise the release notes."


@pytest.fixture
def agent() -> str:
    return "careful"


@pytest.mark.omnirecord("approval.jsonl")
async def test_what_is_approved_is_answered(chat: Chat, omnirecord_server: Server) -> None:
    asked: list[str] = []
    chat.approve = lambda question: asked.append(question) is None
    assert await chat.ask(QUESTION)
    assert "Confirm this message" in asked[0]
    omnirecord_server.assert_all_matched()


@pytest.mark.omnirecord("approval.jsonl", record="none", match_on=[])
async def test_nothing_is_approved_by_default(chat: Chat, omnirecord_server: Server) -> None:
    """It was when this was recorded: the replay goes on as it did then, and reports the difference."""
    await chat.ask(QUESTION)
    with pytest.raises(AssertionError, match="action was 'accept' when recorded, got 'decline'"):
        omnirecord_server.assert_all_matched()
