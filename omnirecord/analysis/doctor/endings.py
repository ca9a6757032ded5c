"""Checks of endings and of clients: why a stream ended in the middle of a turn, and what clients did.

The session fell silent, because of an approval, a tool, a dead runner or a dead connection; or the server or the
network ended the stream; or the client left; or the recording ended. The severity depends on whether another stream
carried the end of the turn. The other exchanges of the recording show whether the server stopped.

Of clients: reconnects, refused or lost messages, failed requests, deleted sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from ...model import by_key
from ...omnigent.routes import party_name, path_of
from ...text import counted, joined
from ..apis import error_text
from ..turns.aftermath import ENDED_BY_SERVER
from ..turns.conclusion import is_untouched
from ..turns.draft import Draft
from ..turns.patience import LATE, LONG, LONG_QUIET, PATIENCE, SECOND, SILENT
from ..turns.requests import READS, Act, FailedRequest, group_key
from ..turns.values import Ref
from .finding import Severity, Sign, said, seconds, sign_at
from .items import Items, StoredState
from .session import Examined
from .stream import StreamChecks

_MOST = 20
_FOREVER = 1 << 62
_WAITED = ("client_left", "recorder_stopped", "recorder_killed", "open")
"""How a request ends whose client waited for an answer."""
_LISTENS_AGAIN = 2 * SECOND
_NAMES = {"answer": "answer to an approval", "interrupt": "interrupt"}
_RECORDER = {"recorder_killed": "recorder-killed", "recorder_stopped": "recorder-stopped"}
_AFTERWARDS = {"restarted": "; it was started again", "gone": "; afterwards it could not be reached"}
_BROKEN = {
    "upstream_lost": "the connection to the server broke",
    "recorder_killed": "the recorder was killed while the stream was open,",
}


def ending_signs(s: Examined) -> Iterator[Sign]:
    for one in s.streams:
        if one.is_other:
            yield from _of_other(s, one)
        elif (draft := s.middle(one)) is not None:
            yield from _in_turn(s, one, draft)
        elif one.exchange.ending in ENDED_BY_SERVER and one.is_session:  # never without a reason
            yield from _server_ended(s, one, "between two turns", "warning")
        elif one.exchange.ending == "recorder_killed":
            yield from _recorder_ended(s, one, "recorder-killed")


def _of_other(s: Examined, one: StreamChecks) -> Iterator[Sign]:
    """The end of a stream of an unknown API: only a break of the connection is known to be none."""
    x = one.exchange
    last = one.activity.last
    if one.said is not None and (error := error_text(one.said.type, one.said.data)) is not None:
        what = f"{x.request.method} {said(path_of(x.request.target), 100)} (exchange {x.exchange})"
        message = f"{what}: the last event of the stream is an error: {said(error, 160)}"
        yield sign_at("request-failed", message, [one.said.ref], severity="warning", exchange=x.exchange)
    if (how := _BROKEN.get(x.ending)) is not None:
        since = last.at_ns if last else x.request.at_ns
        after = f" after {counted(one.count, 'frame')}" if one.count else " before the first event"
        gone = _afterwards(s, one) if x.ending == "upstream_lost" else ""
        code = _RECORDER.get(x.ending, "upstream-lost")
        end_ns = max(one.end_ns or 0, since)
        yield Sign(code, f"{how}{after}{gone}", since, end_ns, one.stream, (last.seq,) if last else ())


def _in_turn(s: Examined, one: StreamChecks, draft: Draft) -> Iterator[Sign]:
    """If the turn was silent already, a client that left later is not the reason."""
    first, last, until_ns = _stretch(one, draft)
    is_silent = until_ns - last.at_ns > (PATIENCE if draft.waiting_for else LONG_QUIET)
    if draft.is_cut and (is_silent or _offline(s, draft)):
        yield from _silent(s, one, draft)
        if one.exchange.ending in ENDED_BY_SERVER and one.is_session:
            yield from _server_ended(s, one, "in a silence", "warning", since_ns=until_ns + 1)
    else:
        yield from _cut(s, one, draft)
    if draft.is_cut and one.exchange.ending != "open":
        is_known = one.exchange.ending != "unknown"
        name = f"the response {said(draft.response_id)}" if draft.response_id else "the turn"
        where = "recording" if is_known else "file, which does not say how the stream ended"
        is_noted = not is_known or s.learned(first.at_ns, _FOREVER) is not None
        message = f"{name} has no end in this {where}"
        severity = "note" if is_noted else None
        refs = [first, last]
        yield sign_at("turn-unfinished", message, refs, until_ns=until_ns, about=id(draft), severity=severity)


def _stretch(one: StreamChecks, draft: Draft) -> tuple[Ref, Ref, int]:
    """The first and the last event of a turn on a stream, and the end of that stream in ns."""
    part = draft.parts[one.stream]
    last = Ref.of(part.last)
    return Ref.of(part.first), last, max(one.end_ns or 0, last.at_ns)


def _cut(s: Examined, one: StreamChecks, draft: Draft) -> Iterator[Sign]:
    ending = one.exchange.ending
    is_cut = draft.is_cut
    severity: Severity = "error" if is_cut else "warning"
    if ending in ENDED_BY_SERVER and (one.is_session or ending == "upstream_lost"):
        since_ns = draft.parts[one.stream].first.offset_ns
        yield from _server_ended(s, one, "in the middle of a turn", severity, since_ns=since_ns)
    elif ending in _RECORDER:
        yield from _recorder_ended(s, one, _RECORDER[ending])
    elif ending == "client_left":
        left_ns = one.exchange.end_ns or 0
        known_ns = s.aftermath.last_known_ns
        others = (other.exchange for other in s.streams if other is not one)
        if is_cut or any(x.request.at_ns < left_ns < (x.end_ns or known_ns) for x in others):
            yield _client_left(s, one, draft)


def _offline(s: Examined, draft: Draft) -> StoredState | None:
    """Return the server's last answer after the turn's last event, if that says that the runner is offline."""
    known = [one for one in s.snapshots if one.asked_ns > draft.last_ns and one.runner_online is not None]
    return known[-1] if known and not known[-1].runner_online else None


def _silent(s: Examined, one: StreamChecks, draft: Draft) -> Iterator[Sign]:
    """A silent runner or model. Approvals, open tool calls and missing heartbeats have their own checks."""
    first, last, until_ns = _stretch(one, draft)
    frame = one.activity.last
    offline = _offline(s, draft)
    only_asked = bool(draft.approvals) and not draft.runs
    is_known = only_asked or draft.waiting_for or frame is None or until_ns - frame.at_ns > LATE
    if offline is None and is_known:
        return
    quiet_ns = until_ns - last.at_ns
    beats = counted(one.activity.heartbeats, "heartbeat")
    severity: Severity | None = None if quiet_ns > LONG else "warning"  # the model may still think
    if offline is not None:
        code = "runner-disconnected"
        severity = None
        why = f", and exchange {offline.exchange} says that its runner is offline"
    elif until_ns - one.activity.runner_ns < LATE:
        code = "model-silent"
        why = ", the runner's own among them: it waits for its model"
    else:
        code = "runner-silent"
        why = f": its runner was killed, or hangs{'' if quiet_ns > LONG else ', or thinks'}"
    message = f"nothing but {beats} came for {seconds(quiet_ns)} in the middle of a turn{why}"
    yield sign_at(code, message, [last], since_ns=first.at_ns, until_ns=until_ns, about=id(draft), severity=severity)


def _server_ended(
    s: Examined, one: StreamChecks, when: str, severity: Severity, since_ns: int | None = None
) -> Iterator[Sign]:
    """`since_ns`: the time from which on this explains missing events."""
    last = one.activity.last
    x = one.exchange
    afterwards = s.aftermath.of(x)
    if x.ending == "upstream_lost":
        code = "upstream-lost"
        how = f"the connection to the server broke {when}"
    elif afterwards == "answered" or (afterwards is None and one.is_slow):
        code = "reader-dropped"
        how = f"the server ended this stream and kept running {when}, without [DONE]"
    else:
        code = "server-stopped"
        how = f"the server ended the stream {when}, without [DONE]"
    until = max(x.end_ns or 0, last.at_ns if last else 0)
    since = last.at_ns if last else until
    if since_ns is not None:
        since = since_ns
    seqs = (last.seq,) if last else ()
    yield Sign(code, how + _afterwards(s, one), since, max(since, until), one.stream, seqs, severity)


def _afterwards(s: Examined, one: StreamChecks) -> str:
    return _AFTERWARDS.get(s.aftermath.of(one.exchange) or "", "")


def _recorder_ended(s: Examined, one: StreamChecks, code: str) -> Iterator[Sign]:
    last = one.activity.last
    draft = s.middle(one)
    if last is not None:
        how = "the recorder was killed" if code == "recorder-killed" else "the proxy was stopped"
        when = "in the middle of a turn" if draft else "between two turns"
        when += "; another stream carried the rest" if draft and not draft.is_cut else ""
        since = last.at_ns
        until = last.at_ns
        if draft is not None:
            first, _, until = _stretch(one, draft)
            since = first.at_ns
        until = max(s.aftermath.last_known_ns, until)
        yield sign_at(code, f"{how} {when}", [last], since_ns=since, until_ns=until)


def _client_left(s: Examined, one: StreamChecks, draft: Draft) -> Sign:
    first, last, until_ns = _stretch(one, draft)
    waits_for = _waited_for(draft, until_ns)
    during = {None: "", "approval": ", while an approval was open"}.get(waits_for, f", while {said(waits_for)} ran")
    read = s.learned(first.at_ns, _FOREVER) if draft.is_cut else None
    what = "" if draft.is_cut else "; another stream carried the rest"
    after = seconds(until_ns - first.at_ns)
    who = party_name(one.exchange)
    message = f"the {who} closed its stream in the middle of a turn, {after} after its beginning{during}{what}"
    last_ns = max(s.aftermath.last_known_ns, one.exchange.end_ns or last.at_ns)
    severity = "note" if read is not None or not draft.is_cut else None
    return sign_at("client-left-in-turn", message, [last], since_ns=first.at_ns, until_ns=last_ns, severity=severity)


def _waited_for(draft: Draft, at_ns: int) -> str | None:
    """What a turn waited for at that time."""
    if draft.is_cut:
        return draft.waits_for
    tools = ((one.called_ns, one.returned_ns, one.name or "a tool") for one in draft.tools.values())
    questions = ((one.asked_ns, one.resolved_ns, "approval") for one in draft.approvals.values())
    open_ = [(begin, name) for begin, end, name in chain(tools, questions) if begin <= at_ns < (end or _FOREVER)]
    return max(open_)[1] if open_ else None


def _end(one: StreamChecks) -> int:
    return _FOREVER if one.exchange.end_ns is None else one.exchange.end_ns


def reconnects(s: Examined, missed: Sequence[Sign]) -> Iterator[Sign]:
    """Signs of reconnects. `missed`: the signs about items that no stream carried."""
    gaps = list[tuple[StreamChecks, StreamChecks]]()
    last = None
    for one in s.streams:
        if one.is_session:
            if last is not None and _end(last) <= one.exchange.request.at_ns:
                gaps.append((last, one))
            last = one if last is None or _end(one) >= _end(last) else last
    return (_reconnect(s, before, after, missed) for before, after in gaps[:_MOST])


def _reconnect(s: Examined, before: StreamChecks, after: StreamChecks, missed: Sequence[Sign]) -> Sign:
    """The sign of the time between two streams, in which no client listened."""
    from_ns = before.exchange.end_ns or 0
    until_ns = after.exchange.request.at_ns
    draft = s.middle(before)
    ref = before.activity.last or after.activity.last
    stream, seqs = (ref.stream, (ref.seq,)) if ref else (None, ())
    since = draft.parts[before.stream].first.offset_ns if draft else from_ns
    away = f"no client listened for {seconds(until_ns - from_ns)}, then a client reconnected"
    lost = [sign for sign in missed if sign.since_ns <= from_ns and until_ns <= sign.until_ns]
    until = max([until_ns, *(sign.until_ns for sign in lost)])
    goes_on = after.stream in s.joined or (draft is not None and _goes_on(draft, after))
    severity: Severity | None = None
    code = "reconnected"
    what = "nothing is known to be lost"
    if (read := s.learned(from_ns, until_ns)) is not None:
        what = f"it read the session then (exchange {read.exchange})"
    elif draft is not None and draft.is_cut and not goes_on:
        code = "reconnect-missed"
        what = "the stream did not report the end of the open turn"
        until = max(until, after.exchange.end_ns or 0)
    elif lost:
        code = "reconnect-missed"
        what = "the stream did not report what happened meanwhile"
        severity = "warning"
    return Sign(code, f"{away}; {what}", since, until, stream, seqs, severity)


def _goes_on(draft: Draft, after: StreamChecks) -> bool:
    """Whether a later stream carried the agent's work on a turn, and not only the event that closed it."""
    part = draft.parts.get(after.stream)
    end = draft.end_ref
    return draft.runs and part is not None and (end is None or end.stream != after.stream or part.first.seq < end.seq)


