"""`serve`: a server that answers as the recorded one did.

On a terminal, keys control it, as in asciinema: space pauses, `.` steps, `+` and `-` change the speed.
To add an option, see `replayer.player`.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..omnigent.protocol import RESPONSE_COMPLETED
from ..text import counted
from . import last_resort
from .arguments import DATABASE, by_name, cassette_argument, shown
from .common import is_terminal, output_options
from .listen import print_parting, print_ready, say, say_lines, stop_signal
from .recording import of_recorder, place_options, refuse_without_recording
from .settings import LISTEN, one_each, reads_settings
from .stderr import busy, log_to_stderr

if TYPE_CHECKING:
    from asyncio import Task

    from ..replayer.control import PlayheadControl
    from ..replayer.player import Position
    from ..replayer.server import Replay

_SETTINGS = ("timing", "speed", "max_gap", "gates", "skip_gates_after", "match")
"""Its settings, beside the address."""
_OF_RECORDING = ("ca", "insecure", "no_proxy", "labels", "redact", "redact_patterns", "pseudonym_key")
"""The options of a recording, which `--record` makes."""
_KEYS = "keys: space pauses, . steps to the next event, + and - change the speed"


@click.command()
@cassette_argument
@click.option(
    "--listen",
    "listens",
    multiple=True,
    metavar="[NAME=]HOST:PORT",
    help=f"Address for clients (default: {LISTEN}); port 0 selects a free port. Each further hop of the cassette has"
    " its own address, NAME=HOST:PORT (default: a free port of the same host). Repeatable.",
)
@place_options
@click.option(
    "--timing",
    default="original",
    show_default=True,
    type=click.Choice(["original", "compressed", "instant"]),
    help="original: the recorded gaps between events. compressed: the same as --speed 10 --max-gap 5. instant: no gaps;"
    " the replay waits only for requests of the client.",
)
@click.option("--speed", type=float, metavar="N", help="Divide the gaps between events by N.")
@click.option(
    "--max-gap",
    type=float,
    metavar="S",
    help="Longest gap between events, in seconds. The replay shortens longer gaps, and then applies --speed.",
)
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="'METHOD GLOB'",
    help="Requests to wait for. At such a request in the recording, the replay stops until your client sends the same"
    " request. Default: messages, interrupts, answers to approvals. Repeatable.",
)
@click.option("--no-gate", is_flag=True, help="Do not wait for requests of the client.")
@click.option(
    "--skip-gates-after",
    type=float,
    metavar="S",
    help="Seconds to wait for a request of the client. After this time, the replay continues without the request."
    " Default: no limit. In pytest, skip_gates_after does the same.",
)
@click.option(
    "--only",
    metavar="HOP",
    help="Name of the only hop to replay, such as model, or openai in a cassette of run. A hop is one recorded"
    " connection, such as agent to model."
    " Default: all hops. See docs/model-replay.md.",
)
@click.option(
    "--match",
    multiple=True,
    metavar="RULE",
    help="Rule for comparing a request with the recorded requests. 'path' ignores bodies; 'ignore query page' ignores"
    " the query parameter page. Repeatable. See docs/matching.md.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="SPEC",
    help=f"Fault to inject, such as 'cut before {RESPONSE_COMPLETED} by reset'. Repeatable. See docs/faults.md.",
)
@click.option(
    "--chunks",
    metavar="recorded|frame|byte|random:SEED",
    help="Size of each write: as recorded (default), a frame (one event), a byte, or a random number of bytes. SEED"
    " makes the random numbers repeatable.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Add an id to each event before the first event that has an id. A client that reconnects with a"
    " Last-Event-ID gets the events after this id. This option changes the bytes of the stream.",
)
@click.option(
    "--loop",
    is_flag=True,
    help="Start a session again for the next client, once all its streams were played to their end and closed.",
)
@click.option(
    "--web-ui",
    default="auto",
    show_default=True,
    metavar="auto|off|FOLDER",
    help="Web UI to send to browsers, if the cassette has no recorded web UI. auto: the web UI of an installed"
    " omnigent. FOLDER: the web UI in this folder. off: none. See docs/web-ui.md.",
)
@click.option(
    "--record",
    type=click.Choice(["none", "new_episodes"]),
    default="none",
    show_default=True,
    help="new_episodes: requests that the cassette does not have go to their --upstream, and are recorded. With -o, a"
    " new cassette gets all answers. Without -o, the new exchanges are appended.",
)
@click.option(
    "--upstream",
    "upstreams",
    multiple=True,
    metavar="[NAME=]URL",
    help="With --record: server of the first hop, or of the hop NAME. Repeatable.",
)
@click.option("-o", "output", type=DATABASE, metavar="CASSETTE", help="With --record: new cassette.")
@reads_settings(
    {"listens": ("host", "port"), **one_each(_SETTINGS)},
    unused=lambda given: _OF_RECORDING if given["record"] == "none" else (),
)
@of_recorder(*_OF_RECORDING)
@output_options
def serve(
    cassette: Path,
    listens: tuple[str, ...],
    timing: str,
    speed: float | None,
    max_gap: float | None,
    gates: tuple[str, ...],
    no_gate: bool,
    skip_gates_after: float | None,
    only: str | None,
    match: tuple[str, ...],
    faults: tuple[str, ...],
    chunks: str | None,
    resume: bool,
    loop: bool,
    web_ui: str,
    record: str,
    upstreams: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    **more: Any,
) -> None:
    """Replay a cassette as a server, which sends the recorded answers.

    The replay keeps the recorded gaps between events. Where the recorded client sent a message, the replay waits
    until your client sends the same message. A request that was not recorded gets a 404, which lists the most similar
    recorded requests. The replay connects to another server only with --record.

    On a terminal, space pauses the replay. `.` steps to the next event. + and - change the speed. Ctrl-C stops the
    replay.

    \b
    Examples:
      omnirecord serve session.db --timing compressed
      omnirecord serve agent.db --record new_episodes --upstream model=https://api.openai.com -o agent-2.db
    """
    import asyncio

    from ..server.accept import raise_limit
    from ..server.listener import by_name as values_by_name
    from ..server.listener import parse_listen
    from ..wire.limits import checked_seconds

    log_to_stderr()
    if skip_gates_after is not None:
        checked_seconds("skip-gates-after", skip_gates_after)
    raise_limit()
    listen, listens_of = values_by_name("--listen", listens)
    host, port = parse_listen(listen or LISTEN, allow_remote=more["allow_remote"])
    server = _server(
        cassette,
        _recording(record, upstreams, output, more),
        timing=timing,
        speed=speed,
        max_gap=max_gap,
        gates=gates,
        no_gate=no_gate,
        skip_gates_after=skip_gates_after,
        match=match,
        faults=faults,
        chunks=chunks,
        resume=resume,
        loop=loop,
        only=only,
        host=host,
        port=port,
        listens=listens_of,
        web_ui=None if web_ui == "off" else web_ui,
        **{name: more[name] for name in ("allow_remote", "tls_cert", "tls_key")},
    )
    server.used_by = "serve"
    asyncio.run(_run_replay(server, as_json))
    if server.is_incomplete:
        sys.exit(1)


def _recording(
    record: str, upstreams: Sequence[str], output: Path | None, more: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the arguments of `Episodes`; None for a replay that records nothing. Raises `UsageError`."""
    from ..server.listener import by_name as values_by_name

    of_recording = {name: more[name] for name in _OF_RECORDING}
    if record == "none":
        refuse_without_recording({"--upstream": upstreams, "-o": output, **of_recording})
        return None
    first, named = values_by_name("--upstream", upstreams, "model=https://api.openai.com")
    return {
        "upstreams": {**({} if first is None else {None: first}), **named},
        "into": output,
        "recording": of_recording,
    }


