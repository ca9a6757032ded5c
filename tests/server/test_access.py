"""Who may use the control path: by its name for us, by where a page comes from, by a token, by what a page can send."""

from __future__ import annotations

import pytest

from omnirecord.errors import UsageError
from omnirecord.model import Headers
from omnirecord.server.access import Guard, checked_token
from omnirecord.wire.addresses import is_loopback
from tests.support.examples import each

TOKEN = "0123456789abcdef"
LOCAL = Guard(["127.0.0.1"])


def status(
    *headers: tuple[str, str],
    guard: Guard = LOCAL,
    method: str = "GET",
    host: str = "localhost:6868",
    target: str = "/x",
) -> int:
    refusal = guard.refusal(method, target, (("Host", host), *headers))
    return 200 if refusal is None else refusal.status


@each("host", [
    "localhost", "LOCALHOST:6868", "localhost.", "127.0.0.1", "127.0.0.1:80", "127.8.8.8", "[::1]", "[::1]:6868",
    "[0:0:0:0:0:0:0:1]:1", " localhost ",
])  # fmt: skip
def test_a_name_of_loopback_may_be_asked_for(host: str) -> None:
    assert status(host=host) == 200


@each("host", [
    "evil.example", "localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example", "192.168.1.5", "0.0.0.0", "",
    "[::]", "[::1", "::1", "[::1]x", "[evil.example]", "localhost:6868:1", "localhost@evil.example", "evil@localhost",
    "localhost/", "localhost, evil.example", "a b", "\u2460", "localhost:x", "127.1", "2130706433",
    "[localhost]", "localhost..",
])  # fmt: skip
def test_any_other_name_is_refused_since_a_page_may_have_it(host: str) -> None:
    assert status(host=host) == 403


def test_a_request_has_exactly_one_host() -> None:
    for hosts in ((), (("Host", "localhost"), ("host", "localhost"))):
        assert LOCAL.refusal("GET", "/x", hosts) is not None


@each("target", ["http://localhost/x", "http://evil.example/x", "*", ""])
def test_a_target_that_names_a_host_of_its_own_is_refused(target: str) -> None:
    assert status(target=target) == 403


def test_what_a_server_listens_on_is_its_name_and_with_every_address_it_is_every_address() -> None:
    named = Guard(["Box.lan", "192.168.1.5", "fe80:0::1"])
    anywhere = Guard(["0.0.0.0", "box"], any_address=True)
    for host in ("box.LAN:1", "192.168.1.5", "[fe80::1]"):
        assert status(host=host, guard=named) == 200
    for host in ("10.0.0.7:6868", "[2001:db8::1]", "box"):
        assert status(host=host, guard=anywhere) == 200
    assert status(host="192.168.1.6", guard=named) == status(host="evil.example", guard=anywhere) == 403


@each("origin", [
    "http://evil.example", "null", "http://[", "", "http://localhost", "http://localhost:3000", "http://127.0.0.1:6868",
    "localhost:6868", "http://localhost:6868, http://evil.example",
])  # fmt: skip
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    assert status(("Origin", origin)) == 403


@each(("site", "expected"), [
    ("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403), ("", 403), ("Same-Origin, x", 403),
])  # fmt: skip
def test_what_a_browser_says_was_asked_for_from_elsewhere_is_refused(site: str, expected: int) -> None:
    assert status(("Sec-Fetch-Site", site)) == expected


def test_a_page_of_ours_may_use_it() -> None:
    assert status(("Origin", "http://localhost:6868"), ("Sec-Fetch-Site", "same-origin")) == 200


@each("field", [
    ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-User", "?1"), ("Origin", "http://localhost:6868"), ("Referer", "http://localhost:6868/"),
    ("Cookie", "a=b"), ("Accept-Language", "en-GB,en;q=0.5"), ("Upgrade-Insecure-Requests", "1"),
    ("Service-Worker", "script"),
])  # fmt: skip
def test_where_pages_are_not_ours_no_browser_may_use_it(field: tuple[str, str]) -> None:
    guard = Guard(["127.0.0.1"], has_pages=False, token=TOKEN)
    bearer = ("Authorization", f"Bearer {TOKEN}")
    assert status(field, bearer, ("X-Omnirecord", "1"), guard=guard, method="POST") == 403


@pytest.mark.parametrize("fields", [
    (("User-Agent", "curl/8.5.0"), ("Accept", "*/*")),
    (("User-Agent", "python-httpx/0.28"), ("Accept-Encoding", "gzip"), ("Connection", "keep-alive")),
    (("User-Agent", "node"), ("Accept-Language", "*"), ("Sec-Fetch-Mode", "cors")),
])  # fmt: skip
def test_where_pages_are_not_ours_a_tool_still_may(fields: Headers) -> None:
    assert status(*fields, guard=Guard(["127.0.0.1"], has_pages=False)) == 200


@each("method", ["POST", "PUT", "OPTIONS", "X"])
@each(("headers", "expected"), [
    ((), 415),
    ((("Content-Type", "text/plain"),), 415),
    ((("Content-Type", "text/plain; application/json"),), 415),
    ((("Content-Type", "application/x-www-form-urlencoded"),), 415),
    ((("Content-Type", "multipart/form-data"), ("Content-Type", "application/json")), 415),
    ((("Content-Type", "Application/JSON; charset=utf-8"),), 200),
    ((("X-Omnirecord", ""),), 200),
])  # fmt: skip
def test_what_a_form_could_send_changes_nothing(method: str, headers: Headers, expected: int) -> None:
    assert status(*headers, method=method) == expected


@each(("given", "expected"), [
    (None, 401), ("", 401), (TOKEN, 401), (f"Basic {TOKEN}", 401), (f"Bearer {TOKEN}x", 401),
    (f"Bearer {TOKEN[:-1]}", 401), ("Bearer", 401),
    ("Bearer \udcff\u00e9", 401), (f"Bearer {TOKEN}", 200), (f"bearer  {TOKEN} ", 200),
])  # fmt: skip
def test_a_token_is_the_token(given: str | None, expected: int) -> None:
    headers = () if given is None else (("Authorization", given),)
    assert status(*headers, guard=Guard(token=TOKEN)) == expected


def test_a_token_opens_nothing_to_a_page_or_to_another_name() -> None:
    guard, bearer = Guard(token=TOKEN), ("Authorization", f"Bearer {TOKEN}")
    assert status(bearer, ("Origin", "http://evil.example"), guard=guard) == 403
    assert status(bearer, host="evil.example", guard=guard) == 403
    assert status(bearer, guard=guard, method="POST") == 415


@each("token", ["", "short", "x" * 15, "x" * 16 + "\n", "x" * 16 + " y", "é" * 16])
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match=r"TOKEN has to be 16 letters.*openssl rand"):
        checked_token(token, "TOKEN")


@each("host", ["", "0.0.0.0", "::", "127.1", "localhost.evil.example", "LOCALHOST", "10.0.0.1", " "])
def test_what_is_not_plainly_loopback_is_not(host: str) -> None:
    assert not is_loopback(host)
