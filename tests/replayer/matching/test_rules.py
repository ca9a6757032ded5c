"""The rules of matching, as they are written and as they hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.replayer.matching.rules import (
    EVERY,
    FORMS,
    Rule,
    Rules,
    Scope,
    json_path_problem,
    parse_rule,
    spelled,
    values_at,
)
from tests.support.examples import each

EVENTS = "/v1/sessions/abc/events"
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-*?", min_size=1)
SCOPES = st.one_of(
    st.just(EVERY),
    st.builds(Scope, st.sampled_from(["GET", "POST", "P*", "*"]), st.sampled_from(["/v1/*", "*/events", "/a"])),
)
RULES = st.one_of(
    st.builds(Rule, st.just("ignore query"), NAMES, SCOPES),
    st.builds(Rule, st.just("add query"), NAMES, SCOPES),
    st.builds(Rule, st.just("add header"), st.from_regex(r"[a-z0-9-]+", fullmatch=True), SCOPES),
    st.builds(
        Rule, st.just("body"), st.sampled_from(["$.a", "$.a[0].b", "$..x", "$[?@.a == 'b c']", "$['a b']"]), SCOPES
    ),
    st.builds(Rule, st.just("order"), st.sampled_from(["loose", "strict"]), SCOPES),
    st.builds(Rule, st.just("path"), st.just(""), SCOPES),
    st.just(Rule("sessions", "mapped")),
)


@given(rule=RULES)
def test_a_rule_is_read_as_it_is_written(rule: Rule) -> None:
    assert parse_rule(str(rule)) == rule


WORDS = st.sampled_from([*" ".join(FORMS).split(), "for", "GET", "$.a", "/x", "$["])


@given(spec=st.one_of(st.text(), st.text("$.[]'?@*a1 ").map("body ".__add__), st.lists(WORDS).map(" ".join)))
def test_whatever_is_written_is_a_rule_or_refused_in_one_sentence(spec: str) -> None:
    said = written = ""
    try:
        written = str(parse_rule(spec))
    except UsageError as error:
        said = str(error)
    if said:
        assert repr(spec) in said
        assert "\n" not in said
    else:
        assert str(parse_rule(written)) == written


WRITTEN = {
    "IGNORE Query limit": Rule("ignore query", "limit"),
    "ignore query": Rule("ignore query", "*"),
    "  add   header   X-Team  ": Rule("add header", "x-team"),
    "body $.a for post /v1/*": Rule("body", "$.a", Scope("POST", "/v1/*")),
    "ignore query for GET *": Rule("ignore query", "*", Scope("GET", "*")),
    "body   $['a b']  ": Rule("body", "$['a b']"),
    "body": Rule("body"),
    "body for POST /v1/*": Rule("body", "", Scope("POST", "/v1/*")),
}


@each("spec", WRITTEN)
def test_case_and_spaces_do_not_matter(spec: str) -> None:
    assert parse_rule(spec) == WRITTEN[spec]


REFUSED = {
    "ignor query x": "'ignor' is none of its words; the nearest is 'ignore'",
    "ignore querry x": "'querry' is none of its words; the nearest is 'query'",
    "ignore header x": "'header' is none of its words; the nearest is 'query'",
    "add heder x": "the nearest is 'header'",
    "order lose": "'lose' is none of its words; the nearest is 'loose'",
    "sessions map": "the nearest is 'mapped'",
    "": "a word is missing",
    "order": "a word is missing, such as",
    "add header": "it does not say which header",
    "add query": "it does not say which query",
    "ignore query a b": "'b' is too much",
    "order strict now": "'now' is too much",
    "add header a:b": "'a:b' is no name of a header",
    "path $.a": "'$.a' is too much; there is 'path'",
    "body $[": "'$[' is no JSON path: ",
    "body a.b": "'a.b' is no JSON path: expected",
    "body $.a[": "is no JSON path: unexpected end of query",
    "body $.a | $.b": "is no JSON path",
    "body $.a for": "behind 'for' stands no METHOD GLOB",
    "body $.a for POST": "behind 'for' stands no METHOD GLOB",
    "body $.a for /v1/x": "behind 'for' stands no METHOD GLOB",
    "body $.a for POST events": "behind 'for' stands no METHOD GLOB",
    "sessions mapped for GET *": "it holds for all requests",
}


@each("spec", REFUSED)
def test_what_is_no_rule_is_refused_with_the_word_that_is_wrong(spec: str) -> None:
    with pytest.raises(UsageError) as refused:
        Rules.parse([spec])
    assert REFUSED[spec] in str(refused.value)
    assert str(refused.value).startswith(f"the rule for matching {spec!r} cannot be used")


def test_two_orders_of_the_same_requests_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="'order loose' and 'order strict' exclude each other"):
        Rules.parse(["order loose", "order strict"])
    assert Rules.parse(["order strict", "order strict"])


def test_the_last_order_that_speaks_of_a_request_holds() -> None:
    rules = Rules.parse(["order strict", "order loose for POST */events"])
    assert rules.order("POST", EVENTS) == "loose"
    assert rules.order("PUT", EVENTS) == "strict"
    assert Rules().order("PUT", EVENTS) == "recorded"


def test_a_single_rule_may_stand_alone() -> None:
    assert Rules.parse("body $.a") == Rules.parse(["body $.a"])
    assert Rules.parse("sessions mapped").maps_sessions
    assert not Rules.parse([]).maps_sessions


def test_rules_hold_for_the_requests_of_their_scope() -> None:
    rules = Rules.parse(["body $.a for POST */events", "body $.b", "body $.b for PUT *", "add header x-a for PUT *"])
    assert rules.body_paths("POST", EVENTS) == ["$.a", "$.b"]
    assert rules.body_paths("POST", "/v1/other") == ["$.b"]
    assert rules.headers("PUT", EVENTS) == ["x-a"]
    assert rules.headers("POST", EVENTS) == []


def test_the_method_of_a_json_rpc_call_is_read_without_the_library_for_json_paths() -> None:
    code = (
        "import sys; from omnirecord.replayer.matching.rules import Rules, values_at; Rules.parse(['ignore query']);"
        """body = b'{"method": "tools/call", "params": {"name": "forecast"}}';"""
        "print(values_at('$.method', body), values_at('$.params.name', body), values_at('$.method.name', body),"
        " values_at('$.none', body), 'jsonpath' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == """['"tools/call"'] ['"forecast"'] [] [] False\n"""


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)  # the first loads the library
@given(value=VALUES)
def test_a_value_is_equal_to_itself_however_it_is_written(value: Any) -> None:
    compact = json.dumps(value, separators=(",", ":")).encode()
    assert values_at("$", compact) == values_at("$", json.dumps(value, indent=1).encode())
    assert len(values_at("$", compact)) == 1


@settings(deadline=None)
@given(path=st.text(), body=st.binary())
def test_nothing_raises_whatever_the_path_and_the_body(path: str, body: bytes) -> None:
    assert json_path_problem(path) is not None or isinstance(values_at(path, body), list)


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_body_that_is_too_deep_has_nothing(depth: int) -> None:
    body = b"[" * depth + b"]" * depth
    assert values_at("$..x", body) == []


@each(
    ("path", "values"),
    [("$.a", ["1"]), ("$.b[*].c", ['"x"', '"y"']), ("$..c", ['"x"', '"y"']), ("$.b[?@.c == 'y'].c", ['"y"'])],
)
def test_a_path_finds_what_rfc_9535_says(path: str, values: list[str]) -> None:
    assert values_at(path, b'{"a": 1.0, "b": [{"c": "x"}, {"c": "y"}]}') == values


@each("path", ["", "a", "$.", "$[", "$ | $", "$.a b", "^"])
def test_what_is_no_path_is_told_in_one_line(path: str) -> None:
    said = json_path_problem(path)
    assert said
    assert "\n" not in said


def test_numbers_are_equal_as_json_and_booleans_are_none() -> None:
    assert values_at("$", b"1") == values_at("$", b"1.0") == values_at("$", b"1e0")
    assert values_at("$", b"true") != values_at("$", b"1")
    assert spelled({"b": 1, "a": "é"}) == '{"a": "é", "b": 1}'


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_a_path_with_a_number_that_python_cannot_hold_is_refused(number: str) -> None:
    assert json_path_problem(f"$[?@.a == {number}]")


def test_an_expression_in_a_path_takes_linear_time() -> None:
    patterns = ["(a|a)*b", "(a*)*b", "(a|aa)+b", "(a?){30}a{30}b"]
    paths = [f"$.a[?{function}(@, '{one}')]" for one in patterns for function in ("match", "search")]
    code = (
        "import json, sys; sys.modules['regex'] = None; from omnirecord.replayer.matching.rules import values_at\n"
        "body = json.dumps({'a': ['a' * 30_000 + 'c', 'a' * 60 + 'b']}).encode()\n"
        "print([len(values_at(path, body)) for path in sys.argv[1:]])"
    )  # `regex`, which the library prefers, is not among the dependencies
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{[1] * 8}\n"


@each(
    ("filter_", "count"),
    [
        ("match(@, 'a.c')", 1),
        ("match(@, 'a|abc')", 1),
        ("match(@, 'b')", 0),
        ("search(@, 'b')", 1),
        ("search(@, '^a')", 2),
        ("match(@, '\\\\p{Lu}x')", 1),
    ],
)
def test_an_expression_in_a_path_matches_as_rfc_9485_says(filter_: str, count: int) -> None:
    body = json.dumps(["abc", "a\rc", "Äx", "\ud800", 1, None]).encode()
    assert len(values_at(f"$[?{filter_}]", body)) == count


@each(
    ("filter_", "said"),
    [
        ("match(@, '(?=a)b')", "no regular expression of RFC 9485"),
        ("search(@, '(a)\\\\1')", "no regular expression of RFC 9485"),
        ("match(@, '[a')", "no regular expression of RFC 9485"),
        ("match(@, 'a)|(b')", "no regular expression of RFC 9485"),
        ("match(@, '((a{1000}){1000}){1000}')", "too large"),
        ("match(@.a, @.b)", "match() needs a text in quotes"),
    ],
)
def test_an_expression_that_cannot_be_used_is_refused_at_the_start(filter_: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_rule(f"body $[?{filter_}]")