def _server(cassette: Path, recording: Mapping[str, Any] | None, **chosen: Any) -> Replay:
    from ..replayer.server import Replay

    if recording is None:
        return Replay(cassette, **chosen)
    from ..episodes import Episodes
    from ..replayer.verdict import told_source

    server = Episodes(cassette, **recording, **chosen)
    server.logs_misses = False
    server.on_request = lambda _hop, served: say_lines(told_source(served))
    return server


async def _run_replay(server: Replay, as_json: bool) -> None:
    with stop_signal(server.hurry) as stop:
        async with AsyncExitStack() as running:
            with busy(f"reading {shown(server.cassette)}"):
                await running.enter_async_context(server)
            from ..server.timers import reduce_gc

            reduce_gc()
            keys = Keys([server, *server.further.values()], say)
            hop = "" if server.only is None else f"the hop {server.only} of "
            row: dict[str, Any] = {"url": server.url, "cassette": by_name(str(server.cassette))}
            if server.urls:
                row["urls"] = dict(server.urls)
            further = {name: url for name, url in server.urls.items() if url != server.url}
            places = [server.url, *(f"{name} at {url}" for name, url in further.items())]
            sentence = f"serving {hop}{shown(server.cassette)} at {', '.join(places)}"
            if (into := server.records_into) is not None:
                row["db"] = str(into)
                sentence += f"; what it does not have is recorded into {shown(into)}"
            print_ready(as_json, sentence, row, server.made_token)
            with listening(keys.press) as listens:
                if listens and is_terminal(sys.stderr):
                    if server.page:
                        say(f"a browser sees {server.page}")
                    say(_KEYS)
                await stop.wait()
            keys.close()
        if server.records_into is not None:
            from ..replayer.verdict import verdict_of

            say(verdict_of(server, by_name(str(server.cassette)), into=by_name(str(server.records_into))).counts)
            return
        unmatched = sum(len(one.unmatched) for one in server.hops)
        print_parting(f"{counted(len(server.served), 'request')}, {unmatched} unmatched")


