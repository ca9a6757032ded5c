"""Secrets with a name in formats other than JSON and forms are found however the bytes are cut, and nothing else is."""

from __future__ import annotations

import json
import re
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.redaction import names
from omnirecord.redaction.redactor import (
    Redactor,
    Scanner,
    StreamMask,
    body_without_secrets,
    header_without_secrets,
    without_secrets,
)
from omnirecord.replayer.matching.key import key_of
from tests.redaction.test_redactor import CUTS, in_pieces
from tests.support.examples import a_third, each, examples
from tests.support.watchdog import slowness

SECRETS = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", min_size=16, max_size=60).map(lambda text: text + "7")
PSEUDONYM = Redactor(b"key").pseudonym
EACH = len(a_third(range(12)))
"""Examples of each format."""

FORMATS = {
    "YAML": b"user: a\npassword: %b\nx: y\n",
    "YAML, first line": b"password: %b",
    "YAML, list": b"a:\r\n  - api key: %b   # why\r\n    b: 1\r\n",
    "YAML, quoted": b"a:\n  password: '%b'\n  token: \"%b\"\n",
    "YAML in JSON": b'{"text": "user: a\\npassword: %b\\nb: c", "x": 1}',
    "YAML in JSON, alone": b'{"text": "password: %b"}',
    "a dotenv file": b"A=b\nAPI_KEY=%b\nexport DB_PASS=%b\nB=c\n",
    "TOML": b'[a]\npassword = "%b"\nb = 1\n',
    "XML": b"<a><user>u</user><password>%b</password></a>",
    "XML with a namespace": b'<wsse:Password Type="http://x#PasswordText">%b</wsse:Password>',
    "XML with CDATA": b"<password><![CDATA[%b]]></password>",
    "an XML attribute": b"<user name='x' password=\"%b\"/><user token='%b' />",
    "XML in JSON": b'{"x": "<a password=\\"%b\\"><token>%b<\\/token></a>", "y": ""}',
    "XML in JSON of Go": b'{"x": "\\u003cpassword\\u003e%b\\u003c/password\\u003e"}',
    "a dict": b"{'password': '%b', 'a': [1], 'token': \"%b\"}",
    "a dict in JSON": b"{\"x\": \"{'password': '%b', 'token': \\\"%b\\\"}\"}",
    "a JavaScript object": b"{a: 1, password: \"%b\", token: '%b'}",
    "a query in another one": b"GET /p?a=1;token=%b&b=2",
    "a path": b"see /p;token=%b",
    "a connection string": b'{"c": "Server=x;Database=y;Password=%b;Timeout=1"}',
    "a URL": b"see ftp://bob:%b@h/x",
    "a URL in JSON": b'{"u": "postgres://bob:%b@h/db"}',
    "a URL in JSON of PHP": b'{"u": "https:\\/\\/bob:%b@h\\/db"}',
    "a URL with two @": b"https://bob:a@%b@h:80?x=y",
    "a URL with a token": b"git clone https://%b@example.com/x.git",
    "a key with blanks": b'{"api key": "%b"}',
    "a key that is not ASCII": '{"contraseña": "%b", "contrase\\u00f1a": "%b"}'.encode(),
    "a multipart field of RFC 5987": (
        b"--x\r\nContent-Disposition: form-data; name*=UTF-8''api%5Fkey\r\n\r\n%b\r\n--x--\r\n"
    ),
    "a multipart field in capitals": b'--x\r\nContent-Disposition: Form-Data ; name="api_key"\r\n\r\n%b\r\n--x--\r\n',
    "headers as text": b"GET / HTTP/1.1\r\nAuthorization: Bearer %b\r\nCookie: a=%b; b=%b\r\nX-Any-Key: %b\r\n\r\n",
    "headers of curl": b'{"cmd": "curl -H \'Authorization: Bearer %b\' http://h"}',
    "an assignment in a string": b'{"cmd": "password=\\"%b\\" ./run"}',
    "an entry": b'{"env": [{"name": "DB_PASSWORD", "value": "%b"}, {"key": "X_TOKEN","value":"%b"}]}',
    "an entry in JSON": b'{"x": "[{\\"name\\": \\"DB_PASSWORD\\", \\"value\\": \\"%b\\"}]"}',
    "an entry of a manifest": b"env:\n- name: DB_PASSWORD\n  value: %b\n- name: A\n  value: b\n",
    "an INI file": b"[db]\nuser = u\npassword = %b\n",
    "a secret of AWS": b'{"ARN": "x", "SecretString": "%b"}',
    "UTF-16, little": '\ufeff{"password": "%b", "é𝄞": 1}'.encode("utf-16-le"),
    "UTF-16, big": '\ufeff{"password": "%b", "é𝄞": 1}'.encode("utf-16-be"),
    "UTF-16 without a mark": '{"a": "𝄞", "password": "%b"}'.encode("utf-16-le"),
    "UTF-16, big, without a mark": '["é", {"token": "%b"}]'.encode("utf-16-be"),
}


