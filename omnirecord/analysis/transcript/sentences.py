"""The lines of a transcript, the sentences about the parts of a turn, and one turn as lines, in the order of its times.

A line has a kind, so that a terminal can colour it, and is no wider than its page.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from ...model import Ending
from ...omnigent.protocol import SYSTEM_TEXT
from ...text import cells, counted, fitting, joined, one_line, seconds, visible
from ...wire.strict_json import as_dict, loads
from ..turns.builder import LAST
from ..turns.conclusion import Conclusion, is_unanswered, is_untouched
from ..turns.draft import pace_of
from ..turns.requests import FailedRequest
from ..turns.values import Approval, Asked, Child, Listening, Note, Passage, Silence, Tool, Trouble, Turn, TurnUsage

_ASKERS = {"user": "You", "agent": "Parent agent", "system": "System"}
_ANSWERS = {"accept": "accepted", "decline": "declined", "cancel": "cancelled"}
ENDINGS: dict[Ending, str] = {
    "done": "server ended it",
    "eof": "server closed it",
    "client_left": "client left",
    "upstream_lost": "connection broke",
    "recorder_stopped": "recorder stopped",
    "recorder_killed": "recorder killed",
    "upstream_unreachable": "server not reached",
    "open": "still open",
    "unknown": "end not known",
}
_NO_BEAT = 35_000_000_000
"""Length of a silence without a heartbeat that is odd, at least, in ns: one comes every 15 s."""
_WORD = re.compile(" *[^ ]+| +$")
_NARROWEST = 20
Kind = Literal[
    "verdict",
    "bad",
    "head",
    "asked",
    "thought",
    "said",
    "tool",
    "approval",
    "child",
    "trouble",
    "note",
    "silence",
    "end",
    "total",
    "stop",
    "more",
    "heartbeat",
    "blank",
    "model",
]
WIDTH = 100
COLUMN = 15
"""The column of the text, after the number of the turn and the time."""
MAX_TEXT = 4_000
"""Length of a message, in characters."""
MAX_DETAIL = 240
"""Length of a tool's arguments, its output, or an error, in characters."""


def wrap(text: str, width: int, first: str, rest: str) -> Iterator[str]:
    """Return the text in lines of at most `width` columns, behind `first` and then `rest`. Line ends are kept."""
    indent = first
    room = max(width - len(rest), _NARROWEST)
    for line in text.replace("\r\n", "\n").split("\n"):
        for piece in _pieces(visible(line.expandtabs(4)), room):
            yield (indent + piece).rstrip()
            indent = rest


def _pieces(line: str, room: int) -> Iterator[str]:
    """Return a line in parts, cut between words, or in a word that is wider than `room`."""
    if cells(line) <= room:
        yield line
        return
    begun = ""
    used = 0
    width = len if line.isascii() else cells
    for word in _WORD.findall(line):
        taken = width(word)
        if used and used + taken > room:
            yield begun
            begun = ""
            used = 0
            word = word.lstrip(" ")
            taken = width(word)
        while taken > room:
            head = fitting(word, room) or word[:1]
            yield head
            word = word[len(head) :]
            taken = width(word)
        begun += word
        used += taken
    yield begun


class Line(str):
    """One line without control characters and line end; `kind` is what it is about."""

    __slots__ = ("kind",)
    kind: Kind

    def __new__(cls, text: str, kind: Kind) -> Line:
        line = super().__new__(cls, text)
        line.kind = kind
        return line


class Piece(NamedTuple):
    """Something that happened. Pieces with equal times are in the order of their places."""

    at_ns: int
    place: int
    text: str
    kind: Kind
    inner: tuple[Line, ...] = ()
    """Lines that stand there instead: of another session."""


