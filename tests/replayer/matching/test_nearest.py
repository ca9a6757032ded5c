"""What somebody is told whose request nothing answers."""

from __future__ import annotations

import pytest

from omnirecord.model import Headers
from omnirecord.replayer.matching import Key, key_of
from omnirecord.replayer.matching.lookup import NEAREST, Named, Ordered, difference, line, named, nearest
from omnirecord.replayer.matching.rules import Rules
from omnirecord.replayer.player import Miss
from tests.support.examples import each

TEAM = Rules.parse("add header x-team")


def told(key: Key, recorded: list[Key]) -> list[Named]:
    return [named(other, difference(key, other)) for other in nearest(key, recorded)]


def keys(*requests: str) -> list[Key]:
    return [key_of(*request.split(" ")) for request in requests]


def test_the_nearest_requests_come_best_first_with_what_differs() -> None:
    recorded = keys(
        "GET /v1/sessions/abc/items", "GET /v1/sessions/abc/items?after=x", "POST /v1/sessions/abc/item"
    )  # fmt: skip
    assert told(key_of("GET", "/v1/sessions/abc/items?after=y"), recorded) == [
        {"request": "GET /v1/sessions/abc/items", "differs": "query (after=y instead of nothing)"},
        {"request": "GET /v1/sessions/abc/items?after=x", "differs": "query (after=y instead of after=x)"},
        {
            "request": "POST /v1/sessions/abc/item",
            "differs": "method and path (segment 4: 'items' instead of 'item') and query (after=y instead of nothing)",
        },
    ]


DIFFERENCES = {
    "method": ("POST /a", "GET /a", "method"),
    "a segment": ("GET /v1/s/evnts", "GET /v1/s/events", "path (segment 3: 'evnts' instead of 'events')"),
    "two segments": ("GET /a/b", "GET /c/d", "path (segment 1: 'a' instead of 'c', segment 2: 'b' instead of 'd')"),
    "a slash at the end": ("GET /a/", "GET /a", "path (segment 2: '' instead of nothing)"),
    "many segments": ("GET /a/b/c/d", "GET /e/f/g/h", "path (more than 3 segments)"),
    "a parameter": ("GET /a?limit=50&x=1", "GET /a?limit=20&x=1", "query (limit=50 instead of limit=20)"),
    "a parameter that is not there": ("GET /a", "GET /a?x=1", "query (nothing instead of x=1)"),
    "a parameter that comes twice": ("GET /a?x=1&x=2", "GET /a?x=1", "query (x=1&x=2 instead of x=1)"),
    "many parameters": ("GET /a?a=1&b=1&c=1&d=1", "GET /a", "query (more than 3 parameters)"),
    "a long value": ("GET /" + "a" * 99, "GET /b", f"path (segment 1: '{'a' * 59}…' instead of 'b')"),
}


@each("name", DIFFERENCES)
def test_it_is_said_which_part_differs_and_how(name: str) -> None:
    got, recorded, said = DIFFERENCES[name]
    one, other = keys(got, recorded)
    assert difference(one, other) == said


@pytest.mark.parametrize(
    ("got", "recorded", "said"),
    [
        ((("X-Team", "red"),), (("x-team", "blue"),), "header x-team ('red' instead of 'blue')"),
        ((), (("x-team", "blue"),), "header x-team (nothing instead of 'blue')"),
    ],
)
def test_a_header_that_counts_is_named(got: Headers, recorded: Headers, said: str) -> None:
    assert difference(key_of("GET", "/a", got, TEAM), key_of("GET", "/a", recorded, TEAM)) == said


def test_no_secret_is_told() -> None:
    rules = Rules.parse("add header authorization")
    one = key_of("GET", "/a?token=sk-12345678901234567890", (("Authorization", "Bearer verysecret"),), rules)
    said = difference(one, key_of("GET", "/a", (), rules))
    assert said == "query (token=* instead of nothing) and header authorization ('present' instead of nothing)"


