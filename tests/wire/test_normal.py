"""What differs from run to run and means nothing, and what looks like it and means something."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.wire.normal import ID, TIME, Ids, Normal
from tests.support.examples import each

HEX = "c6dde6498cf3476ebdda786dfb6f4cfa"


def of(value: Any, name: str = "") -> Any:
    return Normal().of(value, name)


@each(
    "text",
    [
        HEX, f"conv_{HEX}", "resp_857adf3a6c024a1bb9b4a78c", "fc_48df84dbd7a0", "subagent_248097aac811",
        "123e4567-e89b-12d3-a456-426614174000", "call_8fJ2kLmN0pQr", "tmpab12cd_3", "/tmp/pytest-of-me/pytest-3/",
        "/private/var/folders/x1/y2/T/",
    ],
)  # fmt: skip
def test_an_id_of_a_known_shape_is_one_wherever_it_stands(text: str) -> None:
    assert Normal().said(f"the {text} of it") == f"the {ID} of it"


@each(
    "text",
    ["deadbeef", "resp_ok", "a_face", "sys_os_shell", "/home/me/file", "12345678", "call_me_tomorrow", "/tmp/x.txt"],
)
def test_a_word_is_no_id(text: str) -> None:
    assert Normal().said(f"the {text} of it") == f"the {text} of it"


def test_the_value_of_an_id_field_is_an_id_unless_it_is_a_name() -> None:
    assert of({"call_id": "c1", "environment_id": "default", "terminal_id": "terminal_tui_main"}) == {
        "call_id": ID, "environment_id": "default", "terminal_id": ID,
    }  # fmt: skip


def test_times_are_alike_and_none_is_no_time() -> None:
    assert of({"created_at": 17, "joined_at": "2026-01-02T03:04:05Z", "completed_at": None}) == {
        "created_at": TIME, "joined_at": TIME,
    }  # fmt: skip


@each("text", ["2026-01-02T03:04:05.123456+00:00", "2026-01-02 03:04:05", "Nov 25 19:42", "Nov 25 19:42:01 UTC 2026"])
def test_a_date_in_a_tool_s_output_is_none_of_its_meaning_but_in_what_is_said_it_is(text: str) -> None:
    assert Normal().written(f"at {text}.") == f"at {TIME}."
    assert Normal().said(f"at {text}.") == f"at {text}."


def test_a_file_below_the_temporary_folder_is_known_by_its_name() -> None:
    assert Normal().written("/tmp/a1/work/poem.txt") == f"{ID}poem.txt"


def test_json_in_a_text_is_compared_as_json() -> None:
    assert of('{"b": 1, "a": [2.0]}') == of('{ "a":[2],"b":1 }')
    assert of("{not json") == "{not json"


def test_null_is_no_field_and_numbers_of_the_wire_are_noise() -> None:
    assert of({"sequence_number": 3, "last_event_seq": 4, "error": None, "status": "idle"}) == {"status": "idle"}


def test_true_is_not_one_and_1_0_is() -> None:
    assert of([True, 1.0, 1.5]) == [True, 1, 1.5]
    assert type(of(1.0)) is int
    assert of(True) is True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_normalising_is_possible_for_whatever_comes(value: Any) -> None:
    normal = Normal()
    made = normal.of(value)
    assert Normal().of(value) == made


def test_an_id_is_one_id_of_the_other_side() -> None:
    ids = Ids()
    assert ids.bind("a", "x")
    assert ids.bind("a", "x")
    assert not ids.bind("a", "y")
    assert not ids.bind("b", "x")
    assert ids.bind("b", "y")


def test_ids_at_the_same_places_have_to_be_as_many() -> None:
    assert Ids().bind_all(["a", "b", "a"], ["x", "y", "x"])
    assert not Ids().bind_all(["a", "b", "a"], ["x", "y", "z"])
    assert not Ids().bind_all(["a"], [])