def planted(format: str, secret: str) -> bytes:
    data = FORMATS[format]
    if not format.startswith("UTF-16"):
        return data.replace(b"%b", secret.encode())
    coding = "utf-16-be" if "big" in format else "utf-16-le"
    return data.replace("%b".encode(coding), secret.encode(coding))


def is_in(secret: str, data: bytes) -> bool:
    return secret[:16].encode() in data.replace(b"\0", b"")


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None, max_examples=EACH)  # each is cut three ways, once into single bytes
@given(secret=SECRETS, cuts=CUTS)
def test_a_secret_never_comes_out_however_it_is_cut_and_twice_is_once(
    format: str, secret: str, cuts: list[int]
) -> None:
    data = planted(format, secret)
    redactor = Redactor(b"key")
    whole = in_pieces(redactor, data, [])

    assert is_in(secret, data)
    assert not is_in(secret, whole)
    assert in_pieces(Redactor(b"key"), data, cuts) == whole
    assert in_pieces(Redactor(b"key"), data, list(range(len(data)))) == whole
    assert Redactor(b"key").message(data) == whole
    assert redactor.counts.total() > 0
    redactor.counts.clear()
    assert redactor.message(whole) == whole
    assert redactor.counts == {}


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None, max_examples=EACH)
@given(secret=SECRETS, other=SECRETS)
def test_clients_with_other_secrets_match(format: str, secret: str, other: str) -> None:
    recorded = Redactor(b"key").message(planted(format, secret))

    assert body_without_secrets(recorded) == body_without_secrets(planted(format, other))


@each("format", [format for format in FORMATS if "JSON" in format or "UTF-16" in format])
def test_json_is_still_json(format: str) -> None:
    if FORMATS[format].lstrip(b"\xff\xfe\0")[:1] in (b"{", b"["):
        json.loads(Redactor(b"key").message(planted(format, "SECRETSECRETSECRET")))


KEPT = [
    b"Args:\n    token: The token to use.\n    password: str\n    api_key: Optional[str]\n",
    b"interface A {\n  token: string;\n  password: string | null;\n  apiKey: process.env.API_KEY,\n}\n",
    b"def login(user, password: str = None, token=None):\n    self.token = token\n    token == 'x'\n",
    b'const x: Promise<Token> = f<Token>(a, "</b>"); if (a < token) return b > c;',
    b'{"a": "Promise<Token>", "b": "</Token >", "c": "password=", "d": "password:", "e": "password: "}',
    b'{"a": "it\'s password=\'", "b": "don\'t"}',
    b"{\"x\": \"a ? 'token' : 'secret'\", \"y\": \"case 'password': return 'x'\"}",
    b"<input type='password' name=\"q\" autocomplete='current-password'><Token/><password></password>",
    b"password:\n  type: string\n  token: ${TOKEN}\n  secret: !ref x\n  api_key: &a\n  token: |\n    text\n",
    b"clone git@github.com:a/b or ssh://git@github.com/a/b, http://h:80/@x, http://{user}:{password}@{host}/",
    b"if cookie == 0:\n    if cookie: cookies.append(cookie)\n# Set-Cookie: foo\nCookie: header\n",
    b"time: 12:30\nkey: value\ntokens: 12\nmax_tokens: 5\nsession_key: main\nsession.created: x\n",
    b'{"session_id": "conv_0123456789abcdef0123", "session_key": "main", "key": "todo-1", "auth": "none"}',
    b'{"cache_key": "a0123456789abcdef", "prompt_cache_key": "a0123456789abcdef", "with_credentials": "include"}',
    '\ufeff{"a": "é𝄞\ud834"}'.encode("utf-16-le", "surrogatepass") + b"x",
    b"\xff\xfe\x22\x80not UTF-16",
    b"\0a\0",
]


