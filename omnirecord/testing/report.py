"""What is shown of a test's server when the test fails. Never raises: it is not to hide what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..blocking import Server
from ..gist import visible


def section(server: Server, cassette: Path, *, stopped: bool = False) -> str:
    """Lines about the cassette, the playhead, and how what came differs from what was recorded."""
    try:
        if server.is_recording:
            return f"recording at {server.url}: {visible(str(cassette))} is written only when the test passes"
        where = f"{visible(str(cassette))}, replayed at {server.url}"
        playhead = [] if stopped else _playhead(server)
        return "\n".join([where, _came(server), *playhead, *server.differences()])
    except Exception as error:
        return f"{visible(str(cassette))}: no more can be said ({type(error).__name__}: {visible(str(error))})"


def _playhead(server: Server) -> Iterator[str]:
    yield from (f"waiting for {visible(one)}" for one in server.waiting)
    try:
        position = server.position()
    except Exception as error:  # several playheads; a thread that died
        yield f"playhead: {visible(str(error))}"
    else:
        yield f"playhead: {place(position)}"


def _came(server: Server) -> str:
    requests = server.requests
    if not requests:
        return "no request came"
    last = requests[-1]
    return visible(f"{len(requests)} came, the last: {last.method} {last.target} -> {last.status}")


def place(position: Any) -> str:
    """A `Position` in a sentence."""
    if position.which is None:
        return "at the start, nobody listens yet"
    behind = "before its first event"
    if position.seq is not None:
        behind = f"behind frame {position.seq} of stream {position.stream} ({position.type})"
    said = [f"{position.at_s:.3f} s into {position.which}, {behind}"]
    said += [f"next is {position.next}"] if position.next else []
    said += [f"it waits for {position.waits_for}"] if position.waits_for else []
    said += ["it is paused"] if position.paused else []
    return visible("; ".join(said))
