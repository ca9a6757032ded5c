"""What an Omnigent URL means."""

from __future__ import annotations

import pytest

from omnirecord.omnigent import routes


@pytest.mark.parametrize(
    ("target", "session", "below"),
    [
        ("/v1/sessions/abc", "abc", ""),
        ("/v1/sessions/abc?include_items=1", "abc", ""),
        ("/v1/sessions/abc/stream", "abc", "/stream"),
        ("/v1/sessions/abc/stream?idle=true", "abc", "/stream"),
        ("/v1/sessions/abc/elicitations/e1/resolve", "abc", "/elicitations/e1/resolve"),
        ("/v1/conversations/abc/events", "abc", "/events"),
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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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
