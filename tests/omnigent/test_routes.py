"""What an Omnigent URL means."""

from __future__ import annotations

import json
from typing import Any

from omnirecord.analysis.listing import exchange_rows, stream_rows
from omnirecord.model import Headers
from omnirecord.omnigent import routes
from omnirecord.omnigent.routes import Parties, party_name, version_in, version_in_message, version_key
from omnirecord.redaction.redactor import credentials
from tests.support.cassettes import Made
from tests.support.examples import each

TOKEN: Headers = (("X-Omnigent-Runner-Tunnel-Token", "t"),)
ALICE: Headers = (("Authorization", "Bearer a"),)
BOB: Headers = (("Authorization", "Bearer b"),)
SESSION = "/v1/sessions/s"
BOOTS = [("GET", f"{SESSION}/agent/contents"), ("GET", SESSION), ("GET", f"{SESSION}/items?limit=100&order=asc")]
EVALUATES = ("POST", f"{SESSION}/policies/evaluate")
STREAM = ("GET", f"{SESSION}/stream")


@each(
    ("target", "session", "below"),
    [
        ("/v1/sessions/abc", "abc", ""),
        ("/v1/sessions/abc?include_items=1", "abc", ""),
        ("/v1/sessions/abc/stream", "abc", "/stream"),
        ("/v1/sessions/abc/stream?idle=true", "abc", "/stream"),
        ("/v1/sessions/abc/elicitations/e1/resolve", "abc", "/elicitations/e1/resolve"),
        ("/v1/conversations/abc/events", "abc", "/events"),
        ("/v1/conversations/abc/itemsets", "abc", "/itemsets"),
        ("/v1/conversations/conv_1", None, None),
        ("/v1/conversations/conv_1/items?limit=1", None, None),
        ("/v1/conversations/conv_1/items/msg_1", None, None),
        ("/prefix/v1/sessions/abc/stream", "abc", "/stream"),
        ("/v1/sessions/a%20b%2Fc/stream", "a b/c", "/stream"),
        ("/v1/sessions/updates", None, None),
        ("/v1/sessions/projects/p1", None, None),
        ("/v1/sessions/search?q=a", None, None),
        ("/v1/sessions", None, None),
        ("/v1/sessions?of=/v1/sessions/abc", None, None),
        ("/v1/sessionsabc/x", None, None),
        ("/v1/hosts/h1/tunnel", None, None),
        ("/", None, None),
    ],
)
def test_the_session_of_a_target_and_what_follows_it(target: str, session: str | None, below: str | None) -> None:
    assert routes.session_of(target) == session
    assert routes.below_session(target) == below


def test_a_target_is_a_path_and_a_query() -> None:
    assert (routes.path_of("/a?b=c?d"), routes.query_of("/a?b=c?d")) == ("/a", "b=c?d")
    assert (routes.path_of("/a"), routes.query_of("/a")) == ("/a", "")


@each(
    ("method", "target", "is_gate"),
    [
        ("POST", "/v1/sessions/abc/events", True),
        ("POST", "/v1/sessions/abc/events?x=y", True),
        ("POST", "/v1/sessions/abc/elicitations/e1/resolve", True),
        ("GET", "/v1/sessions/abc/events", False),
        ("PUT", "/v1/sessions/abc/read-state", False),
        ("POST", "/v1/sessions/abc/events/more", False),
        ("POST", "/v1/sessions/abc", False),
        ("POST", "/v1/sessions", False),
        ("POST", "/v1/events", False),
    ],
)
def test_a_gate_is_a_post_that_moves_a_session_on(method: str, target: str, is_gate: bool) -> None:
    assert routes.is_gate(method, target) is is_gate


@each(
    ("question", "yes", "no"),
    [
        (
            "creates_session",
            [("POST", "/v1/sessions"), ("POST", "/prefix/v1/sessions?x=y")],
            [("GET", "/v1/sessions"), ("POST", "/v1/sessions/abc"), ("POST", "/sessions")],
        ),
        (
            "opens_session_stream",
            [("GET", "/v1/sessions/abc/stream?idle=true"), ("GET", "/v1/conversations/abc/stream")],
            [("POST", "/v1/sessions/abc/stream"), ("GET", "/v1/sessions/abc/streams"), ("GET", "/stream")],
        ),
        (
            "is_bookkeeping",
            [("PUT", "/v1/sessions/abc/read-state"), ("PUT", "/v1/sessions/order")],
            [("POST", "/v1/sessions/abc/read-state"), ("PUT", "/v1/sessions/abc")],
        ),
        (
            "is_tunnel",
            [("/v1/hosts/h1/tunnel",), ("/v1/runners/r/tunnel?x=y",)],
            [("/v1/tunnel/x",), ("/v1/x?a=/tunnel",)],
        ),
        (
            "is_session_updates",
            [("/v1/sessions/updates",), ("/prefix/v1/sessions/updates?x",)],
            [("/v1/sessions/abc/updates",)],
        ),
    ],
)
def test_routes_that_are_special(question: str, yes: list[tuple[str, ...]], no: list[tuple[str, ...]]) -> None:
    asked = getattr(routes, question)

    assert [arguments for arguments in (*yes, *no) if asked(*arguments)] == yes


