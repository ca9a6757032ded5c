"""Content codings (RFC 9110, section 8.4.1): a compressed body in, its content out, piece by piece. No I/O.

`packed` and `unpacked` do the same with a file of zstd (RFC 8878), up to a limit. Files of the `zstd` command can be
read, also with several frames.

To add a coding, add it to `_CODINGS`, and its errors to `_Chain.decode`: recording, redaction and reading use both.
The advice of `stream-not-decoded` in `analysis/doctor/checks.py` lists the codings.

A piece is at most `PIECE` bytes, whatever a hostile body would inflate to. An invalid body raises `CodingError`; the
cassette keeps its bytes.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

PIECE = 1 << 20
"""The largest piece that a decoder yields, in bytes."""


_UNKNOWN = "content coding"
_NOT_CODED = "the body is not what its Content-Encoding says"


class CodingError(ValueError):
    """The body is not what its Content-Encoding says, or that coding is unknown."""


def tells_of_coding(text: str) -> bool:
    """Return whether this text, for example of an incident, holds the message of a `CodingError`."""
    return f": {_UNKNOWN} " in text or f": {_NOT_CODED}: " in text


class Decoder(Protocol):
    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the content that these bytes of the body complete. Raises `CodingError`."""
        ...


class Identity:
    """No coding. One instance serves all streams, since it holds nothing."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        yield data


_IDENTITY = Identity()


class Inflate:
    """`gzip` (members may follow each other) and `deflate` (with the zlib header that browsers expect, or without)."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)

    def decode(self, data: bytes) -> Iterator[bytes]:
        is_full = False  # `data` may be consumed while more content than one piece is left
        while data or is_full:
            piece = self._inflate.decompress(data, PIECE)
            yield piece
            is_full = len(piece) == PIECE
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._inflate = zlib.decompressobj(self._wbits)