@dataclass(slots=True)
class Page:
    """The width of lines, whether long texts are cut, and the zero of times."""

    width: int = WIDTH
    full: bool = False
    cuts: list[int] = field(default_factory=list)
    """The number of characters that each cut left out."""
    zero_ns: int | None = None
    """The zero of times, in ns; None: the beginning of each top session."""

    def wrapped(self, text: str, kind: Kind, first: str = "", rest: str = "") -> Iterator[Line]:
        return (Line(line, kind) for line in wrap(text, self.width, first, rest))

    def since(self, begun_ns: int) -> Page:
        """Return the page for a session that begins at that time."""
        return replace(self, zero_ns=begun_ns) if self.zero_ns is None else self

    def clock(self, at_ns: int) -> str:
        """Return a time on this page in words."""
        return seconds(max(at_ns - (self.zero_ns or 0), 0))

    def narrower(self, by: int) -> Page:
        return replace(self, width=self.width - by)

    def short(self, text: str) -> str:
        """Return the beginning of a text in one line, and how many characters are left out; all of it if `full`."""
        return self.cut(text, MAX_DETAIL, flat=True)

    def long(self, text: str) -> str:
        """Return a text with its line ends, cut to `MAX_TEXT`."""
        return self.cut(text, MAX_TEXT)

    def cut(self, text: str, most: int, *, flat: bool = False) -> str:
        rest = len(text) - most
        if self.full or rest <= 0:
            return (" ".join(text.split()) if flat and not self.full else text).strip()
        self.cuts.append(rest)
        head = text[:most]
        head = " ".join(head.split()) if flat else head.strip()
        return f"{head}… ({counted(rest, 'more character')})"


def took(word: str, from_ns: int, until_ns: int | None, end: str = "") -> str:
    """Return a duration in words; empty if it is unknown: an imported body has no times."""
    return "" if until_ns is None or until_ns <= from_ns else f"{word}{seconds(until_ns - from_ns)}{end}"


def listened(page: Page, stream: Listening) -> str:
    """Return beginning and end of a stream, and what ended it."""
    until = "" if stream.until_ns is None or stream.until_ns <= stream.from_ns else f" to {page.clock(stream.until_ns)}"
    return f"from {page.clock(stream.from_ns)}{until}, {ENDINGS[stream.ending]}" if until else ENDINGS[stream.ending]


def asked(page: Page, one: Asked) -> str:
    text = one.text.removeprefix(SYSTEM_TEXT).removesuffix("]") if one.by == "system" else one.text
    return f"{_ASKERS[one.by]}: {page.long(text)}"


def thought(page: Page, one: Passage) -> str:
    return f"thought{took(' for ', one.first_ns, one.last_ns)}: {page.long(one.text)}"


def said(page: Page, one: Passage) -> str:
    differs = "\n(the server stored another text than it streamed)" if one.as_stored is False else ""
    return f"Assistant: {page.long(one.text)}{differs}"


def tool(page: Page, one: Tool) -> Piece:
    call = f"tool {page.short(one.name) or '(no name)'} {page.short(one.arguments)}".rstrip()
    if one.replaced is not None:
        call += f" (the server replaced the arguments: {page.short(one.replaced)})"
    has_failed = one.failed is not None or one.replaced is not None
    if one.returned_ns is not None:
        got = f"{_output(page, one.output)}{took(' (', one.called_ns, one.returned_ns, ')')}"
    else:
        got = "no answer was seen" + (f" (so far: {_output(page, one.output)})" if one.output else "")
    text = f"{'!! ' if has_failed else ''}{call} -> {got}"
    return Piece(one.called_ns, one.place, text, "trouble" if has_failed else "tool")


def _output(page: Page, output: str | None) -> str:
    """Return a tool's output; that of a shell tool as a terminal shows it."""
    shell = as_dict(loads(output or ""))
    if "stdout" not in shell:
        return page.short(output or "") or "(nothing)"
    printed = "".join(text for text in (shell.get("stdout"), shell.get("stderr")) if isinstance(text, str))
    code = shell.get("exit_code")
    odd = [f"exit code {code}"] if code not in (0, None) else []
    odd += ["timed out"] if shell.get("timed_out") is True else []
    return (page.short(printed) or "(nothing)") + (f" [{', '.join(odd)}]" if odd else "")


def approval(page: Page, one: Approval, ended_ns: int | None = None) -> str:
    """Return the approval and its answer. `ended_ns`: the end of its turn."""
    question = f"the agent waits for approval: {page.short(one.message)}"
    if one.answered_ns is None and one.action is None and one.resolved_ns is not None:
        return f"{question} -> no answer was seen; closed by the server{took(' after ', one.asked_ns, one.resolved_ns)}"
    done = one.answered_ns if one.resolved_ns is None else one.resolved_ns
    late = "too late: " if done is not None and is_unanswered(one, ended_ns) else ""
    return f"{question} -> {late}{'no answer' if done is None else answer(page, one, done)}"


