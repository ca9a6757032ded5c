"""Checks of endings and of clients: why a stream ended in the middle of a turn, and what clients did.

The session fell silent, because of an approval, a tool, a dead runner or a dead connection; or the server or the
network ended the stream; or the client left; or the recording ended. The severity depends on whether another stream
carried the end of the turn. The other exchanges of the recording show whether the server stopped.

Of clients: reconnects, refused or lost messages, failed requests, deleted sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ...model import by_key
from ...omnigent.routes import party_name, path_of
from ...text import counted, joined
from ..apis import error_text
from ..turns.aftermath import ENDED_BY_SERVER, Aftermath
from ..turns.patience import LATE, LONG, LONG_QUIET, PATIENCE, SECOND
from ..turns.requests import Act, FailedRequest, group_key
from .finding import Severity, Sign, said, seconds, sign_at
from .items import Items, StoredState
from .stream import StreamChecks
from .turns import Turn

_MOST = 20
_LISTENS_AGAIN = 2 * SECOND
_NAMES = {"answer": "answer to an approval", "interrupt": "interrupt"}
_RECORDER = {"recorder_killed": "recorder-killed", "recorder_stopped": "recorder-stopped"}
_AFTERWARDS = {"restarted": "; it was started again", "gone": "; afterwards it could not be reached"}
_BROKEN = {
    "upstream_lost": "the connection to the server broke",
    "recorder_killed": "the recorder was killed while the stream was open,",
}


class Endings:
    def __init__(self, streams: Sequence[StreamChecks], snapshots: Sequence[StoredState], upstream: Aftermath) -> None:
        self._listenings, self._snapshots, self._upstream = streams, snapshots, upstream
        self._ended = {
            turn.response_id for one in streams for turn in one.turns.drafts if turn.response_id and turn.end_ref
        }

    def signs(self) -> Iterator[Sign]:
        for one in self._listenings:
            if one.is_other:
                yield from self._of_other(one)
                continue
            if (turn := one.turns.unfinished) is not None:
                yield from self._in_turn(one, turn)
            elif one.exchange.ending in ENDED_BY_SERVER and one.is_session:  # never without a reason
                yield from self._server_ended(one, "between two turns", "warning")
            elif one.exchange.ending == "recorder_killed":
                yield from self._recorder_ended(one, "recorder-killed")

    def _of_other(self, one: StreamChecks) -> Iterator[Sign]:
        """The end of a stream of an unknown API: only a break of the connection is known to be none."""
        x, last = one.exchange, one.activity.last
        if one.said is not None and (error := error_text(one.said.type, one.said.data)) is not None:
            what = f"{x.request.method} {said(path_of(x.request.target), 100)} (exchange {x.exchange})"
            message = f"{what}: the last event of the stream is an error: {said(error, 160)}"
            yield sign_at("request-failed", message, [one.said.ref], severity="warning", exchange=x.exchange)
        if (how := _BROKEN.get(x.ending)) is not None:
            since = last.at_ns if last else x.request.at_ns
            after = f" after {counted(one.count, 'frame')}" if one.count else " before the first event"
            gone = self._afterwards(one) if x.ending == "upstream_lost" else ""
            code, end_ns = _RECORDER.get(x.ending, "upstream-lost"), max(one.end_ns or 0, since)
            yield Sign(code, f"{how}{after}{gone}", since, end_ns, one.stream, (last.seq,) if last else ())

    def _in_turn(self, one: StreamChecks, turn: Turn) -> Iterator[Sign]:
        """If the turn was silent already, a client that left later is not the reason."""
        has_no_end = self.has_no_end(one, turn)
        is_silent = self._until(one, turn) - turn.last.at_ns > (PATIENCE if turn.waiting_for else LONG_QUIET)
        if has_no_end and (is_silent or self._offline(turn)):
            yield from self._silent(one, turn)
            if one.exchange.ending in ENDED_BY_SERVER and one.is_session:
                yield from self._server_ended(one, "in a silence", "warning", since_ns=self._until(one, turn) + 1)
        else:
            yield from self._cut(one, turn, has_no_end=has_no_end)
        if has_no_end and one.exchange.ending != "open":
            is_known = one.exchange.ending != "unknown"
            name = f"the response {said(turn.response_id)}" if turn.response_id else "the turn"
            where = "recording" if is_known else "file, which does not say how the stream ended"
            whole = self._whole(one, turn)
            yield sign_at(
                "turn-unfinished",
                f"{name} has no end in this {where}",
                [turn.first, turn.last],
                until_ns=self._until(one, turn),
                about=whole.response_id or whole.first,
                severity=None if is_known else "note",
            )

    def _cut(self, one: StreamChecks, turn: Turn, *, has_no_end: bool) -> Iterator[Sign]:
        ending = one.exchange.ending
        severity: Severity = "error" if has_no_end else "warning"
        if ending in ENDED_BY_SERVER and (one.is_session or ending == "upstream_lost"):
            yield from self._server_ended(one, "in the middle of a turn", severity, since_ns=turn.first.at_ns)
        elif ending in _RECORDER:
            yield from self._recorder_ended(one, _RECORDER[ending])
        elif ending == "client_left":
            left_ns, known_ns = one.exchange.end_ns or 0, self._upstream.last_known_ns
            others = (other.exchange for other in self._listenings if other is not one)
            if has_no_end or any(x.request.at_ns < left_ns < (x.end_ns or known_ns) for x in others):
                yield self._client_left(one, turn, has_no_end=has_no_end)

    def _whole(self, one: StreamChecks, turn: Turn) -> Turn:
        """Return the turn of an earlier stream that this one continues. A stream that joined in the middle of a turn
        may lack the id of its response."""
        if turn.response_id is not None or not one.joined or turn is not one.turns.drafts[0]:
            return turn
        before = self._listenings[: self._listenings.index(one)]
        open_ = (other.turns.unfinished for other in reversed(before))
        return next((other for other in open_ if other is not None), turn)

    def has_no_end(self, one: StreamChecks, turn: Turn) -> bool:
        """Whether no stream carried the end of the turn."""
        id_ = self._whole(one, turn).response_id
        if id_ is not None:
            return id_ not in self._ended
        others = (other for other in self._listenings if other is not one)
        ended = (t for other in others for t in other.turns.drafts if t.end_ref is not None)
        return not any(t.until_ns >= turn.last.at_ns for t in ended)

    def _until(self, one: StreamChecks, turn: Turn) -> int:
        return max(one.end_ns or 0, turn.until_ns)

    def _offline(self, turn: Turn) -> StoredState | None:
        """Return the server's last answer after the turn's last event, if that says that the runner is offline."""
        known = [s for s in self._snapshots if s.asked_ns > turn.last.at_ns and s.runner_online is not None]
        return known[-1] if known and not known[-1].runner_online else None

    def _silent(self, one: StreamChecks, turn: Turn) -> Iterator[Sign]:
        """A silent runner or model. Open approvals and tool calls, and missing heartbeats, have their own checks."""
        until, last, offline = self._until(one, turn), one.activity.last, self._offline(turn)
        if offline is None and (turn.waiting_for or last is None or until - last.at_ns > LATE):
            return
        quiet_ns, beats = until - turn.last.at_ns, counted(one.activity.heartbeats, "heartbeat")
        severity: Severity | None = None if quiet_ns > LONG else "warning"  # the model may still think
        if offline is not None:
            code, severity = "runner-disconnected", None
            why = f", and exchange {offline.exchange} says that its runner is offline"
        elif until - one.activity.runner_ns < LATE:
            code, why = "model-silent", ", the runner's own among them: it waits for its model"
        else:
            code, why = "runner-silent", f": its runner was killed, or hangs{'' if quiet_ns > LONG else ', or thinks'}"
        message = f"nothing but {beats} came for {seconds(quiet_ns)} in the middle of a turn{why}"
        times = {"since_ns": turn.first.at_ns, "until_ns": until}
        yield sign_at(code, message, [turn.last], about=turn.response_id, severity=severity, **times)

    def _server_ended(
        self, one: StreamChecks, when: str, severity: Severity, since_ns: int | None = None
    ) -> Iterator[Sign]:
        """`since_ns`: the time from which on this explains missing events."""
        last, x, upstream = one.activity.last, one.exchange, self._upstream
        afterwards = upstream.of(x)
        if x.ending == "upstream_lost":
            code, how = "upstream-lost", f"the connection to the server broke {when}"
        elif afterwards == "answered" or (afterwards is None and one.is_slow):
            code, how = "reader-dropped", f"the server ended this stream and kept running {when}, without [DONE]"
        else:
            code, how = "server-stopped", f"the server ended the stream {when}, without [DONE]"
        until = max(x.end_ns or 0, last.at_ns if last else 0)
        since = since_ns if since_ns is not None else last.at_ns if last else until
        seqs = (last.seq,) if last else ()
        yield Sign(code, how + self._afterwards(one), since, max(since, until), one.stream, seqs, severity)

    def _afterwards(self, one: StreamChecks) -> str:
        return _AFTERWARDS.get(self._upstream.of(one.exchange) or "", "")

    def _recorder_ended(self, one: StreamChecks, code: str) -> Iterator[Sign]:
        last = one.activity.last
        turn = one.turns.unfinished
        if last is not None:
            how = "the recorder was killed" if code == "recorder-killed" else "the proxy was stopped"
            when = "in the middle of a turn" if turn else "between two turns"
            since = turn.first.at_ns if turn else last.at_ns
            until = max(self._upstream.last_known_ns, self._until(one, turn) if turn else last.at_ns)
            yield sign_at(code, f"{how} {when}", [last], since_ns=since, until_ns=until)

    def _client_left(self, one: StreamChecks, turn: Turn, *, has_no_end: bool) -> Sign:
        waits_for = turn.waits_for
        during = {None: "", "approval": ", while an approval was open"}.get(waits_for, f", while {said(waits_for)} ran")
        what = "" if has_no_end else "; another stream carried the rest"
        after = seconds(self._until(one, turn) - turn.first.at_ns)
        who = party_name(one.exchange)
        message = f"the {who} closed its stream in the middle of a turn, {after} after its beginning{during}{what}"
        until = max(self._upstream.last_known_ns, one.exchange.end_ns or turn.until_ns)
        return sign_at(
            "client-left-in-turn", message, [turn.last], since_ns=turn.first.at_ns, until_ns=until,
            severity=None if has_no_end else "note",
        )  # fmt: skip


def _end(one: StreamChecks) -> float:
    return float("inf") if one.exchange.end_ns is None else one.exchange.end_ns


def reconnects(streams: Sequence[StreamChecks], endings: Endings, missed: Sequence[Sign]) -> Iterator[Sign]:
    """Signs of reconnects. `streams`: by opening. `missed`: the signs about items that no stream carried."""
    gaps, last = list[tuple[StreamChecks, StreamChecks]](), None
    for one in streams:
        if one.is_session:
            if last is not None and _end(last) <= one.exchange.request.at_ns:
                gaps.append((last, one))
            last = one if last is None or _end(one) >= _end(last) else last
    return (_reconnect(before, after, endings, missed) for before, after in gaps[:_MOST])


def _reconnect(before: StreamChecks, after: StreamChecks, endings: Endings, missed: Sequence[Sign]) -> Sign:
    """The sign of the time between two streams, in which no client listened."""
    from_ns, until_ns = before.exchange.end_ns or 0, after.exchange.request.at_ns
    turn = before.turns.unfinished
    ref = before.activity.last or after.activity.last
    stream, seqs = (ref.stream, (ref.seq,)) if ref else (None, ())
    since = turn.first.at_ns if turn else from_ns
    away = f"no client listened for {seconds(until_ns - from_ns)}, then a client reconnected"
    lost = [sign for sign in missed if sign.since_ns <= from_ns and until_ns <= sign.until_ns]
    until = max([until_ns, *(sign.until_ns for sign in lost)])
    later = {one.response_id for one in after.turns.drafts} - {None}
    goes_on = after.joined or (turn is not None and turn.response_id in later)
    severity: Severity | None = None
    code, what = "reconnected", "nothing is known to be lost"
    if turn is not None and endings.has_no_end(before, turn) and not goes_on:
        code, what = "reconnect-missed", "the stream did not report the end of the open turn"
        until = max(until, after.exchange.end_ns or 0)
    elif lost:
        code, what, severity = "reconnect-missed", "the stream did not report what happened meanwhile", "warning"
    return Sign(code, f"{away}; {what}", since, until, stream, seqs, severity)


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


def deletion(streams: Sequence[StreamChecks], at_ns: int, until_ns: int) -> Iterator[Sign]:
    """A deletion at `at_ns`, if an open stream was in the middle of a turn."""
    for one in streams:
        x = one.exchange
        is_open = x.request.at_ns <= at_ns <= (until_ns if x.end_ns is None else x.end_ns)
        for turn in one.turns.drafts if is_open else ():
            if turn.first.at_ns <= at_ns and (turn.end_ref is None or turn.end_ref.at_ns >= at_ns):
                after = seconds(at_ns - turn.first.at_ns)
                message = f"a client deleted the session in the middle of a turn, {after} after the turn's beginning"
                times = {"since_ns": turn.first.at_ns, "until_ns": until_ns}
                yield sign_at("session-deleted", message, [turn.last], about=turn.response_id, **times)
                return


def untaken(acts: Sequence[Act], items: Items, asked: Sequence[int], streams: Sequence[StreamChecks]) -> Iterator[Sign]:
    """Messages that no `session.input.consumed` followed, although a stream was open; and POSTs without an answer that
    had no effect: no question, no message of the same text. `asked`: when the agent asked the user, in ns."""
    posts = [act for act in acts if act.kind == "message" and not act.refused]
    taken = [act for act in posts if act.item_id is not None and ("message", act.item_id) not in items.by_key]
    hangs = [
        act for act in posts
        if act.is_unanswered and max(asked, default=-1) < act.at_ns and not items.carried(act.text, act.at_ns)
    ]  # fmt: skip
    for act in [*taken, *hangs][:_MOST]:
        patience = _LISTENS_AGAIN if act.item_id is not None else PATIENCE
        there = [one for one in streams if one.is_session and _listened(one, act.at_ns, patience)]
        if there:
            one = max(there, key=_end)
            # A warning if a turn was completed, since then only the event is missing.
            ran_on = any(turn.until_ns > act.at_ns and turn.ended == "completed" for turn in one.turns.drafts)
            was = "was accepted" if act.item_id is not None else f"(exchange {act.exchange}) had no answer"
            message = f"the message {said(act.text, 40)!r} {was}, but no event says that the agent got it"
            seqs = (one.activity.last.seq,) if one.activity.last else ()
            until = max(act.at_ns, one.exchange.end_ns or 0)
            yield Sign("message-not-taken", message, act.at_ns, until, one.stream, seqs, "warning" if ran_on else None)


def _listened(one: StreamChecks, at_ns: int, patience: int) -> bool:
    """Whether a stream was open when the message was sent, and for `patience` ns after it."""
    x = one.exchange
    begun = x.response is not None and x.response.at_ns <= at_ns
    ended_later = any(turn.until_ns > at_ns and turn.end_ref is not None for turn in one.turns.drafts)
    return begun and (x.end_ns is None or x.end_ns > at_ns + patience or ended_later)
