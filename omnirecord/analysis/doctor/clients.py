"""Checks of clients: reconnects, refused or lost messages, failed requests, deleted sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...text import counted
from ..turns import Act, FailedRequest
from ..turns.requests import group_key
from .approvals import Approvals
from .check import SECOND, said, seconds, sign_at
from .endings import PATIENCE, Endings
from .finding import Severity, Sign
from .items import Items
from .stream import StreamChecks
from .turns import Turn

_MOST = 20
_SOON = 2 * SECOND
_NAMES = {"answer": "answer to an approval", "interrupt": "interrupt"}


@dataclass(frozen=True, slots=True)
class Disconnection:
    """The time between two streams of a session, in which no client listened."""

    before: StreamChecks
    after: StreamChecks
    from_ns: int
    until_ns: int


def disconnections(streams: Sequence[StreamChecks]) -> Iterator[Disconnection]:
    """The times without a stream. `streams`: in the order of opening."""
    until: StreamChecks | None = None
    for one in streams:
        if not one.is_session:
            continue
        end, begin = until.exchange.end_ns if until else None, one.exchange.request.at_ns
        if until is not None and end is not None and end <= begin:
            yield Disconnection(until, one, end, begin)
        if until is None or _end(one) >= _end(until):
            until = one


def _end(one: StreamChecks) -> float:
    return float("inf") if one.exchange.end_ns is None else one.exchange.end_ns


def reconnects(streams: Sequence[StreamChecks], endings: Endings, missed: Sequence[Sign]) -> Iterator[Sign]:
    """Signs of reconnects. `missed`: the signs about items that no stream carried."""
    for gap in list(disconnections(streams))[:_MOST]:
        yield _reconnect(gap, endings, missed)


def _reconnect(gap: Disconnection, endings: Endings, missed: Sequence[Sign]) -> Sign:
    before, after = gap.before, gap.after
    turn, ref = before.cut(), before.activity.last or after.activity.last
    stream, seqs = (ref.stream, (ref.seq,)) if ref else (None, ())
    since = turn.first.at_ns if turn else gap.from_ns
    away = f"no client listened for {seconds(gap.until_ns - gap.from_ns)}, then a client reconnected"
    lost = [sign for sign in missed if sign.since_ns <= gap.from_ns and gap.until_ns <= sign.until_ns]
    until = max([gap.until_ns, *(sign.until_ns for sign in lost)])
    if turn is not None and endings.has_no_end(before, turn) and not _continues(after, turn):
        message = f"{away}; the stream did not report the end of the open turn"
        until = max(until, after.exchange.end_ns or 0)
        return Sign("reconnect-missed", message, since, until, stream, seqs)
    if lost:
        message = f"{away}; the stream did not report what happened meanwhile"
        return Sign("reconnect-missed", message, since, until, stream, seqs, "warning")
    return Sign("reconnected", f"{away}; nothing is known to be lost", since, until, stream, seqs)


def _continues(after: StreamChecks, turn: Turn) -> bool:
    """Whether the turn continued on the later stream."""
    return after.joined or (turn.id is not None and any(one.id == turn.id for one in after.turns.all))


def refusals(acts: Sequence[Act], deleted_ns: int | None = None) -> Iterator[Sign]:
    """Messages, interrupts and answers that the server refused. `deleted_ns`: when the session was deleted."""
    for act in [act for act in acts if act.refused][:_MOST]:
        what = f"the message {said(act.text, 40)!r}" if act.kind == "message" else f"an {_NAMES[act.kind]}"
        why = said(": ".join(part for part in (act.refused or "", act.refusal) if part), 120)
        if deleted_ns is not None and act.at_ns > deleted_ns:
            why += f"; a client had deleted the session {seconds(act.at_ns - deleted_ns)} before"
        # A second answer to a question that is settled does no harm.
        severity: Severity | None = "note" if act.kind == "answer" else None
        yield Sign("message-refused", f"{what} was refused: {why}", act.at_ns, act.at_ns, severity=severity)


def failures(failed: Sequence[FailedRequest]) -> Iterator[Sign]:
    """Failed requests; those of one kind with the same answer are one sign."""
    groups: dict[tuple[object, ...], list[FailedRequest]] = {}
    for one in failed:
        groups.setdefault(group_key(one), []).append(one)
    for (first, *more), _ in zip(groups.values(), range(_MOST), strict=False):
        how = "failed" if first.status >= 500 else "was refused"
        what = f"{first.method} {said(first.path, 100)} {how} (exchange {first.exchange}): {said(first.why, 160)}"
        message = f"{counted(len(more) + 1, 'request')} failed alike, the first: {what}" if more else what
        times = [one.at_ns for one in (first, *more)]
        yield Sign("request-failed", message, min(times), max(times), severity=first.severity)


def deletion(streams: Sequence[StreamChecks], at_ns: int, until_ns: int) -> Iterator[Sign]:
    """A deletion at `at_ns`, if an open stream was in the middle of a turn."""
    for one in streams:
        x = one.exchange
        is_open = x.request.at_ns <= at_ns <= (until_ns if x.end_ns is None else x.end_ns)
        for turn in one.turns.all if is_open else ():
            if turn.first.at_ns <= at_ns and (turn.end is None or turn.end.at_ns >= at_ns):
                after = seconds(at_ns - turn.first.at_ns)
                message = f"a client deleted the session in the middle of a turn, {after} after the turn's beginning"
                yield sign_at(
                    "session-deleted", message, [turn.last], since_ns=turn.first.at_ns, until_ns=until_ns,
                    about=turn.id,
                )  # fmt: skip
                return


def untaken(acts: Sequence[Act], items: Items, approvals: Approvals, streams: Sequence[StreamChecks]) -> Iterator[Sign]:
    """Messages that no `session.input.consumed` followed, although a stream was open."""
    posts = [act for act in acts if act.kind == "message" and not act.refused]
    taken = [act for act in posts if act.item_id is not None and ("message", act.item_id) not in items.by_key]
    hangs = [act for act in posts if act.client_left and _hangs(act, items, approvals)]
    for act in [*taken, *hangs][:_MOST]:
        patience = _SOON if act.item_id is not None else PATIENCE
        there = [one for one in streams if one.is_session and _listened(one, act.at_ns, patience)]
        if there:
            yield _untaken(act, max(there, key=_end))


def _hangs(act: Act, items: Items, approvals: Approvals) -> bool:
    """Whether a POST without an answer had no effect: no question, no message of the same text."""
    asked = any(ref.at_ns >= act.at_ns for refs in approvals.asked.values() for ref in refs)
    return not asked and not items.carried(act.text, act.at_ns)


def _untaken(act: Act, one: StreamChecks) -> Sign:
    """A lost message; a warning if a turn was completed, since then only the event is missing."""
    ran_on = any(turn.until_ns > act.at_ns and turn.ended == "completed" for turn in one.turns.all)
    severity: Severity | None = "warning" if ran_on else None
    was = "was accepted" if act.item_id is not None else f"(exchange {act.exchange}) had no answer"
    message = f"the message {said(act.text, 40)!r} {was}, but no event says that the agent got it"
    seqs = (one.activity.last.seq,) if one.activity.last else ()
    until = max(act.at_ns, one.exchange.end_ns or 0)
    return Sign("message-not-taken", message, act.at_ns, until, one.stream, seqs, severity)


def _listened(one: StreamChecks, at_ns: int, patience: int) -> bool:
    """Whether a stream was open when the message was sent, and for `patience` ns after it."""
    x = one.exchange
    begun = x.response is not None and x.response.at_ns <= at_ns
    return begun and (x.end_ns is None or x.end_ns > at_ns + patience or one.ended_after(at_ns))
