"""Cookies and subprotocols are parsed as the patterns did that were here before, and in linear time."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.redaction.names import is_attribute, is_session_cookie, map_subprotocols, split_cookie
from tests.support.examples import each, examples

COOKIE = re.compile(r"(\s*)([^=]{1,256}=)?(.*?)(\s*)", re.DOTALL)
ATTRIBUTE = re.compile(
    r"(?i)\s*(?:(?:path|domain|expires|max-age|samesite|priority)=[^=]*|httponly|secure|partitioned)\s*"
)
SESSION_COOKIE = re.compile(r"(?i)(?!.*(?:csrf|xsrf|state))\s*[^=]*(?:sess|sid|jwt|token|auth)[^=]*=", re.DOTALL)
SUBPROTOCOL = re.compile(
    r"(?i)((?:[\w.-]*?[.-])?(?:bearer|api-?key|token|secret|auth(?:orization)?)\.(?:authorization\.k8s\.io\.)?)([^\s,]+)"
)

WORDS = "bearer api-key apikey token secret auth authorization authorization.k8s.io. sess sid jwt csrf xsrf state Path"
MORE = [
    "Max-Age",
    "HttpOnly",
    "secure",
    "expires",
    "partitioned",
    "K8S",
    ".",
    "-",
    "_",
    "=",
    "==",
    "+",
    "!",
    "/",
    "a",
    "x",
    "é",
    ",",
    "\t",
]
PIECES = [
    *WORDS.split(),
    *MORE,
    " ",
    "  ",
    "Bearer.",
    ".TOKEN.",
    "-token.",
    "xtoken.",
    "path=/",
    "\x1c",
    "\n",
    "a" * 250,
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join)


@settings(max_examples=examples(1500))
@given(TEXTS)
def test_a_cookie_is_parted_as_the_pattern_parted_it(part: str) -> None:
    match = COOKIE.fullmatch(part)
    assert match
    assert split_cookie(part) == match.groups(default="")
    assert is_attribute(part) == bool(ATTRIBUTE.fullmatch(part))
    assert is_session_cookie(part) == bool(SESSION_COOKIE.match(part))


@settings(max_examples=examples(1500))
@given(TEXTS)
def test_the_same_credential_of_a_subprotocol_is_changed_as_with_the_pattern(value: str) -> None:
    changed = SUBPROTOCOL.sub(lambda m: f"{m[1]}<{m[2]}>", value)
    assert map_subprotocols(value, "<{}>".format) == changed


@each(
    ("value", "changed"),
    [
        ("v1, bearer.abc", "v1, bearer.<abc>"),
        (
            "base64url.bearer.authorization.k8s.io.abc, binary.k8s.io",
            "base64url.bearer.authorization.k8s.io.<abc>, binary.k8s.io",
        ),
        ("openai-insecure-api-key.sk-1", "openai-insecure-api-key.<sk-1>"),
        ("bearer.token.abc", "bearer.token.<abc>"),
        ("graphql-ws, bearer.", "graphql-ws, bearer."),
    ],
)
def test_what_a_browser_sends_as_a_credential_is_changed(value: str, changed: str) -> None:
    assert map_subprotocols(value, "<{}>".format) == changed
