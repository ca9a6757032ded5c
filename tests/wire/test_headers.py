"""Which header fields pass a proxy, and how raw ones become text."""

from __future__ import annotations

from omnirecord.wire.headers import (
    asks_for_websocket,
    connection_options,
    decoded,
    end_to_end,
    printable,
    without,
)
from tests.support.examples import each


def test_hop_by_hop_fields_stay_behind_in_any_case() -> None:
    hop_by_hop = ("Connection", "keep-alive", "Proxy-Connection", "TE", "Trailer", "TRANSFER-ENCODING", "Upgrade")

    assert end_to_end((*((name, "x") for name in hop_by_hop), ("Accept", "*/*"))) == (("Accept", "*/*"),)


def test_a_field_that_connection_names_stays_behind() -> None:
    headers = (("Connection", "close, X-Private"), ("x-private", "1"), ("connection", "X-Other"), ("X-Other", "2"))

    assert end_to_end((*headers, ("X-Public", "3"))) == (("X-Public", "3"),)


def test_order_duplicates_and_case_stay_as_they_are() -> None:
    headers = (("b", "1"), ("A", "2"), ("B", "3"), ("b", "1"))

    assert end_to_end(headers) == headers


def test_end_to_end_leaves_out_what_it_is_told_to() -> None:
    assert end_to_end((("Host", "a"), ("Accept", "b")), but=["host"]) == (("Accept", "b"),)
    assert without((("Host", "a"), ("HOST", "b"), ("Accept", "c")), {"host"}) == (("Accept", "c"),)


def test_authentication_towards_a_proxy_is_not_ours_to_drop() -> None:
    headers = (("Proxy-Authorization", "Basic x"), ("Proxy-Authenticate", "Basic"))

    assert end_to_end(headers) == headers


def test_connection_options_are_lower_case_tokens_of_all_lines() -> None:
    assert connection_options((("Connection", "Keep-Alive ,UPGRADE"), ("connection", "close"), ("X", "y"))) == {
        "keep-alive",
        "upgrade",
        "close",
    }


@each(
    ("headers", "asked"),
    [
        ((("Connection", "Upgrade"), ("Upgrade", "websocket")), True),
        ((("connection", "keep-alive, upgrade"), ("upgrade", " WebSocket ")), True),
        ((("Connection", "Upgrade"), ("Upgrade", "h2c")), False),
        ((("Connection", "keep-alive"), ("Upgrade", "websocket")), False),
        ((("Connection", "Upgrade"),), False),
        ((), False),
    ],
)
def test_a_websocket_is_asked_for_by_connection_and_upgrade_together(
    headers: tuple[tuple[str, str], ...], asked: bool
) -> None:
    assert asks_for_websocket(headers) is asked


def test_bytes_that_are_no_utf8_become_text_and_bytes_again() -> None:
    (name, value) = decoded([(b"X-Name", b"caf\xe9 \xc3\xa9")])[0]

    assert name == "X-Name"
    assert value.encode("utf-8", "surrogateescape") == b"caf\xe9 \xc3\xa9"


def test_printable_headers_can_be_stored() -> None:
    assert printable((("X-Name", "caf\udce9 é"), ("x\ud800", "plain"))) == (
        ("X-Name", "caf\ufffd é"),
        ("x\ufffd", "plain"),
    )
