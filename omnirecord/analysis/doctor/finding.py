"""What is found, and how findings are put in order. Frozen values, pure.

1. Worst first. Among equals a cause comes before what it explains, and `codes` lists codes from cause to symptom.
2. What is explained by a cause is never worse than that: nobody is to repair a symptom.

Which finding explains which: the first one that is told names the cause, not a symptom.

1. A cause explains what `codes.EXPLAINS` says it may, where both speak of the same time. It stands before its effects
   in `codes.CODES`, so chains of causes end and have no circles. The first cause that fits is the deepest.
2. A finding names the root of its chain. The root has no cause, so its reason and its next step are told.
3. No effect is worse than its root. A cause that is a note, though its code is usually worse, explains notes only.

One frame as the checks see it: when it came, what it is, what it holds. Holding anything, it breaks none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal, NamedTuple, Protocol, get_args

from ...model import TimedFrame, Verdict
from ...omnigent.connect_snapshot import connect_snapshot_length
from ...text import clip, one_line
from ...wire.strict_json import payload_of
from .codes import CODES, EXPLAINS, RANK

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
MAX_SEQS = 20
"""The most events that one finding names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    code: str
    """One of `codes.CODES`; each has a page in `docs/doctor/`."""
    severity: Severity
    session_id: str | None
    """None where it is of no session."""
    stream: int | None
    """The stream that shows it; None where no stream does."""
    seqs: tuple[int, ...]
    """Frames of that stream, as `omnirecord events` numbers them: the first of those that it rests on."""
    message: str
    why: str
    """Why it matters."""
    next: str
    """What to look at next."""
    because: str | None = None
    """The code of the finding that explains this one."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A finding before its cause is known, and the time that it speaks of, in ns of its recording."""

    code: str
    message: str
    since_ns: int
    until_ns: int
    stream: int | None = None
    seqs: tuple[int, ...] = ()
    severity: Severity | None = None
    """None for what is usual for its code."""
    about: Hashable = None
    """What it is about, where two streams may show the same thing: then it is told once."""

    @property
    def level(self) -> Severity:
        return self.severity or CODES[self.code].severity

    def overlaps(self, other: Sign) -> bool:
        return self.since_ns <= other.until_ns and other.since_ns <= self.until_ns


