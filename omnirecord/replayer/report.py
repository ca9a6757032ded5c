"""Text about a replay: the position of its playhead, and the differences between client and recording. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..text import visible
from .player import Mismatch, Position

_LISTED = 20


def position_text(position: Position) -> str:
    """Return a position as a sentence."""
    behind = "before its first event"
    if position.seq is not None:
        behind = f"behind frame {position.seq} of stream {position.stream} ({position.type})"
    said = [f"{position.at_s:.3f} s into {position.which}, {behind}"]
    said += [f"next is {position.next}"] if position.next else []
    said += [f"it waits for {position.waits_for}"] if position.waits_for else []
    said += ["it is paused"] if position.paused else []
    return visible("; ".join(said))


def differences(unmatched: Sequence[Any], mismatches: Sequence[Mismatch], unplayed: Sequence[Any]) -> list[str]:
    """Return lines about requests that matched nothing, requests that mismatched, and recorded requests that were not
    sent: a head, then a line for each request."""
    return [
        *_listed("matched nothing", [_missed(one) for one in unmatched]),
        *_listed("had other content than the recorded one", [_differing(one) for one in mismatches]),
        *_listed("recorded, but not sent", [request_line(one) for one in unplayed]),
    ]


def request_line(request: Any) -> str:
    """Return method and target of a request, or of an exchange."""
    request = getattr(request, "request", request)
    return visible(request if isinstance(request, str) else f"{request.method} {request.target}")


def _missed(request: Any) -> str:
    """Return why nothing matched, indented."""
    return "\n  ".join(map(visible, request.why.split("\n"))) if request.why else request_line(request)


def _differing(one: Mismatch) -> str:
    return visible(f"{one.request}: {one.field} was {one.recorded!r} when recorded, got {one.got!r}")


def _listed(what: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    head = f"{len(lines)} request{'' if len(lines) == 1 else 's'} {what}:"
    listed = (f"  {line}".split("\n") for line in lines[:_LISTED])
    return [head, *(line for lines in listed for line in lines), *more]
