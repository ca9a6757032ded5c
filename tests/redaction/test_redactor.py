"""Secrets stay out: what is masked, what is not, and that neither depends on how the bytes were cut."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.redaction.redactor import Redactor, credentials, without_secrets
from tests.support.examples import each, examples

PSEUDONYM = Redactor(b"key").pseudonym
SECRETS = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=16, max_size=60).map(lambda text: text + "0/+=")
CUTS = st.lists(st.integers(0, 400), max_size=20)

PLACES = {
    "a field": b'{"a": 1, "token":  "%b", "b": [2]}',
    "a camelCase field": b'[{"accessToken":"%b"}]',
    "a field of an environment": b'{"env": {"OPENAI_API_KEY": "%b"}}',
    "ndjson": b'{"a": 1}\n{"client_secret": "%b"}\n{"a": 2}\n',
    "an indented field": b'{\n        "x": {},\n        "binding_token"\n : \r\n "%b"\n}',
    "an object below a secret's name": b'{"credentials": {"a": ["%b", {"b": "%b"}], "c": 1}, "d": "e"}',
    "a list below a secret's name": b'{"set-cookie": ["a=%b; Path=/", "b=%b"]}',
    "a name with escapes": b'{"tok\\u0065n": "%b"}',
    "a value with escapes": b'{"password": "a\\"%b\\\\\\\\", "x": "y"}',
    "JSON in JSON": b'{"body": "{\\"token\\": \\"%b\\", \\"x\\": \\"y\\"}"}',
    "JSON in JSON, indented": b'{"body": "{\\n  \\"token\\": \\"x\\\\\\"%b\\"\\n}"}',
    "JSON in JSON in JSON": b'{"a": "{\\"b\\": \\"{\\\\\\"api_key\\\\\\": \\\\\\"%b\\\\\\"}\\"}"}',
    "an object in JSON in JSON": b'{"a": "{\\"secret\\": {\\"b\\": \\"%b\\"}}"}',
    "a headers object": b'{"headers": {"authorization": "Bearer %b", "X-Forwarded-Email": "%b"}}',
    "a list of header pairs": (b'{"headers": [["Authorization","Bearer %b"], [ "cookie" , "ap_session=%b; b=%b"]]}'),
    "a token header in a pair": b'{"headers": [["X-Omnigent-Runner-Tunnel-Token", "%b"]]}',
    "a query string in a field": b'{"query_string": "token=%b&read_only=1"}',
    "a URL in a field": b'{"direct_attach_url": "ws://127.0.0.1:1/attach?token=%b"}',
    "an escaped URL": b'{"url": "/a?b=c\\u0026access_token=%b\\u0026d=e"}',
    "an invite link": b'{"url": "http://h/login?invite=%b"}',
    "a form": b"user=a&password=%b&x=y",
    "a form that starts with it": b'client_secret=%b"%b&grant_type=refresh_token',
    "a form in a field": b'{"body": "refresh_token=%b&x=y", "encoding": "utf-8"}',
    "a multipart field": b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n%b\r\n%b\r\n--x--\r\n',
    "a multipart field with a type": (
        b'--x\r\nContent-Disposition: form-data; name="api_key"; filename="k"\r\n'
        b"Content-Type: text/plain\r\n\r\n%b\r\n--x\r\n"
        b"Content-Disposition: form-data; name=bundle\r\n\r\n\x00\x1f\x8b\xff\r\n--x--\r\n"
    ),
    "a multipart part of JSON": (
        b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{"secret_value": "%b"}\r\n--x--\r\n'
    ),
    "a value that is cut off": b'{"token": "%b',
    "an object that is cut off": b'{"credential": {"a": "%b", "b": "%b',
    "an object that ends with its string": b'{"a": "{\\"secret\\": {\\"b\\": \\"%b\\"", "c": "d"}',
    "text after what is not UTF-8": b'\xff\xfe"\x80{"token": "%b\xff"}',
}


def planted(place: str, secret: str) -> bytes:
    return PLACES[place].replace(b"%b", secret.encode())


def in_pieces(redactor: Redactor, data: bytes, cuts: list[int]) -> bytes:
    body = redactor.body()
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return b"".join(body.feed(data[a:b]) for a, b in pairwise(bounds)) + body.close()


@pytest.mark.parametrize("place", PLACES)
@settings(deadline=None, max_examples=examples(30))  # each is cut three ways, once into single bytes
@given(secret=SECRETS, cuts=CUTS)
def test_a_secret_never_comes_out_however_the_body_is_cut(place: str, secret: str, cuts: list[int]) -> None:
    data = planted(place, secret)
    whole = in_pieces(Redactor(b"key"), data, [])

    assert secret[:16].encode() not in whole
    assert in_pieces(Redactor(b"key"), data, cuts) == whole
    assert in_pieces(Redactor(b"key"), data, list(range(len(data)))) == whole
    assert Redactor(b"key").message(data) == whole


@pytest.mark.parametrize("place", PLACES)
@given(secret=SECRETS)
def test_a_redacted_body_stays_as_it_is(place: str, secret: str) -> None:
    redactor = Redactor(b"key")
    once = redactor.message(planted(place, secret))
    count = redactor.counts.total()

    assert count > 0
    assert redactor.message(once) == once
    assert redactor.counts.total() == count


@each("place", [place for place in PLACES if PLACES[place][:1] in (b"{", b"[")])
def test_redacted_json_is_still_json_and_differs_in_the_secret_alone(place: str) -> None:
    if "cut off" in place:
        return
    data = planted(place, "SECRETSECRETSECRET")
    out = Redactor(b"key").message(data)

    for old, new in zip(data.splitlines(), out.splitlines(), strict=True):
        if place != "ndjson" and b"\n" in data:
            old, new = data, out
        assert shape(json.loads(old)) == shape(json.loads(new))


def shape(value: object) -> object:
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value)


ALPHABET = [
    b'"token"', b'\\"token\\"', b'"a"', b":", b",", b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\r\n",
    b"--", b"&", b"?", b"=", b"token=", b"code", b"1", b"-", b"e", b"abc", b'form-data; name="token"',
    b"\r\n\r\n", b"\xff", b"null", b'"password"', b'"cookie"', b"; ", b'["authorization", "', b"Bearer ",
    b"\\u0026", b"&amp;", b"n" * 256, b" " * 64, b"Z" * 65535, b"\\" * 40,
    b"omnirecord-redacted-0123456789ab",
]  # fmt: skip
SOUP = st.lists(st.sampled_from(ALPHABET), max_size=25).map(b"".join) | st.binary(max_size=300)


@settings(deadline=None)  # some are megabytes
@given(data=SOUP, cuts=CUTS, near_the_end=CUTS)
def test_nothing_raises_and_no_cut_matters(data: bytes, cuts: list[int], near_the_end: list[int]) -> None:
    redactor = Redactor(b"key")
    whole = in_pieces(redactor, data, [])
    cuts += [max(0, len(data) - cut) for cut in near_the_end]

    assert in_pieces(redactor, data, cuts) == whole
    assert redactor.message(whole) == whole or b"body" in data


@settings(deadline=None)
@given(st.lists(st.sampled_from([word for word in ALPHABET if not any(
    name in word.lower() for name in (b"token", b"code", b"password", b"cookie", b"authorization", b"bearer")
)])).map(b"".join) | st.binary(max_size=2000), CUTS)  # fmt: skip
def test_a_body_without_a_secrets_name_is_not_changed_by_a_byte(data: bytes, cuts: list[int]) -> None:
    assert in_pieces(Redactor(b"key"), data, cuts) == data


@each(
    "data",
    [
        b'{"max_tokens": 5, "input_tokens": 1e3, "tokens": [1, 2], "tokens_": ["a"], "token_count": "7"}',
        b'{"token": 5, "token" : null, "api_key": true, "secret": "", "password": false, "pin": null}',
        b'{"output_tokens_details": {"reasoning_tokens": "0"}, "tokenizer": "x", "secret_name": "y"}',
        b'{"api_key_ref": "env:KEY", "next_page_token": "p", "eos_token": "</s>", "session_key": "main"}',
        b'{"required": ["token", "name"], "messages": ["authorization is", "x"]}',
        b'cond ? "token" : "secret"; case"password":return"x"',
        b"if(a&&token===bcd&&t==1234567890123456)c?t=this.x.abcdefghijklmnop:0",
        b'--x\r\nContent-Disposition: form-data; name="bundle"; filename="b"\r\n\r\n\x1f\x8b\r\n--x--',
        b"/login?code=404&state=open&key=title&t=17",
        b'data: {"type":"response.output_text.delta","delta":"the token is","sequence_number":3}\n\n',
    ],
)
def test_what_only_looks_like_a_secret_stays(data: bytes) -> None:
    assert Redactor(b"key").message(data) == data


def test_numbers_under_a_passwords_name_are_masked_too() -> None:
    out = json.loads(Redactor(b"key").message(b'{"pin": 1234, "password": -1.5e3, "secret": [17, {"a": 18}], "n": 1}'))

    assert out == {
        "pin": PSEUDONYM("1234"),
        "password": PSEUDONYM("-1.5e3"),
        "secret": [PSEUDONYM("17"), {"a": PSEUDONYM("18")}],
        "n": 1,
    }


def test_one_secret_is_one_pseudonym_wherever_it_stands() -> None:
    redactor = Redactor(b"key")
    places = [
        redactor.headers((("Authorization", "Bearer s3cret"),))[0][1],
        redactor.target("/a?token=s3cret"),
        redactor.message(b'{"token": "s3cret", "authorization": "Bearer s3cret"}').decode(),
        redactor.message(b"password=s3cret&a=b").decode(),
    ]

    assert all(PSEUDONYM("s3cret") in place for place in places)
    assert Redactor(b"other").pseudonym("s3cret") != PSEUDONYM("s3cret")
    assert PSEUDONYM(PSEUDONYM("s3cret")) == PSEUDONYM("s3cret")


@each("extra", [-1, 0, 1, 100_000])
def test_a_secret_of_any_length_is_masked_without_being_held(extra: int) -> None:
    body = Redactor(b"key").body()
    secret = b"s" * (64 * 1024 + extra)
    pieces = [
        body.feed(b'{"token": "'),
        *(body.feed(secret[i : i + 1000]) for i in range(0, len(secret), 1000)),
    ]
    out = b"".join(pieces) + body.feed(b'", "a": 1}') + body.close()

    assert out == b'{"token": "%b", "a": 1}' % PSEUDONYM("s" * min(len(secret), 64 * 1024)).encode()


def test_only_what_may_begin_a_secret_is_held_back() -> None:
    body = Redactor(b"key").body()

    assert body.feed(b"\x1f\x8b") == b"\x1f\x8b"
    assert body.feed(b'{"a": 1') == b'{"a": 1'
    assert body.feed(b', "tok') == b', "tok'
    assert body.feed(b'ens": 2, "token": "abc') == b'ens": 2, "token": "'
    assert body.feed(b'"') == PSEUDONYM("abc").encode() + b'"'
    assert body.feed(b"}") == b"}"


def test_a_body_in_base64_inside_a_message_is_redacted() -> None:
    frame = {
        "kind": "request",
        "body": base64.b64encode(b"password=hunter2&a=b").decode(),
        "encoding": "base64",
    }
    redactor = Redactor(b"key")
    once = redactor.message(json.dumps(frame).encode())

    assert base64.b64decode(json.loads(once)["body"]) == f"password={PSEUDONYM('hunter2')}&a=b".encode()
    assert redactor.message(once) == once


def test_base64_without_a_secret_stays_byte_for_byte() -> None:
    for text in ("YWJjZGVmZ2hpamtsbW5vcA==", "YWJjZGVmZ2hpamtsbW5vcB==", "abcdefghijklmnopqrstu"):
        data = json.dumps({"data": text}).encode()
        assert Redactor(b"key").message(data) == data


@each(
    ("name", "value", "redacted"),
    [
        ("Authorization", "Bearer s", "Bearer <s>"),
        ("AUTHORIZATION", "Basic dTpw", "Basic <dTpw>"),
        ("Proxy-Authorization", "s", "<s>"),
        ("Cookie", 'ap_session=s; a="t"; b=; c', "ap_session=<s>; a=<\"t\">; b=; <c>"),
        ("Set-Cookie", "a=s; Path=/; HttpOnly; Max-Age=5", "a=<s>; Path=/; HttpOnly; Max-Age=5"),
        ("Set-Cookie", "a=s; Expires=Wed, 21 Oct 2026; Odd=t", "a=<s>; Expires=Wed, 21 Oct 2026; Odd=<t>"),
        ("X-Api-Key", "s", "<s>"),
        ("x-omnigent-runner-tunnel-token", "s", "<s>"),
        ("X-Omnigent-Code-Verifier", "s", "<s>"),
        ("X-Goog-Api-Key", "s", "<s>"),
        ("X-Token-Data", "s", "<s>"),
        ("X-Forwarded-Email", "a@b", "<a@b>"),
        ("Cf-Access-Jwt-Assertion", "s", "<s>"),
        ("X-Auth-Request-Groups", "s", "<s>"),
        ("Location", "https://u:p@h/a?b=c&token=s#id_token=t", "https://<u:p>@h/a?b=c&token=<s>#id_token=<t>"),
        ("Link", '</a?api_key=s>; rel="next"', '</a?api_key=<s>>; rel="next"'),
        ("Sec-WebSocket-Protocol", "tty, bearer.s.t", "tty, bearer.<s.t>"),
        ("Sec-WebSocket-Protocol", "b.bearer.authorization.k8s.io.s", "b.bearer.authorization.k8s.io.<s>"),
        ("Sec-WebSocket-Protocol", "openai-insecure-api-key.s", "openai-insecure-api-key.<s>"),
        ("X-Omnigent-Stream-Epoch", "s", "s"),
        ("WWW-Authenticate", 'Bearer realm="x"', 'Bearer realm="x"'),
        ("Sec-WebSocket-Key", "s", "s"),
        ("Access-Control-Allow-Headers", "Authorization, X-Token", "Authorization, X-Token"),
        ("Access-Control-Request-Token", "s", "<s>"),
        ("X-Token-Count", "5", "5"),
        ("X-Ratelimit-Remaining-Tokens", "5", "5"),
        ("Content-Type", "multipart/form-data; boundary=token", "multipart/form-data; boundary=token"),
        ("Cookie", "", ""),
    ],
)  # fmt: skip
def test_headers(name: str, value: str, redacted: str) -> None:
    redactor = Redactor(b"key")
    out = redactor.headers(((name, value),))
    for secret in ('"t"', "u:p", "s.t", "a@b", "dTpw", "s", "t", "c"):
        redacted = redacted.replace(f"<{secret}>", PSEUDONYM(secret))

    assert out == ((name, redacted),)
    assert redactor.headers(out) == out


@given(st.text(), st.text())
def test_no_header_and_no_target_raises_or_changes_twice(name: str, value: str) -> None:
    redactor = Redactor(b"key")
    once = redactor.headers(((name, value),))

    assert redactor.headers(once) == once
    assert redactor.target(redactor.target(value)) == redactor.target(value)
    assert without_secrets(value) == without_secrets(redactor.target(value))
    credentials(((name, value),))


QUERY_TEXT = st.text("abcXYZ019%2Ff+;_-.~@:/", max_size=12)
FIELD = st.tuples(st.sampled_from(["a", "max_tokens", "limit", "", "a%20b", "order"]), QUERY_TEXT).map("=".join)


@given(
    st.lists(FIELD | QUERY_TEXT),
    st.lists(FIELD),
    st.sampled_from(["token", "api%5Fkey", "accessToken"]),
    SECRETS,
)
def test_of_a_target_only_the_secret_changes(before: list[str], after: list[str], name: str, secret: str) -> None:
    target = "/a/../%7Eb;c?" + "&".join([*before, f"{name}={secret}", *after])
    redacted = Redactor(b"key").target(target)

    assert redacted == target.replace(f"{name}={secret}", f"{name}={PSEUDONYM(secret)}")
    assert without_secrets(target) == without_secrets(redacted) == without_secrets(target.replace(secret, "other"))
    assert secret not in without_secrets(target)


def test_a_name_that_may_be_a_secrets_is_one_where_the_value_looks_like_it() -> None:
    kept = "/a?code=404&state=open&key=title&t=17&token=&token"

    assert Redactor(b"key").target(kept) == kept
    assert "4/0AX4XfWh" not in Redactor(b"key").target("/callback?state=x&code=4/0AX4XfWhabcdefghijkl")


def test_counts_name_the_kind_and_never_a_value() -> None:
    redactor = Redactor(b"key")
    redactor.headers((("Authorization", "Bearer s3cret"), ("Accept", "*/*")))
    redactor.target("/a?token=s3cret")
    redactor.message(b'{"api_key": "s3cret", "API_KEY": "s3cret"}')

    assert redactor.counts == {"header authorization": 1, "query token": 1, "field api_key": 2}


def test_clients_are_told_apart_by_their_credentials_alone() -> None:
    one = (
        ("Authorization", "Bearer a"),
        ("User-Agent", "x"),
        ("Cookie", "theme=dark; __Host-ap_session=s; csrf_token=1"),
    )
    same = (("cookie", "__Host-ap_session=s; csrf_token=2; theme=light"), ("authorization", "Bearer a"))

    assert credentials(one) == credentials(same)
    assert hash(credentials(one)) == hash(credentials(same))
    assert credentials(one) != credentials((("Authorization", "Bearer b"), *same[:1]))
    assert credentials((("X-Forwarded-Email", "a@b"),)) != credentials((("X-Forwarded-Email", "c@d"),))
    assert credentials((("Accept", "*/*"),)) == ()
