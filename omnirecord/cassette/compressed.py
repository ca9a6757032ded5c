"""A whole file compressed with zstd (RFC 8878), and unpacked again no further than it may reasonably go. No I/O.

What `zstd` on the command line makes is read as well, several frames behind each other too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..wire.content_coding import PIECE, zstd

MAGIC = b"\x28\xb5\x2f\xfd"
SUFFIX = ".zst"
_LEVEL = 6
"""A tenth smaller than by 3, a quarter of a second for 64 MB; higher ones take long and save little."""
_RATIO = 100
"""Cassettes are packed to a tenth or a thirtieth."""


class PackingError(ValueError):
    """It is not what `packed` makes, or more than may be unpacked."""


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """One zstd frame with a checksum, which tells every damage."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    for piece in pieces:
        if made := compressor.compress(piece):
            yield made
    yield compressor.flush()


def unpacked(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """What was packed, in pieces of a megabyte at most. Raises `PackingError` where it is damaged, cut off, or would be
    over `most` bytes."""
    decompressor, size, is_open = zstd.ZstdDecompressor(), 0, True
    for data in pieces:
        while data or not (decompressor.needs_input or decompressor.eof):
            if decompressor.eof:
                decompressor = zstd.ZstdDecompressor()
            try:
                piece = decompressor.decompress(data, PIECE)
            except zstd.ZstdError as error:
                raise PackingError(f"it is damaged ({_reason(error)})") from error
            data = decompressor.unused_data if decompressor.eof else b""
            size, is_open = size + len(piece), not decompressor.eof
            if size > most:
                raise PackingError(f"it unpacks to more than {most >> 20} MiB, as nothing that was recorded does")
            yield piece
    if is_open:
        raise PackingError("its end is missing")


def named(path: Path) -> tuple[str, bool]:
    """What a file's name says of its content: the suffix of that, as in `.db`, and whether it is compressed."""
    is_packed = path.suffix == SUFFIX
    return (path.with_suffix("") if is_packed else path).suffix, is_packed


def most_of(size: int, free: int) -> int:
    """How many bytes a file of this size may unpack to: `free` ones at least."""
    return max(free, _RATIO * size)


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text, each with its end, as a file gives them."""
    begun: list[bytes] = []
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for line in ended:
            yield b"".join([*begun, line, b"\n"])
            begun = []
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)


def _reason(error: Exception) -> str:
    """What zstd says, without its own preamble."""
    return str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__
