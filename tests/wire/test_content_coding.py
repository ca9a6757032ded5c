"""Content codings: what was compressed comes out again however it is cut, and a hostile body stays small."""

from __future__ import annotations

import ast
import gzip
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omnirecord
from omnirecord.wire.content_coding import _CODINGS, PIECE, CodingError, Identity, decoder
from tests.support.examples import each

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def brotli_in_two_blocks(data: bytes) -> bytes:
    deflate = brotli.Compressor()
    return deflate.process(data[:7]) + deflate.flush() + deflate.process(data[7:]) + deflate.finish()


CODINGS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "none": (None, bytes),
    "empty": ("", bytes),
    "identity": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "x-gzip in capitals": (" X-GZip ", gzip.compress),
    "gzip of several members": ("gzip", lambda d: gzip.compress(d[:9]) + gzip.compress(b"") + gzip.compress(d[9:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a zlib header": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "br, flushed between": ("br", brotli_in_two_blocks),
    "zstd": ("zstd", zstd.compress),
    "zstd of several frames": ("zstd", lambda d: zstd.compress(d[:9]) + zstd.compress(b"") + zstd.compress(d[9:])),
    "deflate, then gzip": ("deflate, gzip", lambda d: gzip.compress(zlib.compress(d))),
    "gzip, identity, br, zstd": ("gzip,identity, br,,zstd", lambda d: zstd.compress(brotli.compress(gzip.compress(d)))),
}


def decode(coding: str | None, body: bytes, cuts: list[int] | range = range(0)) -> bytes:
    one = decoder(coding)
    bounds = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return b"".join(piece for start, end in pairwise(bounds) for piece in one.decode(body[start:end]))


@pytest.mark.parametrize("name", CODINGS)
@settings(deadline=None, max_examples=25)
@given(data=st.binary(max_size=100), cuts=st.lists(st.integers(0, 150), max_size=8))
def test_the_content_comes_out_however_the_body_is_cut(name: str, data: bytes, cuts: list[int]) -> None:
    coding, encode = CODINGS[name]
    body = encode(data)

    assert decode(coding, body) == data
    assert decode(coding, body, cuts) == data
    assert decode(coding, body, range(len(body))) == data


@each("name", ["gzip", "deflate", "deflate without a zlib header", "br", "zstd"])
def test_a_bomb_comes_out_whole_and_in_small_pieces(name: str) -> None:
    coding, encode = CODINGS[name]
    for size in (PIECE - 1, PIECE, PIECE + 1, PIECE + 100, 2 * PIECE + 200, 20 * PIECE + 3):
        sizes = [len(piece) for piece in decoder(coding).decode(encode(bytes(size)))]

        assert sum(sizes) == size
        assert max(sizes) <= PIECE


def test_a_bomb_in_a_bomb_is_never_whole_either() -> None:
    sizes = [len(piece) for piece in decoder("gzip, br").decode(brotli.compress(gzip.compress(bytes(20 * PIECE))))]

    assert sum(sizes) == 20 * PIECE
    assert max(sizes) <= PIECE


@each("coding", ["gzip", "br", "zstd", "deflate", "gzip, br"])
def test_what_was_flushed_is_there_at_once(coding: str) -> None:
    """A live stream is flushed at every event; the reader must not wait for more than that."""
    if coding == "zstd":
        squeeze = zstd.ZstdCompressor()
        body = squeeze.compress(b"data: a\n\n") + squeeze.flush(zstd.ZstdCompressor.FLUSH_BLOCK)
    elif "br" in coding:
        squeeze = brotli.Compressor()
        inner = _flushed_gzip(31) if "gzip" in coding else b"data: a\n\n"
        body = squeeze.process(inner) + squeeze.flush()
    else:
        body = _flushed_gzip(31 if coding == "gzip" else 15)

    assert decode(coding, body) == b"data: a\n\n"


def _flushed_gzip(wbits: int) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return deflate.compress(b"data: a\n\n") + deflate.flush(zlib.Z_SYNC_FLUSH)


@each("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_a_body_that_is_not_what_it_says_raises_coding_error(coding: str) -> None:
    with pytest.raises(CodingError, match="not what its Content-Encoding says"):
        decode(coding, b"\xffdata: this was never compressed\n\n" * 9)


@each("name", ["gzip", "deflate", "br", "zstd"])
def test_what_follows_the_end_of_a_body_raises_coding_error(name: str) -> None:
    coding, encode = CODINGS[name]
    with pytest.raises(CodingError):
        decode(coding, encode(b"data: a\n\n") + b"\xff and more \xff")


def test_a_wrong_checksum_raises_coding_error_behind_the_content() -> None:
    body = gzip.compress(b"data: a\n\n")
    one = decoder("gzip")

    assert b"".join(one.decode(body[:-8])) == b"data: a\n\n"
    with pytest.raises(CodingError):
        b"".join(one.decode(bytes(8)))


@each("coding", ["compress", "gzip, snappy", "identity;q=1", "*"])
def test_a_coding_that_is_not_known_raises_coding_error_by_its_name(coding: str) -> None:
    with pytest.raises(CodingError, match=r"content coding '(compress|snappy|identity;q=1|\*)' is not known"):
        decoder(coding)


def test_no_coding_is_told_apart_from_some() -> None:
    assert isinstance(decoder("identity"), Identity)
    assert isinstance(decoder(None), Identity)
    assert not isinstance(decoder("gzip"), Identity)


@each("name", sorted(_CODINGS))
def test_a_coding_is_known_to_recording_redaction_and_reading_by_one_table(name: str) -> None:
    """A second table that lacks a coding would store bodies with their secrets."""
    package = Path(omnirecord.__file__).parent
    texts = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    named = [path for path, text in texts.items() if f'"{name}"' in text and _has_string(text, name)]
    assert named == ["wire/content_coding.py"]


def _has_string(text: str, value: str) -> bool:
    return any(isinstance(node, ast.Constant) and node.value == value for node in ast.walk(ast.parse(text)))