@each("data", KEPT)
def test_what_only_looks_like_a_secret_stays(data: bytes) -> None:
    assert Redactor(b"key").message(data) == data


ALPHABET = [
    b"password", b"token", b": ", b":", b"=", b" = ", b'"', b"'", b"\\", b'\\"', b"\n", b"\\n", b"\r\n", b"<", b">",
    b"</", b"<token>", b"</token>", b"<![CDATA[", b"]]>", b"://", b":\\/\\/", b"@", b"/", b"bob", b";", b"&", b"{",
    b"}", b",", b"- ", b"#", b"\\u003c", b"\\u003e", b"\\u003cpin\\u003e", b"1", b"hunter2", b"Bearer ",
    b"authorization: ",    b"{'pin': ", b"\t", b" ", b"*", b"omnirecord-redacted-0123456789ab", b"\xc3\xb1", b"a" * 70,
    b"b" * 8190, b"\\" * 14,    b" " * 64, b"form-data", b"name*=u'e'",
]  # fmt: skip
SOUP = st.lists(st.sampled_from(ALPHABET), max_size=25).map(b"".join)


@settings(deadline=None, max_examples=examples(400))
@given(data=SOUP, cuts=CUTS, near_the_end=CUTS)
def test_nothing_raises_and_no_cut_matters(data: bytes, cuts: list[int], near_the_end: list[int]) -> None:
    redactor = Redactor(b"key")
    whole = in_pieces(redactor, data, [])
    cuts += [max(0, len(data) - cut) for cut in near_the_end]

    assert in_pieces(redactor, data, cuts) == whole
    assert in_pieces(redactor, data, list(range(min(len(data), 600)))) == whole


@settings(deadline=None)
@given(
    units=st.lists(st.integers(0, 0xFFFF) | st.sampled_from([0xD834, 0xDD1E]), max_size=40),
    odd=st.booleans(),
    cuts=CUTS,
)
def test_all_units_of_utf_16_stay_valid_or_not(units: list[int], odd: bool, cuts: list[int]) -> None:
    data = b'{\0"\0' + b"".join(unit.to_bytes(2, "little") for unit in units) + b"x" * odd
    if b'"\0:\0' not in data:
        assert in_pieces(Redactor(b"key"), data, cuts) == data


PUMPS = [
    *(b"%b" % word for word in ALPHABET if len(word) < 100), b"\npassword: a", b"'token=a", b";token=a", b'"token=',
    b"password=\"\\\\\\\"", b"<token><![CDATA[", b"<token>a", b"://a:b", b"{'pin':1", b"token: a b ", b"\\n- token:",
    b'"a b c ', b'["a', b"form-data; name=", b"?a", b";a=", b"\\u003ctoken ", b"authorization: a", b"\0a\0",
]  # fmt: skip