def test_another_method_of_the_same_path_is_nearer_than_another_path() -> None:
    found = told(key_of("PUT", "/v1/sessions/abc"), keys("PUT /health", "GET /v1/sessions/abc"))
    assert [one["request"] for one in found] == ["GET /v1/sessions/abc", "PUT /health"]


def test_only_a_few_of_many_are_named_and_the_same_every_time() -> None:
    recorded = keys(*(f"GET /v1/items/{n}" for n in range(1, 100)))
    found = nearest(key_of("GET", "/v1/items/x"), recorded)
    assert len(found) == NEAREST
    assert found == nearest(key_of("GET", "/v1/items/x"), reversed(recorded))
    assert told(key_of("GET", "/a"), []) == []


def test_what_is_equal_is_not_among_the_nearest() -> None:
    assert told(key_of("GET", "/a"), keys("GET /a", "GET /b")) == [
        {"request": "GET /b", "differs": "path (segment 1: 'a' instead of 'b')"}
    ]


def test_the_nearest_are_among_those_around_it() -> None:
    recorded = keys(*(f"{method} /v1/{n * n % 1009}/x" for n in range(900) for method in ("GET", "PUT")[: 1 + n % 2]))
    for path in ("/", "/v1/5/y", "/v1/500/x/y", "/v1/999", "/z"):
        for method in ("GET", "PUT", "DELETE"):
            key = key_of(method, path)
            assert nearest(key, Ordered(recorded).around(key)) == nearest(key, recorded)


def test_of_ten_thousand_recorded_requests_a_few_are_compared() -> None:
    ordered = Ordered(keys(*(f"GET /v1/{n}" for n in range(10_000))))
    assert len(ordered.around(key_of("GET", "/v1/x"))) <= 80


ID, OTHER = "04cc962c53894fceb438253de1a3c240", "04cc962c53894fceb438253de1a3c241"
LINES = {
    "a segment": ("GET /v1/s/evnts", "GET /v1/s/events", "GET /v1/s/[-events-]{+evnts+}"),
    "the method": ("POST /a", "GET /a", "[-GET-]{+POST+} /a"),
    "segments that only one has": ("GET /a", "GET /a/b/c", "GET /a[-/b/c-]"),
    "the query": ("GET /a?limit=5", "GET /a?limit=50", "GET /a[-?limit=50-]{+?limit=5+}"),
    "a query that came": ("GET /a?x=1", "GET /a", "GET /a{+?x=1+}"),
    "an id": (f"GET /{ID}/x", "GET /a/x", "GET /[-a-]{+04cc962c…+}/x"),
    "ids that begin alike": (f"GET /{ID}", f"GET /{OTHER}", f"GET /[-{OTHER}-]{{+{ID}+}}"),
}


@each("name", LINES)
def test_a_line_marks_what_differs(name: str) -> None:
    got, recorded, said = LINES[name]
    one, other = keys(got, recorded)
    assert line(one, other) == said


def test_a_line_names_a_header_that_differs() -> None:
    one = key_of("GET", "/a", (("X-Team", "red"),), TEAM)
    assert line(one, key_of("GET", "/a", (), TEAM)) == "GET /a  header x-team ('red' instead of nothing)"


def test_a_person_reads_short_ids_a_line_for_each_request_and_each_once() -> None:
    miss = Miss(f"GET /v1/sessions/{ID}/x was never recorded", [], [f"GET /v1/sessions/{ID}/[-y-]{{+x+}}", "GET /a"])
    assert miss.text.splitlines() == [
        "GET /v1/sessions/04cc962c…/x was never recorded; nearest recorded, as [-recorded-]{+asked+}:",
        "  GET /v1/sessions/04cc962c…/[-y-]{+x+}",
        "  GET /a",
    ]
    assert Miss("GET /a was never answered").text == "GET /a was never answered"
