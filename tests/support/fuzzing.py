"""What is fuzzed, and with what: a target takes one input and raises only where omnirecord is wrong.

Inputs are recorded ones that were spoiled: `Spoiled` cuts, copies, moves and overwrites bursts of the shipped
cassettes; sentences of the grammars are put together from their own words. `tests/support/fuzz.py` runs a target for
any time, `tests/end_to_end/test_fuzz.py` each for a moment.
"""

from __future__ import annotations

import functools
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import omnirecord
from omnirecord.analysis.diff import compared
from omnirecord.cassette.framing import Framer
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.errors import OmnirecordError, UsageError
from omnirecord.model import checked_headers, checked_method, checked_target
from omnirecord.omnigent.contract import load
from omnirecord.options import ReplayOptions
from omnirecord.recorder.thread import RecorderThread
from omnirecord.replayer.event_address import parse_address
from omnirecord.replayer.event_address.matcher import Stream
from omnirecord.replayer.faults import Faults
from omnirecord.replayer.faults.verbs import VERBS
from omnirecord.replayer.matching.rules import FORMS
from omnirecord.replayer.player import Answering, Incoming, Miss, Options, Player, Playing
from omnirecord.replayer.player.plan import ReplayPlan
from omnirecord.replayer.stream_parts import Part
from omnirecord.wire.content_coding import CodingError, decoder
from omnirecord.wire.sse import Frame, Parser
from tests.cassette.test_hostile_cassettes import read_all
from tests.support.cassettes import lines

FOLDER = Path(__file__).parent.parent.parent / "cassettes"
SLOWEST = 10.0
"""Seconds that one input may take."""
SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Target:
    """`check` is called with what `inputs` makes."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]


@contextmanager
def in_time(seconds: float = SLOWEST) -> Iterator[None]:
    """A hang is a fault: raises `TimeoutError` in whatever it is that takes so long."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _recorded() -> list[Path]:
    return [path for path in sorted(FOLDER.rglob("*.jsonl")) if path.stat().st_size < 100_000]


@functools.cache
def texts() -> list[bytes]:
    return [path.read_bytes() for path in _recorded()]