def answer(page: Page, one: Approval, done_ns: int) -> str:
    """Return how an approval was answered, by which party, and after how long."""
    how = _ANSWERS.get(one.action or "", page.short(one.action or "settled"))
    by = f" by {one_line(one.answered_by)}" if one.answered_by else ""
    return f"{how}{by}{took(' after ', one.asked_ns, done_ns)}"


def child(page: Page, one: Child, *, is_told: bool) -> Iterator[Piece]:
    """Return the beginning and the end of a sub-agent at its parent. `is_told`: its session has lines of its own."""
    name = f"sub-agent {page.short(one.title or one.session_id)}"
    own = "" if is_told else "; no client listened to it: what follows comes from its parent's stream"
    yield Piece(one.spawned_ns, one.place, f"started {name} (session {one_line(one.session_id)}{own})", "child")
    if one.updated_ns is not None and one.status not in (None, "launching", "in_progress", "queued"):
        said = f": {page.short(one.last_message)}" if one.last_message and not is_told else ""
        yield Piece(one.updated_ns, LAST, f"{name} {page.short(one.status or '')}{said}", "child")


def trouble(page: Page, one: Trouble) -> str:
    where = page.short(joined([one.source, one.tool_name]))
    why = page.short(joined([one.code, one.message], ": ")) or "no reason given"
    if one.kind == "error":
        return f"!! error{f' ({where})' if where else ''}: {why}"
    attempt = f"{one.attempt} of {one.max_attempts}" if one.max_attempts else str(one.attempt)
    wait = f" in {one.delay_s:g} s" if one.delay_s is not None else ""
    return f"!! failed{f' ({where})' if where else ''}, tried again{wait} (attempt {attempt}): {why}"


def failed(page: Page, one: FailedRequest) -> str:
    how = "failed" if one.status >= 500 else "was refused"
    return f"!! {one.method} {page.short(one.path)} {how}: {page.short(one.why)}"


def silence(page: Page, one: Silence) -> str:
    """Return a silence: its length, its heartbeats, and whether a client was connected."""
    why = f", waiting for {page.short(one.during)}" if one.during else ""
    beats = " (not even a heartbeat)" if one.length_ns >= _NO_BEAT else ""
    if one.unheard_ns:
        beats = f" (for {seconds(one.unheard_ns)} of it no client was connected)"
    elif one.heartbeats:
        beats = f" ({counted(one.heartbeats, 'heartbeat')})"
    return f".. silence for {seconds(one.length_ns)}{why}{beats}"


def end(page: Page, turn: Turn) -> str:
    """Return how a turn ended, its pace and its usage."""
    # A text that does not equal the stored one has a line of its own.
    compared = [passage.as_stored for passage in turn.messages if passage.as_stored is not None]
    parts = [_how(page, turn), *_pace(turn), "text stored as streamed" if compared and all(compared) else ""]
    parts += [usage(turn.usage)] if turn.usage else []
    parts += [f"agent {one_line(turn.agent)}"] if turn.agent else []
    parts += [f"model {one_line(turn.model)}"] if turn.model and turn.model != turn.agent else []
    odd = f"{counted(turn.odd_events, 'event')} against the contract" if turn.odd_events else ""
    return joined([*parts, odd], " · ")


def _how(page: Page, turn: Turn) -> str:
    if turn.ended == "unfinished" and is_untouched(turn):
        return "unfinished: the agent never took it up"
    if turn.ended == "unfinished":
        since = took(", last event after ", turn.begin_ns, turn.last_event_ns)
        beats = f" · {counted(turn.heartbeats, 'heartbeat')}" if turn.heartbeats else ""
        why = turn.error.message if turn.error is not None else "its end was not recorded"
        return f"unfinished: {why}{since}{beats}"
    error = turn.error
    why = page.short(error.why) if error else ""
    attempt = f", in attempt {len(turn.restarts_ns) + 1}" if turn.restarts_ns else ""
    return f"{turn.ended}{took(' after ', turn.begin_ns, turn.ended_ns)}{attempt}{': ' + why if why else ''}"


