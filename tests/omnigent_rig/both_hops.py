"""Scenarios whose model calls are recorded too: between the runner and the provider, beside the client's hop.

`SCENARIOS` has them by the name of their cassette. Each takes `(base_url, runner_id)`, as those of `scenarios` do. What
is said, and what the model answers, is in `SCRIPT`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from tests.omnigent_rig import agents, scenarios, script
from tests.omnigent_rig.driver import Joined, Seen, conversation
from tests.omnigent_rig.provider import Answer, Failure, InTurn, Step, ToolCall
from tests.omnigent_rig.scenarios import Scenario

GREET = "Good evening. Is the light on?"
SIGNAL = "What does one long blast mean?"
LOG = "How many entries has the log of today?"
DESCRIBE = "Describe the harbour in one sentence."
LIST = "List everything that is on board."
COMPARE = "Which of the two logs has more entries?"
CLAUDE_ENV = {
    "ANTHROPIC_API_KEY": "not-a-key", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
}  # fmt: skip
"""For the server and the runner, beside `ANTHROPIC_BASE_URL`: the Claude CLI then calls the model only."""
SESSIONS = 5
"""The sessions of `parallel`."""

_TODAY = r"printf 'calm\nfog\ncalm\n' | wc -l"  # no file: five sessions of one folder run it at once
_FIRST = r"printf 'calm\nfog\ncalm\n' > monday.txt && wc -l < monday.txt"
_SECOND = r"printf 'rain\ncalm\n' > tuesday.txt && wc -l < tuesday.txt"
_LIMITED = Failure(
    "Rate limit reached for stand-in on tokens per min. Please try again in 8s.", status=429,
    code="rate_limit_exceeded", retry_after=8,
)  # fmt: skip
_BROKEN = Failure(
    "The server had an error while processing your request.", status=500, code="server_error", retry_after=1
)

SCRIPT: Mapping[str, Step] = {
    **script.SCRIPT,
    GREET: Answer("Good evening. It is on."),
    SIGNAL: Answer("One long blast means that a vessel leaves her berth.", delay_ms=20),
    LOG: ToolCall("sys_os_shell", {"command": _TODAY}, then=Answer("The log of today has three entries.")),
    DESCRIBE: Answer("The harbour lies still, and its only", delay_ms=20, ends="failed"),
    LIST: Answer("Ropes, lamps, charts, a compass, two", delay_ms=20, ends="incomplete"),
    COMPARE: ToolCall(
        "sys_os_shell", {"command": _FIRST},
        then=InTurn((
            _LIMITED, _BROKEN,
            ToolCall(
                "sys_os_shell", {"command": _SECOND},
                then=Answer("The log of Monday has more entries: three against two.", delay_ms=40),
            ),
        )),
    ),
}  # fmt: skip


async def parallel(base_url: str, runner_id: str, joined: Joined | None = None, *, sessions: int = SESSIONS) -> Seen:
    """Five sessions that say the same: a greeting one after the other, which starts their harnesses; then at once a
    question, and one that needs a tool."""
    async with AsyncExitStack() as stack:
        talks = []
        for _ in range(sessions):
            talk = await stack.enter_async_context(conversation(base_url, runner_id, agents.WITH_SHELL, joined))
            await talk.ask(GREET)
            talks.append(talk)
        for text in (SIGNAL, LOG):
            await asyncio.gather(*(talk.ask(text) for talk in talks))
    talks[0].seen.others += [talk.seen for talk in talks[1:]]
    return talks[0].seen


async def failed(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """The provider ends its stream with `response.failed`, in the middle of an answer."""
    return await _asked(DESCRIBE, base_url, runner_id, joined)


async def incomplete(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """The provider ends its stream with `response.incomplete`, because a limit of tokens is reached."""
    return await _asked(LIST, base_url, runner_id, joined)


async def retried(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A turn with three model calls and two tools. The provider answers the second call 429, then 500, then well."""
    return await _asked(COMPARE, base_url, runner_id, joined, agents.WITH_SHELL)


async def chat(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A shell command, with an agent whose harness speaks Chat Completions."""
    return await _asked(LOG, base_url, runner_id, joined, agents.WITH_SHELL_AND_CHAT)


async def messages(base_url: str, runner_id: str, joined: Joined | None = None) -> Seen:
    """A question to an agent whose harness is the Claude CLI, which speaks Anthropic Messages."""
    return await _asked(SIGNAL, base_url, runner_id, joined, agents.CLAUDE)


async def _asked(text: str, base_url: str, runner_id: str, joined: Joined | None, agent: str = agents.HELPER) -> Seen:
    async with conversation(base_url, runner_id, agent, joined) as talk:
        await talk.ask(text)
    return talk.seen


SCENARIOS: Mapping[str, Scenario] = {
    **{
        f"both_{name}": scenarios.SCENARIOS[name]
        for name in ("text", "tool", "approval", "interrupt", "subagent", "turns")
    },
    **{f"both_{one.__name__}": one for one in (parallel, failed, incomplete, retried, chat, messages)},
}
