"""Compresses a file with zstd (RFC 8878), and decompresses it up to a limit. No I/O.

Files of the `zstd` command can be read, also with several frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..wire.content_coding import PIECE, zstd

MAGIC = b"\x28\xb5\x2f\xfd"
SUFFIX = ".zst"
_LEVEL = 6
"""Level 6 is a tenth smaller than 3 and takes 0.25 s for 64 MB; higher levels take long and save little."""
_RATIO = 100
"""Highest accepted compression ratio; cassettes shrink to between a tenth and a thirtieth."""


class PackingError(ValueError):
    """The data is damaged, is no zstd, or exceeds the limit."""


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield one zstd frame with a checksum, which detects damage."""
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
    """Yield the decompressed data, at most 1 MiB at a time.

    Raises `PackingError` if the data is damaged or cut off, or exceeds `most` bytes.
    """
    decompressor, size, is_open = zstd.ZstdDecompressor(), 0, True
    for data in pieces:
        while data or not (decompressor.needs_input or decompressor.eof):
            if decompressor.eof:
                decompressor = zstd.ZstdDecompressor()
            try:
                piece = decompressor.decompress(data, PIECE)
            except zstd.ZstdError as error:
                why = str(error).rpartition(": ")[2].rstrip(".")  # without the prefix of zstd
                raise PackingError(f"it is damaged ({why or type(error).__name__})") from error
            data = decompressor.unused_data if decompressor.eof else b""
            size, is_open = size + len(piece), not decompressor.eof
            if size > most:
                raise PackingError(f"it unpacks to more than {most >> 20} MiB, more than any recorded cassette")
            yield piece
    if is_open:
        raise PackingError("its end is missing")


def named(path: Path) -> tuple[str, bool]:
    """Return the suffix of the content in a file name, such as `.db`, and whether the file is compressed."""
    is_packed = path.suffix == SUFFIX
    return (path.with_suffix("") if is_packed else path).suffix, is_packed


def most_of(size: int, free: int) -> int:
    """Return the limit of decompressed bytes for a file of `size` bytes; at least `free`."""
    return max(free, _RATIO * size)


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a text, each with its line end."""
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
