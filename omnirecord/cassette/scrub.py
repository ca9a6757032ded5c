"""Writes a copy of a cassette without secrets, or lists the secrets.

The copy is made from the content, in either form. It takes over nothing from free pages, from the log or from the
search index, and no pseudonym key. The rules are those of the recorder, so redacted values do not change. The result
names the places of secrets and never the secrets.

`Scrubber` takes the lines of the text form and returns them without secrets, with no I/O. `scrub` reads and writes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model import CLOSE
from ..redaction.coded import uncoded
from ..redaction.content.patterns import PSEUDONYM
from ..redaction.content.scanner import PLAIN
from ..redaction.pseudonyms import File, user_key
from ..redaction.redactor import JsonMask, Redactor, Scanner, StreamMask, content_scanner
from ..wire.content_coding import CodingError, Decoder, are_known, codings_of, decoder
from ..wire.headers import header
from ..wire.json_bytes import bytes_from_json, bytes_to_json
from ..wire.sse import is_utf8
from .conversations import part_named
from .export import named, refuse_leftovers, write_lines
from .files import pieces_of
from .jsonl import encoded, reads_values, values
from .open import open_store, refuse_to_overwrite
from .select import named_session
from .sqlite import Store, is_database, is_packed
from .sqlite.opening import content

__all__ = ["Leak", "scrub"]

Values = Iterator[dict[str, Any]]
Watch = Callable[[Iterable[Any]], Iterator[Any]]
"""Passes items on, and shows the progress."""
Token = tuple[str, bytes]
_SHORTEST = 6
"""Shortest named secret that counts in free space, in bytes."""
_COOKIES = ("field cookie", "field set-cookie")
"""Kinds whose redacted values have other parts beside pseudonyms. An uncommitted row of a killed recorder is no content
of the cassette, so only this rule recognises its redacted cookies."""


@dataclass(frozen=True, slots=True)
class Leak:
    """The number of secrets of one kind in one part of an exchange, frame (`stream` and `seq`) or message."""

    place: str
    kind: str
    count: int
    recording: int | None = None
    exchange: int | None = None
    stream: int | None = None
    seq: int | None = None
    message: int | None = None


def leak_counts(found: Iterable[Leak]) -> list[dict[str, Any]]:
    """Return the number of secrets of each kind in each place, as rows: `place`, `kind`, `count`."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in found:
        counts[one.place, one.kind] += one.count
    return [{"place": place, "kind": kind, "count": count} for (place, kind), count in sorted(counts.items())]


@dataclass(slots=True)
class _Exchange:
    """The exchange whose lines are being read."""

    where: dict[str, int | None]
    mask: StreamMask | None = None
    sizes: _Sizes | None = None
    """Of a stream that loses its content coding."""
    reads: list[list[int | None]] = field(default_factory=list)
    texts: dict[str, JsonMask | None] = field(default_factory=dict)


