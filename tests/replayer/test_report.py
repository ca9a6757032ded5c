"""What there is to say about a replay, in lines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from omnirecord.replayer.player import Mismatch
from omnirecord.replayer.report import differences, position_text
from omnirecord.replayer.server import Served

NOWHERE: dict[str, Any] = {
    "which": "s", "stream": None, "seq": None, "type": None, "at_s": 0.0, "next": None, "waits_for": None,
    "paused": False,
}  # fmt: skip
SOMEWHERE = {**NOWHERE, "stream": 1, "seq": 3, "type": "session.status", "at_s": 1.5}


@pytest.mark.parametrize(
    ("position", "sentence"),
    [
        (NOWHERE, "0.000 s into s, before its first event"),
        (SOMEWHERE, "1.500 s into s, behind frame 3 of stream 1 (session.status)"),
        (
            {**SOMEWHERE, "next": "response.completed", "waits_for": "POST /e", "paused": True},
            "1.500 s into s, behind frame 3 of stream 1 (session.status); next is response.completed;"
            " it waits for POST /e; it is paused",
        ),
    ],
)
def test_a_position_is_a_sentence(position: dict[str, Any], sentence: str) -> None:
    assert position_text(SimpleNamespace(**position)) == sentence


def test_no_difference_is_no_line() -> None:
    assert differences([], [], []) == []


def test_each_kind_of_difference_has_a_head_and_a_line_for_each() -> None:
    missed = Served("GET", "/a", 404, None, "GET /a was never recorded")
    wrong = Mismatch("POST /b", "action", "accept", "decline")
    assert differences([missed], [wrong], [Served("PUT", "/c", 200, 1), Served("PUT", "/d", 200, 2)]) == [
        "1 request matched nothing:",
        "  GET /a was never recorded",
        "1 request had other content than the recorded one:",
        "  POST /b: action was 'accept' when recorded, got 'decline'",
        "2 requests recorded, but not sent:",
        "  PUT /c",
        "  PUT /d",
    ]


def test_what_a_cassette_says_moves_no_cursor() -> None:
    assert differences([], [], [Served("GET", "/\x1b[2J", 200, 1)])[1] == "  GET /\\x1b[2J"


def test_a_long_list_is_cut() -> None:
    lines = differences([], [], [Served("GET", f"/{n}", 200, n) for n in range(22)])
    assert (len(lines), lines[-1]) == (22, "  and 2 more")
