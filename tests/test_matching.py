"""Which recorded requests a request is like."""

from __future__ import annotations

import pytest

from omnirecord.cassette import Exchange, Request
from omnirecord.player.matching import NEAREST, Key, key_of, nearest


def exchange(method: str, target: str, number: int = 1) -> Exchange:
    return Exchange(number, 1, "http", None, None, "client", Request(0, method, target, ()), None, "eof")


ALIKE = {
    "the order of a query": ("/a?x=1&y=2", "/a?y=2&x=1"),
    "idle": ("/a?idle=true&x=1", "/a?x=1"),
    "idle alone": ("/a?idle=false", "/a"),
    "escapes in a query": ("/a?x=%41%20b", "/a?x=A+b"),
    "an empty query": ("/a?", "/a"),
    "a secret": ("/a?token=aaaaaaaaaaaaaaaaaaaaaaaa1", "/a?token=bbbbbbbbbbbbbbbbbbbbbbbb2"),
    "a secret that was redacted": ("/a?token=aaaaaaaaaaaaaaaaaaaaaaaa1", "/a?token=omnirecord-redacted-0123456789ab"),
}
DIFFERENT = {
    "the path": ("/a", "/b"),
    "a slash at the end": ("/a", "/a/"),
    "escapes in a path": ("/%61", "/a"),
    "a value": ("/a?x=1", "/a?x=2"),
    "an empty value": ("/a?x=", "/a"),
    "how often a value comes": ("/a?x=1&x=1", "/a?x=1"),
    "idle in another name": ("/a?idle_x=1", "/a"),
}


@pytest.mark.parametrize("name", ALIKE)
def test_requests_match_whatever_their(name: str) -> None:
    one, other = ALIKE[name]

    assert key_of("GET", one) == key_of("GET", other)


@pytest.mark.parametrize("name", DIFFERENT)
def test_requests_differ_by(name: str) -> None:
    one, other = DIFFERENT[name]

    assert key_of("GET", one) != key_of("GET", other)


def test_requests_differ_by_method() -> None:
    assert key_of("GET", "/a") != key_of("POST", "/a")


def test_a_relaxed_key_forgets_how_much_a_read_is_to_hold() -> None:
    asked = key_of("GET", "/a?include_items=true&refresh_state=1&limit=20&after=x&included=y")

    assert asked.relaxed() == Key("GET", "/a", (("after", "x"), ("included", "y")))


def test_a_key_reads_like_a_request() -> None:
    assert str(key_of("GET", "/a?y=2&x=1")) == "GET /a?x=1&y=2"
    assert str(key_of("POST", "/a")) == "POST /a"


def test_the_nearest_requests_come_best_first_with_what_differs() -> None:
    recorded = [
        exchange("GET", "/v1/sessions/abc/items"),
        exchange("GET", "/v1/sessions/abc/items?after=x"),
        exchange("POST", "/v1/sessions/abc/item"),
        exchange("DELETE", "/health"),
    ]

    assert nearest(key_of("GET", "/v1/sessions/abc/items?after=y"), recorded) == [
        {"request": "GET /v1/sessions/abc/items", "differs": "query"},
        {"request": "GET /v1/sessions/abc/items?after=x", "differs": "query"},
        {"request": "POST /v1/sessions/abc/item", "differs": "method and path and query"},
    ]


def test_a_request_that_was_recorded_too_seldom_says_so() -> None:
    (found,) = nearest(key_of("GET", "/a"), [exchange("GET", "/a"), exchange("GET", "/a?idle=1", 2)])

    assert found == {"request": "GET /a", "differs": "nothing: it was recorded fewer times than it is asked"}


def test_another_method_of_the_same_path_is_nearer_than_another_path() -> None:
    found = nearest(
        key_of("PUT", "/v1/sessions/abc"), [exchange("PUT", "/health"), exchange("GET", "/v1/sessions/abc")]
    )

    assert [one["request"] for one in found] == ["GET /v1/sessions/abc", "PUT /health"]


def test_only_a_few_of_many_are_named_and_the_same_every_time() -> None:
    recorded = [exchange("GET", f"/v1/items/{n}", n) for n in range(1, 100)]
    found = nearest(key_of("GET", "/v1/items/x"), recorded)

    assert len(found) == NEAREST
    assert found == nearest(key_of("GET", "/v1/items/x"), reversed(recorded))
    assert nearest(key_of("GET", "/a"), []) == []