def refusals(acts: Sequence[Act], deleted_ns: int | None = None) -> Iterator[Sign]:
    """Messages, interrupts and answers that the server refused. `deleted_ns`: when the session was deleted."""
    for act in [act for act in acts if act.refused][:_MOST]:
        what = f"the message {said(act.text, 40)!r}" if act.kind == "message" else f"an {_NAMES[act.kind]}"
        why = said(joined([act.refused or "", act.refusal], ": "), 120)
        if deleted_ns is not None and act.at_ns > deleted_ns:
            why += f"; a client had deleted the session {seconds(act.at_ns - deleted_ns)} before"
        # A second answer to a question that is settled does no harm.
        severity: Severity | None = "note" if act.kind == "answer" else None
        yield Sign("message-refused", f"{what} was refused: {why}", act.at_ns, act.at_ns, severity=severity)


def failures(failed: Sequence[FailedRequest]) -> Iterator[Sign]:
    """Failed requests; those of one kind with the same answer are one sign."""
    for first, *more in islice(by_key(failed, group_key).values(), _MOST):
        how = "failed" if first.status >= 500 else "was refused"
        what = f"{first.method} {said(first.path, 100)} {how} (exchange {first.exchange}): {said(first.why, 160)}"
        message = f"{counted(len(more) + 1, 'request')} failed alike, the first: {what}" if more else what
        times = [one.at_ns for one in (first, *more)]
        yield Sign("request-failed", message, min(times), max(times), severity=first.severity, exchange=first.exchange)


