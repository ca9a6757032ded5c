"""`with` beside `async with`: a replay or a recording proxy in a thread of its own, and its buttons without `await`.

What a server has to tell is read directly, also once it is stopped; the buttons are pressed in its loop. `which`
names a session, or `stream N`, where there are several playheads.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any

from ..model import Exchange
from ..server.background import Background
from . import server as replaying
from .player import Mismatch, Position
from .player.controls import Predicate
from .report import differences, position_text
from .server import Served, WaitState

WAIT = 30.0
"""Seconds after which `step` and `run_until` give up."""


class Server:
    """A replay in a thread. `url` is where it is; a client of any kind may use it, a synchronous one too."""

    def __init__(self, server: replaying.Replay) -> None:
        self._server = server
        self._background = Background(server)
        self.url = ""

    def start(self) -> Server:
        """Raises `UsageError`, `CassetteError` or `ServerError`."""
        self._background.start()
        self.url = self._server.url
        return self

    def stop(self) -> None:
        """Close every connection and end the thread. Raises `ServerError` where that had ended by itself."""
        self._background.stop()

    @property
    def token(self) -> str | None:
        """What requests to its control path have to send as `Authorization: Bearer`; None where nothing."""
        return self._server.token

    @property
    def is_recording(self) -> bool:
        """Whether a live server is behind it: the test is being recorded, and there is no playhead."""
        return not isinstance(self._server, replaying.Replay)

    @property
    def requests(self) -> list[Served]:
        """What came, in order."""
        return list(self._server.requests)

    @property
    def unmatched(self) -> list[Served]:
        """Those of them that nothing recorded answers."""
        return list(self._server.unmatched)

    @property
    def mismatches(self) -> list[Mismatch]:
        """Requests that said something else than the recorded one that answered them."""
        return list(self._server.mismatches)

    @property
    def made_up(self) -> list[str]:
        """What a web UI asked that was not recorded, and got all the same."""
        return list(self._server.made_up)

    @property
    def unplayed(self) -> list[Exchange]:
        """Recorded requests of clients that nobody has made."""
        return list(self._server.unplayed)

    @property
    def faults(self) -> list[str]:
        """The faults that have made a difference so far."""
        return list(self._server.faults)

    @property
    def waiting(self) -> list[str]:
        """The requests that it has been waiting for, for more than five seconds."""
        return list(self._server.waiting)

    def pause(self, *, which: str | None = None) -> Position | None:
        """Let the playhead stand still: nothing more is sent until `play`, `step` or `run_until`."""
        position: Position | None = self._press("pause", which=which)
        return position

    def play(self, *, which: str | None = None) -> Position | None:
        """Let it go on."""
        position: Position | None = self._press("play", which=which)
        return position

    def set_speed(self, speed: float, *, which: str | None = None) -> Position | None:
        """Play `speed` times as fast as recorded, from now on."""
        position: Position | None = self._press("set_speed", speed, which=which)
        return position

    def step(self, count: int = 1, *, which: str | None = None, timeout: float = WAIT) -> Position:
        """Let the next `count` events out, then stand still; the position then. Raises `TimeoutError`, in seconds."""
        return self._moved("step", count, which=which, timeout=timeout)

    def run_until(
        self, event: str | Predicate, nth: int = 1, *, which: str | None = None, timeout: float = WAIT
    ) -> Position:
        """Play until the `nth` such event, named as in `docs/faults.md`, or a function of a `TimedFrame`, and stand
        still behind it; the position then. Raises `TimeoutError`, in seconds."""
        return self._moved("run_until", event, nth, which=which, timeout=timeout)

    def jump(self, seconds: float, *, which: str | None = None) -> Position:
        """Go ahead to so many seconds from the start of the first stream."""
        return self._moved("jump", seconds, which=which)

    def position(self, *, which: str | None = None) -> Position:
        """Where the playhead is."""
        return self._moved("position", which=which)

    def positions(self) -> list[Position]:
        """Where each of them is: one for each session tree, and for each stream without a session."""
        return list(self._press("positions"))

    def wait_state(self) -> WaitState:
        """What it waits for at this moment."""
        wait_state = self._press("wait_state")
        assert isinstance(wait_state, WaitState)
        return wait_state

    def release(self) -> None:
        """Cut every response that is under way, and accept no more connections: no client waits any longer."""
        self._press("release")

    def reset(self) -> None:
        """Begin again from the start, as if nobody had asked for anything."""
        self._press("reset")

    def _moved(self, button: str, *args: Any, which: str | None = None, timeout: float | None = None) -> Position:
        """Where a button that moves one playhead has left it."""
        position = self._press(button, *args, which=which, timeout=timeout)
        assert isinstance(position, Position)
        return position

    def _press(self, button: str, *args: Any, which: str | None = None, timeout: float | None = None) -> Any:
        named = {} if which is None else {"which": which}
        press = partial(getattr(self._server, button), *args, **named)
        try:
            return self._background.run(press, timeout=timeout)
        except TimeoutError as error:
            places = "; ".join(position_text(one) for one in self.positions())
            raise TimeoutError(
                f"{button} was not done after {timeout or 0:g} s: {places or 'nobody listens'}"
            ) from error

    def assert_all_matched(self) -> None:
        """Raise an `AssertionError` that lists the requests that nothing recorded answers, and those that said
        something else than the recorded one; where there is any of them."""
        __tracebackhide__ = True
        _assert_none(differences(self.unmatched, self.mismatches, ()))

    def assert_all_played(self) -> None:
        """The same, with the recorded requests that nobody has made."""
        __tracebackhide__ = True
        _assert_none(self.differences())

    def differences(self) -> list[str]:
        """Everything that came otherwise than recorded, as lines of text."""
        return differences(self.unmatched, self.mismatches, self.unplayed)


def _assert_none(differences: list[str]) -> None:
    __tracebackhide__ = True
    if differences:
        raise AssertionError("\n".join(["the client did not do what was recorded", *differences]))


class Replay(replaying.Replay):
    """A replay that can be entered with `async with`, in the caller's loop, or with `with`, in a thread of its own."""

    def __enter__(self) -> Server:
        self._blocking = Server(self)
        return self._blocking.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocking.stop()
