"""What is found, and how findings are put in order. Frozen values, pure.

1. Worst first. Among equals a cause comes before what it explains, and `codes` lists codes from cause to symptom.
2. What is explained by a cause is never worse than that: nobody is to repair a symptom.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .codes import CODES, RANK

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
