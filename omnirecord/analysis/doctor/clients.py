"""What clients did: they came back, and missed something or not; their messages were refused, or never taken in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..turns import Act, FailedRequest
from ..turns.requests import group_key
from .approvals import Approvals
from .endings import PATIENCE, Endings
from .finding import SECOND, Severity, Sign, counted, said, seconds, sign_at
from .stream import Listening
from .tools import Items
from .turns import Turn

_MOST = 20
_SOON = 2 * SECOND
_NAMES = {"answer": "answer to an approval", "interrupt": "interrupt"}


@dataclass(frozen=True, slots=True)
class Absence:
    """Between two streams of one session nobody listened."""

    before: Listening
    after: Listening
    from_ns: int
    until_ns: int


def absences(listenings: Sequence[Listening]) -> Iterator[Absence]:
    """`listenings`: in the order in which they were opened."""
    until: Listening | None = None
    for one in listenings:
        if not one.is_session:
            continue
        end, begin = until.exchange.end_ns if until else None, one.exchange.request.at_ns
        if until is not None and end is not None and end <= begin:
            yield Absence(until, one, end, begin)
        if until is None or _end(one) >= _end(until):
            until = one


def _end(one: Listening) -> float:
    return float("inf") if one.exchange.end_ns is None else one.exchange.end_ns


def reconnects(listenings: Sequence[Listening], endings: Endings, missed: Sequence[Sign]) -> Iterator[Sign]:
    """`missed`: the findings about items that no stream brought."""
    for absence in list(absences(listenings))[:_MOST]:
        yield _reconnect(absence, endings, missed)


def _reconnect(absence: Absence, endings: Endings, missed: Sequence[Sign]) -> Sign:
    before, after = absence.before, absence.after
    turn, place = before.cut(), before.pulse.last or after.pulse.last
    stream, seqs = (place.stream, (place.seq,)) if place else (None, ())
    since = turn.first.at_ns if turn else absence.from_ns
    away = f"no client listened for {seconds(absence.until_ns - absence.from_ns)}, then a client reconnected"
    lost = [sign for sign in missed if sign.since_ns <= absence.from_ns and absence.until_ns <= sign.until_ns]
    until = max([absence.until_ns, *(sign.until_ns for sign in lost)])
    if turn is not None and endings.is_unheard(before, turn) and not _heard_on(after, turn):
        message = f"{away}; the stream did not report the end of the open turn"
        until = max(until, after.exchange.end_ns or 0)
        return Sign("reconnect-missed", message, since, until, stream, seqs)
    if lost:
        message = f"{away}; the stream did not report what happened meanwhile"
        return Sign("reconnect-missed", message, since, until, stream, seqs, "warning")
    return Sign("reconnected", f"{away}; nothing is known to be lost", since, until, stream, seqs)


def _heard_on(after: Listening, turn: Turn) -> bool:
    """Whether the turn still went on when the client had come back."""
    return after.joined or (turn.id is not None and any(one.id == turn.id for one in after.turns.all))


def refusals(acts: Sequence[Act], deleted_ns: int | None = None) -> Iterator[Sign]:
    """What the server did not take: messages, interrupts, answers. `deleted_ns`: when the session was deleted."""
    for act in [act for act in acts if act.refused][:_MOST]:
        what = f"the message {said(act.text, 40)!r}" if act.kind == "message" else f"an {_NAMES[act.kind]}"
        why = said(": ".join(part for part in (act.refused or "", act.refusal) if part), 120)
        if deleted_ns is not None and act.at_ns > deleted_ns:
            why += f"; a client had deleted the session {seconds(act.at_ns - deleted_ns)} before"
        # A second answer to a question that is settled does no harm.
        severity: Severity | None = "note" if act.kind == "answer" else None
        yield Sign("message-refused", f"{what} was refused: {why}", act.at_ns, act.at_ns, severity=severity)


def failures(failed: Sequence[FailedRequest]) -> Iterator[Sign]:
    """Requests that the server did not fulfil; those of one kind with the same answer together."""
    groups: dict[tuple[object, ...], list[FailedRequest]] = {}
    for one in failed:
        groups.setdefault(group_key(one), []).append(one)
    for (first, *more), _ in zip(groups.values(), range(_MOST), strict=False):
        how = "failed" if first.status >= 500 else "was refused"
        what = f"{first.method} {said(first.path, 100)} {how} (exchange {first.exchange}): {said(first.why, 160)}"
        message = f"{counted(len(more) + 1, 'request')} failed alike, the first: {what}" if more else what
        times = [one.at_ns for one in (first, *more)]
        yield Sign("request-failed", message, min(times), max(times), severity=first.severity)


def deletion(listenings: Sequence[Listening], at_ns: int, until_ns: int) -> Iterator[Sign]:
    """The session was deleted at `at_ns`; told only if a stream that was open then was in the middle of a turn."""
    for one in listenings:
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


def untaken(acts: Sequence[Act], items: Items, approvals: Approvals, listenings: Sequence[Listening]) -> Iterator[Sign]:
    """Messages that a client sent, somebody listened, and the agent was never heard to take in."""
    posts = [act for act in acts if act.kind == "message" and not act.refused]
    taken = [act for act in posts if act.item_id is not None and ("message", act.item_id) not in items.heard]
    hangs = [act for act in posts if act.client_left and _hangs(act, items, approvals)]
    for act in [*taken, *hangs][:_MOST]:
        patience = _SOON if act.item_id is not None else PATIENCE
        there = [one for one in listenings if one.is_session and _listened(one, act.at_ns, patience)]
        if there:
            yield _untaken(act, max(there, key=_end))


def _hangs(act: Act, items: Items, approvals: Approvals) -> bool:
    """Whether no event shows an effect of a POST that has no answer: no question, no message of the same text."""
    asked = any(place.at_ns >= act.at_ns for places in approvals.asked.values() for place in places)
    return not asked and not items.brought(act.text, act.at_ns)


def _untaken(act: Act, one: Listening) -> Sign:
    """Where a turn was completed all the same, only the event is missing."""
    ran_on = any(turn.until_ns > act.at_ns and turn.ended == "completed" for turn in one.turns.all)
    severity: Severity | None = "warning" if ran_on else None
    was = "was accepted" if act.item_id is not None else f"(exchange {act.exchange}) had no answer"
    message = f"the message {said(act.text, 40)!r} {was}, but no event says that the agent got it"
    seqs = (one.pulse.last.seq,) if one.pulse.last else ()
    until = max(act.at_ns, one.exchange.end_ns or 0)
    return Sign("message-not-taken", message, act.at_ns, until, one.stream, seqs, severity)


def _listened(one: Listening, at_ns: int, patience: int) -> bool:
    """Whether a stream was there when the message came, and for a while after it."""
    x = one.exchange
    begun = x.response is not None and x.response.at_ns <= at_ns
    return begun and (x.end_ns is None or x.end_ns > at_ns + patience or one.ended_after(at_ns))
