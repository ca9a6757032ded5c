"""`with` beside `async with`: a replay, or a recording proxy, that runs in a thread of its own.

The state of the server is read directly, also after it has stopped. The verbs run in the server's event loop. Text
about the position of a playhead, and about the differences between client and recording, is here too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial, wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from ..model import Exchange
from ..server.listener import Blocking, WithBlock, of_server
from ..text import visible
from . import server as replaying
from .control import PATIENCE
from .player import Mismatch, Position
from .server import Served

P = ParamSpec("P")
R = TypeVar("R")
_LISTED = 20


@overload
def _blocking(
    method: Callable[Concatenate[replaying.Replay, P], Awaitable[R]],
) -> Callable[Concatenate[Server, P], R]: ...
@overload
def _blocking(method: Callable[Concatenate[replaying.Replay, P], R]) -> Callable[Concatenate[Server, P], R]: ...
def _blocking(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return `method` without `await`: it is called in the server's event loop. `timeout` is 30 seconds by default."""
    has_timeout = "timeout" in signature(method).parameters

    @wraps(method)
    def call(self: Server, *args: Any, **named: Any) -> Any:
        if has_timeout and named.get("timeout") is None:
            named["timeout"] = PATIENCE
        return self._call(method.__name__, *args, **named)

    return call


class Server(Blocking):
    """A replay in a thread. A client of any kind may connect to `url`, a synchronous client too."""

    def __init__(self, server: replaying.Replay) -> None:
        super().__init__(server)
        self.further: dict[str, Server] = {}
        """The replays of further hops of the cassette, by name, in a test."""

    pause = _blocking(replaying.Replay.pause)
    play = _blocking(replaying.Replay.play)
    set_speed = _blocking(replaying.Replay.set_speed)
    jump = _blocking(replaying.Replay.jump)
    step = _blocking(replaying.Replay.step)
    run_until = _blocking(replaying.Replay.run_until)
    reset = _blocking(replaying.Replay.reset)
    position = _blocking(replaying.Replay.position)
    positions = _blocking(replaying.Replay.positions)
    wait_state = _blocking(replaying.Replay.wait_state)
    release = _blocking(replaying.Replay.release)

    @property
    def urls(self) -> Mapping[str, str]:
        """The URL of each hop with a name, by name, in a test."""
        recorded: Mapping[str, str] = getattr(self._server, "urls", {})
        return {**recorded, **{name: one.url for name, one in self.further.items()}}

    @property
    def is_recording(self) -> bool:
        """Whether the server records a live upstream. A recording server has no playhead."""
        return not isinstance(self._server, replaying.Replay)

    requests: list[Served] = of_server("requests", list)
    """The requests so far, in order."""
    unmatched: list[Served] = of_server("unmatched", list)
    """The requests that match no recorded request."""
    mismatches: list[Mismatch] = of_server("mismatches", list)
    """The requests whose body has another `type` or `action` than the recorded request that answered them."""
    made_up: list[str] = of_server("made_up", list)
    """The requests of a web UI that were not recorded and were answered all the same."""
    unplayed: list[Exchange] = of_server("unplayed", list)
    """The recorded requests of clients that no client has sent yet."""
    faults: list[str] = of_server("faults", list)
    """The faults that have changed an answer so far."""
    waiting: list[str] = of_server("waiting", list)
    """The requests that the replay has been waiting for, for more than five seconds."""

    @property
    def unmade(self) -> list[Exchange]:
        """Deprecated: the former name of `unplayed`."""
        replaying.warn_unmade()
        return self.unplayed

    def _call(self, name: str, *args: Any, **named: Any) -> Any:
        try:
            return self._background.run(partial(getattr(self._server, name), *args, **named))
        except TimeoutError as error:
            where = "; ".join(position_text(one) for one in self.positions()) or "no client listens"
            raise TimeoutError(f"{name} was not done after {named.get('timeout') or 0:g} s: {where}") from error

    def assert_all_matched(self) -> None:
        """Raise `AssertionError`, with a list, if a request matched no recorded one, or had another `type` or
        `action`."""
        __tracebackhide__ = True
        _assert_none(differences(self.unmatched, self.mismatches, ()))
        for one in self.further.values():
            one.assert_all_matched()

    def assert_all_played(self) -> None:
        """As `assert_all_matched`, and raise `AssertionError` if a recorded request was not sent, too."""
        __tracebackhide__ = True
        _assert_none(self.differences())
        for one in self.further.values():
            one.assert_all_played()

    def differences(self) -> list[str]:
        """Return all differences between the client and the recording, as lines of text."""
        unplayed = [self._server.told(x) for x in self.unplayed]
        return differences(self.unmatched, self.mismatches, unplayed)


def _assert_none(differences: list[str]) -> None:
    __tracebackhide__ = True
    if differences:
        raise AssertionError("\n".join(["the client did not do what was recorded", *differences]))


class Replay(WithBlock, replaying.Replay):
    """A replay to enter with `async with`, in the caller's event loop, or with `with`, in a thread of its own."""

    def __enter__(self) -> Server:
        server = self._blocking = Server(self)
        return server.start()


def position_text(position: Position) -> str:
    behind = "before its first event"
    if position.seq is not None:
        behind = f"behind frame {position.seq} of stream {position.stream} ({position.type})"
    said = [f"{position.at_s:.3f} s into {position.which}, {behind}"]
    said += [f"next is {position.next}"] if position.next else []
    said += [f"it waits for {position.waits_for}"] if position.waits_for else []
    said += ["it is paused"] if position.paused else []
    return visible("; ".join(said))


def differences(unmatched: Sequence[Served], mismatches: Sequence[Mismatch], unplayed: Sequence[str]) -> list[str]:
    """Return lines about requests that matched nothing, requests that mismatched, and recorded requests that were not
    sent: a head, then a line for each request, and further ones for why it matched nothing."""
    wrong = [f"{x.request}: {x.field} was {x.recorded!r} when recorded, got {x.got!r}" for x in mismatches]
    return [
        *_listed("matched nothing", ["\n  ".join(map(visible, one.why.split("\n"))) for one in unmatched]),
        *_listed("had other content than the recorded one", list(map(visible, wrong))),
        *_listed("recorded, but not sent", list(map(visible, unplayed))),
    ]


def _listed(what: str, texts: Sequence[str]) -> list[str]:
    if not texts:
        return []
    more = [f"  and {len(texts) - _LISTED} more"] if len(texts) > _LISTED else []
    head = f"{len(texts)} request{'' if len(texts) == 1 else 's'} {what}:"
    return [head, *"\n".join(f"  {text}" for text in texts[:_LISTED]).split("\n"), *more]
