"""Shapes of valid events: what is taken by its shape alone is what would have been found valid, and nothing else is."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from omnirecord.contract import judge
from omnirecord.contract.judge import Contract, Judgement
from omnirecord.contract.shapes import LONGEST
from omnirecord.omnigent import response_events, session_events
from omnirecord.omnigent.contract import SHAPES, VALUES, documented, omnigent
from omnirecord.wire.sse import Frame, Parser, is_utf8, read_fields
from tests.support.cassettes import HEALTHY, TROUBLED
from tests.support.contract_cases import EXAMPLES
from tests.support.examples import each, examples

TYPE = b"response.output_text.delta"
DELTA = b'event: %s\ndata: {"type":"%s","sequence_number":5,"delta":"Hi"}\n\n' % (TYPE, TYPE)


def recorded() -> list[bytes]:
    """Every frame of the shipped cassettes that is text, and the example of each type in three ways to write it."""
    lines = (line for path in (*HEALTHY.values(), *TROUBLED.values()) for line in path.read_text().splitlines())
    raws = [value["raw"].encode() for line in lines if isinstance((value := json.loads(line)).get("raw"), str)]
    for type_, example in EXAMPLES.items():
        short = json.dumps(example, separators=(",", ":"), ensure_ascii=False)
        raws += [f"event: {type_}\ndata: {short}\n\n".encode(), f"data: {short}\n\n".encode()]
        raws.append(f"data: {json.dumps(example)}\n\n".encode())
    return raws


RAWS = recorded()
WITH_SHAPES: dict[str, Contract] = {
    "omnigent": omnigent(), "documented": documented(), "unchecked": omnigent().unchecked(),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def learned() -> None:
    """The shapes are made of what was judged often."""
    for contract in WITH_SHAPES.values():
        for raw in RAWS:
            for _ in range(40):
                contract.judge(read_fields(raw))


def slowly(contract: Contract, frame: Frame) -> Judgement:
    """The verdict of the fields alone, as of a frame that has no bytes to go by."""
    return contract.judge(Frame(b"", 0, frame.complete, frame.event, frame.data))


def by_shape(contract: Contract, raw: bytes) -> bool:
    shapes = contract.shapes
    return shapes is not None and len(raw) <= LONGEST and shapes.type_of(raw) is not None


def check(raw: bytes) -> None:
    frame = read_fields(raw)
    for contract in WITH_SHAPES.values():
        judgement, slow = contract.judge(frame), slowly(contract, frame)
        if not is_utf8(raw) and slow.verdict not in ("comment", "sentinel", "truncated"):
            assert (judgement.verdict, judgement.type) == ("malformed", slow.type)
            continue
        assert (judgement.verdict, judgement.type, judgement.issues) == (slow.verdict, slow.type, slow.issues)
        assert repr((judgement.data, judgement.sequence_number)) == repr((slow.data, slow.sequence_number))


def test_what_was_seen_often_has_a_shape_and_what_is_large_or_listed_has_none() -> None:
    taken = {name: sum(by_shape(contract, raw) for raw in RAWS) for name, contract in WITH_SHAPES.items()}

    assert taken["omnigent"] > len(RAWS) // 2
    assert taken["documented"] > len(RAWS) // 4
    assert taken["unchecked"] > len(RAWS) // 2
    for type_ in {*VALUES, *SHAPES}:
        raw = f"data: {json.dumps(EXAMPLES[type_])}\n\n".encode()
        assert by_shape(WITH_SHAPES["omnigent"], raw)
        assert not by_shape(WITH_SHAPES["documented"], raw)


@each("data", [b'"a"', b'"\xc3\xa9\\n\\"\\u00e9"', b'"\\ud83d\\ude00"', b'""'])
def test_other_words_and_numbers_have_the_same_shape(data: bytes) -> None:
    contract = WITH_SHAPES["omnigent"]
    for number in (b"0", b"-1", b"123456789012345"):
        raw = DELTA.replace(b'"Hi"', data).replace(b":5,", b":" + number + b",")
        assert not by_shape(omnigent(), raw)
        contract.judge(read_fields(DELTA))
        learnt = taught(DELTA)
        assert by_shape(learnt, raw)
        check(raw)


def taught(raw: bytes) -> Contract:
    contract = omnigent()
    for _ in range(40):
        contract.judge(read_fields(raw))
    assert by_shape(contract, raw)
    return contract


@each(
    ("what", "instead"),
    [
        (b'"Hi"', b'"\\ud800"'),
        (b'"Hi"', b'"\\ud800\\u0041"'),
        (b'"Hi"', b'"a\tb"'),
        (b'"Hi"', b'"\\x"'),
        (b'"Hi"', b"5"),
        (b'"Hi"', b"null"),
        (b":5,", b":05,"),
        (b":5,", b":-0,"),
        (b":5,", b':"5",'),
        (b":5,", b":5.5,"),
        (b":5,", b":" + b"9" * 5000 + b","),
        (b":5,", b":NaN,"),
        (b"delta\n", b"deltas\n"),
        (b'"}', b'","delta":""}'),
        (b'"}', b'"} '),
        (b'"}\n', b'"}\nid: 1\n'),
        (b'"}\n\n', b'"}\r\n\r\n'),
        (b"event", b"\nevent"),
        (b"event", b"\xef\xbb\xbfevent"),
    ],
)
def test_anything_else_is_judged_as_if_there_were_no_shapes(what: bytes, instead: bytes) -> None:
    raw = DELTA.replace(what, instead)

    assert raw != DELTA
    assert not by_shape(taught(DELTA), raw)
    check(raw)


def test_a_name_with_an_escape_is_the_field_that_it_spells() -> None:
    raw = b'data: {"type":"session.status","conversation_id":"c","stat\\u0075s":"idle"}\n\n'
    odd = raw.replace(b"idle", b"idling")

    assert not by_shape(taught(raw), odd)
    check(odd)


def test_what_has_a_shape_is_not_parsed_until_its_data_is_asked_for() -> None:
    contract = taught(DELTA)
    with patch.object(judge, "parse_quickly", side_effect=AssertionError), patch.object(judge, "parse") as parse:
        judged = contract.judge_all(Parser().feed(DELTA * 3))
        assert [(one.verdict, one.type, one.issues) for one in judged] == [("valid", TYPE.decode(), ())] * 3
        assert not parse.called

    assert judged[0].sequence_number == 5
    assert judged[0].data == json.loads(DELTA.partition(b"data: ")[2])
    assert judged[0] == Judgement("valid", TYPE.decode(), 5, (), judged[0].data)


def test_lines_that_end_in_crlf_make_the_same_shape() -> None:
    crlf = DELTA.replace(b"\n", b"\r\n")
    contract = taught(DELTA)
    with patch.object(judge, "parse_quickly", side_effect=AssertionError):
        assert contract.judge(read_fields(crlf)).verdict == "valid"
    taught_it = omnigent()
    for _ in range(40):
        taught_it.judge(read_fields(crlf))
    assert by_shape(taught_it, DELTA)
    assert taught_it.judge(read_fields(crlf.replace(b'"Hi"', b'"\r\n"'))).verdict == "malformed"


@settings(deadline=None, max_examples=50)
@given(raws=st.lists(st.sampled_from([*RAWS, b": hi\n\n", b"data: [DONE]\n\n", b"data: {}\n\n"]), max_size=8))
def test_frames_that_came_together_are_judged_as_they_would_be_alone(raws: list[bytes]) -> None:
    frames = Parser().feed(b"".join(raws))

    for contract in WITH_SHAPES.values():
        assert contract.judge_all(frames) == [slowly(contract, frame) for frame in frames]


def test_a_frame_that_was_cut_off_has_no_shape() -> None:
    contract = taught(DELTA)

    assert contract.judge(read_fields(DELTA[:-1], complete=False)).verdict == "truncated"
    assert contract.judge(read_fields(DELTA, complete=False)).verdict == "truncated"


def test_a_shape_has_the_type_of_its_events_though_others_begin_alike() -> None:
    contract = omnigent()
    types = ["response.reasoning_text.delta", "response.output_text.delta", "response.unheard_of"]
    raws = [f'data: {{"sequence_number":1,"type":"{type_}","delta":"x"}}\n\n'.encode() for type_ in types]
    for _ in range(200):
        judged = [contract.judge(read_fields(raw)) for raw in raws]
        assert [one.type for one in judged] == types
        assert [one.verdict for one in judged] == ["valid", "valid", "unknown"]

    assert [by_shape(contract, raw) for raw in raws] == [True, True, False]


def test_nothing_is_learnt_from_a_frame_whose_fields_are_not_those_of_its_bytes() -> None:
    contract = omnigent()
    odd = DELTA.replace(b'"Hi"', b"[]")
    for _ in range(100):
        contract.judge(Frame(odd, len(odd), True, None, read_fields(DELTA).data))

    assert not by_shape(contract, odd)
    assert contract.judge(read_fields(odd)).verdict == "invalid"


def test_what_is_kept_is_bounded() -> None:
    contract = omnigent()
    shapes = contract.shapes
    assert shapes is not None
    for n in range(3000):
        contract.judge(read_fields(b'data: {"n%d":1,"type":"response.reasoning.started"}\n\n' % n))
    for n in range(3000):
        contract.judge(read_fields(b'data: {"type":"response.reasoning.started","n%d":1}\n\n' % n))

    assert len(shapes._known) <= 300
    assert max(len(one.shapes) for one in shapes._known.values()) == 8
    assert shapes._keys == sum(bool(one.shapes) for one in shapes._known.values()) < 150
    assert by_shape(contract, DELTA) is False
    for _ in range(40):
        contract.judge(read_fields(DELTA))
    assert by_shape(contract, DELTA)


def test_the_memory_for_shapes_is_bounded() -> None:
    contract = omnigent()
    for n, (type_, example) in itertools.product(range(3), EXAMPLES.items()):
        raw = f"event: {type_}\ndata: {json.dumps(example | {f'x{n}': 'x' * 600})}\n\n".encode()
        for _ in range(32):
            contract.judge(read_fields(raw))

    shapes = contract.shapes
    assert shapes is not None
    assert 0 <= shapes._room < 1024
    assert sum(len(one.shapes) for one in shapes._known.values()) < 3 * len(EXAMPLES)


def models() -> list[type[BaseModel]]:
    named = [*vars(response_events).values(), *vars(session_events).values()]
    return list(dict.fromkeys(one for one in named if isinstance(one, type) and issubclass(one, BaseModel)))


@each("model", models())
def test_no_model_tests_its_values_by_a_function(model: type[BaseModel]) -> None:
    """Annotations have to say it all: shapes go by them."""
    tests = model.__pydantic_decorators__
    assert not any((tests.validators, tests.field_validators, tests.model_validators, tests.root_validators))
    assert "__get_pydantic_core_schema__" not in vars(model)


ODD_JSON = st.sampled_from([
    '"\\ud800"', '"\\ud83d\\ude00"', "NaN", "-0", "1e999", "1.5", "0.1e5", "12", '"7"', "1" * 30, "null", "true", '""',
    "[]", "{}", '[{"a":1,"a":2}]', '"running"', '"é"', '"\\u0000"', '"a\\\\"', "01", "'x'", "[" * 600 + "]" * 600,
])  # fmt: skip
TOKENS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80"]
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), TOKENS | st.binary(max_size=3)), max_size=2)
CHANGE: dict[str, Callable[[dict[str, Any], str, str], dict[str, Any]]] = {
    "set": lambda data, name, value: data | {name: value},
    "drop": lambda data, name, _: {key: old for key, old in data.items() if key != name},
    "add": lambda data, name, value: data | {f"{name}_": value},
    "first": lambda data, name, value: {name: value} | data,
    "escaped": lambda data, name, value: data | {f"{name[:-1]}\0\0{name[-1]}": value},
    "twice": lambda data, name, value: data | {f"{name}\0": value},
}


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A recorded frame in which values, fields, its `event:` or any bytes were changed."""
    raw: bytes = draw(st.sampled_from(RAWS))
    head, _, tail = raw.partition(b"data: ")
    if tail.startswith(b"{") and draw(st.booleans()):
        data = json.loads(tail)
        name = draw(st.sampled_from(sorted(data)))
        changed = CHANGE[draw(st.sampled_from(sorted(CHANGE)))](data, name, "\0here")
        compact = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
        text = json.dumps(changed, separators=compact, ensure_ascii=draw(st.booleans()))
        text = text.replace('"\\u0000here"', draw(ODD_JSON)).replace('\\u0000"', '"')
        text = re.sub(r"\\u0000\\u0000(.)", lambda found: f"\\u{ord(found[1]):04x}", text)
        tail = text.encode() + b"\n\n"
    head = draw(st.sampled_from([head, head, head, b"", b"event: \n", b"event: session.status\n", b"id: 1\n" + head]))
    raw = head + b"data: " + tail
    for where, length, new in draw(EDITS):
        at = int(where * len(raw))
        raw = raw[:at] + new + raw[at + length :]
    return raw


