"""What is measured of the turns of a session: how soon, how fast, and what was waited for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from ..turns import Approval, Passage, Turn
from .numbers import count, per_second, seconds, total
from .values import ApprovalStats, ToolStats, TurnStats


class Measured:
    """One turn in ns, None where a thing was not seen.

    `posts`: when clients posted messages; from any other time nothing is counted, since it is not when a user asked.
    `joined`: when a connect snapshot brought the text so far. What was said before is not known then.
    `until_ns`: when the last listener left.
    """

    def __init__(self, turn: Turn, posts: Collection[int], joined: Collection[int], until_ns: int) -> None:
        self.turn = turn
        self._posted = turn.asked_ns if turn.asked_ns in posts else None
        passages = [*turn.messages, *turn.thoughts]
        first = min((passage.first_ns for passage in passages), default=None)
        self._is_whole = first not in joined
        self.first_event = self._since_post(turn.started_ns if turn.events else None)
        self.first_token = self._since_post(first if self._is_whole else None)
        self.first_text = self._since_post(turn.first_text_ns if turn.first_text_ns not in joined else None)
        self.deltas = sum(passage.pieces for passage in passages)
        again = max(turn.restarts_ns, default=0)  # usage and pace are those of the last attempt
        passages = [passage for passage in passages if passage.first_ns >= again]
        self.later_deltas = sum(max(0, passage.pieces - 1) for passage in passages)
        self.streaming = total(map(_streaming, passages)) or None
        self.spent = turn.last_event_ns - turn.started_ns or None
        self.tools = total(tool.returned_ns - tool.called_ns for tool in turn.tools if tool.returned_ns is not None)
        self.approvals = total(waited(turn, approval, until_ns) for approval in turn.approvals)

    @property
    def output_tokens(self) -> int | None:
        return count(self.turn.usage.output_tokens) if self.turn.usage else None

    @property
    def streamed_tokens(self) -> int | None:
        """The output tokens that came in deltas, where that can be told: those of a tool's arguments came in none."""
        if self.output_tokens is None or not self._is_whole or self.turn.tools or not self.streaming:
            return None
        if self.turn.usage is None or any(passage.pieces for passage in self.turn.thoughts):
            return self.output_tokens
        return max(0, self.output_tokens - (count(self.turn.usage.reasoning_tokens) or 0))

    def _since_post(self, at_ns: int | None) -> int | None:
        return None if at_ns is None or self._posted is None or at_ns < self._posted else at_ns - self._posted

    def stats(self) -> TurnStats:
        turn = self.turn
        begun = turn.started_ns if self._posted is None else self._posted
        silence = turn.longest_silence
        return TurnStats(
            turn=turn.turn, ended=turn.ended,
            duration_s=seconds(None if turn.ended_ns is None else turn.ended_ns - begun),
            first_event_s=seconds(self.first_event), first_token_s=seconds(self.first_token),
            first_text_s=seconds(self.first_text), events=turn.events,
            events_per_s=per_second(turn.events, self.spent), deltas=self.deltas, streaming_s=seconds(self.streaming),
            deltas_per_s=per_second(self.later_deltas, self.streaming), output_tokens=self.output_tokens,
            output_tokens_per_s=per_second(self.streamed_tokens, self.streaming),
            tool_s=seconds(self.tools), approval_s=seconds(self.approvals),
            longest_silence_s=seconds(silence.length_ns if silence else None),
        )  # fmt: skip


def _streaming(passage: Passage) -> int | None:
    return passage.last_ns - passage.first_ns if passage.pieces > 1 else None


def waited(turn: Turn, approval: Approval, until_ns: int) -> int:
    """How long a turn waited for an approval, in ns; `until_ns`: when the last listener left."""
    until = approval.answered_ns if approval.answered_ns is not None else approval.resolved_ns
    if until is None:
        until = until_ns if turn.ended_ns is None else turn.ended_ns
    return max(0, until - approval.asked_ns)


def tools_of(turns: Iterable[Turn]) -> tuple[ToolStats, ...]:
    """The tools by name, the one that took longest first."""
    calls: dict[str, list[int | None]] = defaultdict(list)
    for tool in (tool for turn in turns for tool in turn.tools):
        calls[tool.name].append(None if tool.returned_ns is None else tool.returned_ns - tool.called_ns)
    return tuple(sorted((_tool(name, took) for name, took in calls.items()), key=lambda tool: -(tool.total_s or 0)))


def _tool(name: str, took: list[int | None]) -> ToolStats:
    answered = [ns for ns in took if ns is not None]
    return ToolStats(name, len(took), len(answered), seconds(total(took)), seconds(max(answered, default=None)))


def approvals_of(turns: Iterable[Turn], until_ns: int) -> tuple[ApprovalStats, ...]:
    """The approvals by who answered, the one who was waited for longest first."""
    by: dict[str | None, list[int]] = defaultdict(list)
    for turn in turns:
        for approval in turn.approvals:
            by[approval.answered_by].append(waited(turn, approval, until_ns))
    ordered = sorted(by.items(), key=lambda item: -sum(item[1]))
    return tuple(ApprovalStats(who, len(ns), seconds(sum(ns)), seconds(max(ns))) for who, ns in ordered)