class Scrubber:
    """Removes the secrets from one cassette; calls `tell` for each place with secrets."""

    def __init__(self, redactor: Redactor, tell: Callable[[Leak], None]) -> None:
        self._redactor = redactor
        self._tell = tell
        self._now = _Exchange({})

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
        """Report the secrets that were replaced since the last call."""
        for kind, count in sorted(self._redactor.counts.items()):
            self._tell(Leak(place, kind, count, **where))
        self._redactor.counts.clear()

    def _text(self, value: str, place: str, **where: int | None) -> str:
        safe = self._redactor.text(value)
        self._found(place, **where)
        return safe

    def _recording(self, value: dict[str, Any]) -> dict[str, Any]:
        safe = dict(value)
        number = value["recording"]
        safe["upstream"] = value["upstream"] and self._text(value["upstream"], "upstream", recording=number)
        if "labels" in value:
            safe["labels"] = self._redactor.labels(value["labels"])
            self._found("labels", recording=number)
        return safe

    def _exchange(self, value: dict[str, Any]) -> dict[str, Any]:
        now = self._now = _Exchange({name: value[name] for name in ("recording", "exchange", "stream")})
        now.texts = {"up": self._redactor.texts(), "down": self._redactor.texts()}
        request = dict(value["request"])
        response = value["response"] and dict(value["response"])
        request["target"] = self._redactor.target(request["target"])
        self._found_here("request target")
        session = value["session_id"] and self._redactor.text(value["session_id"])
        self._redactor.counts.clear()  # counted in the target, or in the response that named the session
        self._side(request, "request")
        if response is not None:
            if response["reason"]:
                response["reason"] = self._text(response["reason"], "response reason", **now.where)
            self._stream(response)
            self._side(response, "response")
        return {**value, "session_id": session, "request": request, "response": response}

    def _found_here(self, place: str, **where: int | None) -> None:
        self._found(place, **self._now.where, **where)

    def _side(self, side: dict[str, Any], name: str) -> None:
        headers = tuple(map(tuple, side["headers"]))
        if side["body"]:
            kept = self._redactor.body(header(headers, "content-type"), header(headers, "content-encoding"))
            side["body"] = bytes_to_json(kept.feed(bytes_from_json(side["body"])) + kept.close())
            self._found_here(f"{name} body")
        side["headers"] = [list(pair) for pair in self._redactor.headers(headers)]
        self._found_here(f"{name} headers")

    def _stream(self, response: dict[str, Any]) -> None:
        now = self._now
        now.mask = self._redactor.stream() if now.where["stream"] is not None else None
        if now.mask is None or response["body"] is None:
            return
        headers = tuple(map(tuple, response["headers"]))
        now.sizes = _Sizes(
            header(headers, "content-encoding"), bytes_from_json(response["body"]), response.pop("lost", ())
        )
        response["body"] = None
        response["headers"] = uncoded(headers)

    def _frame(self, value: dict[str, Any]) -> dict[str, Any]:
        mask = self._now.mask
        if mask is None:
            return value
        if self._now.sizes is not None:
            self._now.sizes.left += value["length"] if value["raw"] is None else len(bytes_from_json(value["raw"]))
        if value["raw"] is None:
            mask.lose(value["length"])
            return value
        safe = b"".join(piece.data for piece in mask.feed(bytes_from_json(value["raw"])))
        self._found_here("stream", seq=value["seq"])
        return {**value, "raw": bytes_to_json(safe)}

    def _finished(self) -> Values:
        """Yield the reads of a decoded stream, after the last line of its exchange."""
        if self._now.sizes is not None and (stream := self._now.where["stream"]) is not None:
            yield from reads_values(stream, self._now.reads)
            self._now.sizes = None

    def _message(self, value: dict[str, Any]) -> dict[str, Any]:
        redact = self._redactor.closing if value["opcode"] == CLOSE else self._redactor.message
        safe = redact(bytes_from_json(value["data"]), self._now.texts[value["dir"]])
        self._found_here("message", message=value["message"])
        return {**value, "data": bytes_to_json(safe)}


class _Sizes:
    """Content bytes of each read of a coded body, within its events. `left`: bytes of events without a read."""

    def __init__(self, coding: str | None, wire: bytes, lost: Iterable[int]) -> None:
        self._wire = wire
        self._at = 0
        self._read = 0
        self.left = 0
        self._lost = frozenset(lost)
        self._decoder: Decoder | None = decoder(coding) if are_known(codings_of(coding)) else None

    def decoded(self, read: list[int | None]) -> list[int | None]:
        """Return the read with its decoded size; a lost read keeps its size."""
        offset, sent, size = read
        number = self._read
        self._read = self._read + 1
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
                size = size + taken
                self.left = self.left - taken
                if not self.left:
                    self._decoder = None
                    break
        except CodingError:
            self._decoder = None
        return size


