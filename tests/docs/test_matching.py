"""The page about matching is true: its rules are rules, and its miss is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from omnirecord.cassette.open import open_store
from omnirecord.options import ReplayOptions
from omnirecord.replayer.matching.rules import FORMS, Rules
from omnirecord.replayer.player import GateRule, Incoming, Miss, Options, Player
from omnirecord.replayer.player.plan import ReplayPlan

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "matching.md").read_text()


def test_every_rule_on_the_page_can_be_given() -> None:
    written = re.findall(r"--match '([^']+)'", PAGE)
    lists = [json.loads(found) for found in re.findall(r"match=(\[.*?\])", PAGE)]
    assert len(written) >= 7
    assert all(Rules.parse(one) for one in (written, *lists))


def test_every_form_of_a_rule_is_on_the_page() -> None:
    assert all(f"| `{form}` |" in PAGE for form in FORMS)


def test_the_miss_on_the_page_is_what_the_shipped_cassette_gives() -> None:
    told = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])["error"]
    store = open_store(ROOT / "cassettes" / "approval.jsonl")
    player = Player(ReplayPlan(store, GateRule()), Options(ReplayOptions("", timing="instant")))
    target = told["nearest"][0]["request"].removeprefix("POST ").replace("events", "evnts")
    miss = player.answer(Incoming("POST", target), 0)
    store.close()
    assert isinstance(miss, Miss)
    assert told["message"] == f"omnirecord: {miss.text()}"
    assert told["nearest"][0] == miss.nearest[0]
