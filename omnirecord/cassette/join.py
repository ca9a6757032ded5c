"""Joins cassettes of several recorders into one: their recordings stay side by side, in the order of their UTC start.

A recording keeps its id, its clock and its exchanges. `--hop` names the hop of a recording that has no name, and
`--shift` corrects the clock of its machine: it moves `started_at`, from which every reader takes the time of day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, product
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..model import Recording, checked_hop, checked_start, moment_of
from .jsonl import Offsets, Reader, encoded, values
from .open import appending, open_store
from .sqlite import Store

_SHIFT = re.compile(r"([+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|min|h)?")
_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(slots=True)
class Joined:
    """One imported cassette. `recordings`: as they are in the target. `exchanges`, `frames`: what was imported."""

    path: str
    recordings: list[Recording]
    shift_s: float = 0.0
    exchanges: int = 0
    frames: int = 0


@dataclass(slots=True)
class _Part:
    """One cassette on its way into the target."""

    path: str
    store: Store
    recordings: list[Recording]
    ends: list[datetime]
    """When the last known event of each recording was."""
    shift_s: float

    def values(self) -> Iterator[dict[str, Any]]:
        """Yield the values of the text form, with the changed recordings in the first one."""
        known = {one.recording: one for one in self.recordings}
        for value in values(self.store):
            for one in value.get("recordings", ()):
                of = known[one["recording"]]
                one |= {"started_at": of.started_at, "recording_id": of.recording_id}
                one |= {} if of.hop is None else {"hop": of.hop}
            yield value


def parse_shift(text: str) -> float:
    """Return a shift of a clock in seconds, of a text such as `+1.5s` or `-250ms`. Raises `UsageError`."""
    if (found := _SHIFT.fullmatch(text.strip())) is None:
        raise UsageError(f"--shift {text!r} is no shift: write for instance +1.5s, -250ms or +2min")
    return float(found[1]) * _UNITS[found[2] or "s"]


def join(
    paths: Sequence[str],
    db: str | Path,
    *,
    hops: Mapping[str, str] | None = None,
    shifts: Mapping[str, float] | None = None,
) -> list[Joined]:
    """Append cassettes of any form to the cassette `db`, in the order of their start; all of them or none.

    `hops`: the name for the hop of the recordings of a path that have none. `shifts`: what to add to the start of the
    recordings of a path, in seconds. Of a cassette that is being recorded, the current content is taken. Raises
    `UsageError` or `CassetteError`.
    """
    target = Path(db)
    with ExitStack() as opened:
        parts = [_opened(opened, path, target, (hops or {}).get(path), (shifts or {}).get(path, 0.0)) for path in paths]
        parts.sort(key=lambda part: min(moment_of(one.started_at) for one in part.recordings))
        _refuse_collisions(parts)
        _refuse_twice(parts, target)
        with appending(target) as writer:
            last = [writer.last_number(what) for what in ("recording", "exchange", "stream")]
            imports: list[tuple[_Part, Reader, list[Recording]]] = []
            for part in parts:
                numbered = [replace(one, recording=one.recording + last[0]) for one in part.recordings]
                imports.append((part, Reader(part.path, Offsets(*last)), numbered))
                streams = (x.stream or 0 for x in part.store.streams())
                counts = max(one.recording for one in part.recordings), part.store.newest(), max(streams, default=0)
                last = [number + more for number, more in zip(last, counts, strict=True)]
            writer.write(chain.from_iterable(reader.rows(encoded(part.values())) for part, reader, _ in imports))
        return [
            Joined(part.path, numbered, part.shift_s, reader.exchanges, reader.frames)
            for part, reader, numbered in imports
        ]


def _opened(opened: ExitStack, path: str, target: Path, hop: str | None, shift_s: float) -> _Part:
    if target.exists() and Path(path).exists() and target.samefile(path):
        raise UsageError(f"{path} is the output itself: choose another --output")
    store = opened.enter_context(closing(open_store(path)))
    if not (recordings := store.recordings()):
        raise UsageError(f"{path} has no recording")
    made = [_changed(one, path, hop, shift_s) for one in recordings]
    lasted = [timedelta(microseconds=store.last_known_ns(one.recording) // 1000) for one in made]
    ends = [moment_of(one.started_at) + length for one, length in zip(made, lasted, strict=True)]
    return _Part(path, store, made, ends, shift_s)


def _changed(one: Recording, path: str, hop: str | None, shift_s: float) -> Recording:
    if hop is not None and one.hop is None:
        try:
            one = replace(one, hop=checked_hop(hop))
        except ValueError as error:
            raise UsageError(f"--hop {hop!r} {error}") from None
    if shift_s:
        try:
            at = datetime.fromisoformat(one.started_at) + timedelta(seconds=shift_s)
            one = replace(one, started_at=checked_start(at.isoformat(timespec="microseconds")))
        except (ValueError, OverflowError) as error:
            raise UsageError(f"--shift moves the start of {path} to no date: {error}") from None
    return one


def _refuse_twice(parts: Sequence[_Part], target: Path) -> None:
    of: dict[str, str] = {}
    if target.exists() and target.stat().st_size:
        with closing(open_store(target)) as store:
            of |= {one.recording_id: str(target) for one in store.recordings()}
    for part in parts:
        for one in part.recordings:
            if one.recording_id in of:
                raise UsageError(
                    f"{part.path} has the recording {one.recording_id}, which is in {of[one.recording_id]} already:"
                    " import it once"
                )
        of |= {one.recording_id: part.path for one in part.recordings}


def _refuse_collisions(parts: Sequence[_Part]) -> None:
    """Raise `UsageError` if two files have recordings of the same hop at the same time."""
    for part, other in ((part, other) for number, part in enumerate(parts) for other in parts[:number]):
        for one, (another, ended) in product(part.recordings, zip(other.recordings, other.ends, strict=True)):
            overlap = one.hop == another.hop and moment_of(one.started_at) < ended
            if overlap and another.recording_id != one.recording_id:
                what = "a hop without a name" if one.hop is None else f"the hop {one.hop}"
                raise UsageError(
                    f"{other.path} and {part.path} both recorded {what} at the same time: name one of them,"
                    f" with --hop NAME={part.path}"
                )
