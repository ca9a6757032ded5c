"""Checks of turns: how each one ended, and its silences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ...omnigent import protocol
from ...text import counted
from ..turns.draft import Draft
from ..turns.patience import LONG, SILENT
from ..turns.values import Ref, Turn
from .finding import Sign, said, seconds, sign_at
from .session import Examined

_MOST = 20
"""Silences of one session that are reported, at most."""


def turn_signs(s: Examined) -> Iterator[Sign]:
    """Signs of turns that ended badly. `endings` reports turns that were cut."""
    for turn, draft in s.turns:
        if draft.parts:
            yield from _restarted(draft)
            yield from _ended(turn, draft)
            yield from _oddly_ended(draft)
    yield from islice(_twice(s), _MOST)
    yield from islice(_silent(s), _MOST)
    retries = s.facts.retried
    if retries.ended:
        times = "once" if len(retries.ended) == 1 else f"{len(retries.ended):,} times, the last time"
        message = f"a call was retried {times}, because of {said(retries.error, 160) or 'an error'}"
        yield sign_at("retried", message, retries.ended)


def _restarted(draft: Draft) -> Iterator[Sign]:
    for number, (id_, last, again) in enumerate(draft.cut, 1):
        quiet_ns = again.at_ns - last.at_ns
        after = f"after {seconds(quiet_ns)} " if quiet_ns else ""
        message = (
            f"the runner was restarted in the middle of the turn: {after}the server"
            f" ran the turn again from its beginning, instead of the response {said(id_)}"
        )
        severity = "warning" if draft.ended == "completed" else None
        yield sign_at(
            "runner-restarted",
            message,
            [last, again],
            since_ns=draft.started_ns,
            until_ns=draft.until_ns,
            about=(id_, number),
            severity=severity,
        )


def _ended(turn: Turn, draft: Draft) -> Iterator[Sign]:
    end = draft.end_ref
    part = draft.parts.get(end.stream) if end is not None else None
    part = part or list(draft.parts.values())[-1]
    last = Ref.of(part.last)
    why = said(turn.error.why, 160) if turn.error else ""
    if turn.ended == "failed" and turn.error is not None and turn.error.code == protocol.RUNNER_DISCONNECTED:
        before = Ref.of(part.before or part.first)
        quiet_ns = draft.until_ns - before.at_ns
        after = f"; the server reported that {seconds(quiet_ns)} after the last event" if quiet_ns else ""
        message = f"the runner disconnected in the middle of the turn{after}"
        refs = [before, last]
        yield sign_at("runner-disconnected", message, refs, since_ns=draft.started_ns, about=id(draft))
        return
    messages = {
        "failed": f"the turn failed: {why or 'no reason was given'}",
        "incomplete": f"the turn ended incomplete: {why or 'no reason'}",
        "interrupted": "the user interrupted the turn",
        "unfinished": f"the response {said(turn.response_id)} has no end, though the session"
        f" {'came to rest' if draft.rested else 'went on'}",
    }
    if turn.ended in messages and not draft.is_cut:
        refs = [last, end or last]
        message = messages[turn.ended]
        yield sign_at(f"turn-{turn.ended}", message, refs, since_ns=draft.started_ns, about=id(draft))


def _oddly_ended(draft: Draft) -> Iterator[Sign]:
    for type_, rest, end in draft.late_ends:
        message = f"{said(type_)} came after the session had come to rest"
        yield sign_at("event-after-end", message, [rest, end])
    if draft.unbegun is not None:
        id_, end = draft.unbegun
        message = f"the response {said(id_)} ended, but no event began it"
        yield sign_at("turn-without-beginning", message, [Ref.of(draft.parts[end.stream].first), end])
    if draft.lost is not None:
        after_ns = draft.lost.at_ns - draft.until_ns
        after = f", {seconds(after_ns)} after its end" if after_ns > 0 else ""
        message = f"the server lost the runner after the turn{after}"
        yield sign_at("runner-disconnected", message, [draft.lost], since_ns=draft.until_ns)


def _twice(s: Examined) -> Iterator[Sign]:
    """Messages that the agent took in in two turns, each with a response."""
    turns: dict[str, tuple[Turn, Draft]] = {}
    for turn, draft in s.turns:
        for id_ in draft.items if draft.parts and draft.response_id is not None else ():
            first, before = turns.setdefault(id_, (turn, draft))
            if before.response_id != draft.response_id:
                text = next((one.text for one in first.asked), "")
                message = (
                    f"the agent took in the message {said(text, 40)!r} in turn {first.turn} and in turn {turn.turn}"
                )
                refs = [Ref.of(next(iter(one.parts.values())).first) for one in (before, draft)]
                yield sign_at("message-ran-twice", message, refs, about=id_)


def _silent(s: Examined) -> Iterator[Sign]:
    for turn, draft in s.turns:
        for silence in turn.silences:
            refs = draft.quiet_refs.get(silence.from_ns)
            if silence.length_ns > SILENT and not silence.unheard_ns and refs is not None:
                during = "an approval" if silence.during == "approval" else silence.during
                why = f", waiting for {during}" if during else ""
                beats = counted(silence.heartbeats, "heartbeat")
                quiet = seconds(silence.length_ns)
                message = f"nothing but {beats} came for {quiet} while the session ran{why}"
                was_good = turn.ended == "completed" and draft.attempts == 1  # the model thought
                severity = "note" if during or was_good or silence.length_ns < LONG else "warning"
                yield sign_at("silent-while-running", message, refs, severity=severity)
