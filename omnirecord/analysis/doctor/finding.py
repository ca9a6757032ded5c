"""Findings, the signs that they are made of, and what every check uses. Frozen values, pure.

A check reads each event of a stream once, and returns its signs when the stream is over. No event breaks a check,
whatever it holds. `explained` makes findings of signs, each with its cause.

The check of a code writes the message, since it chooses the parts of the sentence. `checks.CODES` has the usual
severity, the reason and the next step.

Causes:

1. A cause explains the codes that `checks.EXPLAINS` lists for it, if both cover the same time. A cause comes before its
   effects in `checks.CODES`, so chains of causes end. The first cause that fits is the deepest.
2. A finding names the root of its chain. The root has no cause, so its reason and its next step are printed.
3. No effect is worse than its root. A cause with the severity `note`, whose code is usually worse, explains notes only.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

from ...model import TimedFrame, Verdict
from ...text import clip, one_line
from ...wire.strict_json import as_dict, as_text
from ..turns.patience import SECOND
from ..turns.values import Ref
from .checks import CODES, EXPLAINS, RANK

WORKING = frozenset({"running", "launching", "waiting"})
_OF_PROGRAM = {
    "the log of the runner": "the output of the program",
    "the proxy. A later stream, or the server's snapshot, has the rest of the session": "omnirecord. Then run the"
    " program again",
}
"""Words of a next step, and those for a program without Omnigent."""
Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
MAX_SEQS = 20
"""Most events that one finding names."""
_MOST_CAUSES = 200
"""Most causes of one session that are tried for each finding, so that the work stays linear."""


@dataclass(slots=True, unsafe_hash=True)
class Finding:
    """A problem of a session, or a note on it."""

    code: str
    """One of `checks.CODES`; each has a page in `docs/doctor/`."""
    severity: Severity
    recording: int
    """That of its session or conversation, else that of its evidence."""
    session_id: str | None
    """None if it belongs to no session."""
    stream: int | None
    """The stream that shows it, if one does."""
    seqs: tuple[int, ...]
    """The first `MAX_SEQS` events that show it, as `omnirecord events` numbers them."""
    message: str
    why: str
    next: str
    because: str | None = None
    """The code of the finding that explains this one."""

    def row(self) -> dict[str, Any]:
        """The object that `doctor --json` prints. Keys are fixed."""
        return {**asdict(self), "seqs": list(self.seqs)}

    def is_at_least(self, severity: str) -> bool:
        return SEVERITIES.index(self.severity) >= SEVERITIES.index(severity)


@dataclass(slots=True, unsafe_hash=True)
class Sign:
    """A finding before its cause is known, with the time that it covers, in ns of its recording."""

    code: str
    message: str
    since_ns: int
    until_ns: int
    stream: int | None = None
    seqs: tuple[int, ...] = ()
    severity: Severity | None = None
    """None for the usual severity of its code."""
    exchange: int | None = None
    """The exchange that shows it, if its code has a next step for an exchange."""
    about: Hashable = None
    """Identifies its subject, if two streams may show the same one: only one of their signs becomes a finding."""
    calls: tuple[int, ...] = ()
    """The exchanges of the model calls that it is about."""
    steps: tuple[str, str] | None = None
    """The reason and the next step if facts say more than those of its code."""

    @property
    def level(self) -> Severity:
        return self.severity or CODES[self.code].severity


def finding_of(sign: Sign, recording: int, session_id: str | None, because: Sign | None) -> Finding:
    code = CODES[sign.code]
    why, step = sign.steps or (code.why, code.next)
    level = sign.level if because is None else min(sign.level, because.level, key=SEVERITIES.index)
    return Finding(
        code=sign.code,
        severity=level,
        recording=recording,
        session_id=session_id,
        stream=sign.stream,
        seqs=sign.seqs[:MAX_SEQS],
        message=sign.message,
        why=why,
        next=_next(step, sign, session_id),
        because=because.code if because else None,
    )


def _next(step: str, sign: Sign, session_id: str | None) -> str:
    """Return the next step with the known numbers and ids."""
    if sign.exchange is not None:
        step = step.replace("CASSETTE N", f"CASSETTE {sign.exchange}")
    for of_session, of_program in _OF_PROGRAM.items() if sign.calls else ():
        step = step.replace(of_session, of_program)
    if isinstance(sign.about, str):
        step = step.replace(
            "CASSETTE ID with the id of the sub-agent's session", f"CASSETTE {quoted(sign.about)} to examine it"
        )
    return step if session_id is None else step.replace("/sessions/ID", f"/sessions/{quoted(session_id)}")


def quoted(id_: str) -> str:
    """Return an id as it is given to a shell."""
    return shlex.quote(one_line(id_))


def is_incomplete(one: Sign | Finding) -> bool:
    """Whether it says that data of a recording is missing. It comes first: others may be wrong because of it."""
    return one.code == "recording-degraded" and (one.level if isinstance(one, Sign) else one.severity) == "error"


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The findings: missing data, then the worst, causes before their effects; otherwise in the order of the
    sessions."""
    return sorted(
        findings,
        key=lambda f: (not is_incomplete(f), -SEVERITIES.index(f.severity), f.because is not None, RANK[f.code]),
    )