def finding_of(sign: Sign, session_id: str | None, because: Sign | None = None) -> Finding:
    code = CODES[sign.code]
    level = sign.level if because is None else min(sign.level, because.level, key=SEVERITIES.index)
    return Finding(
        sign.code, level, session_id, sign.stream, sign.seqs[:MAX_SEQS], sign.message, code.why, code.next,
        because.code if because else None,
    )  # fmt: skip


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first, causes before what they explain; else as the sessions came."""
    return sorted(findings, key=_order)


def _order(finding: Finding) -> tuple[int, bool, int]:
    return -SEVERITIES.index(finding.severity), finding.because is not None, RANK[finding.code]


def row_of(finding: Finding) -> dict[str, Any]:
    """The object that `doctor --json` prints for it. Keys are fixed."""
    return {
        "code": finding.code, "severity": finding.severity, "session_id": finding.session_id,
        "stream": finding.stream, "seqs": list(finding.seqs), "message": finding.message,
        "why": finding.why, "next": finding.next, "because": finding.because,
    }  # fmt: skip


def is_at_least(finding: Finding, severity: str) -> bool:
    return SEVERITIES.index(finding.severity) >= SEVERITIES.index(severity)


_MOST_CAUSES = 200
"""The most causes of one session that are weighed for each finding, so that the work stays linear."""


def explained(signs: Iterable[Sign], session_id: str | None, beside: Iterable[Sign] = ()) -> list[Finding]:
    """The findings of one session, in no order. `beside`: what may be a cause too, and is told elsewhere."""
    told = _once(signs)
    causes = [sign for sign in (*beside, *told) if sign.code in EXPLAINS]
    causes = sorted(causes, key=lambda sign: RANK[sign.code])[:_MOST_CAUSES]
    mine, roots = set(map(id, told)), dict[int, Sign]()
    for sign in causes:  # each after its own causes
        direct = _cause_of(sign, causes) if id(sign) in mine else None
        if direct is not None:
            roots[id(sign)] = roots.get(id(direct), direct)
    return [finding_of(sign, session_id, _root_of(sign, causes, roots)) for sign in told]


def _root_of(sign: Sign, causes: list[Sign], roots: dict[int, Sign]) -> Sign | None:
    direct = _cause_of(sign, causes)
    return None if direct is None else roots.get(id(direct), direct)


def _cause_of(sign: Sign, causes: list[Sign]) -> Sign | None:
    found = (cause for cause in causes if sign.code in EXPLAINS[cause.code])
    return next((cause for cause in found if cause.overlaps(sign) and _weighs(cause, sign)), None)


def _weighs(cause: Sign, sign: Sign) -> bool:
    return cause.level != "note" or CODES[cause.code].severity == "note" or sign.level == "note"


def _once(signs: Iterable[Sign]) -> list[Sign]:
    """Without what a second stream shows once more."""
    told: dict[tuple[str, Hashable], Sign] = {}
    alone: list[Sign] = []
    for sign in signs:
        if sign.about is None:
            alone.append(sign)
        else:
            told.setdefault((sign.code, sign.about), sign)
    return [*told.values(), *alone]


WORKING = frozenset({"running", "launching", "waiting"})
SECOND = 1_000_000_000
_LONGEST_SNAPSHOT = 300
"""How many frames of a stream are looked at for the connect snapshot."""
_UNREADABLE = frozenset({"comment", "sentinel", "truncated", "malformed"})


class Place(NamedTuple):
    """Where and when something was seen."""

    stream: int
    seq: int
    at_ns: int


class Event(NamedTuple):
    stream: int
    seq: int
    at_ns: int
    type: str | None
    verdict: Verdict
    number: int | None
    """Its `sequence_number`."""
    data: dict[str, Any]
    """Empty where there is none that can be read."""
    in_snapshot: bool
    """Whether it is of the connect snapshot: it tells how things are, not what happens."""
    frame: TimedFrame
    place: Place


Handler = Callable[[Event], None]
Handlers = Mapping[str, Handler]


class Check(Protocol):
    """Something that is looked for in one stream."""

    def signs(self) -> Iterable[Sign]:
        """What was found, once the stream is over."""
        ...


def events(frames: Iterable[TimedFrame]) -> Iterator[Event]:
    """The frames of one stream."""
    coming = iter(frames)
    head = list(islice(coming, _LONGEST_SNAPSHOT))
    length = connect_snapshot_length(head)
    for n, frame in enumerate(chain(head, coming)):
        data = {} if frame.verdict in _UNREADABLE else payload_of(frame)
        data = data if isinstance(data, dict) else {}
        number = data.get("sequence_number")
        yield Event(
            frame.stream, frame.seq, frame.offset_ns, frame.type, frame.verdict,
            number if type(number) is int else None, data, n < length, frame,
            Place(frame.stream, frame.seq, frame.offset_ns),
        )  # fmt: skip


class Group:
    """Things of one kind in one stream, told as one finding: how many, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.places: list[Place] = []
        self.until_ns = 0

    def add(self, event: Event) -> None:
        self.count += 1
        self.until_ns = max(self.until_ns, event.at_ns)
        if len(self.places) < MAX_SEQS:
            self.places.append(event.place)

    def sign(self, code: str, message: str, **more: Any) -> Sign:
        first = self.places[0]
        seqs = tuple(place.seq for place in self.places if place.stream == first.stream)
        return Sign(code, message, first.at_ns, self.until_ns, first.stream, seqs, **more)


def sign_at(code: str, message: str, places: Iterable[Place], **more: Any) -> Sign:
    """A finding that rests on these events; of several streams the first's are named."""
    known = list(places)
    seqs = tuple(dict.fromkeys(place.seq for place in known if place.stream == known[0].stream))
    times = [place.at_ns for place in known]
    since, until = more.pop("since_ns", min(times)), more.pop("until_ns", max(times))
    return Sign(code, message, since, until, known[0].stream, seqs, **more)


def said(text: str | None, limit: int = 60) -> str:
    """What somebody else wrote, in a sentence of ours: short, on one line, harmless."""
    return clip(one_line((text or "")[: 4 * limit]), limit)


def seconds(ns: int) -> str:
    """A length of time for a person."""
    value = ns / SECOND
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
