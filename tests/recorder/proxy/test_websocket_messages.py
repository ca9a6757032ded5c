"""WebSocket bytes in, messages out: frames by hand, after RFC 6455 and RFC 7692."""

from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.model import Direction
from omnirecord.recorder.proxy import websocket
from omnirecord.recorder.proxy.websocket import MessageReader
from tests.recorder.proxy.test_websocket import BINARY, CLOSE, PING, PONG, TEXT, ws
from tests.support.examples import each, examples

DEFLATE = "permessage-deflate"


def frame(opcode: int, data: bytes, direction: Direction = "down", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return ws(opcode, data, mask=direction == "up", fin=fin, rsv1=rsv1)


def fragments(opcode: int, parts: list[bytes], direction: Direction = "down", *, rsv1: bool = False) -> list[bytes]:
    last = len(parts) - 1
    return [
        frame(opcode if n == 0 else 0, part, direction, fin=n == last, rsv1=rsv1 and n == 0)
        for n, part in enumerate(parts)
    ]


class Squeezer:
    """The sending half of permessage-deflate."""

    def __init__(self, wbits: int = 15, *, takeover: bool = True) -> None:
        self._wbits, self._takeover = wbits, takeover
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, -wbits)

    def __call__(self, data: bytes) -> bytes:
        body = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        if not self._takeover:
            self._deflate = zlib.compressobj(9, zlib.DEFLATED, -self._wbits)
        return body.removesuffix(b"\x00\x00\xff\xff")


def reader(direction: Direction = "down", extensions: str | None = None) -> MessageReader:
    return MessageReader(direction, () if extensions is None else (("sec-websocket-extensions", extensions),))


def read(data: bytes, direction: Direction = "down", extensions: str | None = None) -> list[tuple[int, bytes]]:
    one = reader(direction, extensions)
    whole = one.feed(data)
    assert one.broken is None
    one = reader(direction, extensions)
    assert [message for n in range(len(data)) for message in one.feed(data[n : n + 1])] == whole
    return whole


@each("direction", ["up", "down"])
@each("size", [0, 1, 125, 126, 65535, 65536])
def test_a_message_of_any_length_is_read(direction: Direction, size: int) -> None:
    assert reader(direction).feed(frame(BINARY, bytes(size), direction)) == [(BINARY, bytes(size))]


def test_text_and_binary_and_control_frames_come_in_order() -> None:
    data = frame(TEXT, "é🦉".encode()) + frame(PING, b"p") + frame(BINARY, b"\xff") + frame(CLOSE, b"\x03\xe8bye")

    assert read(data) == [(TEXT, "é🦉".encode()), (PING, b"p"), (BINARY, b"\xff"), (CLOSE, b"\x03\xe8bye")]


def test_fragments_are_put_together_even_in_the_middle_of_a_character() -> None:
    owl = "🦉".encode()

    assert read(b"".join(fragments(TEXT, [owl[:1], b"", owl[1:3], owl[3:]]))) == [(TEXT, owl)]


def test_a_control_frame_between_fragments_comes_first_and_leaves_the_message_whole() -> None:
    first, second, third = fragments(BINARY, [b"a", b"b", b"c"], "up")
    data = first + frame(PING, b"1", "up") + second + frame(PONG, b"2", "up") + third

    assert read(data, "up") == [(PING, b"1"), (PONG, b"2"), (BINARY, b"abc")]


@each("direction", ["up", "down"])
@each("takeover", [True, False])
def test_compressed_messages_are_read_with_and_without_context(direction: Direction, takeover: bool) -> None:
    side = "server" if direction == "down" else "client"
    squeeze = Squeezer(takeover=takeover)
    data = b"".join(frame(TEXT, squeeze(b"the same text again"), direction, rsv1=True) for _ in range(3))

    accepted = DEFLATE if takeover else f"{DEFLATE}; {side}_no_context_takeover"
    assert read(data, direction, accepted) == [(TEXT, b"the same text again")] * 3


def test_the_other_side_s_context_is_not_this_one_s() -> None:
    squeeze = Squeezer()
    data = b"".join(frame(TEXT, squeeze(b"the same text again"), rsv1=True) for _ in range(2))

    assert read(data, "down", f"{DEFLATE}; client_no_context_takeover") == [(TEXT, b"the same text again")] * 2


def test_a_ping_between_the_fragments_of_a_compressed_message_changes_nothing() -> None:
    squeezed = Squeezer()(b"a text that is compressed as a whole")
    first, second = fragments(TEXT, [squeezed[:5], squeezed[5:]], rsv1=True)

    assert read(first + frame(PING, b"!") + second, extensions=DEFLATE) == [
        (PING, b"!"),
        (TEXT, b"a text that is compressed as a whole"),
    ]