class _Deflate:
    def __init__(self) -> None:
        self._zlib: Inflate | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._zlib is None and data:
            self._zlib = Inflate(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        yield from self._zlib.decode(data) if self._zlib else ()


class _Brotli:
    def __init__(self) -> None:
        self._inflate = brotli.Decompressor()

    def decode(self, data: bytes) -> Iterator[bytes]:
        # `can_accept_more_data` is about the input alone, and brotli yields up to twice the limit.
        piece = self._inflate.process(data, output_buffer_limit=PIECE // 2)
        while piece or not self._inflate.can_accept_more_data():
            yield piece
            piece = self._inflate.process(b"", output_buffer_limit=PIECE // 2)


class _Zstd:
    """`is_open`: the last frame has no end yet. The decoder yields whole blocks, so it may hold the last one."""

    def __init__(self) -> None:
        self._inflate = zstd.ZstdDecompressor()
        self.is_open = True

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._inflate.needs_input or self._inflate.eof):
            piece = self._inflate.decompress(data, PIECE)
            data = b""
            self.is_open = not self._inflate.eof
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._inflate = zstd.ZstdDecompressor()
            yield piece


class _Chain:
    """Several codings, decoded in reverse order."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    @property
    def is_open(self) -> bool:
        return any(isinstance(one, _Zstd) and one.is_open for one in self._decoders)

    def decode(self, data: bytes) -> Iterator[bytes]:
        try:
            yield from self._through(len(self._decoders) - 1, data)
        except (zlib.error, brotli.error, zstd.ZstdError) as error:
            raise CodingError(f"{_NOT_CODED}: {error}") from error

    def _through(self, last: int, data: bytes) -> Iterator[bytes]:
        if last < 0:
            yield data
            return
        for piece in self._decoders[last].decode(data):
            yield from self._through(last - 1, piece)


class _Coding(NamedTuple):
    decoder: Callable[[], Decoder]
    encode: Callable[[bytes], bytes]


_GZIP = _Coding(lambda: Inflate(zlib.MAX_WBITS | 16), lambda data: gzip.compress(data, mtime=0))
_CODINGS: dict[str, _Coding] = {
    "gzip": _GZIP,
    "x-gzip": _GZIP,
    "deflate": _Coding(_Deflate, zlib.compress),
    "br": _Coding(_Brotli, brotli.compress),
    "zstd": _Coding(_Zstd, zstd.compress),
}
"""All known content codings. Each one can be encoded too, because a redacted body keeps its coding."""


def codings_of(content_encoding: str | None) -> list[str]:
    """Return the names of the codings in the value of Content-Encoding, in the order of their application."""
    names = [name.strip().lower() for name in (content_encoding or "").split(",")]
    return [name for name in names if name not in ("", "identity")]


def are_known(codings: Iterable[str]) -> bool:
    """Return whether a body with these codings can be decoded and encoded."""
    return _CODINGS.keys() >= set(codings)


def decoder(content_encoding: str | None) -> Decoder:
    """Return the decoder for a value of Content-Encoding. Raises `CodingError` for an unknown coding."""
    decoders = [_coding(name).decoder() for name in codings_of(content_encoding)]
    return _Chain(decoders) if decoders else _IDENTITY


def encoded(data: bytes, codings: Iterable[str]) -> bytes:
    """Return the body that has this content under these codings. Raises `CodingError` for an unknown coding."""
    for name in codings:
        data = _coding(name).encode(data)
    return data


def _coding(name: str) -> _Coding:
    if name not in _CODINGS:
        raise CodingError(f"{_UNKNOWN} {name!r} is not known")
    return _CODINGS[name]


LIMIT = 32 * 1024 * 1024
"""The largest compressed body, and the largest content of one, that is kept, in bytes."""


class Content(NamedTuple):
    """The content of a body, as far as it can be decoded, up to `LIMIT` bytes."""

    data: bytes
    is_whole: bool
    """Whether the whole body could be decoded."""
    has_more: bool = False
    """Whether the body ends inside a zstd frame: a part of the content may be in the body, and not in `data`."""


def decoded(data: bytes, content_encoding: str | None) -> bytes:
    """Return the content of a body, as far as it can be decoded, up to `LIMIT` bytes."""
    return data[:LIMIT] if content_encoding is None else content_of(data, content_encoding).data


def content_of(data: bytes, content_encoding: str | None) -> Content:
    decoders = decoder(content_encoding)
    content = bytearray()
    try:
        for piece in decoders.decode(data):
            content += piece
            if len(content) >= LIMIT:
                return Content(bytes(content[:LIMIT]), is_whole=False)
    except CodingError:
        return Content(bytes(content), is_whole=False)
    return Content(bytes(content), True, isinstance(decoders, _Chain) and bool(data) and decoders.is_open)


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_LEVEL = 6
"""Level 6 is a tenth smaller than 3 and takes 0.25 s for 64 MB; higher levels take long and save little."""


class PackingError(ValueError):
    """The data is damaged, is no zstd, or exceeds the limit."""


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield one zstd frame with a checksum, which detects damage."""
    known = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(options={known.compression_level: _LEVEL, known.checksum_flag: 1})
    yield from filter(None, map(compressor.compress, pieces))
    yield compressor.flush()


def unpacked(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield the decompressed data, at most 1 MiB at a time. Raises `PackingError` if the data is damaged or cut off, or
    exceeds `most` bytes."""
    inflate = _Zstd()
    size = 0
    try:
        for data in pieces:
            for piece in inflate.decode(data):
                size += len(piece)
                if size > most:
                    raise PackingError(f"it unpacks to more than {most >> 20} MiB, more than any recorded cassette")
                yield piece
    except zstd.ZstdError as error:
        why = str(error).rpartition(": ")[2].rstrip(".")  # without the prefix of zstd
        raise PackingError(f"it is damaged ({why or type(error).__name__})") from error
    if inflate.is_open:
        raise PackingError("its end is missing")
