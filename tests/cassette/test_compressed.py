"""Compressing and unpacking: all of it comes back, whatever the pieces; damage and bombs are told; lines are lines."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.export import named
from omnirecord.cassette.open import lines
from omnirecord.wire.content_coding import ZSTD_MAGIC, PackingError, packed, unpacked
from tests.support.examples import each

TEXT = b"".join(b'{"stream": 1, "seq": %d}\n' % n for n in range(5000))
MOST = 1 << 24


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def back(data: bytes, size: int = 100, most: int = MOST) -> bytes:
    return b"".join(unpacked(cut(data, size), most))


@given(st.binary(max_size=5000), st.integers(1, 700), st.integers(1, 700))
def test_what_was_packed_comes_back_whatever_the_pieces(data: bytes, going: int, coming: int) -> None:
    made = b"".join(packed(cut(data, going)))
    assert made.startswith(ZSTD_MAGIC)
    assert back(made, coming) == data


def test_frames_behind_each_other_are_one_content_as_for_zstd() -> None:
    one, other = b"".join(packed([TEXT])), b"".join(packed([b"more"]))
    for size in (1, 7, len(one), 1 << 20):
        assert back(one + other, size) == TEXT + b"more"


def test_whatever_byte_is_changed_the_damage_is_told() -> None:
    made = b"".join(packed([TEXT]))
    for at in range(4, len(made), 37):
        spoiled = made[:at] + bytes([made[at] ^ 0x55]) + made[at + 1 :]
        with pytest.raises(PackingError):
            back(spoiled)


@each("end", [0, 3, 20, -5, -1])
def test_an_end_that_is_missing_is_told(end: int) -> None:
    with pytest.raises(PackingError, match="its end is missing"):
        back(b"".join(packed([TEXT]))[:end])


def test_what_follows_that_is_nothing_packed_is_told() -> None:
    with pytest.raises(PackingError, match="it is damaged"):
        back(b"".join(packed([TEXT])) + b"\n")


def test_a_bomb_is_unpacked_no_further_than_it_may() -> None:
    bomb = b"".join(packed(bytes(1 << 20) for _ in range(64)))
    assert len(bomb) < 10_000
    came: list[int] = []
    with pytest.raises(PackingError, match="more than 8 MiB"):
        came.extend(map(len, unpacked([bomb], 8 << 20)))
    assert 7 << 20 <= sum(came) <= 8 << 20
    assert len(back(bomb, most=64 << 20)) == 64 << 20


@given(st.lists(st.sampled_from([b"a", b"", b"\n", b"\r\n", b"b\nc", b"\n\n"]), max_size=12), st.integers(1, 5))
def test_lines_are_those_that_a_file_gives(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)
    assert list(lines(cut(whole, size))) == io.BytesIO(whole).readlines()


@each(
    ("name", "says"),
    [
        ("a.db", (".db", False)),
        ("a.db.zst", (".db", True)),
        ("a.b.jsonl.zst", (".jsonl", True)),
        ("a.zst", ("", True)),
        ("a", ("", False)),
        (".zst", ("", False)),
    ],
)
def test_a_name_says_what_is_in_a_file_and_whether_it_is_compressed(name: str, says: tuple[str, bool]) -> None:
    assert named(Path(name)) == says