def explained(
    signs: Iterable[Sign], recording: int, session_id: str | None, beside: Iterable[Sign] = ()
) -> list[Finding]:
    """The findings of one session, in no order. `beside`: further causes, which are reported elsewhere."""
    unique = _once(signs)
    causes = [sign for sign in (*beside, *unique) if sign.code in EXPLAINS]
    causes = sorted(causes, key=lambda sign: RANK[sign.code])[:_MOST_CAUSES]
    mine = set(map(id, unique))
    roots = dict[int, Sign]()

    def root_of(sign: Sign) -> Sign | None:
        for cause in causes:
            is_strong_enough = cause.level != "note" or CODES[cause.code].severity == "note" or sign.level == "note"
            overlaps = cause.since_ns <= sign.until_ns and sign.since_ns <= cause.until_ns
            if sign.code in EXPLAINS[cause.code] and overlaps and is_strong_enough:
                return roots.get(id(cause), cause)
        return None

    for sign in causes:  # causes come before their effects
        if id(sign) in mine and (root := root_of(sign)) is not None:
            roots[id(sign)] = root
    return [finding_of(sign, recording, session_id, root_of(sign)) for sign in unique]


def _once(signs: Iterable[Sign]) -> list[Sign]:
    """The signs, without those of a second stream about the same subject."""
    unique: dict[object, Sign] = {}
    for sign in signs:
        unique.setdefault(id(sign) if sign.about is None else (sign.code, sign.about), sign)
    return sorted(unique.values(), key=lambda sign: sign.about is None)


class Event(NamedTuple):
    """A frame as the checks see it."""

    at_ns: int
    type: str | None
    verdict: Verdict
    number: int | None
    """Its `sequence_number`."""
    data: dict[str, Any]
    """Empty if the data is no JSON object."""
    in_snapshot: bool
    """Whether it belongs to the connect snapshot, which describes a state and no change."""
    frame: TimedFrame
    ref: Ref

    @property
    def item(self) -> dict[str, Any]:
        return as_dict(self.data.get("item"))

    @property
    def response_id(self) -> str | None:
        return as_text(as_dict(self.data.get("response")).get("id"))


_new: Any = tuple.__new__
"""Makes a named tuple in half of the time."""
Handlers = Mapping[str, Callable[[Event], object]]


def event_of(frame: TimedFrame, data: dict[str, Any], *, in_snapshot: bool) -> Event:
    """The event in a frame. `data`: its payload."""
    stream, seq, at_ns, _, _, _, type_, verdict, _ = frame
    number = data.get("sequence_number")
    number = number if type(number) is int else None
    made: Event = _new(
        Event, (at_ns, type_, verdict, number, data, in_snapshot, frame, _new(Ref, (stream, seq, at_ns)))
    )
    return made


class Group:
    """Events of one kind in one stream that become one finding: their count, and the first `MAX_SEQS` of them."""

    def __init__(self) -> None:
        self.count = 0
        self.refs: list[Ref] = []
        self.until_ns = 0

    def add(self, event: Event) -> None:
        self.count += 1
        self.until_ns = max(self.until_ns, event.at_ns)
        if len(self.refs) < MAX_SEQS:
            self.refs.append(event.ref)

    def sign(self, code: str, message: str, **more: Any) -> Sign:
        first = self.refs[0]
        seqs = tuple(ref.seq for ref in self.refs if ref.stream == first.stream)
        return Sign(code, message, first.at_ns, self.until_ns, first.stream, seqs, **more)


def sign_at(code: str, message: str, refs: Iterable[Ref], **more: Any) -> Sign:
    """A sign that names these events; if they belong to several streams, only those of the first."""
    known = list(refs)
    seqs = tuple(dict.fromkeys(ref.seq for ref in known if ref.stream == known[0].stream))
    times = [ref.at_ns for ref in known]
    since = more.pop("since_ns", min(times))
    until = more.pop("until_ns", max(times))
    return Sign(code, message, since, until, known[0].stream, seqs, **more)


def said(text: str | None, limit: int = 60) -> str:
    """A recorded text for use in a message: clipped, on one line, without control characters."""
    return clip(one_line((text or "")[: 4 * limit]), limit)


def seconds(ns: int) -> str:
    """A duration in ns as text with a unit."""
    value = ns / SECOND
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"
