"""What of a request has to be the same."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import Headers
from omnirecord.replayer.matching import Key, key_of
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


def test_a_key_reads_like_a_request() -> None:
    assert str(key_of("GET", "/a?y=2&x=1")) == "GET /a?x=1&y=2"
    assert str(key_of("POST", "/a")) == "POST /a"


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


@each("name", RULED)
def test_a_rule_ignores(name: str) -> None:
    specs, one, other = RULED[name]
    rules = Rules.parse(specs)
    assert key_of("GET", one, rules=rules) == key_of("GET", other, rules=rules)


@each("name", UNRULED)
def test_a_rule_does_not_ignore(name: str) -> None:
    specs, one, other = UNRULED[name]
    rules = Rules.parse(specs)
    assert key_of("GET", one, rules=rules) != key_of("GET", other, rules=rules)


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
