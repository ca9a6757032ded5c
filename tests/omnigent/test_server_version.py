"""The version of the server is read where it tells it, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

from omnirecord.omnigent.server_version import version_in, version_in_message, version_key
from tests.support.examples import each


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
