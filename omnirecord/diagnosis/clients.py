"""What clients did: they came back, and missed something or not; their messages were refused, or never taken in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ..cassette import Exchange
from ..routes import path_of
from ..story import Act
from .endings import Endings
from .event import SECOND, counted, said, seconds
from .finding import Severity, Sign
from .listening import Listening
from .snapshots import Key
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
    away = f"nobody listened for {seconds(absence.until_ns - absence.from_ns)}, then a client came back"
    lost = [sign for sign in missed if sign.since_ns <= absence.from_ns and absence.until_ns <= sign.until_ns]
    until = max([absence.until_ns, *(sign.until_ns for sign in lost)])
    if turn is not None and endings.is_unheard(before, turn) and not _heard_on(after, turn):
        message = f"{away} and was told nothing of the end of the turn that was going on"
        until = max(until, after.exchange.end_ns or 0)
        return Sign("reconnect-missed", message, since, until, stream, seqs)
    if lost:
        message = f"{away} and was told nothing of what happened meanwhile"
        return Sign("reconnect-missed", message, since, until, stream, seqs, "warning")
    return Sign("reconnected", f"{away}; nothing is known to be lost", since, until, stream, seqs)


def _heard_on(after: Listening, turn: Turn) -> bool:
    """Whether the turn still went on when the client had come back."""
    return after.joined or (turn.id is not None and any(one.id == turn.id for one in after.turns.all))


def refusals(acts: Sequence[Act]) -> Iterator[Sign]:
    """Messages, interrupts and answers that the server did not take."""
    for act in [act for act in acts if act.refused][:_MOST]:
        what = f"the message {said(act.text, 40)!r}" if act.kind == "message" else f"an {_NAMES[act.kind]}"
        why = said(": ".join(part for part in (act.refused or "", act.refusal) if part), 120)
        # A second answer to a question that is settled does no harm.
        severity: Severity | None = "note" if act.kind == "answer" else None
        yield Sign("message-refused", f"{what} was refused: {why}", act.at_ns, act.at_ns, severity=severity)


def failures(failed: Sequence[Exchange]) -> Iterator[Sign]:
    """Reads that the server could not answer."""
    if failed:
        first, times = failed[0], [x.request.at_ns for x in failed]
        status = first.response.status if first.response else 0
        what = f"{first.request.method} {said(path_of(first.request.target), 100)} (exchange {first.exchange})"
        message = f"{counted(len(failed), 'request')} got an error of the server's; the first was {what}: {status}"
        yield Sign("request-failed", message, min(times), max(times))


def untaken(acts: Sequence[Act], heard: Collection[Key], listenings: Sequence[Listening]) -> Iterator[Sign]:
    """Messages that the server took, somebody listened, and the agent was never heard to take in."""
    posts = [act for act in acts if act.kind == "message" and not act.refused and act.item_id is not None]
    for act in [act for act in posts if ("message", act.item_id) not in heard][:_MOST]:
        there = [one for one in listenings if one.is_session and _listened(one, act.at_ns)]
        if there:
            yield _untaken(act, max(there, key=_end))


def _untaken(act: Act, one: Listening) -> Sign:
    """Where a turn was completed all the same, only the event is missing."""
    ran_on = any(turn.until_ns > act.at_ns and turn.ended == "completed" for turn in one.turns.all)
    severity: Severity | None = "warning" if ran_on else None
    message = f"the message {said(act.text, 40)!r} was accepted, and no event says that the agent took it in"
    seqs = (one.pulse.last.seq,) if one.pulse.last else ()
    until = max(act.at_ns, one.exchange.end_ns or 0)
    return Sign("message-not-taken", message, act.at_ns, until, one.stream, seqs, severity)


def _listened(one: Listening, at_ns: int) -> bool:
    """Whether a stream was there when the message came, and for a while after it."""
    x = one.exchange
    begun = x.response is not None and x.response.at_ns <= at_ns
    return begun and (x.end_ns is None or x.end_ns > at_ns + _SOON or one.ended_after(at_ns))