def scrub(
    cassette: str | Path,
    output: str | Path | None,
    *,
    redact: str = "content",
    redact_patterns: Iterable[str] = (),
    pseudonym_key: File | None = None,
    watch: Watch = iter,
    read: Callable[[Store], Iterable[dict[str, Any]]] | None = None,
) -> list[Leak]:
    """Write a copy of `cassette` without secrets to `output`; return the replaced secrets, by place and kind.

    `output` is a `.db` or `.jsonl`, also with `.zst`; any other name gets the form of the cassette. Without an
    `output`, the secrets are only listed. `redact` is `content`, or `named` for fields with a secret's name only.
    `pseudonym_key` is the file of the key that the recorder used, by default the user's own. `CASSETTE#SESSION` copies
    only that session and its sub-agents. `read` returns other values of the text form to copy. Raises `UsageError` or
    `CassetteError`.
    """
    source, session = named_session(cassette)
    scanner = content_scanner(None if redact == "named" else redact, redact_patterns)
    target = None if output is None else Path(output)
    if target is not None:
        refuse_to_overwrite(target, source)
        refuse_leftovers(target)
    found: list[Leak] = []
    with closing(open_store(source)) as store:
        if store.pseudonym_key() is not None:
            found.append(Leak("cassette", "pseudonym key", 1))
        key = _key_of(store, pseudonym_key) if target is not None else b""
        scrubber = Scrubber(Redactor(key, scanner), found.append)
        takes = None if session is None else part_named(store, session)[0]
        will_change = _has_secret_requests(store, Redactor(key, scanner))
        copied = values(store, takes, will_change=will_change) if read is None else read(store)
        lines = encoded(scrubber.scrubbed(watch(copied)))
        if target is not None:
            is_text, is_compressed = form_of(target, source)
            write_lines(lines, target, is_text=is_text, is_compressed=is_compressed)
            return found
        said = Counter(_tokens(scanner, lines))
    return found or ([] if session is not None else list(_in_free_space(source, scanner, said, watch)))


def copied_without_secrets(store: Store, target: Path, pseudonym_key: File | None = None) -> None:
    """Write an open cassette without secrets in its content to a new `.db`. Raises `UsageError` or `CassetteError`."""
    scrubber = Scrubber(Redactor(_key_of(store, pseudonym_key), content_scanner("content")), lambda _: None)
    lines = encoded(scrubber.scrubbed(values(store, will_change=True)))
    write_lines(lines, target, is_text=False, is_compressed=False)


def _has_secret_requests(store: Store, redactor: Redactor) -> bool:
    """Whether a copy without secrets has other requests, from which another id of a recording would be derived."""
    texts = [*(x.session_id or "" for x in store.exchanges()), *(one.upstream or "" for one in store.recordings())]
    if any(redactor.text(one) != one for one in set(texts)):
        return True
    return any(redactor.target(x.request.target) != x.request.target for x in store.exchanges())


def _key_of(store: Store, named: File | None) -> bytes:
    """Return the key of the cassette's pseudonyms; a random key if the cassette names none."""
    inside = store.pseudonym_key()
    derived = store.pseudonyms_of()
    if inside is not None:
        return inside
    return os.urandom(32) if derived is None else user_key(named).of(derived[0])


def form_of(target: Path, source: Path) -> tuple[bool, bool]:
    """Return whether the copy is text, and whether it is compressed: by its name, else as the cassette."""
    suffix, is_compressed = named(target)
    if suffix in (".db", ".jsonl"):
        return suffix == ".jsonl", is_compressed
    return not is_database(source), is_compressed or is_packed(source)


def _in_free_space(source: Path, scanner: Scanner | None, said: Counter[Token], watch: Watch) -> Iterator[Leak]:
    """Yield the secrets that are in a database file or its log, but not in the content. Raw bytes do not show which
    text a string belongs to. So a token that the content has, such as `sk-1` after `ta`, is no secret here. A password
    in a URL is not counted: a port before the next row looks the same."""
    if scanner is None or not is_database(source):
        return
    counts: Counter[str] = Counter()
    for path in filter(Path.exists, (source, source.with_name(source.name + "-wal"))):
        for kind, token in _tokens(scanner, watch(content(path) if is_packed(path) else pieces_of(path))):
            known = (kind, token) in said or any(other.startswith(token) for _, other in said)
            known = known or kind == "url" or (kind.startswith("field ") and not _may_be_value(token))
            known = known or (kind in _COOKIES and PSEUDONYM in token)
            counts[kind] += not known
    yield from (Leak("free space", kind, count) for kind, count in sorted((+counts).items()))


def _may_be_value(text: bytes) -> bool:
    """Whether the text is a value, and not the next row after a row that ends with `token=`."""
    return is_utf8(text) and len(text.lstrip(b"*")) >= _SHORTEST


def _tokens(scanner: Scanner | None, pieces: Iterable[bytes]) -> Iterator[Token]:
    state = PLAIN
    for piece in pieces:
        if scanner is not None:
            spans, state = scanner.scan(state, piece)
            yield from ((span.kind, piece[span.start : span.end]) for span in spans if span.begins)