def test_compressed_and_plain_messages_mix() -> None:
    squeeze = Squeezer()
    data = frame(TEXT, squeeze(b"abc"), rsv1=True) + frame(TEXT, b"abc") + frame(PING, b"")
    data += frame(BINARY, squeeze(b"abc"), rsv1=True)

    assert read(data, extensions=DEFLATE) == [(TEXT, b"abc"), (TEXT, b"abc"), (PING, b""), (BINARY, b"abc")]


def test_a_message_whose_deflate_ends_with_a_final_block_is_read() -> None:
    """RFC 7692, section 7.2.3.4."""
    hello = bytes.fromhex("f3 48 cd c9 c9 07 00 00")

    assert read(frame(TEXT, hello, rsv1=True) * 2, extensions=DEFLATE) == [(TEXT, b"Hello")] * 2


@each(
    "accepted",
    [
        f"{DEFLATE}; server_max_window_bits=9; client_max_window_bits=9",
        f"{DEFLATE}; server_max_window_bits=8",  # legal, though wsproto refuses it
        f'{DEFLATE};server_max_window_bits="10"',
        f"{DEFLATE}; server_max_window_bits",
        f"{DEFLATE}; server_max_window_bits=lots",
        f"x-unknown, {DEFLATE}",
    ],
)
def test_whatever_was_accepted_the_messages_are_read(accepted: str) -> None:
    assert read(frame(TEXT, Squeezer(9)(b"hello " * 99), rsv1=True), extensions=accepted) == [(TEXT, b"hello " * 99)]


CONTENT = st.binary(max_size=200) | st.text(max_size=50).map(str.encode)
MESSAGES = st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(CONTENT, min_size=1, max_size=3)), max_size=5)


@settings(deadline=None, max_examples=examples(100))
@given(
    messages=MESSAGES,
    direction=st.sampled_from(["up", "down"]),
    squeezed=st.booleans(),
    pings=st.booleans(),
    cuts=st.lists(st.integers(0, 900), max_size=10),
)
def test_messages_come_out_however_they_are_fragmented_and_cut(
    messages: list[tuple[int, list[bytes]]], direction: Direction, squeezed: bool, pings: bool, cuts: list[int]
) -> None:
    squeeze, data, expected = Squeezer(), b"", []
    for opcode, parts in messages:
        whole = b"".join(parts)
        sent = squeeze(whole) if squeezed else whole
        middle = min(len(parts[0]), len(sent))
        for one in fragments(opcode, [sent[:middle], sent[middle:]], direction, rsv1=squeezed):
            data += one + (frame(PING, b"", direction) if pings else b"")
        expected += [(PING, b""), (opcode, whole), (PING, b"")] if pings else [(opcode, whole)]

    one = reader(direction, DEFLATE if squeezed else None)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert [message for a, b in pairwise(bounds) for message in one.feed(data[a:b])] == expected
    assert one.broken is None


BROKEN: dict[str, tuple[bytes, str | None]] = {
    "an opcode that is none": (frame(3, b""), None),
    "a reserved bit": (b"\x90\x00" + frame(TEXT, b"x"), None),
    "a compressed frame that nobody agreed on": (frame(TEXT, b"x", rsv1=True), None),
    "a compressed control frame": (frame(PING, b"x", rsv1=True), DEFLATE),
    "a continuation that says it is compressed": (frame(0, b"x", rsv1=True), DEFLATE),
    "a fragmented control frame": (frame(PING, b"x", fin=False), None),
    "a control frame that is too long": (frame(PING, bytes(126)), None),
    "a masked frame from a server": (frame(TEXT, b"x", "up"), None),
    "what is not deflated": (frame(TEXT, b"\xff" * 20, rsv1=True), DEFLATE),
    "a length of 2**63": (b"\x82\x7f\x80" + bytes(7), None),
    "HTTP": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", None),
}


@each("name", BROKEN)
def test_broken_input_ends_the_record_and_never_raises(name: str) -> None:
    data, extensions = BROKEN[name]
    one = reader(extensions=extensions)

    assert one.feed(frame(TEXT, b"before") + data) == [(TEXT, b"before")]
    assert one.broken is not None
    assert one.broken.startswith("not a WebSocket frame: ")
    assert one.feed(frame(TEXT, b"after")) == []


def test_an_unmasked_frame_from_a_client_is_broken() -> None:
    one = reader("up")

    assert one.feed(frame(TEXT, b"x")) == []
    assert one.broken is not None


@settings(deadline=None, max_examples=examples(200))
@given(
    data=st.binary(max_size=60), direction=st.sampled_from(["up", "down"]), extension=st.sampled_from([None, DEFLATE])
)
def test_no_bytes_whatever_make_it_raise(data: bytes, direction: Direction, extension: str | None) -> None:
    reader(direction, extension).feed(data)


def test_of_a_message_over_the_limit_the_beginning_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "LIMIT", 10)
    data = b"".join(fragments(BINARY, [b"abcdefgh", b"ijklmn", b"opq"])) + frame(TEXT, b"next")

    assert read(data) == [(BINARY, b"abcdefghij"), (TEXT, b"next")]
