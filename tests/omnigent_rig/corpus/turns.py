"""Stories in which a tool or the model fails."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from tests.omnigent_rig import agents
from tests.omnigent_rig.corpus import said
from tests.omnigent_rig.troubles import Bench, is_heartbeat

Story = Callable[[Bench], Awaitable[None]]


def _asks(agent: str, text: str) -> Story:
    """One turn, awaited to its end."""

    async def story(bench: Bench) -> None:
        async with bench.conversation(agent) as talk:
            await talk.ask(text)

    return story


async def model_silent(bench: Bench) -> None:
    """The model falls silent in its answer; the client leaves after two heartbeats."""
    async with bench.conversation(agents.HELPER) as talk:
        await talk.say(said.STALL)
        await talk.stream.wait_for(is_heartbeat, count=2)
        await talk.look()


async def model_out_of_order(bench: Bench) -> None:
    """The model answers 500 to every attempt."""
    async with bench.conversation(agents.HELPER) as talk:
        with contextlib.suppress(TimeoutError):
            await talk.ask(said.ALWAYS_500)


ASKED: dict[str, Story] = {
    "tool_failed": _asks(agents.WITH_SHELL, said.FAIL_TOOL),
    "tool_killed": _asks(agents.WITH_SHELL, said.KILL_TOOL),
    "tool_arguments_broken": _asks(agents.WITH_SHELL, said.GARBLE_TOOL),
    "tool_arguments_missing": _asks(agents.WITH_SHELL, said.EMPTY_TOOL),
    "tool_unknown": _asks(agents.WITH_SHELL, said.UNKNOWN_TOOL),
    "tool_file_missing": _asks(agents.WITH_SHELL, said.MISSING_FILE),
    "model_busy": _asks(agents.HELPER, said.ALWAYS_429),
    "model_cut": _asks(agents.HELPER, said.CUT),
    "model_failed": _asks(agents.HELPER, said.MODEL_FAILS),
    "model_token_limit": _asks(agents.HELPER, said.TOKEN_LIMIT),
    "model_empty": _asks(agents.HELPER, said.EMPTY),
}
