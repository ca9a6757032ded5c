"""What a frame carries, and JSON as text: one that every reader takes, whatever it says."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import TimedFrame
from omnirecord.text import dumps, harmless
from omnirecord.wire.strict_json import payload_of

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def strictly(text: str) -> Any:
    """The value, as a reader has it that knows no `Infinity`."""
    return json.loads(text, parse_constant=_refused)


def _refused(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


@given(ANY)
def test_json_is_one_harmless_line_that_every_reader_takes(value: Any) -> None:
    line = harmless(dumps(value))
    assert len(line.splitlines()) == 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in line)
    line.encode()
    strictly(line)


@given(st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()))
def test_escapes_change_nothing_that_is_said(value: Any) -> None:
    assert strictly(harmless(dumps(value))) == value


def test_what_turns_the_writing_is_escaped_and_what_is_written_is_not() -> None:
    assert harmless(dumps("\u202e\x9b\x7f é 日\u3000👩\u200d🚀")) == r'"\u202e\u009b\u007f é 日' + '\u3000👩\u200d🚀"'


@pytest.mark.parametrize(("number", "sign"), [("1e999", 1), ("-1e999", -1)])
def test_a_number_without_end_is_the_largest_that_there_is(number: str, sign: int) -> None:
    frame = TimedFrame(1, 1, 0, 0, f'data: {{"type": "x", "a": [{number}]}}\n\n'.encode(), 0, "x", "valid", ())
    assert strictly(dumps(payload_of(frame)))["a"] == [sign * sys.float_info.max]
