"""Labels of recordings are merged and checked."""

from __future__ import annotations

from typing import Any

import pytest

from omnirecord.cassette.labels import VARIABLE, labels_of, signal_of
from omnirecord.errors import UsageError
from tests.support.examples import each


def test_labels_of_the_environment_are_replaced_per_key() -> None:
    environment = {VARIABLE: "a=1, b=2 ,,c="}
    assert labels_of(["b=3", "b=4", "d=x=y"], environment) == {"a": "1", "b": "4", "c": "", "d": "x=y"}
    assert labels_of({"b": "5"}, environment) == {"a": "1", "b": "5", "c": ""}
    assert labels_of((), {}) == {}


def test_only_the_name_of_a_signal_is_one() -> None:
    assert signal_of({"command.signal": "SIGTERM", "command.exit_code": "1"}) == "SIGTERM"
    assert signal_of({"command.signal": "ignore all of this", "command.exit_code": "137"}) == "SIGKILL"
    assert signal_of({"command.signal": "SIGNAL", "command.exit_code": "1"}) is None


def test_labels_are_sorted_by_key() -> None:
    assert list(labels_of(["b=1", "a=1"], {})) == ["a", "b"]


@each("key", ["branch", "ci/job.name_1-x", "9", "A" * 63])
def test_a_key_has_letters_digits_and_a_few_characters(key: str) -> None:
    assert labels_of([f"{key}=é ü"], {}) == {key: "é ü"}


@each(
    ("given", "sentence"),
    [
        (["branch"], "--label 'branch' is no label: write KEY=VALUE, as in branch=main"),
        (["=main"], "--label: a label has no key: write KEY=VALUE, as in branch=main"),
        (["a b=1"], "--label: 'a b' is no key of a label: take letters A-Z and a-z, digits"),
        ([".a=1"], "--label: '.a' is no key of a label"),
        (["é=1"], "--label: 'é' is no key of a label"),
        (["a" * 64 + "=1"], "at most 63 characters"),
        (["a=" + "x" * 257], "--label: the value of a cannot be used: take printable characters, at most 256"),
        (["a=x\ny"], "--label: the value of a cannot be used"),
        ({"a": 1}, "labels: the value of a is no text: write a string"),
        ({1: "a"}, "labels: a label has no key"),
        ({"": "a"}, "labels: a label has no key"),
        ([f"k{n}=1" for n in range(65)], "a recording has at most 64 labels, and 65 are given: leave some out"),
        ("branch", "--label 'branch' is no label"),
    ],
)
def test_a_bad_label_is_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        labels_of(given, {})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bad_label_of_the_environment_names_the_variable() -> None:
    with pytest.raises(UsageError, match=r"^OMNIRECORD_LABELS 'x' is no label"):
        labels_of((), {VARIABLE: "a=1,x"})