@each("pump", a_third(PUMPS))
def test_a_pumped_body_takes_time_in_proportion(pump: bytes) -> None:
    """25 KB take less than 0.2 s of CPU time; a quadratic expression takes more than 2 s."""
    redactor = Redactor(b"key")
    for start in (b"", b"{\0"):
        data = start + pump * (25_000 // len(pump))
        began = time.process_time()
        redactor.message(data)
        redactor.headers((("X-Any", data.decode("latin-1")),))
        redactor.target(data.decode("latin-1"))

        assert time.process_time() - began < 1.5 * slowness()


# Targets, header values and what stands beside data

TARGETS = {
    "/p?a=1;token=%s": "/p?a=1;token={}",
    "/p?a=1;token=%s;b=2&c=3": "/p?a=1;token={};b=2&c=3",
    "/p?token=%s;rest;of=it": "/p?token={}",
    "/p;token=%s/q;v=1?a=b": "/p;token={}/q;v=1?a=b",
    "/p;jsessionid=%s": "/p;jsessionid={}",
    "http://u:%s@h/p?a=b": "http://{}@h/p?a=b",
    "/p?u=http://u:%s@h/&mail=a@b": "/p?u=http://{}@h/&mail=a@b",
    "/p?u=https%%3A%%2f%%2Fh%%2F%%3Ftoken%%3D%s%%26a%%3Db&c=d": "/p?u=https%3A%2f%2Fh%2F%3Ftoken%3D{}%26a%3Db&c=d",
    "/p?input=%%7B%%22apiKey%%22%%3a%%22%s%%22%%7D": "/p?input=%7B%22apiKey%22%3a%22{}%22%7D",
}


@each("target", TARGETS)
def test_of_a_target_only_the_secret_changes(target: str) -> None:
    redacted = Redactor(b"key").target(target % "hunter2")

    assert "hunter2" not in redacted
    assert re.sub(r"omnirecord-redacted-[0-9a-f]{12}", "{}", redacted) == TARGETS[target]
    assert Redactor(b"key").target(redacted) == redacted
    assert without_secrets(redacted) == without_secrets(target % "another7")
    assert key_of("GET", redacted) == key_of("GET", target % "another7")


@each(
    "target", ["/p?a=1;b=2", "/p;v=1/q", "/p?u=http://h:80/&mail=a@b", "/git/ssh://git@h/x", "/a;b", "/p?q=a%3db%20%ff"]
)
def test_a_target_without_a_secret_stays(target: str) -> None:
    assert Redactor(b"key").target(target) == without_secrets(target) == target


HEADER_VALUES = {
    "a; token=%s": "a; token={}",
    'a, b; password="%s x", c': 'a, b; password="{}", c',
    '{"password": "%s", "a": 1}': '{"password": "{}", "a": 1}',
    "see http://u:a@%s@h/": "see http://{}@h/",
    "key: x, api-key: %s": "key: x, api-key: {}",
    "/a?b=c&token=%s#id_token=%s": "/a?b=c&token={}#id_token={}",
}


@each("value", HEADER_VALUES)
def test_of_a_header_only_the_secret_changes(value: str) -> None:
    redactor = Redactor(b"key")
    ((_, redacted),) = once = redactor.headers((("X-Any", value.replace("%s", "hunter2")),))

    assert "hunter2" not in redacted
    assert re.sub(r"omnirecord-redacted-[0-9a-f]{12}", "{}", redacted) == HEADER_VALUES[value]
    assert redactor.headers(once) == once
    assert header_without_secrets("X-Any", redacted) == header_without_secrets("X-Any", value.replace("%s", "another7"))


BESIDE = {
    b": token=hunter2 x": b": token=******* x",
    b"id: token=hunter2": b"id: token=*******",
    b"event: a.b?token=hunter2&c=d": b"event: a.b?token=*******&c=d",
    b"event: password: hunter2": b"event: password: *******",
    b': api_key="hunter2 x" y': b': api_key="*********" y',
    b": Authorization: Bearer hunter2": b": Authorization: Bearer *******",
    b": Cookie: a=hunter2; b=hunter2": b": Cookie: *********; *********",
    b"retry: 5": b"retry: 5",
    b"event: session.created": b"event: session.created",
    b"id: 3.17": b"id: 3.17",
}


@each("line", BESIDE)
@each("end", [b"\n", b"\r\n", b"\r", b""])
def test_beside_the_data_of_a_stream_a_secret_is_masked_at_every_moment(line: bytes, end: bytes) -> None:
    stream = b'data: {"a": 1}\n' + line + end
    for size in (1, 3, len(stream)):
        mask, out = StreamMask(Scanner(), Counter()), bytearray()
        for at in range(0, len(stream), size):
            for piece in mask.feed(stream[at : at + size]):
                assert b"hunter2" not in piece.data
                out[piece.start : piece.start + len(piece.data)] = piece.data
        assert bytes(out) == b'data: {"a": 1}\n' + BESIDE[line] + end
        again = StreamMask(Scanner(), counts := Counter())
        assert b"".join(piece.data for piece in again.feed(bytes(out))) == bytes(out)
        assert counts == {}


def test_a_long_comment_is_masked_to_its_end() -> None:
    line = b": token=" + b"x" * 200_000
    mask = StreamMask(Scanner(), Counter())
    pieces = [piece for at in range(0, len(line), 5000) for piece in mask.feed(line[at : at + 5000])]

    assert b"".join(piece.data for piece in pieces) == b": token=" + b"*" * 200_000


@each(
    ("reason", "safe"),
    [
        (b"token=hunter2", b"token=*******"),
        (b"bad token=hunter2, bye", b"bad token=*******, bye"),
        (b"see /a?password=hunter2&b=c", b"see /a?password=*******&b=c"),
        (b"policy violation", b"policy violation"),
        (b"", b""),
    ],
)
def test_a_reason_of_closing_keeps_its_length(reason: bytes, safe: bytes) -> None:
    redactor = Redactor(b"key")

    assert redactor.closing(b"\x03\xe8" + reason) == b"\x03\xe8" + safe
    redactor.counts.clear()
    assert redactor.closing(b"\x03\xe8" + safe) == b"\x03\xe8" + safe
    assert redactor.counts == {}


@given(st.binary(max_size=123))
def test_a_close_frame_is_never_longer_than_one_may_be(reason: bytes) -> None:
    assert len(Redactor(b"key").closing(b"\x03\xe8" + b'{"token":"x"}' + reason[:110])) <= 125


def test_a_long_value_that_may_be_a_secret_loses_no_byte() -> None:
    """A value is held to 64 KiB; what is longer is taken for a secret rather than cut."""
    for data in (b"/a?state=" + b"(" * 70_000 + b"&b=c", b'{"auth": "' + b"(" * 70_000 + b'", "b": "c"}'):
        out = Redactor(b"key").message(data)
        assert out.startswith(data[:9])
        assert out.endswith(data[-4:])
        assert b"omnirecord-redacted-" in out


SECRET_NAMES = [
    *names.ENDINGS, *names.WORDS, *names.PHRASES, *names.FIELDS_LOOKED_AT, "pass", "x-token-data", "x-any-key",
    *(f"{of}_key" for of in names.KEYS_OF), *(f"{of} keys" for of in names.KEYS_OF),
    *(f"{of}Pass" for of in names.PASSES_OF), *(f"token_{word}" for word in names.IGNORED), "token_b64",
]  # fmt: skip
FIELD = b'{"%s": "Hunter2-or-another0secret"}'


@each("name", SECRET_NAMES)
def test_each_name_of_the_table_is_found_in_any_case_and_with_any_character_escaped(name: str) -> None:
    escaped = [name[:n] + f"\\u{ord(name[n]):04x}" + name[n + 1 :] for n in range(len(name))]
    for spelt in (name, name.upper() if name.isascii() else name, name.title(), *escaped):
        data = FIELD % spelt.encode()
        assert Redactor(b"key").message(data) != data, spelt


def test_a_header_that_stays_is_told_from_one_with_the_same_name() -> None:
    redactor = Redactor(b"key", Scanner())
    plain, secret = ("referer", "http://h/?n=1"), ("referer", "http://h/?token=hunter2")
    for _ in range(2):
        assert redactor.headers((plain, secret))[0] == plain
        assert "hunter2" not in redactor.headers((plain, secret))[1][1]
