"""Which party sends a request: the runner of any version, clients by their credentials; and what each is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnirecord.analysis.listing import exchange_rows, stream_rows
from omnirecord.cassette.open import open_store
from omnirecord.model import Headers
from omnirecord.omnigent.parties import Parties, party_name
from omnirecord.redaction.redactor import credentials
from tests.support.cassettes import Made

TOKEN: Headers = (("X-Omnigent-Runner-Tunnel-Token", "t"),)
ALICE: Headers = (("Authorization", "Bearer a"),)
BOB: Headers = (("Authorization", "Bearer b"),)
SESSION = "/v1/sessions/s"
BOOTS = [("GET", f"{SESSION}/agent/contents"), ("GET", SESSION), ("GET", f"{SESSION}/items?limit=100&order=asc")]
EVALUATES = ("POST", f"{SESSION}/policies/evaluate")
STREAM = ("GET", f"{SESSION}/stream")


def parties(*requests: tuple[tuple[str, str], Headers]) -> list[str]:
    known = Parties(credentials)
    return [known.of(*request, headers) for request, headers in requests]


def test_clients_are_told_apart_by_credentials_and_the_runner_by_its_token() -> None:
    root = ("GET", "/")
    assert parties((root, ()), (root, ALICE), (root, TOKEN), (root, ()), (root, BOB)) == [
        "client", "client-2", "runner", "client", "client-3"
    ]  # fmt: skip


def test_a_runner_without_a_token_is_known_by_what_it_asks() -> None:
    asked = [(STREAM, ALICE), *((one, ()) for one in BOOTS), (EVALUATES, ()), (("POST", "/v1/sessions"), ())]
    assert parties(*asked) == ["client", *["runner"] * 5]


def test_a_runner_with_the_credentials_of_a_client_is_known_only_where_it_asks_as_a_runner() -> None:
    asked = [(BOOTS[0], ()), (BOOTS[1], ()), (STREAM, ()), (EVALUATES, ()), (BOOTS[2], ())]
    assert parties(*asked) == ["runner", "client", "client", "runner", "client"]


def test_a_client_whose_credentials_a_runner_had_first_is_a_client() -> None:
    asked = [(BOOTS[0], ALICE), (BOOTS[1], ALICE), (STREAM, ALICE), (BOOTS[1], ALICE)]
    assert parties(*asked) == ["runner", "runner", "client", "client"]


NAMES = {
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/156.0.0.0": "web UI",
    "python-httpx/0.28.1": "Python client",
    "Python/3.13 aiohttp/3.14": "Python client",
    "curl/8.14.1": "curl",
    "node": "node",
    "MyChat/2.0 (phone)": "MyChat",
    "": "client",
}


@pytest.mark.parametrize("agent", NAMES)
def test_a_client_is_called_by_its_user_agent(agent: str) -> None:
    tape = Made()
    tape.get(SESSION, 1.0, sent=(("User-Agent", agent),))
    tape.get(SESSION, 2.0, sent=(("User-Agent", agent),), party="client-2")
    tape.get(SESSION, 3.0, sent=(("User-Agent", agent),), party="runner")
    names = [party_name(x) for x in tape.store().exchanges()]
    assert names == [NAMES[agent], f"{NAMES[agent]} 2", "runner"]


def test_ls_has_the_name_beside_the_party() -> None:
    tape = Made()
    tape.stream("s", 1.0)
    store = tape.store()
    for rows in (exchange_rows(store), stream_rows(store)):
        (row,) = rows
        assert (row["party"], row["party_name"]) == ("client", "client")


def test_the_shipped_sessions_are_those_of_the_python_client() -> None:
    store = open_store(Path(__file__).parent.parent.parent / "cassettes" / "text.jsonl")
    assert {party_name(x) for x in store.exchanges()} == {"Python client"}
    store.close()