class Keys:
    """What each key does to the replays of one cassette; a step is for the first. `say` prints the result."""

    def __init__(self, controls: Sequence[PlayheadControl], say: Callable[[str], None]) -> None:
        self._control = controls[0]
        self._controls = controls
        self._say = say
        self._stepping: Task[None] | None = None

    def press(self, key: str) -> None:
        """Run the action of a key; other keys do nothing."""
        from asyncio import ensure_future

        try:
            if key == " " and self._control.paused:
                self.close()
                for control in self._controls:
                    control.play()
                self._say("playing")
            elif key == " ":
                for control in self._controls:
                    control.pause()
                self._say("paused: space plays on, . steps")
            elif key == "." and (self._stepping is None or self._stepping.done()):  # one step at a time
                self._stepping = ensure_future(self._step())
            elif key in ("+", "=", "-"):
                speed = self._control.speed * (0.5 if key == "-" else 2.0)
                for control in self._controls:
                    control.set_speed(speed)
                self._say(f"speed {self._control.speed:g}")
        except UsageError as error:
            self._say(str(error))

    async def _step(self) -> None:
        try:
            self._say(_told(await self._control.step()))
        except UsageError as error:
            self._say(str(error))

    def close(self) -> None:
        """Cancel the waiting step."""
        if self._stepping is not None:
            self._stepping.cancel()


def _told(position: Position) -> str:
    after = f", then {position.next}" if position.next else ""
    waits = f", waiting for {position.waits_for}" if position.waits_for else ""
    return f"{position.at_s:.2f} s: {position.type or 'no event'} ({position.stream}:{position.seq}){after}{waits}"


@contextmanager
def listening(press: Callable[[str], None]) -> Iterator[bool]:
    """Pass on the keys typed on stdin. Yields whether stdin is a terminal in the foreground.

    The system stops a background process (Ctrl-Z and `bg`) that reads from the terminal or changes its settings.
    """
    import asyncio

    settings = _settings()
    if settings is None:
        yield False
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def take() -> None:
        """Read single keys, if the process is in the foreground. Called again after each continue."""
        loop.remove_reader(descriptor)
        if _is_ours(descriptor):
            with suppress(termios.error):  # the terminal is gone
                tty.setcbreak(descriptor, termios.TCSANOW)  # Ctrl-C stays Ctrl-C
            loop.add_reader(descriptor, read)

    def read() -> None:
        try:
            typed = os.read(descriptor, 64) if _is_ours(descriptor) else b""
        except OSError:
            typed = b""
        if not typed:
            loop.remove_reader(descriptor)  # the terminal is gone, or another job's
        for key in typed.decode("utf-8", "replace"):
            press(key)

    def continued(*_: object) -> None:
        last_resort.call_off()
        loop.call_soon_threadsafe(take)

    take()
    before = signal.signal(signal.SIGCONT, continued)  # asyncio's own handlers would replace the last resort
    try:
        yield True
    finally:
        signal.signal(signal.SIGCONT, before)
        loop.remove_reader(descriptor)
        if _is_ours(descriptor):
            with suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSANOW, settings)


def _settings() -> list[Any] | None:
    """The terminal's settings; None if stdin is no terminal, or belongs to another job."""
    try:
        is_one = sys.stdin.isatty() and _is_ours(sys.stdin.fileno())
        return termios.tcgetattr(sys.stdin.fileno()) if is_one else None
    except (AttributeError, OSError, ValueError, termios.error):  # closed, or no terminal after all
        return None


def _is_ours(descriptor: int) -> bool:
    """Whether the process is in the foreground of this terminal."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
