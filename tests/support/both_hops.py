"""Sessions and the model calls behind them, made up, with the truth about which call belongs to which turn.

    world = World()
    alpha = world.session()
    alpha.turn("Hi", "Hello.", at=1.0)
    found = linked(world.calls, world.sessions(), world.recordings())

Times are seconds. Texts are streamed word by word, and reach the client `lag` later.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from omnirecord.analysis.model_calls.values import TurnKey
from omnirecord.analysis.turns.values import Asked, Ended, Passage, Session, Tool, Turn, TurnUsage
from omnirecord.model import Recording
from omnirecord.providers.call import CallEnding, CallUsage, CutBy, Delta, ModelCall, ToolRequest
from omnirecord.providers.conversation import conversation_of

START = "2026-01-02T03:04:05.000000+00:00"
CLIENT, MODEL = 1, 2
ASK = 0.03
"""From the question to the model call."""


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


@dataclass
class Talk:
    """One session. `turn` adds a turn with its calls, and returns the time of its end."""

    world: World
    name: str
    turns: list[Turn] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    def turn(
        self, asked: str, said: str, at: float, *, tool: str | None = None, refusals: int = 0, lag: float = 0.01,
        ended: Ended = "completed", ending: CallEnding = "completed", item_ids: bool = True, streamed: bool = True,
        usage: int | None = 40,
    ) -> float:  # fmt: skip
        """`tool`: the id of a tool call before the answer; `refusals`: attempts that get a 429 first."""
        number, now, tools = len(self.turns) + 1, at + ASK, ()
        self.history.append({"role": "user", "content": asked})
        for attempt in range(1, refusals + 1):
            now = self._call(now, attempt, status=429, ending="refused", reason="rate_limit_exceeded") + 0.5
        if tool is not None:
            request = ToolRequest(tool, "look", "{}", ns(now + 0.1))
            now = self._call(now, refusals + 1, tool_calls=(request,))
            self.history += [
                {"type": "function_call", "call_id": tool, "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": tool, "output": "42"},
            ]
            tools = (Tool(tool, "look", "{}", "42", ns(now + lag), ns(now + lag + 0.2), "completed"),)
            now, refusals = now + lag + 0.25, 0
        first, last = now + 0.05, now + 0.05 + 0.02 * len(said.split())
        cut_by = "provider" if ending == "cut" else None
        item = f"msg_{len(self.world.calls)}"
        end = self._call(now, refusals + 1, said=said if streamed else "", ending=ending, cut_by=cut_by, own=item)
        self.history.append(
            {"type": "message", "role": "assistant", "content": said} | ({"id": item} if item_ids else {})
        )
        passage = Passage(said, ns(first + lag), ns(last + lag), len(said.split()))
        end = max(end, last) + lag + 0.02
        used = None if usage is None else TurnUsage(usage * (1 + bool(tools)), None, None, None, None)
        self.turns.append(turn_of(self.name, number, asked, at, end, ended, (passage,), tools, used))
        return end

    def _call(
        self, at: float, attempt: int, said: str = "", *, status: int = 200, ending: CallEnding = "completed",
        reason: str | None = None, tool_calls: tuple[ToolRequest, ...] = (), cut_by: CutBy | None = None,
        own: str | None = None,
    ) -> float:  # fmt: skip
        world, words = self.world, said.split()
        deltas = tuple(
            Delta(n, ns(at + 0.05 + 0.02 * n), (" " if n > 1 else "") + word, 0) for n, word in enumerate(words, 1)
        )
        deltas = tuple(one._replace(at_ns=one.at_ns - ns(0.02)) for one in deltas[:1]) + deltas[1:]
        end = at + 0.1 + 0.02 * len(words)
        exchange = len(world.calls) + 1
        ids = () if own is None else (own,)
        world.calls.append(ModelCall(
            exchange, MODEL, "model", exchange, "openai-responses", "m", attempt, status, ns(at), ns(at + 0.01),
            deltas[0].at_ns if deltas else None, ns(end), ending, reason, None, cut_by,
            CallUsage(40, 5, None, None, 45) if ending == "completed" else None, f"resp_{exchange}",
            (said,) if said else (), "", tool_calls, deltas,
            conversation_of({"model": "m", "stream": True, "input": list(self.history)}, "/v1/responses"),
            (f"resp_{exchange}", *ids, *(one.call_id for one in tool_calls)),
            tuple(id_ for item in self.history for id_ in (item.get("id"), item.get("call_id")) if id_),
        ))  # fmt: skip
        world.truth[exchange] = TurnKey(CLIENT, self.name, len(self.turns) + 1)
        return end

    def session(self) -> Session:
        begin, end = self.turns[0].begin_ns, self.turns[-1].ended_ns
        return Session(CLIENT, self.name, None, begin, end, (), tuple(self.turns), until_ns=end or begin)


@dataclass
class World:
    """Sessions in parallel. `skew`: how many seconds the clock of the model calls is ahead; None for one recorder."""

    skew: float | None = None
    calls: list[ModelCall] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    truth: dict[int, TurnKey] = field(default_factory=dict)
    """By exchange."""

    def session(self, name: str | None = None) -> Talk:
        self.talks.append(Talk(self, name or f"s{len(self.talks) + 1}"))
        return self.talks[-1]

    def sessions(self) -> list[Session]:
        return [talk.session() for talk in self.talks if talk.turns]

    def recordings(self) -> list[Recording]:
        run = "run" if self.skew is None else None
        client = Recording(CLIENT, START, "0", "omnigent", None, run_id=run)
        return [client, replace(client, recording=MODEL, contract="auto", hop="model")]

    def skewed(self) -> list[ModelCall]:
        """Return the calls with the times of a clock that is ahead."""
        return [_later(call, ns(self.skew or 0)) for call in self.calls]


def _later(call: ModelCall, by: int) -> ModelCall:
    return replace(
        call, started_ns=call.started_ns + by, first_byte_ns=(call.first_byte_ns or 0) + by,
        first_token_ns=None if call.first_token_ns is None else call.first_token_ns + by,
        ended_ns=(call.ended_ns or 0) + by, deltas=tuple(one._replace(at_ns=one.at_ns + by) for one in call.deltas),
        tool_calls=tuple(replace(one, at_ns=(one.at_ns or 0) + by) for one in call.tool_calls),
    )  # fmt: skip


def turn_of(
    session: str, number: int, asked: str, at: float, end: float, ended: Ended = "completed",
    messages: tuple[Passage, ...] = (), tools: tuple[Tool, ...] = (), usage: TurnUsage | None = None,
) -> Turn:  # fmt: skip
    """A turn; its times in seconds."""
    first = min((one.first_ns for one in messages), default=None)
    return Turn(
        recording=CLIENT, session_id=session, turn=number, asked=(Asked(asked, ns(at), "user"),), asked_ns=ns(at),
        started_ns=ns(at + 0.01), first_text_ns=first, ended_ns=ns(end), last_event_ns=ns(end), ended=ended, error=None,
        text="\n\n".join(one.text for one in messages), reasoning="", messages=messages, thoughts=(), tools=tools,
        approvals=(), children=(), response_id=f"r{number}", agent=None, model="m", usage=usage, troubles=(), notes=(),
        longest_silence=None, silences=(), events=9, odd_events=0, heartbeats=0,
    )  # fmt: skip
