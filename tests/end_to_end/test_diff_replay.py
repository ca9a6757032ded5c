"""A session and its replay, recorded once more, do not differ: in whatever pieces and at whatever pace it came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.analysis.diff.differences import Difference
from tests.support.replayed import record_replay

CASSETTES = sorted((Path(__file__).parent.parent.parent / "cassettes").glob("*.jsonl"))
WAYS: list[dict[str, Any]] = [
    {}, {"chunks": "byte"}, {"chunks": "random:7"}, {"resume": True}, {"timing": "compressed"},
    {"timing": "original", "speed": 4.0},
]  # fmt: skip


FOR_ALL = ({},)
"""Ways in which all cassettes are played. The other ways have some cassettes, and all with --long."""
SOME = {"approval", "reconnect", "two_clients"}


def _is_long(cassette: Path, how: dict[str, Any]) -> bool:
    return how not in FOR_ALL and cassette.stem not in ({"approval"} if how == {"chunks": "byte"} else SOME)


PLAYED = [
    pytest.param(cassette, how, id=f"{cassette.stem}-{how}", marks=[pytest.mark.long] * _is_long(cassette, how))
    for how in WAYS
    for cassette in CASSETTES
]


def differing(a: Path, b: Path) -> list[Difference]:
    return [one for one in omnirecord.diff(a, b) if one.kind != "timing"]


@pytest.mark.parametrize(("cassette", "how"), PLAYED)
async def test_a_session_and_its_replay_do_not_differ(cassette: Path, how: dict[str, Any], tmp_path: Path) -> None:
    assert differing(cassette, await record_replay(cassette, tmp_path / "again.db", **how)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "kind", "path"),
    [
        ("drop 3rd response.output_text.delta", "content", "turns[0].messages[0].text"),
        ("cut before response.completed by reset", "content", "turns[0].ended"),
        ('set item.output of response.output_item.done with item.type=function_call_output to "none"', "tools",
         "turns[0].tools[0].output"),
        ("drop response.output_item.done with item.type=function_call_output", "tools", "turns[0].tools[0].output"),
        ("swap session.usage with response.completed", "order", "turns[0].order"),
        ("answer POST /v1/sessions/*/events with 503", "content", "refusals[0]"),
        ("set response.usage.input_tokens of response.completed to 7", "usage", "turns[0].usage.input_tokens"),
        ("corrupt last session.status", "order", "turns[0].events[session.status][1]"),
    ],
)  # fmt: skip
async def test_a_replay_with_a_fault_differs_where_the_fault_is(
    fault: str, kind: str, path: str, tmp_path: Path
) -> None:
    tool = next(cassette for cassette in CASSETTES if cassette.stem == "tool")
    found = differing(tool, await record_replay(tool, tmp_path / "faulty.db", faults=[fault]))
    assert (kind, path) in [(one.kind, one.path) for one in found]


@pytest.mark.parametrize(
    "fault",
    [
        "delay response.completed by 500ms",
        "slow every GET /v1/sessions/* by 100ms",
        "stop heartbeats after session.heartbeat",
    ],
)
async def test_a_fault_that_only_takes_time_is_no_difference(fault: str, tmp_path: Path) -> None:
    tool = next(cassette for cassette in CASSETTES if cassette.stem == "tool")
    assert differing(tool, await record_replay(tool, tmp_path / "faulty.db", faults=[fault])) == []