def unanswered(s: Examined) -> Iterator[Sign]:
    """Requests that change something, for whose answer a client waited in vain. `untaken` has the messages."""
    messages = {act.exchange for act in s.acts if act.kind == "message"}
    for x in s.exchanges:
        is_write = x.kind == "http" and x.request.method not in READS and x.party != "runner"
        waited_ns = (s.aftermath.last_known_ns if x.end_ns is None else x.end_ns) - x.request.at_ns
        if (
            is_write
            and x.response is None
            and x.ending in _WAITED
            and waited_ns >= SILENT
            and x.exchange not in messages
        ):
            what = f"{x.request.method} {said(path_of(x.request.target), 100)} (exchange {x.exchange})"
            message = f"{what} got no answer in {seconds(waited_ns)}"
            until_ns = x.request.at_ns + waited_ns
            yield Sign("request-unanswered", message, x.request.at_ns, until_ns, exchange=x.exchange)


def deletion(s: Examined, at_ns: int) -> Iterator[Sign]:
    """A deletion at `at_ns`, if an open stream was in the middle of a turn."""
    until_ns = s.aftermath.last_known_ns
    for one in s.streams:
        x = one.exchange
        is_open = x.request.at_ns <= at_ns <= (until_ns if x.end_ns is None else x.end_ns)
        for draft in s.carried(one) if is_open else ():
            first, last, _ = _stretch(one, draft)
            if first.at_ns <= at_ns and (draft.end_ref is None or draft.end_ref.at_ns >= at_ns):
                after = seconds(at_ns - first.at_ns)
                message = f"a client deleted the session in the middle of a turn, {after} after the turn's beginning"
                yield sign_at(
                    "session-deleted", message, [last], since_ns=first.at_ns, until_ns=until_ns, about=id(draft)
                )
                return