def _pace(turn: Turn) -> Iterator[str]:
    pace = pace_of(turn)
    if pace.first_ns is not None and turn.ended != "denied":
        rate = "the rest at once"
        if pace.deltas_per_s is not None:
            rate = f"then {pace.deltas_per_s:,.{0 if pace.deltas_per_s >= 10 else 1}f} deltas/s"
        yield f"first token after {seconds(pace.first_ns)}" + (f", {rate}" if pace.deltas > 1 else "")


def usage(used: TurnUsage) -> str:
    counts = ((used.input_tokens, "in"), (used.output_tokens, "out"))
    told = [f"{number:,} {way}" for number, way in counts if number is not None]
    return joined([f"{', '.join(told)} tokens" if told else "", cost(used.cost_usd)], " · ")


def cost(usd: float | None) -> str:
    return "" if usd is None else f"${usd:.4f}"


def turn_lines(
    turn: Turn,
    page: Page,
    *,
    timed: bool = True,
    inner: Iterable[Piece] = (),
    told: Collection[str] = (),
    spent: str | None = None,
) -> Iterator[Line]:
    """Return the lines of one turn: question, what happened, end.

    `timed`: whether the recording has times. `inner`: what sub-agents did during it. `told`: the ids of the sub-agents
    that have lines of their own. `spent`: where its time went.
    """
    begin = turn.begin_ns
    number = f"{turn.turn:>3}"
    for piece in sorted([*pieces(page, turn, told), *inner], key=lambda piece: piece[:2]):
        if piece.inner:
            yield from piece.inner
            continue
        since = ""
        if timed:
            since = page.clock(begin) if number else f"+{seconds(piece.at_ns - begin)}"
        yield from piece_lines(page, piece, number, since)
        number = ""
    yield from end_lines(page, turn, spent)


def piece_lines(page: Page, piece: Piece, number: str, since: str) -> Iterator[Line]:
    head = f"{number:>3}  {since:>7}"
    return page.wrapped(piece.text, piece.kind, f"{head:<{COLUMN - 1}} ", " " * COLUMN)


def end_lines(page: Page, turn: Turn, spent: str | None) -> Iterator[Line]:
    """Return how a turn ended, and where its time went."""
    kind: Kind = "end" if turn.ended == "completed" else "note"
    yield from page.wrapped(end(page, turn), kind, " " * (COLUMN - 2) + "= ", " " * COLUMN)
    if spent is not None:
        yield from page.wrapped(spent, "note", " " * COLUMN, " " * COLUMN)


def pieces(page: Page, turn: Turn, told: Collection[str] = ()) -> Iterator[Piece]:
    """Return what happened in a turn, unsorted."""
    if not turn.asked:
        yield Piece(turn.begin_ns, -1, "(what was asked is not in this recording)", "note")
    yield from (Piece(one.at_ns, one.place, asked(page, one), "asked") for one in turn.asked)
    yield from (Piece(one.first_ns, one.place, thought(page, one), "thought") for one in turn.thoughts)
    yield from (Piece(one.first_ns, one.place, said(page, one), "said") for one in turn.messages)
    yield from (tool(page, one) for one in turn.tools)
    for question in turn.approvals:
        yield Piece(question.asked_ns, question.place, approval(page, question, turn.ended_ns), "approval")
    for one in turn.children:
        yield from child(page, one, is_told=one.session_id in told)
    yield from other_pieces(page, turn.troubles, turn.notes, turn.silences)


def other_pieces(
    page: Page, troubles: Iterable[Trouble], notes: Iterable[Note], silences: Iterable[Silence]
) -> Iterator[Piece]:
    yield from (Piece(one.at_ns, one.place, trouble(page, one), "trouble") for one in troubles)
    yield from (Piece(one.at_ns, one.place, f"-- {page.short(one.text)}", "note") for one in notes)
    yield from (Piece(one.from_ns, LAST, silence(page, one), "silence") for one in silences)


def why(conclusion: Conclusion) -> str:
    """Return the last line of a session."""
    return f"Why it stops here: {conclusion.sentence}"
