"""What lies at a JSON path of a body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.replayer.matching.jsonpaths import problem, spelled, values_at

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
    assert problem(path) is not None or isinstance(values_at(path, body), list)


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_a_body_that_is_too_deep_has_nothing(depth: int) -> None:
    body = b"[" * depth + b"]" * depth
    assert values_at("$..x", body) == []


@pytest.mark.parametrize(
    ("path", "values"),
    [("$.a", ["1"]), ("$.b[*].c", ['"x"', '"y"']), ("$..c", ['"x"', '"y"']), ("$.b[?@.c == 'y'].c", ['"y"'])],
)
def test_a_path_finds_what_rfc_9535_says(path: str, values: list[str]) -> None:
    assert values_at(path, b'{"a": 1.0, "b": [{"c": "x"}, {"c": "y"}]}') == values


@pytest.mark.parametrize("path", ["", "a", "$.", "$[", "$ | $", "$.a b", "^"])
def test_what_is_no_path_is_told_in_one_line(path: str) -> None:
    said = problem(path)
    assert said
    assert "\n" not in said


def test_numbers_are_equal_as_json_and_booleans_are_none() -> None:
    assert values_at("$", b"1") == values_at("$", b"1.0") == values_at("$", b"1e0")
    assert values_at("$", b"true") != values_at("$", b"1")
    assert spelled({"b": 1, "a": "é"}) == '{"a": "é", "b": 1}'


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 5000])
def test_a_path_with_a_number_that_python_cannot_hold_is_refused(number: str) -> None:
    assert problem(f"$[?@.a == {number}]")
