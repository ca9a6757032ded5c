"""A copy of a cassette that is safe to share, or what would be replaced in it.

The copy is made new from what the cassette says, in either form; of its file, its log and its freed pages nothing is
taken over, nor is the key of its pseudonyms or its search index.

A cassette without its secrets: the lines of its text form in, the same without secrets out. No I/O.

The same rules as while recording, so that what was recorded with them is not changed. Where a secret is found is told;
the secret never is.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..model import CLOSE, Headers
from ..redaction.coded import body, uncoded
from ..redaction.content.patterns import PSEUDONYM
from ..redaction.content.scanner import PLAIN
from ..redaction.pseudonyms import File, user_key
from ..redaction.redactor import JsonMask, Redactor, Scanner, StreamMask, content_scanner
from ..text import dumps
from ..wire.content_coding import CodingError, Decoder, decoder
from ..wire.headers import header
from .compressed import named, packed
from .files import TemporaryFolder, itself, put, room_for, temporary, unwritable, whole_or_not
from .jsonl import Reader, data_of, reads_values, text, values
from .open import contract_or_default, open_store, refuse_to_overwrite
from .select import named_session, the_session, with_children
from .sqlite import Store, Writer, is_database, is_packed
from .sqlite.compressed import content
from .sqlite.schema import clear_errors
from .sqlite.search_index import remove_index

Values = Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Leak:
    """Secrets of one kind at one place: which part of which exchange, frame (`stream` and `seq`) or message."""

    place: str
    kind: str
    count: int
    recording: int | None = None
    exchange: int | None = None
    stream: int | None = None
    seq: int | None = None
    message: int | None = None


@dataclass(slots=True)
class _Exchange:
    """The exchange whose lines are coming."""

    recording: int
    exchange: int
    stream: int | None
    mask: StreamMask | None = None
    sizes: _Sizes | None = None
    """Of a stream that loses its content coding."""
    reads: list[list[int | None]] = field(default_factory=list)
    texts: dict[str, JsonMask | None] = field(default_factory=dict)


class Scrubber:
    """Takes the secrets out of one cassette; `tell` is told of each place where there were some."""

    def __init__(self, redactor: Redactor, tell: Callable[[Leak], None]) -> None:
        self._redactor = redactor
        self._tell = tell
        self._now = _Exchange(0, 0, None)

    def scrubbed(self, values: Iterable[dict[str, Any]]) -> Values:
        for value in values:
            yield from self._line(value)
        yield from self._finished()

    def _line(self, value: dict[str, Any]) -> Values:
        if "request" in value:
            yield from self._finished()
            yield self._exchange(value)
        elif "message" in value:
            yield self._message(value)
        elif "reads" in value and self._now.sizes is not None:
            self._now.reads += map(self._now.sizes.decoded, value["reads"])
        elif "raw" in value:
            yield self._frame(value)
        elif "incident" in value:
            yield {**value, "incident": self._text(value["incident"], "incident", recording=value["recording"])}
        elif "recordings" in value:
            yield {**value, "recordings": [self._recording(one) for one in value["recordings"]]}
        else:
            yield value

    def _found(self, place: str, **where: int | None) -> None:
        """Tell of what was replaced since this was called last."""
        for kind, count in sorted(self._redactor.counts.items()):
            self._tell(Leak(place, kind, count, **where))
        self._redactor.counts.clear()

    def _text(self, value: str, place: str, **where: int | None) -> str:
        safe = self._redactor.text(value)
        self._found(place, **where)
        return safe

    def _recording(self, value: dict[str, Any]) -> dict[str, Any]:
        upstream = value["upstream"]
        number = value["recording"]
        return {**value, "upstream": upstream and self._text(upstream, "upstream", recording=number)}

    def _exchange(self, value: dict[str, Any]) -> dict[str, Any]:
        now = self._now = _Exchange(value["recording"], value["exchange"], value["stream"])
        now.texts = {"up": self._redactor.texts(), "down": self._redactor.texts()}
        request, response = dict(value["request"]), value["response"] and dict(value["response"])
        request["target"] = self._redactor.target(request["target"])
        self._found_here("request target")
        session = value["session_id"] and self._redactor.text(value["session_id"])
        self._redactor.counts.clear()  # it was in the target, or in the answer that named the session
        self._side(request, "request")
        if response is not None:
            if response["reason"]:
                response["reason"] = self._text(response["reason"], "response reason", **self._here())
            self._stream(response)
            self._side(response, "response")
        return {**value, "session_id": session, "request": request, "response": response}

    def _here(self) -> dict[str, int | None]:
        return {"recording": self._now.recording, "exchange": self._now.exchange, "stream": self._now.stream}

    def _found_here(self, place: str, **where: int | None) -> None:
        self._found(place, **self._here(), **where)

    def _side(self, side: dict[str, Any], name: str) -> None:
        """The headers and the body of a request or response."""
        headers = _headers(side)
        if side["body"]:
            kept = body(header(headers, "content-type"), header(headers, "content-encoding"), self._redactor)
            side["body"] = text(kept.feed(data_of(side["body"])) + kept.close())
            self._found_here(f"{name} body")
        side["headers"] = [list(pair) for pair in self._redactor.headers(headers)]
        self._found_here(f"{name} headers")

    def _stream(self, response: dict[str, Any]) -> None:
        now = self._now
        now.mask = self._redactor.stream() if now.stream is not None else None
        if now.mask is None or response["body"] is None:
            return
        headers = _headers(response)
        now.sizes = _Sizes(header(headers, "content-encoding"), data_of(response["body"]), response.pop("lost", ()))
        response["body"], response["headers"] = None, uncoded(headers)

    def _frame(self, value: dict[str, Any]) -> dict[str, Any]:
        mask = self._now.mask
        if mask is None:
            return value
        if self._now.sizes is not None:
            self._now.sizes.left += value["length"] if value["raw"] is None else len(data_of(value["raw"]))
        if value["raw"] is None:
            mask.lose(value["length"])
            return value
        safe = b"".join(piece.data for piece in mask.feed(data_of(value["raw"])))
        self._found_here("stream", seq=value["seq"])
        return {**value, "raw": text(safe)}

    def _finished(self) -> Values:
        """All lines of an exchange are there."""
        if self._now.sizes is not None and self._now.stream is not None:
            yield from reads_values(self._now.stream, self._now.reads)
            self._now.sizes = None

    def _message(self, value: dict[str, Any]) -> dict[str, Any]:
        redact = self._redactor.closing if value["opcode"] == CLOSE else self._redactor.message
        safe = redact(data_of(value["data"]), self._now.texts[value["dir"]])
        self._found_here("message", message=value["message"])
        return {**value, "data": text(safe)}


class _Sizes:
    """How much content each read of a coded body brought, as far as that is in events: `left` bytes more."""

    def __init__(self, coding: str | None, wire: bytes, lost: Iterable[int]) -> None:
        self._wire, self._at, self._read = wire, 0, 0
        self.left = 0
        self._lost = frozenset(lost)
        self._decoder: Decoder | None
        try:
            self._decoder = decoder(coding)
        except CodingError:
            self._decoder = None

    def decoded(self, read: list[int | None]) -> list[int | None]:
        """The read as if it had come without the coding; what was lost has the size that it had."""
        offset, sent, size = read
        number, self._read = self._read, self._read + 1
        if number in self._lost:
            return read
        data = self._wire[self._at : self._at + (size or 0)]
        self._at += len(data)
        return [offset, sent, self._content(data)]

    def _content(self, data: bytes) -> int:
        size = 0
        try:
            for piece in self._decoder.decode(data) if self._decoder else ():
                taken = min(len(piece), self.left)
                size, self.left = size + taken, self.left - taken
                if not self.left:
                    self._decoder = None
                    break
        except CodingError:
            self._decoder = None
        return size


def _headers(side: dict[str, Any]) -> Headers:
    return tuple((name, value) for name, value in side["headers"])


__all__ = ["Leak", "scrub"]

Watch = Callable[[Iterable[Any]], Iterator[Any]]
"""Passes on what it is given, and shows how far it is."""
Token = tuple[str, bytes]
_ROWS = 5000
_PIECE = 1 << 20
_SHORTEST = 6
"""The least of a named secret that is told in free space, in bytes."""
_COOKIES = ("field cookie", "field set-cookie")
"""Their values have other parts beside the pseudonyms. A row that a killed recorder did not commit is no text that the
cassette says, so nothing else tells that its cookies are replaced."""
_BESIDE = ("-wal", "-shm", "-journal", "-lock")


def scrub(
    cassette: str | Path,
    output: str | Path | None,
    *,
    redact: str = "content",
    redact_patterns: Iterable[str] = (),
    pseudonym_key: File | None = None,
    watch: Watch = iter,
) -> list[Leak]:
    """Write a copy of `cassette` without secrets to `output` (a `.db`, a `.jsonl`, either with `.zst`, else as the
    cassette is); return what was replaced, by place. Without an `output`, only what would be.

    `redact`: `content`, or `named` for those alone that have a secret's name. `pseudonym_key`: the file of the key that
    the recorder used, by default the user's own. Of `CASSETTE#SESSION` only that session and its sub-agents are copied.
    Raises `UsageError` or `CassetteError`.
    """
    source, session = named_session(cassette)
    scanner = content_scanner(None if redact == "named" else redact, redact_patterns)
    target = None if output is None else _usable(Path(output), source)
    found: list[Leak] = []
    store = open_store(source)
    try:
        if store.pseudonym_key() is not None:
            found.append(Leak("cassette", "pseudonym key", 1))
        key = _key_of(store, pseudonym_key) if target is not None else b""
        scrubber = Scrubber(Redactor(key, scanner), found.append)
        sessions = None if session is None else with_children(store, the_session(store, session))
        lines = (f"{dumps(value)}\n".encode() for value in scrubber.scrubbed(watch(values(store, sessions))))
        if target is not None:
            _write(lines, target, source)
            return found
        said = Counter(_tokens(scanner, lines))
    finally:
        store.close()
    return found or ([] if session is not None else list(_in_free_space(source, scanner, said, watch)))


def _key_of(store: Store, named: File | None) -> bytes:
    """The key of the cassette's pseudonyms; one for this copy alone where the cassette does not say which."""
    inside, derived = store.pseudonym_key(), store.pseudonyms_of()
    if inside is not None:
        return inside
    return os.urandom(32) if derived is None else user_key(named).of(derived[0])


