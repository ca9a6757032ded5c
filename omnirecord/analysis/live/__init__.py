"""A view of a recording in progress: rows of events and requests in, a line for each thing that happens out.

    view = LiveView()
    for row in rows:
        for line in view.lines_of(row):
            print(line.line(width))
    print(view.growing().line(width))

An event that several clients got has one line. Consecutive deltas are one line, which grows. A request has a line if it
failed or changed something. Pure: no I/O, no clock. No line has a control character in it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from ...model import TimedFrame
from ...omnigent import protocol
from ...omnigent.line import Line as EventLine
from ...omnigent.line import MergedFrame
from ...omnigent.routes import is_bookkeeping, path_of, session_of
from ...omnigent.summary import short_id
from ...providers.summary import text_delta
from ...text import clip, counted, joined, one_line, seconds
from ...wire.json_bytes import bytes_from_json
from ...wire.strict_json import as_dict, as_text
from ..apis import summary
from ..turns.draft import Block
from ..turns.requests import READS, Act
from .answers import AnswerLines, answer_lines, whole_lines
from .events import Data, Kind, Line, LiveSession, Make, Row, event_lines, objections

__all__ = ["Line", "LiveView"]

_PATH = 44
"""Length of a path in a line, in characters."""
_ENDINGS: dict[str, tuple[str, Kind]] = {
    "done": ("the server ended it", "end"),
    "eof": ("the server closed it", "end"),
    "client_left": ("the client left", "end"),
    "upstream_lost": ("the upstream connection broke", "trouble"),
    "recorder_killed": ("the recorder was killed", "trouble"),
    "recorder_stopped": ("the recorder stopped", "warning"),
    "upstream_unreachable": ("the upstream was not reached", "trouble"),
}
_KINDS: dict[str, Kind] = {"valid": "said", "comment": "note", "sentinel": "note", "unknown": "warning"}
_KEPT = 300
"""Length of each end of a text that is kept, in characters."""
_SHORTEST = 250_000_000
"""Duration that has a rate, at least, in ns."""
_LABELS: dict[str, tuple[str, Kind]] = {
    protocol.RESPONSE_OUTPUT_TEXT_DELTA: ("assistant", "said"),
    protocol.RESPONSE_REASONING_TEXT_DELTA: ("thinking", "thought"),
    protocol.RESPONSE_REASONING_SUMMARY_TEXT_DELTA: ("thinking", "thought"),
    protocol.RESPONSE_FUNCTION_CALL_OUTPUT_DELTA: ("tool", "tool"),
}
_DELTA_TYPES = {"text": protocol.RESPONSE_OUTPUT_TEXT_DELTA, "reasoning": protocol.RESPONSE_REASONING_TEXT_DELTA}
"""The key of `_LABELS` for a delta of a model API."""
_MOST_SESSIONS = 500
"""Number of sessions that the view remembers, at most: a recorder may run for months."""


class Requests:
    """Lines for requests; with `every`, also for reads."""

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._listening: dict[int, str] = {}

    def lines_of(self, row: Row, place: str, *, in_turn: bool) -> Iterator[Line]:
        """Return the lines of a request that begins or has ended. `in_turn`: a turn of its session is open."""
        is_over = row["end_ns"] is not None
        yield from _asked(row, place)
        yield from whole_lines(row, place)
        make = partial(Line, row["end_ns"] if is_over else row["offset_ns"], place=place)
        if _has_failed(row):
            if is_over:
                yield self._failure(row, make)
        elif row["kind"] == "sse" and row["stream"] is not None:
            yield from self._stream(row, make, is_over=is_over, in_turn=in_turn)
        elif is_over and self._is_told(row):
            by = f"by {_who(row)}" if _who(row) != "client" else ""
            yield make("request", "note", f"{_name(row)} {row['status']}", by, f"in {_took(row)}")

    def of_hop(self, row: Row, place: str) -> Iterator[Line]:
        """Return the line of a request of a hop with a name, once it is over. Its label is the name."""
        if row["end_ns"] is None:
            return
        make = partial(Line, row["end_ns"], place=place)
        if _has_failed(row):
            yield replace(self._failure(row, make), label=row["hop"])
        elif row["kind"] != "http" or row["method"] not in READS:
            how, kind = _ENDINGS.get(row["ending"], (row["ending"], "end"))
            how = "" if kind == "end" and row["ending"] != "client_left" else f"; {how}"
            kind = "note" if kind == "end" else kind
            if row["error"]:
                how = f"; {row['error']}"
                kind = "warning"
            yield make(row["hop"], kind, f"{_name(row)} {row['status']}", end=f"in {_took(row)}{how}")

    def _failure(self, row: Row, make: Make) -> Line:
        kind: Kind = "trouble" if row["severity"] in ("error", "warning") else "note"
        if row["status"] is None:
            how, kind = _ENDINGS.get(row["ending"], (row["ending"], kind))
            kind = "warning" if kind == "end" else kind
            return make("request", kind, "no answer:", f"{how} after {_took(row)}", f"{_name(row)}")
        why = row["error"] or ""
        if why.startswith("upstream_unreachable: "):
            why = why.partition(": ")[2].removeprefix("omnirecord ")
        return make("request", kind, f"{row['status']} {_name(row)}", why.removeprefix(f"{row['status']}: "))

    def _stream(self, row: Row, make: Make, *, is_over: bool, in_turn: bool) -> Iterator[Line]:
        stream = row["stream"]
        session = row["session_id"] or ""
        what = f"{_who(row)} listens" if session else f"{_who(row)} reads {_short(row)}"
        if not is_over:
            if stream not in self._listening:
                self._listening[stream] = session
                yield make("stream", "note", what, f"to session {short_id(session)}" if session else "")
            return
        self._listening.pop(stream, None)
        if row["ending"] in _ENDINGS and row["ending"] != "recorder_stopped":
            how, kind = _ENDINGS[row["ending"]]
            if in_turn and row["session_id"] not in self._listening.values():
                how = f"{how} in a turn"
                kind = "warning" if kind == "end" else kind
            if row["ending"] == "client_left":
                yield make("stream", kind, f"{how.replace('the client', _who(row))} after {_took(row)}")
            else:
                yield make("stream", kind, f"{how} after {_took(row)}", f"({_who(row)})")

    def _is_told(self, row: Row) -> bool:
        """Return whether a successful request has a line. An action whose events come on a stream has none."""
        if self._every:
            return True
        if row["method"] in READS or row["party"] == "runner" or row["kind"] == "websocket":
            return False
        is_heard = row["act"] is not None and row["session_id"] in self._listening.values()
        return not is_heard and not is_bookkeeping(row["method"], row["path"])


def _asked(row: Row, place: str) -> Iterator[Line]:
    """Return the lines of what is new in a request to a model."""
    make = partial(Line, row["offset_ns"], place=place)
    for part in row.get("asked") or ():  # rows of an older proxy have none
        if part["kind"] == "output":
            yield make("tool", "tool", text=f"-> {one_line(part['text'])}")
        elif part["kind"] in ("user", "system"):
            yield make("message", "asked", f"{part['kind']}:", f'"{one_line(part["text"])}"')


def _act(row: Row) -> Act:
    """Return the client action in a request."""
    act = row["act"]
    refused = f"HTTP {row['status']}" if _has_failed(row) else None
    return Act(
        act["kind"],
        row["offset_ns"],
        _who(row),
        act["text"],
        act.get("item_id"),  # rows of an older proxy have none
        act["elicitation_id"],
        act["action"],
        refused,
        exchange=row["exchange"],
    )


def _has_failed(row: Row) -> bool:
    return bool(row["status"] >= 400) if row["status"] is not None else row["end_ns"] is not None


def _name(row: Row) -> str:
    return f"{row['method']} {_short(row)}"


def _short(row: Row) -> str:
    """Return the path, with eight characters of the session id, and the call of JSON-RPC."""
    return joined([_short_path(row), row.get("call")])


def _short_path(row: Row) -> str:
    path = path_of(row["path"])
    if session := session_of(path):
        _, found, rest = path.rpartition("/" + quote(session, safe=""))
        path = f"…/{short_id(session)}{rest}" if found else path
    path = re.sub(r"(elicit_\w{4})\w+", r"\1…", path)
    return clip(path, _PATH)


def _who(row: Row) -> str:
    """Return the name of the party for people, as `OpenAI client 2`; rows of an older proxy have no name."""
    name = str(row.get("party_name") or row["party"])
    party = str(row["party"])
    number = party.removeprefix("client-")
    if party == number or not name.endswith(f" {number}"):
        return name
    name = name.removesuffix(f" {number}")
    return f"{name} {number}" if name.endswith("client") else f"{name} client {number}"


def _address(row: Row) -> str:
    """Return the number by which the commands name a stream, or another exchange."""
    return f"exchange {row['exchange']}" if row["stream"] is None else f"stream {row['stream']}"


def _took(row: Row) -> str:
    return seconds(round((row["duration_s"] or 0) * 1e9))


def plain_lines(row: Row, before_ns: int, place: str) -> Iterator[Line]:
    """Return the line of one event: gap, type, verdict and summary; and a line for each contract issue."""
    gap = f"{(row['offset_ns'] - before_ns) / 1e9:+.3f}" if row["offset_ns"] else "-"
    verdict = row["verdict"]
    type_ = row["type"] or row["verdict"]
    kind = _KINDS.get(verdict, "trouble")
    shown = type_ if verdict in ("valid", "comment", "sentinel") else f"{type_} ({verdict})"
    yield Line(row["offset_ns"], gap, kind, shown, summary(row["type"], row["data"]), place=place)
    for issue in row["issues"][:3]:
        path = f"{issue['path']}:" if issue["path"] else ""
        yield Line(row["offset_ns"], "", "trouble", path, issue["message"])


def _delta(row: Row) -> tuple[str, str] | None:
    """Return the key of `_LABELS` and the text of a delta; None for another event."""
    type_ = row["type"]
    data = as_dict(row["data"])
    if row["verdict"] not in ("valid", "invalid", "malformed"):
        return None
    if type_ in _LABELS:
        return type_, as_text(data.get("delta")) or ""
    found = text_delta(type_, data)
    return None if found is None else (_DELTA_TYPES[found[0]], found[1])


@dataclass(slots=True)
class Fold:
    """The deltas of one text; `count` of them have been read."""

    label: tuple[str, Kind]
    first_ns: int
    last_ns: int
    stream: int
    first: int
    session: str
    count: int = 0
    is_partial: bool = False
    _head: str = ""
    _tail: str = ""
    _length: int = 0

    def add(self, row: Row, text: str) -> None:
        self.count += 1
        self.last_ns = row["offset_ns"]
        self._length += len(text)
        if len(self._head) < _KEPT:
            self._head = (self._head + text)[:_KEPT]
        self._tail = (self._tail + text)[-_KEPT:]

    @property
    def _amount(self) -> str:
        """The number of deltas and their rate. The stream does not say how many tokens a delta has."""
        lasted = self.last_ns - self.first_ns
        amount = f"{'more than ' if self.is_partial else ''}{counted(self.count, 'delta')}"
        return f"{amount}, {(self.count - 1) / lasted * 1e9:.0f}/s" if lasted >= _SHORTEST else amount

    def growing(self, place: str) -> Line:
        """Return the line of a text that may grow: its last words."""
        text = ("…" if self._length > len(self._tail) else "") + one_line(self._tail)
        return Line(self.first_ns, *self.label, f"{self._amount}:", text, place=place, keeps="end")

    def finished(self, place: str) -> Line:
        """Return the line of a complete text: its first words and its duration."""
        text = one_line(self._head) + ("…" if self._length > len(self._head) else "")
        lasted = self.last_ns - self.first_ns
        end = f"({self._amount}{f', {seconds(lasted)}' if lasted >= _SHORTEST else ''})"
        return Line(self.first_ns, *self.label, "", f'"{text}"', end, place)


class _Session(LiveSession):
    def __init__(self) -> None:
        super().__init__()
        self._recording: int | None = None
        self._line = EventLine()
        self.fold: Fold | None = None
        self.answer: AnswerLines | None = None
        """Of a stream of Chat Completions or Messages."""

    @property
    def in_turn(self) -> bool:
        return self.turns.unfinished is not None if self.answer is None else self.answer.goes_on

    def new(self, row: Row) -> Iterator[MergedFrame]:
        """Return the event of a row, unless another stream has brought it."""
        if self._recording != row["recording"]:
            self._recording = row["recording"]
            self._line = EventLine()
        raw = bytes_from_json(row["raw"])
        frame = TimedFrame(row["stream"], row["seq"], row["offset_ns"], None, raw, 0, row["type"], row["verdict"], ())
        return self._line.add([frame])

    def ends(self, row: Row) -> None:
        """Take the end of a stream."""
        if self._recording == row["recording"] and row["stream"] is not None:
            self._line.listen(row["stream"], row["end_ns"])

    def resent(self, heard: MergedFrame, data: Data) -> str:
        """Add the event of a connect snapshot. Return the text in flight that no stream had brought."""
        block = self._said()
        count = 0 if block is None else len(block.parts)
        self.add(heard, data)
        after = self._said()
        return "" if after is None else "".join(after.parts[count if after is block else 0 :])

    def _said(self) -> Block | None:
        """Return the last text of the last turn."""
        latest = self.turns.latest()
        return latest.messages[-1] if latest is not None and latest.messages else None


class LiveView:
    """The lines of rows in order. `every`: a line for each event and request; deltas are not joined."""

    def __init__(self, *, every: bool = False) -> None:
        self._every = every
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._name = ""
        self._are_several = False
        self._requests = Requests(every=every)
        self._last = ""
        self._before: dict[int, int] = {}
        self._asked_ns: dict[int, int] = {}
        """When the request of each open stream came, in ns."""
        self._left_for: set[str] = set()

    def lines_of(self, row: Row) -> Iterator[Line]:
        """Return the lines that this row completes. It is a row of an event or a request."""
        name = row["session_id"] or ""
        if name and name != self._name:
            self._are_several = self._are_several or self._name != ""
            self._name = name
        if row.get("exchange") is not None:
            yield from self._request(row, name)
            yield from self._redirect(row, name)
        elif row.get("hop") is not None and not self._every:
            return  # the request has one line: the events of a model would hide the turn
        elif self._every:
            stream, at_ns = row["stream"], row["offset_ns"]
            before: int = self._before.get(stream) or at_ns
            self._before[stream] = at_ns
            yield from plain_lines(row, before, self._place(name, f"{row['stream']}:{row['seq']}"))
        else:
            yield from self._event(row, name or f"stream {row['stream']}")

    def growing(self) -> Line | None:
        """Return the line of the text that grew last, if it may grow further."""
        session = self._sessions.get(self._last)
        if session is None or session.fold is None:
            return None
        return session.fold.growing(self._place_of(session.fold))

    def rest(self) -> Iterator[Line]:
        """Return the incomplete lines; no row follows."""
        for session in self._sessions.values():
            yield from self._finish(session)

    def lacks_some(self) -> None:
        """Note that events were left out here: a growing text may lack some deltas."""
        for session in self._sessions.values():
            if session.fold is not None:
                session.fold.is_partial = True

    def _event(self, row: Row, name: str) -> Iterator[Line]:
        yield from self._make_room(name)
        session = self._session(name)
        place = self._place(row["session_id"] or "", f"{row['stream']}:{row['seq']}")
        for heard in session.new(row):
            delta = _delta(row)
            begins = int(session.answer is None)
            lines = list(self._of_answer(session, row, place, is_text=delta is not None))
            text_at = len(lines) if delta is None else begins  # an event may have a text, tool calls, and the end
            behind = lines[text_at:]
            del lines[text_at:]
            if delta is None or row["verdict"] == "malformed":
                lines += objections(session, row, place)
            if session.answer is None and delta is None:
                lines += event_lines(session, heard, row, place)
            elif session.answer is None and heard.in_snapshot:
                text = session.resent(heard, as_dict(row["data"]))
                delta = (delta[0], text) if delta is not None and text else None
            elif session.answer is None:
                session.add(heard, as_dict(row["data"]))
            for told in lines:
                yield from self._finish(session)
                yield told
            if delta is not None:
                self._last = name
                yield from self._grow(session, row, *delta)
                if behind:
                    yield from self._finish(session)
                    yield from behind
            elif row["type"] == protocol.RESPONSE_OUTPUT_ITEM_DONE:
                yield from self._finish(session)

    def _grow(self, session: _Session, row: Row, type_: str, text: str) -> Iterator[Line]:
        """Add a delta to the text that grows."""
        fold = session.fold
        label = _LABELS[type_]
        if fold is None or fold.label != label:
            yield from self._finish(session)
            at_ns, stream, seq = row["offset_ns"], row["stream"], row["seq"]
            session.fold = fold = Fold(label, at_ns, at_ns, stream, seq, row["session_id"] or "")
        fold.add(row, text)

    def _session(self, name: str) -> _Session:
        if name not in self._sessions:
            self._sessions[name] = _Session()
        self._sessions.move_to_end(name)
        return self._sessions[name]

    def _make_room(self, name: str) -> Iterator[Line]:
        """Forget the session without news for the longest time, if there is no room for this one."""
        if name not in self._sessions and len(self._sessions) >= _MOST_SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            yield from self._finish(oldest)

    def _of_answer(self, session: _Session, row: Row, place: str, *, is_text: bool) -> Iterator[Line]:
        """Return the lines of an event of Chat Completions or Messages, except for its text."""
        session.answer = session.answer or answer_lines(row, self._asked_ns.get(row["stream"]))
        if session.answer is not None and session.answer.takes(row, is_text=is_text):
            yield from session.answer.lines_of(row, place)

    def _finish(self, session: _Session) -> Iterator[Line]:
        if session.fold is not None:
            yield session.fold.finished(self._place_of(session.fold))
            session.fold = None

    def _request(self, row: Row, name: str) -> Iterator[Line]:
        session = self._sessions.get(name)
        is_over = row["end_ns"] is not None
        if row.get("hop") is not None and not self._every:
            yield from self._requests.of_hop(row, self._place("", _address(row)))
            return
        place = self._place(name, _address(row))
        heard = session or self._sessions.get(f"stream {row['stream']}")
        if is_over and heard is not None and heard.fold is not None and heard.fold.stream == row["stream"]:
            yield from self._finish(heard)
        if is_over and heard is not None and heard.answer is not None:
            yield from heard.answer.end(row["end_ns"], place)
        in_turn = heard is not None and heard.in_turn
        if is_over and session is not None:
            session.ends(row)
        if is_over:  # a stream without a session has no further events
            self._sessions.pop(f"stream {row['stream']}", None)
            self._before.pop(row["stream"], None)
            self._asked_ns.pop(row["stream"], None)
        elif row["stream"] is not None:
            self._asked_ns[row["stream"]] = row["offset_ns"]
        if name and row["act"]:
            yield from self._make_room(name)
            self._session(name).turns.act(row["exchange"], _act(row))
        yield from self._requests.lines_of(row, place, in_turn=in_turn)

    def _redirect(self, row: Row, name: str) -> Iterator[Line]:
        """Return the line of a redirect past the recorder, once for each server."""
        server: str | None = row.get("leads_to")  # rows of an older proxy have none
        if server is None or server in self._left_for:
            return
        self._left_for.add(server)
        head = f"to {server}: the client leaves the recorder."
        text = f"To record this server: --upstream NAME={server}"
        yield Line(row["end_ns"], "redirect", "warning", head, text, place=self._place(name, _address(row)))

    def _place_of(self, fold: Fold) -> str:
        return self._place(fold.session, f"{fold.stream}:{fold.first}")

    def _place(self, session: str, address: str) -> str:
        """Return the address in the cassette, with the session if there are several."""
        return f"{short_id(session)} {address}".strip() if self._are_several else address
