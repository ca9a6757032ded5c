"""The output of `sessions`: a row for each session with its beginning, question, ending and worst finding.

Reads each frame once for the findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cassette.select import Source, named_session
from ..errors import UsageError
from ..model import wall_clock
from .doctor import examine
from .doctor.finding import SEVERITIES, Finding
from .gather import Concluded, conclusions, without_calls
from .turns.conclusion import Conclusion
from .turns.values import Session

_ENDS = (".db", ".jsonl", ".db.zst", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class Summary:
    """One session in one recording, or one stream without a session."""

    recording: int
    session_id: str | None
    stream: int | None
    """The number of its stream, if that has no session."""
    parent_session_id: str | None
    started_at: str | None
    """The time of its first request in UTC, ISO 8601; None if the recording has no times."""
    until: str | None
    """The end of its last exchange."""
    model: str | None
    """The model of its last turn; without one, the agent's name."""
    turns: int
    conclusion: Conclusion
    findings: tuple[Finding, ...]
    """The findings of `doctor`, worst first."""

    @property
    def has_failed(self) -> bool:
        """Whether it failed, has no end, or has a finding that is an error."""
        worst = self.findings[0].severity if self.findings else None
        return self.conclusion.outcome in ("failed", "unfinished") or worst == "error"

    def row(self, cassette: str) -> dict[str, Any]:
        """Return the object of `sessions --json`. Keys are fixed."""
        worst = self.findings[0] if self.findings else None
        return {
            "cassette": cassette, "recording": self.recording, "session_id": self.session_id, "stream": self.stream,
            "parent_session_id": self.parent_session_id, "started_at": self.started_at,
            "asked": self.conclusion.asked, "model": self.model, "turns": self.turns,
            "duration_s": self.conclusion.duration_s, "conclusion": self.conclusion.row(),
            "finding": worst and {"code": worst.code, "severity": worst.severity, "message": worst.message},
            "findings": {one: sum(f.severity == one for f in self.findings) for one in reversed(SEVERITIES)},
        }  # fmt: skip


def summaries(
    store: Source, session: str | None = None, examined: Sequence[Finding] | None = None,
    concluded: Sequence[Concluded] | None = None,
) -> list[Summary]:  # fmt: skip
    """Return the sessions of a store by their beginning; with `session`, an id or the beginning of one, only that.

    `examined`: their findings, `concluded`: how they ended, if they are known. Raises `UsageError` if no session, or
    more than one, has that id.
    """
    concluded = conclusions(store, session) if concluded is None else concluded
    found = examine(store, session) if examined is None else examined
    recordings = {x.stream: x.recording for x in without_calls(store, store.streams())}
    return [_summary(one, [f for f in found if _is_of(f, one, recordings)]) for one in concluded]


def _summary(one: Concluded, found: list[Finding]) -> Summary:
    told = one.session
    until = told.started_at and wall_clock(told.started_at, told.until_ns - told.begun_ns)
    return Summary(
        told.recording, told.session_id, one.stream, told.parent_id, told.started_at, until, _model(told),
        len(told.turns), one.conclusion, tuple(found),
    )  # fmt: skip


def _is_of(finding: Finding, one: Concluded, recordings: dict[int | None, int]) -> bool:
    if recordings.get(finding.stream, one.session.recording) != one.session.recording:
        return False
    if one.session.session_id is None:
        return finding.session_id is None and finding.stream is not None and finding.stream == one.stream
    return finding.session_id == one.session.session_id


def _model(told: Session) -> str | None:
    named = [turn.model for turn in reversed(told.turns)] + [told.snapshot.model if told.snapshot else None]
    agents = [turn.agent for turn in reversed(told.turns)] + [told.snapshot.agent if told.snapshot else None]
    return next(filter(None, [*named, *agents]), None)


def cassettes_in(named: Iterable[str | Path]) -> Iterator[tuple[Path, str | None]]:
    """Return the named cassettes, each with the session of `CASSETTE#SESSION`; of a folder those in it, by name.

    A link to a file in the same folder is left out: `--rotate` makes one. Raises `UsageError` for an empty folder.
    """
    for one in named:
        path, session = named_session(one)
        if not path.is_dir():
            yield path, session
            continue
        found = sorted(file for file in path.iterdir() if file.name.endswith(_ENDS) and file.is_file())
        found = [file for file in found if not (file.is_symlink() and file.resolve().parent == path.resolve())]
        if not found:
            raise UsageError(f"{path} holds no cassette: name a folder with .db or .jsonl files, or a file")
        yield from ((file, session) for file in found)