def _usable(output: Path, source: Path) -> Path:
    refuse_to_overwrite(output, source)
    file = itself(output)
    for end in _BESIDE:
        beside = file.with_name(file.name + end)
        if not output.exists() and beside.exists():
            raise UsageError(f"{beside} is left there by another cassette: remove it, or choose another --output")
    return output


def _write(lines: Iterator[bytes], target: Path, source: Path) -> None:
    is_text, is_compressed = _form(target, source)
    if not is_text:
        _write_database(lines, target, is_compressed=is_compressed)
    else:
        with whole_or_not(target) as file:
            file.writelines(packed(lines) if is_compressed else lines)
    remove_index(target)  # of another cassette of that name


def _form(target: Path, source: Path) -> tuple[bool, bool]:
    """Whether it is to be text, and whether compressed: as its name says, else as the cassette is."""
    suffix, is_compressed = named(target)
    if suffix in (".db", ".jsonl"):
        return suffix == ".jsonl", is_compressed
    return not is_database(source), is_compressed or is_packed(source)


def _write_database(lines: Iterator[bytes], target: Path, *, is_compressed: bool) -> None:
    folder = room_for(target)
    try:
        place = TemporaryFolder("scrub", folder)
    except OSError as error:
        raise UsageError(unwritable(target if folder is not None else temporary(), error)) from error
    with place as name:
        made = Path(name) / "copy.db"
        rows = Reader("the copy", contract_or_default).rows(lines)
        with clear_errors(target), closing(Writer(made, named=target)) as writer:
            while some := list(islice(rows, _ROWS)):
                writer.write(some)
            writer.settle()
        if is_compressed:
            with whole_or_not(target) as file:
                file.writelines(packed(_pieces(made)))
        else:
            put(made, target)