def parties(*requests: tuple[tuple[str, str], Headers]) -> list[str]:
    known = Parties(credentials)
    return [known.of(*request, headers) for request, headers in requests]


def test_clients_are_told_apart_by_credentials_and_the_runner_by_its_token() -> None:
    root = ("GET", "/")
    assert parties((root, ()), (root, ALICE), (root, TOKEN), (root, ()), (root, BOB)) == [
        "client",
        "client-2",
        "runner",
        "client",
        "client-3",
    ]


def logs_in(known: Parties, before: Headers, cookie: str, after: Headers) -> list[str]:
    """Return the parties of a request whose answer sets a cookie, and of the next request."""
    first = known.of("POST", "/login", before)
    known.answered(before, first, (("Set-Cookie", f"{cookie}; Path=/; HttpOnly"),))
    return [first, known.of("GET", "/", after)]


def cookies(*pairs: str, agent: str = "python-httpx/0.28.1") -> Headers:
    return (("User-Agent", agent), *([("Cookie", "; ".join(pairs))] if pairs else []))


def test_a_client_that_gets_a_session_cookie_stays_the_same_party() -> None:
    known = Parties(credentials)
    assert logs_in(known, cookies(), "session=a", cookies("theme=dark", "session=a")) == ["client", "client"]
    assert logs_in(known, cookies("session=a"), "session=b", cookies("session=b")) == ["client", "client"]
    assert logs_in(known, cookies("session=b"), "token=t", cookies("session=b", "token=t")) == ["client", "client"]


def test_a_second_login_and_a_cookie_with_other_credentials_are_of_another_party() -> None:
    known = Parties(credentials)
    assert logs_in(known, cookies(), "session=a", cookies("session=a")) == ["client", "client"]
    assert logs_in(known, cookies(), "session=b", cookies("session=b")) == ["client", "client-2"]
    assert logs_in(known, ALICE, "sid=node1", (*ALICE, *cookies("sid=node1"))) == ["client-3", "client-3"]
    assert logs_in(known, BOB, "sid=node1", (*BOB, *cookies("sid=node1"))) == ["client-4", "client-4"]
    assert known.of("GET", "/", cookies("session=a", "session=c")) == "client-5"
    assert logs_in(known, cookies(agent="curl"), 'session=""', cookies('session=""')) == ["client", "client-6"]


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
    "python-httpx2/2.16.2": "Python client",
    "Python/3.13 aiohttp/3.14": "Python client",
    "curl/8.14.1": "curl",
    "node": "node",
    "MyChat/2.0 (phone)": "MyChat",
    "": "client",
}


@each("agent", NAMES)
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


@each(
    ("method", "target", "key"),
    [
        ("GET", "/v1/info", "server_version"),
        ("GET", "/v1/info?x=1", "server_version"),
        ("GET", "/api/version", "version"),
        ("GET", "/.well-known/omnigent.json", "server_version"),
        ("POST", "/v1/info", None),
        ("GET", "/v1/info/", None),
        ("GET", "/other/v1/info", None),
        ("GET", "/openapi.json", None),
    ],
)
def test_the_path_has_to_be_exact(method: str, target: str, key: str | None) -> None:
    assert version_key(method, target) == key


@each(
    ("body", "version"),
    [
        (b'{"version": "0.19.1"}', "0.19.1"),
        (b'{"version": "0.20.0.dev0+g1a2b"}', "0.20.0.dev0+g1a2b"),
        (b'{"version": 5}', None),
        (b'{"version": ""}', None),
        (b'{"version": "a b"}', None),
        (b'{"version": "' + b"1" * 65 + b'"}', None),
        (b'{"other": "0.19.1"}', None),
        (b"[]", None),
        (b"{", None),
        (b"\xff", None),
        (b"", None),
        (b"[" * 100_000, None),
    ],
)
def test_a_version_is_a_short_text_without_blanks(body: bytes, version: str | None) -> None:
    assert version_in(body, "version") == version


def begins(body: Any, **more: Any) -> bytes:
    frame = {"kind": "request", "id": "1", "method": "POST", "path": "/v1/sessions", "encoding": "utf-8"} | more
    return json.dumps({**frame, "body": body if isinstance(body, str) else json.dumps(body)}).encode()


@each(
    ("data", "version"),
    [
        (begins({"session_id": "s", "session_init": {"server_version": "0.19.1"}}), "0.19.1"),
        (begins({"session_init": {"server_version": "0.19.1"}}, kind="response.body"), None),
        (begins({"session_init": ["server_version"]}), None),
        (begins({"session_init": {}}), None),
        (begins({"text": '"session_init": {"server_version": "6.6.6"}'}), None),
        (begins("session_init"), None),
        (b'{"kind": "request", "body": {"session_init": {"server_version": "1"}}}', None),
        (b'{"kind": "hello", "runner_version": "0.19.1"}', None),
        (b"session_init", None),
    ],
)
def test_only_the_request_that_begins_a_session_tells_it_in_a_tunnel(data: bytes, version: str | None) -> None:
    assert version_in_message(data) == version
