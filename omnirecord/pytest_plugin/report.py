"""What is shown of a test's server when the test fails. Never raises: it is not to hide what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..replayer.blocking import Server
from ..replayer.report import place
from ..text import visible
from .paths import failed_path

_LISTED = 10
"""Requests of the client that are listed."""


def section(server: Server, cassette: Path, *, stopped: bool = False, told: str = "") -> str:
    """Lines about the cassette, the playhead, and the differences from the recording, without those
    that the failure `told` already."""
    try:
        if server.is_recording:
            kept, name = visible(str(failed_path(cassette))), visible(str(cassette))
            as_it_was = "is unchanged" if cassette.exists() else "is written when the test passes"
            return f"recorded, and kept since the test failed: {kept}\nits cassette {as_it_was}: {name}"
        where = f"{visible(str(cassette))}, replayed at {server.url}"
        playhead = [] if stopped else _playhead(server)
        faults = [f"fault that struck: {visible(one)}" for one in server.faults]
        return "\n".join([where, *_came(server), *playhead, *faults, *_not_in(told, server.differences())])
    except Exception as error:
        return f"{visible(str(cassette))}: no more can be said ({type(error).__name__}: {visible(str(error))})"


def _not_in(told: str, lines: list[str]) -> list[str]:
    known = set(told.split("\n"))
    return [line for line in lines if line not in known]


def _playhead(server: Server) -> Iterator[str]:
    yield from (f"waiting for {visible(one)}" for one in server.waiting)
    try:
        places = [place(position) for position in server.positions()] or ["nobody has listened yet"]
    except Exception as error:  # a thread that died
        places = [visible(str(error))]
    yield from (f"playhead: {one}" for one in places)


def _came(server: Server) -> list[str]:
    requests = server.requests
    if not requests:
        return ["no request came"]
    head = "1 request came:" if len(requests) == 1 else f"{len(requests)} requests came:"
    if len(requests) > _LISTED:
        head = f"{len(requests)} requests came, the last {_LISTED} of them:"
    return [head, *(visible(f"  {one.method} {one.target} -> {one.status}") for one in requests[-_LISTED:])]