def _in_free_space(source: Path, scanner: Scanner | None, said: Counter[Token], watch: Watch) -> Iterator[Leak]:
    """What is in a database's file or log and not in what it says. In its bytes nothing tells which text a string
    belongs to, so what is no secret where it is said (`ta`, then `sk-1`) is none there. A port
    of a URL is not told from a password where the next row begins behind it."""
    if scanner is None or not is_database(source):
        return
    counts: Counter[str] = Counter()
    for path in (source, source.with_name(source.name + "-wal")):
        for kind, token in _tokens(scanner, watch(_pieces(path))) if path.exists() else ():
            known = (kind, token) in said or any(other.startswith(token) for _, other in said)
            known = known or kind == "url" or (kind.startswith("field ") and not _may_be_value(token))
            known = known or (kind in _COOKIES and PSEUDONYM in token)
            counts[kind] += not known
    yield from (Leak("free space", kind, count) for kind, count in sorted((+counts).items()))


def _may_be_value(text: bytes) -> bool:
    """Whether that is a value, and not the beginning of the next row behind a `token=` at the end of one."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return len(text.lstrip(b"*")) >= _SHORTEST


def _tokens(scanner: Scanner | None, pieces: Iterable[bytes]) -> Iterator[Token]:
    """What looks like a secret in these bytes, whatever they are, by kind."""
    state = PLAIN
    for piece in pieces:
        if scanner is not None:
            spans, state = scanner.scan(state, piece)
            yield from ((span.kind, piece[span.start : span.end]) for span in spans if span.begins)


def _pieces(path: Path) -> Iterator[bytes]:
    if is_packed(path):
        yield from content(path)
        return
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
