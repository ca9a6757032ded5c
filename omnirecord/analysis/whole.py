"""All analyses of one recording in one pass: each frame is read once, and parsed once.

The results are those of `doctor`, `show`, `stats`, `sessions` and `validate`, which read a cassette for one purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from ..cassette.select import Source
from ..errors import __version__
from ..model import Exchange, Recording, TimedFrame
from ..wire.strict_json import Payload
from ..wire.strict_json import payload as parsed
from .doctor.doctor import SessionChecks, examine
from .doctor.finding import Finding
from .gather import Concluded, Context, Gathered, Held
from .query import Analysis
from .sessions import Summary, summaries
from .stats.stats import measure
from .stats.values import SessionStats
from .turns.conclusion import children_of, concluded
from .turns.session_builder import SessionBuilder, merged
from .turns.values import Session
from .validate import Problem, Tally, validation

Frames = Callable[[Exchange], Iterable[TimedFrame]]
_LENGTH = attrgetter("length")
_PARSED = 64 << 20
"""Bytes of a session's frames up to which their parsed payloads are kept for the next analysis."""
_ODD = 50_000
"""Frames with problems that are kept; if there are more, the recording is read again."""


class _Read(NamedTuple):
    """One session after the pass."""

    gathered: Gathered
    told: Session
    stats: SessionStats
    """Without its conclusion, which needs the sessions of the sub-agents."""


class Whole(Analysis):
    """The analyses of one recording. `frames` returns the frames of a stream, by default those of the store.
    `tells_problems`: whether `problems` will be called."""

    def __init__(
        self, store: Source, recording: int, frames: Frames | None = None, *, tells_problems: bool = True
    ) -> None:
        super().__init__(store)
        (self._recording,) = (one for one in store.recordings() if one.recording == recording)
        self._frames = frames or store.frames
        self._context, self.parents = Context(store), store.parents()
        self._sessions: list[_Read] = []
        self._problems = _Problems(store, self._recording) if tells_problems else None

    @cached_property
    def examined(self) -> list[Finding]:
        """The findings of `doctor`."""
        return examine(self._store, recording=self._recording.recording, read=self._read)

    def _read(self, checks: SessionChecks, exchanges: Sequence[Exchange]) -> None:
        """Read the streams of a session into all analyses."""
        exchanges, acts, held = list(exchanges), checks.acts, Held()
        streams = [(x, held.all(self._frames(x))) for x in exchanges if x.stream is not None]
        frames = [*chain.from_iterable(some for _, some in streams)]
        payload = _payloads(frames) if sum(map(_LENGTH, frames)) <= _PARSED else parsed
        for x, some in streams:
            checks.read(x, some, payload)
            if self._problems is not None:
                self._problems.add(x, some, payload)
        parent_id, line = self.parents.get(exchanges[0].session_id or ""), merged(frames)
        builder = SessionBuilder(acts, is_child=parent_id is not None, payload=payload)
        around = self._context.of(exchanges)
        builder.add_all(line if around.request is None else ())
        told = builder.session(exchanges, parent_id, around)
        told = replace(told, failures=tuple(checks.failed))
        started_at = self._recording.started_at
        gathered = Gathered(exchanges, acts, parent_id, self._store)
        stats = measure(gathered, concluded(told), started_at, frames=frames, told=told, line=line, calls=self._calls)
        self._sessions.append(_Read(gathered, told, stats))

    @cached_property
    def _concluded(self) -> list[Concluded]:
        _ = self.examined
        by_id = {(one.told.recording, one.told.session_id): one.told for one in self._sessions}
        return [
            Concluded(one.gathered, one.told, concluded(one.told, children_of(one.told, by_id)))
            for one in self._sessions
        ]

    @cached_property
    def measured(self) -> list[SessionStats]:
        """The numbers of `stats`."""
        return [
            replace(read.stats, conclusion=one.conclusion, duration_s=one.conclusion.duration_s)
            for one, read in zip(self._concluded, self._sessions, strict=True)
        ]

    @cached_property
    def _told(self) -> list[Session]:
        return [one.session for one in self._concluded]

    @cached_property
    def _summaries(self) -> list[Summary]:
        return summaries(self._store, examined=self.examined, concluded=self._concluded)

    def problems(self) -> list[Problem]:
        """Return the problems of `validate`."""
        _ = self.examined
        return [] if self._problems is None else self._problems.all()


def _payloads(frames: Sequence[TimedFrame]) -> Payload:
    """Return the payloads of frames, parsed once."""
    read = parsed.__wrapped__  # without its cache of one frame
    known = {id(frame): read(frame) for frame in frames}
    return lambda frame: known[id(frame)]


class _Problems:
    """The problems of a recording. An event that the same version judged as valid is not judged again."""

    def __init__(self, store: Source, recording: Recording) -> None:
        self._store, self._recording = store, recording.recording
        self._contract = store.contract_of(self._recording)
        self._trusts = recording.version == __version__ and recording.contract == self._contract.name
        self._done: dict[int, list[TimedFrame]] = {}
        """The frames with problems, by stream."""
        self._count = 0

    def add(self, x: Exchange, frames: Sequence[TimedFrame], payload: Payload) -> None:
        """Add all frames of a stream."""
        if not self._trusts or not frames:
            return
        has_unheard_of = self._contract.of(x.request.target).has_unheard_of
        odd = [
            frame for frame in frames
            if frame.verdict not in ("comment", "sentinel")
            and (frame.verdict != "valid" or has_unheard_of(frame.type or "", payload(frame)))
        ]  # fmt: skip
        self._count += len(odd)
        self._trusts = self._count <= _ODD
        self._done[frames[0].stream] = odd

    def all(self) -> list[Problem]:
        """Return the problems, as `validation` does."""
        if not self._trusts:
            return list(validation(self._store, recording=self._recording).problems)
        tally = Tally()
        for x in self._store.exchanges(kind="sse", recording=self._recording):
            found, contract = self._done.get(x.stream or 0), self._contract.of(x.request.target)
            for frame in self._store.frames(x) if found is None else found:
                tally.add(frame, contract)
        return list(tally.result([self._contract]).problems)
