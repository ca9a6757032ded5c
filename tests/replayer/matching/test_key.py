"""What of a request has to be the same; what somebody is told whose request nothing answers."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import Headers
from omnirecord.replayer.matching.key import (
    NEAREST,
    Key,
    Miss,
    around,
    difference,
    in_order,
    key_of,
    line,
    named,
    nearest,
)
from omnirecord.replayer.matching.rules import Rules
from tests.support.examples import each
from tests.support.watchdog import slowness

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


@each("name", ALIKE)
def test_requests_match_whatever_their(name: str) -> None:
    one, other = ALIKE[name]

    assert key_of("GET", one) == key_of("GET", other)


@each("name", DIFFERENT)
def test_requests_differ_by(name: str) -> None:
    one, other = DIFFERENT[name]

    assert key_of("GET", one) != key_of("GET", other)


def test_requests_differ_by_method() -> None:
    assert key_of("GET", "/a") != key_of("POST", "/a")


def test_a_relaxed_key_forgets_how_much_a_read_is_to_hold() -> None:
    asked = key_of("GET", "/a?include_items=true&refresh_state=1&limit=20&after=x&included=y")

    assert asked.relaxed() == Key("GET", "/a", (("after", "x"), ("included", "y")))


RULED = {
    "one parameter": (["ignore query x"], "/a?x=1&y=2", "/a?y=2&x=3&x=4"),
    "parameters like these": (["ignore query cache_*"], "/a?cache_a=1", "/a?cache_b=2"),
    "all parameters": (["ignore query"], "/a?x=1", "/a"),
    "a parameter of such a request": (["ignore query x for GET /a*"], "/abc?x=1", "/abc"),
}
UNRULED = {
    "another parameter": (["ignore query x"], "/a?y=1", "/a"),
    "one that is added again": (["ignore query", "add query after"], "/a?after=1", "/a?after=2"),
    "idle where it is added": (["add query idle"], "/a?idle=true", "/a?idle=false"),
    "a parameter of another path": (["ignore query x for GET /b*"], "/a?x=1", "/a"),
    "a parameter of another method": (["ignore query x for POST *"], "/a?x=1", "/a"),
}


@each("name", {**RULED, **UNRULED})
def test_a_rule_ignores_what_it_names_and_no_more(name: str) -> None:
    specs, one, other = {**RULED, **UNRULED}[name]
    rules = Rules.parse(specs)
    assert (key_of("GET", one, rules=rules) == key_of("GET", other, rules=rules)) is (name in RULED)


def headed(*headers: tuple[str, str], rule: str = "add header X-Team") -> Key:
    return key_of("GET", "/a", headers, Rules.parse(rule))


def test_a_header_counts_only_where_a_rule_adds_it() -> None:
    team: Headers = (("x-team", "red"),)
    assert headed(*team) != headed(("X-Team", "blue"))
    assert headed(*team) != headed()
    assert headed(*team) == headed(("X-TEAM", "red"), ("X-Other", "1"))
    assert headed(*team, rule="add header x-team for POST *") == headed()


@pytest.mark.parametrize(
    ("name", "recorded"), [("Authorization", "Bearer omnirecord-redacted-0123456789ab"), ("X-Api-Key", "k")]
)
def test_of_a_secret_header_only_counts_whether_it_is_there(name: str, recorded: str) -> None:
    rule = f"add header {name}"
    assert headed((name, recorded), rule=rule) == headed((name, "Bearer another"), rule=rule)
    assert headed((name, recorded), rule=rule) != headed(rule=rule)


def test_a_secret_inside_a_header_counts_as_equal() -> None:
    one, other = "http://a/?x=1&token=sk-1234567890123456789", "http://a/?x=1&token=omnirecord-redacted-0123456789ab"
    assert headed(("Referer", one), rule="add header referer") == headed(("Referer", other), rule="add header referer")


def test_what_a_rule_adds_is_not_relaxed() -> None:
    rules = Rules.parse("add query limit")
    asked = key_of("GET", "/a?limit=1&include_items=1", rules=rules)
    assert asked.relaxed(rules) == Key("GET", "/a", (("limit", "1"),))


@given(st.text("a/&?*x ", max_size=12), st.lists(st.text("ax/&", max_size=4), min_size=1, max_size=4))
def test_a_masked_target_fits_what_its_pattern_fitted(asked: str, parts: list[str]) -> None:
    key = key_of("GET", "/" + "****".join(parts))
    pattern = re.compile(r"[^/?&\s]+".join(map(re.escape, re.split(r"\*{4,}", str(key)))))
    spelling = f"GET /{asked}"
    assert key.masked is None or key.masked.fits(spelling) == bool(pattern.fullmatch(spelling))


def test_a_target_with_many_masked_secrets_is_compared_in_linear_time() -> None:
    masked = key_of("GET", "/" + "****a" * 1000 + "b").masked
    assert masked is not None
    began = time.thread_time()
    assert not masked.fits("GET /" + "aa" * 30_000)
    assert time.thread_time() - began < 0.5 * slowness()


TEAM = Rules.parse("add header x-team")


def told(key: Key, recorded: list[Key]) -> list[dict[str, str]]:
    return [named(other, difference(key, other)) for other in nearest(key, in_order(recorded))]


def keys(*requests: str) -> list[Key]:
    return [key_of(*request.split(" ")) for request in requests]


def test_the_nearest_requests_come_best_first_with_what_differs() -> None:
    recorded = keys("GET /v1/sessions/abc/items", "GET /v1/sessions/abc/items?after=x", "POST /v1/sessions/abc/item")
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
    found = nearest(key_of("GET", "/v1/items/x"), in_order(recorded))
    assert len(found) == NEAREST
    assert found == nearest(key_of("GET", "/v1/items/x"), in_order(reversed(recorded)))
    assert told(key_of("GET", "/a"), []) == []


def test_what_is_equal_is_not_among_the_nearest() -> None:
    assert told(key_of("GET", "/a"), keys("GET /a", "GET /b")) == [
        {"request": "GET /b", "differs": "path (segment 1: 'a' instead of 'b')"}
    ]


def test_of_ten_thousand_recorded_requests_a_few_are_compared() -> None:
    ordered = in_order(keys(*(f"{method} /v1/{n}" for n in range(5_000) for method in ("GET", "PUT"))))
    assert len(around(key_of("GET", "/v1/x"), ordered)) <= 80


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
    assert miss.text().splitlines() == [
        "GET /v1/sessions/04cc962c…/x was never recorded; nearest recorded, as [-recorded-]{+asked+}:",
        "  GET /v1/sessions/04cc962c…/[-y-]{+x+}",
        "  GET /a",
    ]
    assert Miss("GET /a was never answered").text() == "GET /a was never answered"
