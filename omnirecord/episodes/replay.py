"""`omnirecord.replay`: a function with the options of a replay as its arguments."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..options import EpisodesOptions, ReplayOptions, takes

if TYPE_CHECKING:
    from ..replayer.server import Replay


@takes(EpisodesOptions)
def replay(*args: Any, **named: Any) -> Replay:
    """Return a server that answers requests as the recorded server did.

    Use it with `async with`, or with `with`: then the server runs in a thread. `.url` is its address. `.requests`,
    `.unmatched`, `.mismatches`, `.faults` and `.waiting` list what happened. `.pause()`, `.step()`, `.run_until()` and
    other methods move the playhead (`docs/control.md`). A further hop of the cassette, such as `model`, has the address
    `.urls["model"]`, and a replay of its own in `.further["model"]`. The arguments are those of `omnirecord serve`.

    Entering raises `UsageError`, `CassetteError` or `ServerError`. Leaving raises `UsageError` if no client has sent a
    request, unless `allow_no_requests` is true or the block raises.
    """
    options = EpisodesOptions(*args, **named)
    of_replay = {option.name: getattr(options, option.name) for option in fields(ReplayOptions)}
    if options.record == "none" and not (options.upstream or options.upstreams or options.output or options.recording):
        from ..replayer.server import Replay

        recorded_only = Replay(**of_replay)
        recorded_only.fails_unused = not options.allow_no_requests
        return recorded_only
    if options.record != "new_episodes":
        raise UsageError(
            f'record is {options.record!r}: with upstream, upstreams, output and recording it is "new_episodes"'
        )
    from .server import Episodes

    upstreams: dict[str | None, str] = {}
    upstreams.update(options.upstreams or {})
    if options.upstream is not None:
        upstreams[None] = options.upstream
    episodes = Episodes(upstreams=upstreams, into=options.output, recording=options.recording, **of_replay)
    episodes.fails_unused = not options.allow_no_requests
    return episodes
