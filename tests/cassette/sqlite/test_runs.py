"""Frames that nobody looked at one by one are told of as those that somebody did."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.framing import Framer, Run
from omnirecord.cassette.sqlite import stream_rows
from omnirecord.cassette.sqlite.stream_rows import FrameColumns
from omnirecord.contract.judge import Contract
from omnirecord.contract.shapes import LONGEST
from omnirecord.omnigent.contract import omnigent

OMNIGENT = omnigent()
"""Of its own: what others have made it learn leaves no room for what is learnt here."""


def delta(text: str) -> bytes:
    data = json.dumps({"type": "response.output_text.delta", "delta": text}, ensure_ascii=False)
    return f"event: response.output_text.delta\ndata: {data}\n\n".encode()


PING = b'event: response.heartbeat\ndata: {"type":"response.heartbeat"}\n\n'
ODD = st.sampled_from([
    PING, b"data: [DONE]\n\n", b": hi\n\n", b": hi\r\n\r\n", b"data: x\r\r", b"\n", b"\r", b"data: ", b"\xef\xbb\xbf",
    delta("x").replace(b"\n", b"\r\n"), delta("\0"), delta("x").replace(b"x", b"\xff"), delta("é\u2028"), delta("\n\n"),
    delta("x" * 5000), b'event: other\ndata: {"type":"response.output_text.delta","delta":"x"}\n\n',
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":1}\n\n',
    delta("x").replace(b".delta", b".delty"),
])  # fmt: skip
STREAM = st.lists(st.one_of(st.integers(1, 80).map(lambda n: delta("a") * n), ODD), max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 3000), max_size=30)


def learnt() -> Contract:
    """It has seen what is alike."""
    Framer(None, OMNIGENT).feed(0, delta("a") * 200)
    return OMNIGENT


def columns(data: bytes, cuts: list[int], rows: list[int], *, runs: bool) -> tuple[FrameColumns, bool]:
    """What pages would tell of a stream that came in these reads, looked at so many of them at once."""
    framer = Framer(None, learnt())
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reads = [data[start:end] for start, end in pairwise(bounds)]
    made, number, any_run = FrameColumns(), 0, False
    while number < len(reads):
        some = reads[number : number + (rows[number % len(rows)])]
        for found in framer.portions(number, [len(one) for one in some], b"".join(some), runs=runs):
            any_run = any_run or any(isinstance(one, Run) for one in found)
            made.add(found)
        number += len(some)
    made.add(framer.close())
    return made, any_run


def told(of: FrameColumns) -> list[object]:
    return [of.lengths, of.reads, of.types, of.verdicts, of.odd]


@given(STREAM, CUTS, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_whatever_comes_however_it_is_cut(data: bytes, cuts: list[int], rows: list[int]) -> None:
    by_run, by_frame = (columns(data, cuts, rows, runs=runs)[0] for runs in (True, False))
    assert told(by_run) == told(by_frame)
    assert sum(by_run.lengths) == len(data)


def test_what_is_alike_is_a_run() -> None:
    made, any_run = columns(delta("a") * 100, [1000, 2000], [1], runs=True)
    assert any_run
    assert (made.verdicts, set(made.types)) == (["valid"] * 100, {"response.output_text.delta"})


def test_what_only_ends_alike_is_no_part_of_a_run() -> None:
    data = delta("a") * 200 + delta("a").replace(b".delta", b".delty") * 200 + delta("a") * 200
    (by_run, any_run), (by_frame, _) = (columns(data, [], [1], runs=runs) for runs in (True, False))
    assert any_run
    assert told(by_run) == told(by_frame)
    assert by_run.verdicts == ["valid"] * 200 + ["unknown"] * 200 + ["valid"] * 200


def test_a_contract_that_knows_no_shapes_has_no_runs() -> None:
    blind = Contract("own", OMNIGENT.types, lambda _type, _data: ())
    data = delta("a") * 20
    (found,) = Framer(None, blind).portions(0, [len(data)], data, runs=True)
    assert not any(isinstance(one, Run) for one in found)


def test_what_is_too_long_to_be_looked_up_is_no_run() -> None:
    """To match it takes four times as long as to parse it."""
    short, long = (columns(delta("a" * size) * 100, [], [1], runs=True) for size in (LONGEST // 2, LONGEST))
    assert short[1]
    assert not long[1]
    assert long[0].verdicts == ["valid"] * 100


def test_a_part_has_what_is_odd_about_its_own_frames() -> None:
    of = FrameColumns(Framer(None, OMNIGENT).feed(0, PING + b"data: no json\n\n" + PING + b'data: {"type": "x"}\n\n'))
    part = of.part(1, 3)
    assert (part.verdicts, list(part.odd)) == (["malformed", "valid"], [0])
    assert list(accumulate(part.lengths))[-1] == len(b"data: no json\n\n" + PING)


def test_the_rows_of_landmarks_have_the_same_order_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python orders a set of strings by a random seed. With 20 types, that order is not the sorted one."""
    types = [f"landmark.{number:02}" for number in range(20)]
    monkeypatch.setattr(stream_rows, "LANDMARKS", frozenset(types))
    data = b"".join(f'event: {one}\ndata: {{"type":"{one}"}}\n\n'.encode() for one in reversed(types))
    made = stream_rows.frame_blocks(1, Framer(None, OMNIGENT).feed(0, data), int)
    assert [row[0] for statement, row in made if "landmarks" in statement] == types
