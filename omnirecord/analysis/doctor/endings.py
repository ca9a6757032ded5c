"""Why a turn was not heard to its end, from how its stream ended and what is known beside it.

The session fell silent, for an approval, a tool, a dead runner or a dead connection; or the server or the network ended
the stream; or the client left; or the recording ended. What another stream heard of the turn decides how bad that is.

How the server behaved towards everybody in one recording: evidence for why one stream ended. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...model import Exchange
from ...omnigent.parties import party_name
from ...wire.headers import header
from .finding import SECOND, Severity, Sign, counted, said, seconds, sign_at
from .order import ItemList
from .stream import LATE, LONG, QUIET, Listening
from .turns import Turn

EPOCH = "x-omnigent-stream-epoch"
"""The response header that differs once the server was started again."""
_SOON = 3 * SECOND
"""No server is stopped and started again within this time."""
_A_WHILE = 120 * SECOND


@dataclass(frozen=True, slots=True)
class Upstream:
    """`exchanges`: all of the recording, in the order of their requests."""

    exchanges: Sequence[Exchange] = ()
    last_known_ns: int = 0
    """Until when the recording goes."""

    @classmethod
    def of(cls, exchanges: Sequence[Exchange]) -> Upstream:
        times = [x.request.at_ns for x in exchanges]
        times += [x.end_ns for x in exchanges if x.end_ns is not None]
        times += [x.response.at_ns for x in exchanges if x.response]
        return cls(exchanges, max(times, default=0))

    def is_gone_after(self, ns: int) -> bool:
        """Whether a request soon after was the first of all to find no server."""
        later = [x for x in self.exchanges if ns < x.request.at_ns < ns + _A_WHILE]
        return bool(later) and later[0].ending == "upstream_unreachable"

    def restarts_after(self, x: Exchange) -> bool:
        """Whether a later stream is of another run of the server than this one."""
        epoch, end = _epoch(x), x.end_ns or 0
        later = [_epoch(other) for other in self.exchanges if other.kind == "sse" and other.request.at_ns > end]
        return epoch is not None and any(other not in (None, epoch) for other in later)

    def lives_on_after(self, x: Exchange) -> bool:
        """Whether the server went on with others when it ended this stream, or is the same one in a later stream."""
        end, epoch = x.end_ns or 0, _epoch(x)
        for other in self.exchanges:
            if other is x or other.response is None:
                continue
            is_answered_soon = end < other.request.at_ns < end + _SOON and other.response.status < 502
            goes_on = other.response.at_ns < end and (other.end_ns or 0) > end + SECOND
            is_same = other.request.at_ns > end and epoch is not None and _epoch(other) == epoch
            if is_answered_soon or is_same or (goes_on and other.kind != "websocket"):
                return True
        return False


def _epoch(x: Exchange) -> str | None:
    return header(x.response.headers, EPOCH) if x.response else None


_RECORDER = {"recorder_killed": "recorder-killed", "recorder_stopped": "recorder-stopped"}
PATIENCE = 10 * SECOND
"""Who leaves a turn that has waited for this long, for an approval or a tool, is not why it has no end."""
BY_SERVER = ("eof", "upstream_lost")


class Endings:
    """How the streams of one session ended."""

    def __init__(self, listenings: Sequence[Listening], snapshots: Sequence[ItemList], upstream: Upstream) -> None:
        self._listenings, self._snapshots, self._upstream = listenings, snapshots, upstream
        self._ended = {turn.id for one in listenings for turn in one.turns.all if turn.id and turn.ended is not None}

    def signs(self) -> Iterator[Sign]:
        for one in self._listenings:
            turn = one.cut()
            yield from self._between_turns(one) if turn is None else self._in_turn(one, turn)

    def _between_turns(self, one: Listening) -> Iterator[Sign]:
        """A session's stream is not ended by its server but for a reason."""
        if one.exchange.ending in BY_SERVER and one.is_session:
            yield from self._server_ended(one, "between two turns", "warning")
        elif one.exchange.ending == "recorder_killed":
            yield from self._recorder_ended(one, "recorder-killed")

    def _in_turn(self, one: Listening, turn: Turn) -> Iterator[Sign]:
        """Of a turn that had fallen silent, who left later is not why it has no end."""
        unheard = self.is_unheard(one, turn)
        if unheard and self._fell_silent(one, turn):
            yield from self._silent(one, turn)
            if one.exchange.ending in BY_SERVER and one.is_session:
                yield from self._server_ended(one, "in a silence", "warning", since_ns=self._until(one, turn) + 1)
        else:
            yield from self._cut(one, turn, unheard=unheard)
        if unheard and one.exchange.ending != "open":
            is_known = one.exchange.ending != "unknown"
            name = f"the response {said(turn.id)}" if turn.id else "the turn"
            where = "recording" if is_known else "file, which does not say how the stream ended"
            yield sign_at(
                "turn-unfinished", f"{name} has no end in this {where}", [turn.first, turn.last],
                until_ns=self._until(one, turn), about=turn.id, severity=None if is_known else "note",
            )  # fmt: skip

    def _cut(self, one: Listening, turn: Turn, *, unheard: bool) -> Iterator[Sign]:
        ending = one.exchange.ending
        severity: Severity = "error" if unheard else "warning"
        if ending in BY_SERVER and (one.is_session or ending == "upstream_lost"):
            yield from self._server_ended(one, "in the middle of a turn", severity, since_ns=turn.first.at_ns)
        elif ending in _RECORDER:
            yield from self._recorder_ended(one, _RECORDER[ending])
        elif ending == "client_left" and (unheard or self._others_listened(one)):
            yield self._client_left(one, turn, unheard=unheard)

    def is_unheard(self, one: Listening, turn: Turn) -> bool:
        """Whether no stream heard the end of the turn."""
        if turn.id is not None:
            return turn.id not in self._ended
        others = (other for other in self._listenings if other is not one)
        ended = (t for other in others for t in other.turns.all if t.ended is not None)
        return not any(t.until_ns >= turn.last.at_ns for t in ended)

    def _until(self, one: Listening, turn: Turn) -> int:
        return max(one.end_ns(self._upstream.last_known_ns) or 0, turn.until_ns)

    def _others_listened(self, one: Listening) -> bool:
        """Whether somebody else was there when the client left."""
        end = one.exchange.end_ns or 0
        streams = (other.exchange for other in self._listenings if other is not one)
        return any(x.request.at_ns < end < (x.end_ns or self._upstream.last_known_ns) for x in streams)

    def _fell_silent(self, one: Listening, turn: Turn) -> bool:
        return self._until(one, turn) - turn.last.at_ns > (PATIENCE if turn.waits else QUIET)

    def _silent(self, one: Listening, turn: Turn) -> Iterator[Sign]:
        """An approval or tool call that is open, and heartbeats that stopped, are told of where they are known."""
        until, last = self._until(one, turn), one.pulse.last
        if turn.waits or last is None or until - last.at_ns > LATE:
            return
        code, why, severity = self._who_is_silent(one, turn, until - turn.last.at_ns)
        beats = counted(one.pulse.heartbeats, "heartbeat")
        quiet = f"nothing but {beats} came for {seconds(until - turn.last.at_ns)} in the middle of a turn"
        about, since = turn.id, turn.first.at_ns
        message = f"{quiet}{why}"
        yield sign_at(code, message, [turn.last], since_ns=since, until_ns=until, about=about, severity=severity)

    def _who_is_silent(self, one: Listening, turn: Turn, quiet_ns: int) -> tuple[str, str, Severity | None]:
        """The code, what the message says of it, and the severity, which is less while a model might only think."""
        offline = next((s for s in self._snapshots if s.at_ns > turn.last.at_ns and s.runner_online is False), None)
        if offline is not None:
            return "runner-disconnected", f", and exchange {offline.exchange} says that its runner is offline", None
        severity: Severity | None = None if quiet_ns > LONG else "warning"
        if self._until(one, turn) - one.pulse.runner_ns < LATE:
            return "model-silent", ", the runner's own among them: it waits for its model", severity
        return "runner-silent", f": its runner was killed, or hangs{'' if quiet_ns > LONG else ', or thinks'}", severity

    def _server_ended(
        self, one: Listening, when: str, severity: Severity, since_ns: int | None = None
    ) -> Iterator[Sign]:
        """`since_ns`: from when on what is missing is missing because of that."""
        last, x = one.pulse.last, one.exchange
        code = self._who(one)
        how = {
            "upstream-lost": "the connection to the server broke",
            "server-stopped": "the server ended the stream",
            "reader-dropped": "the server ended this stream and kept running",
        }[code]
        message = f"{how} {when}{'' if code == 'upstream-lost' else ', without [DONE]'}{self._afterwards(one)}"
        until = max(x.end_ns or 0, last.at_ns if last else 0)
        since = since_ns if since_ns is not None else last.at_ns if last else until
        yield Sign(code, message, since, max(since, until), one.stream, (last.seq,) if last else (), severity)

    def _who(self, one: Listening) -> str:
        if one.exchange.ending == "upstream_lost":
            return "upstream-lost"
        is_gone = self._upstream.is_gone_after(one.exchange.end_ns or 0) or self._upstream.restarts_after(one.exchange)
        if not is_gone and (one.is_slow or self._upstream.lives_on_after(one.exchange)):
            return "reader-dropped"
        return "server-stopped"

    def _afterwards(self, one: Listening) -> str:
        if self._upstream.restarts_after(one.exchange):
            return "; it was started again"
        return "; afterwards it could not be reached" if self._upstream.is_gone_after(one.exchange.end_ns or 0) else ""

    def _recorder_ended(self, one: Listening, code: str) -> Iterator[Sign]:
        last, turn = one.pulse.last, one.cut()
        if last is not None:
            how = "the recorder was killed" if code == "recorder-killed" else "the proxy was stopped"
            when = "in the middle of a turn" if turn else "between two turns"
            since = turn.first.at_ns if turn else last.at_ns
            until = max(self._upstream.last_known_ns, self._until(one, turn) if turn else last.at_ns)
            yield sign_at(code, f"{how} {when}", [last], since_ns=since, until_ns=until)

    def _client_left(self, one: Listening, turn: Turn, *, unheard: bool) -> Sign:
        waits = next(reversed(turn.waits.values()), None)
        during = {None: "", "approval": ", while an approval was open"}.get(waits, f", while {said(waits)} ran")
        what = "" if unheard else "; another client heard the rest"
        after = seconds(self._until(one, turn) - turn.first.at_ns)
        who = party_name(one.exchange)
        message = f"the {who} closed its stream in the middle of a turn, {after} after its beginning{during}{what}"
        severity: Severity | None = None if unheard else "note"
        end = one.exchange.end_ns or turn.until_ns
        return sign_at(
            "client-left-in-turn", message, [turn.last], since_ns=turn.first.at_ns,
            until_ns=max(self._upstream.last_known_ns, end), severity=severity,
        )  # fmt: skip