def untaken(s: Examined, items: Items) -> Iterator[Sign]:
    """Messages that no `session.input.consumed` followed, although a stream was open; and POSTs without an answer that
    had no effect: no question, no message of the same text."""
    posts = [act for act in s.acts if act.kind == "message" and not act.refused]
    taken = [act for act in posts if act.item_id is not None and ("message", act.item_id) not in items.by_key]
    asked = [ref.at_ns for _, trace in s.approvals for ref in trace.begun]
    hangs = [
        act
        for act in posts
        if act.is_unanswered and max(asked, default=-1) < act.at_ns and not items.carried(act.text, act.at_ns)
    ]
    unheard = True
    for act in [*taken, *hangs][:_MOST]:
        patience = _LISTENS_AGAIN if act.item_id is not None else PATIENCE
        there = [one for one in s.streams if one.is_session and _listened(s, one, act.at_ns, patience)]
        if there:
            one = max(there, key=_end)
            # A warning if a turn was completed, since then only the event is missing.
            ran_on = any(draft.until_ns > act.at_ns and draft.ended == "completed" for draft in s.carried(one))
            was = "was accepted" if act.item_id is not None else f"(exchange {act.exchange}) had no answer"
            message = f"the message {said(act.text, 40)!r} {was}, but no event says that the agent got it"
            seqs = (one.activity.last.seq,) if one.activity.last else ()
            until = max(act.at_ns, one.exchange.end_ns or 0)
            yield Sign("message-not-taken", message, act.at_ns, until, one.stream, seqs, "warning" if ran_on else None)
            unheard = False
    last = s.session.turns[-1] if s.session.turns else None
    is_heard = any(one.is_session for one in s.streams)  # if not, another recorder may have the streams
    if unheard and is_heard and last is not None and last.asked and last.ended == "unfinished" and is_untouched(last):
        text = said(last.asked[-1].text, 40)
        message = f"no event says that the agent got the message {text!r}, but no client listened for long after it"
        yield Sign("message-not-taken", message, last.begin_ns, max(last.begin_ns, s.until_ns), severity="note")


def _listened(s: Examined, one: StreamChecks, at_ns: int, patience: int) -> bool:
    """Whether a stream was open when the message was sent, and for `patience` ns after it."""
    x = one.exchange
    begun = x.response is not None and x.response.at_ns <= at_ns
    middle = s.middles.get(one.stream)
    ended = (draft for draft in s.carried(one) if draft.end_ref is not None and draft is not middle)
    ended_later = any(draft.until_ns > at_ns for draft in ended)
    return begun and (x.end_ns is None or x.end_ns > at_ns + patience or ended_later)