@functools.cache
def databases() -> list[bytes]:
    """The cassettes as `.db` files, one of them with bytes that are in no frame yet."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for path in _recorded():
            db = Path(folder) / f"{path.stem}.db"
            import_file(path, db)
            made.append(db.read_bytes())
    return made


@functools.cache
def left_behind() -> tuple[bytes, bytes]:
    """A database and its log, as a killed recorder leaves them."""
    with tempfile.TemporaryDirectory() as folder:
        thread = RecorderThread(Path(folder) / "a.db", "http://a")
        for number, body in enumerate(bodies()[:4]):
            recorder = thread.begin_exchange("GET", f"/v1/sessions/{number}/stream", ())
            recorder.respond("sse", 200, "OK", (("Content-Type", "text/event-stream"),))
            recorder.receive(body[:4000])
        time.sleep(0.3)
        found = [(Path(folder) / name).read_bytes() for name in ("a.db", "a.db-wal")]
        thread.stop()
    return found[0], found[1]


@functools.cache
def bodies() -> list[bytes]:
    """The bytes of every recorded stream."""
    found = []
    for path in _recorded():
        with closing(open_store(path)) as store:
            found += [b"".join(store.content(x)) for x in store.streams()]
    return found


@functools.cache
def streams() -> list[Stream]:
    with closing(open_store(FOLDER / "subagent.jsonl")) as store:
        return [Stream(x.stream or 0, list(store.frames(x))) for x in store.streams()]


@functools.cache
def asked() -> list[tuple[str, str]]:
    found = set()
    for path in _recorded():
        with closing(open_store(path)) as store:
            found |= {(x.request.method, x.request.target) for x in store.exchanges()}
    return sorted(found)


_PIECES = [
    b"", b"\0", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\xff", b"\xef\xbb\xbf", b'"', b"\\", b"{", b"}", b"[", b"]", b",",
    b":", b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"9" * 40, b"\\ud800", b"data: ", b"event: ", b'"raw"',
    b'{"base64": "AA"}', b'{"base64": "?"}', b"[" * 2000, b"\x80", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\xff" * 8,
]  # fmt: skip
_EDIT = st.tuples(
    st.sampled_from(["over", "into", "out", "copy", "bit", "cut"]), st.integers(0, 2**24), st.integers(0, 2**24),
    st.sampled_from(_PIECES) | st.binary(max_size=8),
)  # fmt: skip


@dataclass(frozen=True)
class Spoiled:
    """A recorded input and what was done to it."""

    seed: int
    edits: tuple[tuple[str, int, int, bytes], ...]

    def of(self, seeds: list[bytes]) -> bytes:
        data = bytearray(seeds[self.seed % len(seeds)])
        for edit in self.edits:
            _spoil(data, *edit)
        return bytes(data)


def _spoil(data: bytearray, how: str, at: int, to: int, burst: bytes) -> None:
    at, to = at % (len(data) + 1), to % (len(data) + 1)
    match how:
        case "over":
            data[at : at + len(burst)] = burst
        case "into":
            data[at:at] = burst
        case "out":
            del data[at : at + to % 64]
        case "copy":
            data[at : at + 64] = data[to : to + 64]
        case "bit" if at < len(data):
            data[at] ^= 1 << to % 8
        case "cut" if to % 8 == 0:
            del data[at:]


SPOILED = st.builds(
    Spoiled, st.integers(0, 63), st.lists(_EDIT, min_size=1, max_size=6).map(tuple)
)  # fmt: skip


def parser(given: tuple[Spoiled, list[int], int]) -> None:
    """The two rules of `sse`, judged and decoded too."""
    spoiled, cuts, limit = given
    data = spoiled.of(bodies())[:8_000]
    whole = _parsed(data, [], 1 << 20)
    assert b"".join(frame.raw or b"" for frame in whole) == data
    assert _parsed(data, cuts, 1 << 20) == whole
    assert sum(frame.length for frame in _parsed(data, cuts, limit)) == len(data)
    framer = Framer(None, load("omnigent"))
    framed = [*framer.feed(0, data), *framer.close()]
    assert [one.frame for one in framed] == whole
    for coding in ("gzip", "br", "zstd", "deflate"):
        with suppress(CodingError):
            list(decoder(coding).decode(data))


def _parsed(data: bytes, cuts: list[int], limit: int) -> list[Frame]:
    one = Parser(limit)
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    frames = [frame for a, b in zip([0, *places], [*places, len(data)], strict=True) for frame in one.feed(data[a:b])]
    return frames + one.close()


_READERS: list[Callable[[Path], object]] = [
    lambda path: omnirecord.doctor(path), lambda path: omnirecord.stats(path), lambda path: omnirecord.validate(path),
    lambda path: omnirecord.search(path, "the OR a*"), lambda path: compared(path, path), lambda path: _play(path),
    lambda path: _events(path),
]  # fmt: skip


def text_form(given: tuple[Spoiled, int]) -> None:
    """A spoiled `.jsonl` is refused in a sentence, or it is a cassette, which goes there and back."""
    spoiled, reader = given
    path = SCRATCH / f"omnirecord-fuzz-{id(given)}.jsonl"
    path.write_bytes(spoiled.of(texts()))
    try:
        with suppress(OmnirecordError), in_time():
            with closing(open_store(path)) as store:
                read_all(store)
                written = list(lines(store))
            path.write_text("\n".join(written))
            _again(path, written)
            _READERS[reader % len(_READERS)](path)
    finally:
        path.unlink()


def _again(path: Path, written: list[str]) -> None:
    """What was written is a cassette whatever was read."""
    try:
        with closing(open_store(path)) as store:
            assert list(lines(store)) == written
    except OmnirecordError as error:
        raise AssertionError(f"what export writes is refused: {error}") from error


def database(given: tuple[Spoiled, int]) -> None:
    """A spoiled `.db` is refused in a sentence, or it is read."""
    spoiled, reader = given
    path = SCRATCH / f"omnirecord-fuzz-{id(given)}.db"
    path.write_bytes(spoiled.of(databases()))
    try:
        with suppress(OmnirecordError), in_time(), closing(open_store(path)) as store:
            read_all(store)
        with suppress(OmnirecordError), in_time():
            _READERS[reader % len(_READERS)](path)
    finally:
        path.unlink()
        path.with_name(path.name + "-search").unlink(missing_ok=True)


def log(given: tuple[Spoiled, bool, int]) -> None:
    """The same for what a killed recorder left: the database, or its log, is spoiled."""
    spoiled, of_log, reader = given
    path = SCRATCH / f"omnirecord-fuzz-{id(given)}.db"
    parts = left_behind()
    for part, end in zip(parts, ("", "-wal"), strict=True):
        is_spoiled = of_log == (end == "-wal")
        path.with_name(path.name + end).write_bytes(spoiled.of([part]) if is_spoiled else part)
    try:
        with suppress(OmnirecordError), in_time(), closing(open_store(path)) as store:
            read_all(store)
        with suppress(OmnirecordError), in_time():
            _READERS[reader % len(_READERS)](path)
        with suppress(OmnirecordError), in_time():
            RecorderThread(path, None).stop()
    finally:
        for one in SCRATCH.glob(path.name + "*"):
            one.unlink()


def _events(path: Path) -> None:
    with omnirecord.open_cassette(path) as cassette:
        for stream in cassette.streams():
            list(stream.events())


def _play(path: Path) -> None:
    """Serve it to somebody who asks for everything that is in it."""
    with closing(open_store(path)) as store:
        how = Options(ReplayOptions("", timing="instant"))
        player = Player(ReplayPlan(store, how.gates), how)
        for x in store.exchanges()[:40]:
            decision = player.answer(Incoming(x.request.method, x.request.target, x.party == "runner"), 0)
            if isinstance(decision, Answering):
                decision.due(10**9)
            elif isinstance(decision, Playing):
                while decision.has_more and decision.due(10**9) is not None:
                    decision.take(10**9)


_ODD = ['"', '"a', "{}", "[", "1e999", "-0", "\ud800", "9" * 30, "\x1b[2J", "é"]


def _sentences(seeds: list[str], words: list[str]) -> st.SearchStrategy[str]:
    """Sentences of a grammar with some of their words out, or others over them or between them."""
    word = st.sampled_from(words) | st.sampled_from(_ODD) | st.text(max_size=12)
    edits = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["out", "over", "into"]), word), max_size=4)
    return st.builds(_reworded, st.sampled_from(seeds), edits)


def _reworded(sentence: str, edits: list[tuple[int, str, str]]) -> str:
    words = sentence.split(" ")
    for at, how, word in edits:
        place = at % (len(words) + 1)
        words[place : place + (how != "into")] = [word] * (how != "out")
    return " ".join(words)


_ADDRESS_WORDS = [
    "the", "first", "last", "every", "2nd", "3rd", "0th", "11th", "event", "[DONE]", "#3", "#0", "with", "after",
    "before", "in", "stream", "1", "2", "every stream", "session.status", "response.*", "response.output_text.delta",
    "*", "[a-z]*", "status=idle", 'delta="a b"', "response.id=1", "a.b[2].c=null", "a..b=1", "=", "with status = 'x'",
]  # fmt: skip
_FAULT_WORDS = [
    *_ADDRESS_WORDS, *VERBS, *(word for verb in VERBS.values() for word in verb.split()), "of", "to", "by",
    "at", "each", "time", "cleanly", "short", "reset", "inside a character of", "1.5s", "20ms", "3min", "0s", "POST",
    "/v1/*", "with 503", "heartbeats",
]  # fmt: skip
_RULE_WORDS = [
    *(word for form in FORMS for word in form.split()), "for", "POST", "GET", "*", "/v1/*", "/v1/sessions/*/events",
    "limit*", "authorization", "$.type", "$..a[?@.b > 1]", "$['a'][0:5:2]", "$[?match(@.a, '(a+)+b')]", "[a", "!x", "$",
    "$..*",
]  # fmt: skip


_ADDRESSES = [
    "2nd session.status", "last event before [DONE]", "#7", "every response.*.delta after response.created in stream 1",
    "first event after 2nd session.status with status=idle in every stream",
    'every response.output_text.delta with delta="a b" before response.completed with response.usage.input_tokens=1',
]  # fmt: skip
_FAULTS = [
    *VERBS.values(), *(f"drop {one}" for one in _ADDRESSES),
    "cut inside a character of last response.output_text.delta by reset each time",
    "cut before 3rd event short", "freeze at session.status each time", "swap #3 with #5", "corrupt every event",
    'set response.usage of response.completed to {"a": [1, "x y", null]}', "delay every session.heartbeat by 1.5s",
]  # fmt: skip
_RULES = [
    "ignore query", "ignore query limit*", "add query idle for GET /v1/sessions/*", "add header authorization",
    "body $.type", "body $..content[?@.type == 'input_text'].text for POST /v1/sessions/*/events", "order loose",
    "order strict for POST *", "sessions mapped",
]  # fmt: skip


def address(text: str) -> None:
    """An address is refused in a sentence, or is read, told again in words that mean the same, and looked for."""
    with suppress(UsageError):
        read = parse_address(text)
        assert parse_address(str(read)) == read, str(read)
        read.resolve(streams())


def fault(text: str) -> None:
    """The same for a fault, which then happens to recorded streams."""
    with suppress(UsageError):
        read = Faults.parse(text)
        assert Faults.parse(str(read.faults[0])) == read, str(read.faults[0])
        bound = read.bind(streams())
        for stream in streams():
            parts = [
                Part(f.offset_ns, f.raw or b"", stream=f.stream, seq=f.seq, read=n) for n, f in enumerate(stream.frames)
            ]
            faulty = bound.on(stream.number, parts)
            bound.happened(faulty.by)
            bound.on(stream.number, parts)


def matching(given: tuple[list[str], str, str, bytes, list[tuple[str, str]]]) -> None:
    """Rules are refused in a sentence, or are read, and every request that aiohttp lets in is answered or is a miss."""
    specs, method, path, body, headers = given
    with suppress(ValueError), suppress(UsageError):
        how = Options(ReplayOptions("", timing="instant", match=specs))
        asks = Incoming(
            checked_method(method), checked_target(path), body=body, headers=checked_headers(tuple(headers))
        )
        with closing(_store()) as store, in_time():
            player = Player(ReplayPlan(store, how.gates), how)
            for one in (asks, asks, Incoming("GET", asks.target), Incoming("POST", "/v1/sessions", body=body)):
                decision = player.answer(one, 0)
                assert not isinstance(decision, Miss) or decision.message


def _store() -> Store:
    return open_store(FOLDER / "approval.jsonl")


_METHODS = st.sampled_from(["GET", "POST", "PATCH", "*", ""])
_TARGETS_OF_REQUESTS = st.deferred(lambda: st.sampled_from([target for _, target in asked()])) | st.text(
    max_size=30
).map("/".__add__)
_BODIES = st.sampled_from([
    b"", b"{}", b'{"type": "message"}', b"[1, 2", b'"a"', b"\xff", b'{"a": ' * 900, b'{"a": [{"b": 2}], "type": null}',
    b'{"a": "' + b"a" * 40 + b'"}', b"1e400", b'{"type": "\\ud800"}',
])  # fmt: skip
_FIELDS = st.lists(st.tuples(st.sampled_from(["Authorization", "accept", "X-A"]), st.text(max_size=8)), max_size=3)

TARGETS = {
    "sse": Target(st.tuples(SPOILED, st.lists(st.integers(0, 2**16), max_size=12), st.integers(1, 400)), parser),
    "jsonl": Target(st.tuples(SPOILED, st.integers(0, 63)), text_form),
    "db": Target(st.tuples(SPOILED, st.integers(0, 63)), database),
    "wal": Target(st.tuples(SPOILED, st.booleans(), st.integers(0, 63)), log),
    "matching": Target(
        st.tuples(
            st.lists(_sentences(_RULES, _RULE_WORDS), max_size=3), _METHODS | st.text(max_size=4),
            _TARGETS_OF_REQUESTS, _BODIES | st.binary(max_size=60), _FIELDS,
        ), matching,
    ),
    "fault": Target(_sentences(_FAULTS, _FAULT_WORDS), fault),
    "address": Target(_sentences(_ADDRESSES, _ADDRESS_WORDS), address),
}  # fmt: skip