@settings(deadline=None, max_examples=examples(700))
@given(raw=frames())
def test_a_spoiled_event_has_the_verdict_that_its_fields_have(raw: bytes) -> None:
    check(raw)


@settings(deadline=None, max_examples=examples(200))
@given(raw=frames(), text=st.text(max_size=20), number=st.integers() | st.floats(), event=st.sampled_from(["", "a"]))
def test_events_that_were_learnt_spoiled_teach_nothing_wrong(raw: bytes, text: str, number: float, event: str) -> None:
    """The shape of an odd event that happens to be valid, and then its neighbours."""
    contract = omnigent()
    if contract.judge(read_fields(raw)).verdict != "valid":
        return
    for _ in range(40):
        contract.judge(read_fields(raw))
    for old in {*json_strings(raw), b"0", b"1", b"7"}:
        for new in (json.dumps(text).encode(), json.dumps(number).encode(), event.encode(), b'"7"', b'"idle"', b"null"):
            neighbour = raw.replace(old, new, 1)
            frame = read_fields(neighbour)
            judgement, slow = contract.judge(frame), slowly(contract, frame)
            assert (judgement.verdict, judgement.issues) == (slow.verdict, slow.issues)


def json_strings(raw: bytes) -> list[bytes]:
    return [b'"' + part + b'"' for part in raw.split(b'"')[1::2]]
