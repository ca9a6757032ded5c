"""Secrets in content that are known by their names: in events and messages, at any depth, across deltas."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from omnirecord.redaction.content import JsonMask, Scanner
from omnirecord.redaction.content.fields import NOTHING, scan
from omnirecord.redaction.redactor import Redactor
from tests.redaction.content.test_content import MASKED as PREFIXED
from tests.redaction.content.test_content import Disk, deltas, event, has_all_stars, texts
from tests.support.examples import each

SCANNER = Scanner()
MASKED = {
    "JSON": ('{"user": "u", "password": "hunter2", "n": 1}', '{"user": "u", "password": "*******", "n": 1}'),
    "JSON in JSON": (r'{"o": "{\"api_key\": \"hun\\\"ter\"}"}', r'{"o": "{\"api_key\": \"***\\\"***\"}"}'),
    "a number": ('{"pin": 1234, "n": 5678}', '{"pin": 1111, "n": 5678}'),
    "an escape": (r'{"password": "a\u00e9\nb\"c", "n": "d"}', r'{"password": "*\u002a\n*\"*", "n": "d"}'),
    "a list": ('{"passwords": ["a b", {"x": "c"}], "n": "d"}', '{"passwords": ["***", {"x": "*"}], "n": "d"}'),
    "an object": ('{"credentials": {"x": {"y": "z"}, "v": ["w"]}}', '{"credentials": {"x": {"y": "*"}, "v": ["*"]}}'),
    "a pair": ('[["x-api-key", "hunter2"], ["a", "b"]]', '[["x-api-key", "*******"], ["a", "b"]]'),
    "arguments": ('["login", "--token", "hunter2", "-v"]', '["login", "--token", "*******", "-v"]'),
    "a dict": ("{'password': 'hun ter2', 'n': 1}", "{'password': '********', 'n': 1}"),
    "bytes": ("{'password': b'hunter2'}", "{'password': b'*******'}"),
    "a setting": ("export DB_PASSWORD=hun,ter2\nUSER=u", "export DB_PASSWORD=***,****\nUSER=u"),
    "an argument": ("f(password='hunter2', user='u')", "f(password='*******', user='u')"),
    "an option": ("mysql --password hunter2 -u x --password=abc d", "mysql --password ******* -u x --password=*** d"),
    "a query": ("http://h/?access_token=ab.c%3D&n=1", "http://h/?access_token=*******&n=1"),
    "YAML": ("db:\n  password: hunter2\n  user: u", "db:\n  password: *******\n  user: u"),
    "YAML in quotes": ('password: "hunter two"\nuser: u', 'password: "**********"\nuser: u'),
    "TOML": ('api_key = "hunter2" # x', 'api_key = "*******" # x'),
    "XML": ("<a><password>hunter2</password><b>c</b></a>", "<a><password>*******</password><b>c</b></a>"),
    "Go": ('password := "hunter2"', 'password := "*******"'),
    "Ruby": ("'password' => 'hunter2'", "'password' => '*******'"),
    "an item": ('os.environ["DB_PASSWORD"] = "hunter2"', 'os.environ["DB_PASSWORD"] = "*******"'),
    "Markdown": ("**Password:** `hunter2` ok", "**Password:** `*******` ok"),
    "prose": ("The password: hunter2 is new", "The password: ******* is new"),
    "cookies": ("Cookie: a=bc; sid=d\nHost: x", "Cookie: ****; *****\nHost: x"),
    "an entry": ('{"name": "DB_PASSWORD", "value": "hunter2"}', '{"name": "DB_PASSWORD", "value": "*******"}'),
    "an entry of a manifest": ("- name: TOKEN\n  value: hunter2\n", "- name: TOKEN\n  value: *******\n"),
    "a dict with both quotes": ("{'password': \"it's 2\", 'n': 1}", "{'password': \"******\", 'n': 1}"),
    "an INI file": ("[client]\nuser = u\npassword = hunter2\n", "[client]\nuser = u\npassword = *******\n"),
    "fish": ("set -gx DB_PASSWORD hunter2; ls", "set -gx DB_PASSWORD *******; ls"),
    "csh": ("setenv API_TOKEN hunter2\nls", "setenv API_TOKEN *******\nls"),
    "a Dockerfile": ("ENV DB_PASSWORD hunter2\nRUN x", "ENV DB_PASSWORD *******\nRUN x"),
    "setx": ('setx API_TOKEN "hunter 2" /m', 'setx API_TOKEN "********" /m'),
    "PHP": ("define('DB_PASSWORD', 'hunter2');", "define('DB_PASSWORD', '*******');"),
    "a default": ('getenv("DB_PASSWORD", "hunter2")', 'getenv("DB_PASSWORD", "*******")'),
    "a quoted setting of Bash": ("TOKEN=$'hunter2' ./run", "TOKEN=$'*******' ./run"),
    "a flow entry of a manifest": ("{name: DB_PASSWORD, value: hunter2}", "{name: DB_PASSWORD, value: *******}"),
    "a name in capitals that is not ASCII": ('{"CONTRASE\\u00d1A": "hunter2"}', '{"CONTRASE\\u00d1A": "*******"}'),
    "a credential": ("proxy-authorization: Digest hunter2, x", "proxy-authorization: Digest *******, x"),
}
KEPT = [
    '{"token_count": 5, "max_tokens": "7", "password": null, "token": 12, "secret": true, "author": "me"}',
    "The password is forgotten. A token, a secret, the pin; keys: none. a ? 'token' : 'x'",
    "password: None, token=$TOKEN password: ${PASSWORD} <password> api_key=<your key> mysql -p <password> -u x",
    "def f(token: str, password=None): return token == other or self.token.value",
    'print("Password: ") and input("token=") header="Cookie:" next',
    "token = next(tokens); password = getpass(); --token= x --password --user u",
    '{"password": "omnirecord-redacted-0123456789ab", "token": "***", "pin": 111}',
    '{"name": "password", "label": "x", "value": "y"} {"name": "color", "value": "red"} - name: a\n  value: b',
    '("password", "token") getattr(x, "token", None) TOKEN=$TOKEN ENV is on, set -x foo, setx',
    "token=omnirecord-redacted-0123456789ab&x=1 password:\n  nested: x token:// secret::x",
]  # fmt: skip


def scanned(text: bytes, cuts: list[int], *, strict: bool = False) -> bytes:
    """A text, a piece at a time."""
    out, state = bytearray(text), NOTHING
    for a, b in pairwise([0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]):
        spans, state = scan(state, text[a:b], strict=strict)
        for span in spans:
            out[a + span.start : a + span.end] = span.mark * (span.end - span.start)
    return bytes(out)


@each("form", MASKED)
def test_a_named_secret_is_masked_in_its_place(form: str) -> None:
    text, safe = MASKED[form]
    assert scanned(text.encode(), []).decode() == safe
    assert scanned(text.encode(), list(range(len(text)))).decode() == safe
    assert scanned(safe.encode(), []).decode() == safe


@each("text", KEPT)
def test_text_without_a_named_secret_stays(text: str) -> None:
    assert scanned(text.encode(), []).decode() == text
    assert scanned(text.encode(), list(range(len(text)))).decode() == text


@each("size", [1, 3, 7, 1000])
@each("form", MASKED)
def test_a_named_secret_is_followed_through_the_deltas_of_its_text(form: str, size: int) -> None:
    text, safe = MASKED[form]
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    disk = Disk()
    assert "".join(texts(disk.feed(b"".join(deltas(*pieces, call_id="c"))))) == safe
    assert {kind.partition(" ")[0] for kind in disk.counts} <= {"field", "bearer"}
    assert disk.counts.total() >= 1


@each("form", MASKED)
def test_a_named_secret_is_masked_in_json_strings_at_any_depth(form: str) -> None:
    text, _ = MASKED[form]
    value: object = {"item": {"output": json.dumps({"stdout": json.dumps([text])})}}
    out = Disk().feed(event("response.output_item.done", item=value))
    inner = json.loads(json.loads(json.loads(out.partition(b"data: ")[2])["item"]["item"]["output"])["stdout"])[0]
    assert len(inner) >= len(text) - 10
    assert not any(word in inner for word in ("hunter", "ter2", "1234", "ab.c", "sid=d", '"a b"'))


def test_two_texts_that_come_in_turns_are_told_apart() -> None:
    left, right = (
        deltas('{"pass', 'word": "hun', "ter2", '"}', call_id="a"),
        deltas("It ", "is a", " word", call_id="b"),
    )
    out = Disk().feed(b"".join([left[0], right[0], left[1], right[1], left[2], right[2], left[3]]))
    assert texts(out) == ['{"pass', "It ", 'word": "***', "is a", "****", " word", '"}']


def test_a_value_goes_on_behind_the_end_of_another_text() -> None:
    out = Disk().feed(b"".join([*deltas('{"password": "hun'), event("response.created", delta=""), *deltas('ter2"}')]))
    assert texts(out) == ['{"password": "***', "", '****"}']


def test_fields_of_the_event_itself_are_masked() -> None:
    out = Disk().feed(event("x", api_key='a"b', item={"client_secret": "s", "usage": {"output_tokens": 3}}))
    data = json.loads(out.partition(b"data: ")[2])
    assert data == {"type": "x", "api_key": '*"*', "item": {"client_secret": "*", "usage": {"output_tokens": 3}}}


def test_lines_without_data_are_masked_too() -> None:
    stream = b": token=abc\n\nid: x --password abc\nevent: api_key: abc\ndata: password=abc\n\n"
    assert Disk().feed(stream) == stream.replace(b"abc", b"***")


def test_websocket_messages_are_followed_too() -> None:
    masks = JsonMask(SCANNER, Counter())
    parts = ['{"client_sec', 'ret": "hun', "ter2", '", "n": 1}']
    out = [json.loads(masks.masked(json.dumps({"type": "d", "delta": part}).encode()))["delta"] for part in parts]
    assert out == ['{"client_sec', 'ret": "***', "****", '", "n": 1}']


def test_a_pseudonym_of_a_message_stays() -> None:
    redactor = Redactor(b"key", SCANNER)
    message = json.dumps({"headers": {"authorization": "Bearer hunter2"}, "a": json.dumps({"password": "hunter2"})})
    out = redactor.message(message.encode(), redactor.texts())
    assert out.count(b"omnirecord-redacted-") == 2
    assert b"*" not in out


def test_a_line_over_the_limit_stays_json() -> None:
    value = {
        "a": "x" * 70_000,
        "password": 'hun"ter2',
        "o": json.dumps({"api_key": 'hun"ter2', "n": "authorization: "}),
    }
    out = Disk().feed(event("x", **value), [40_000, 70_100, 70_150])
    data = json.loads(out.partition(b"data: ")[2])
    assert data["password"] == '***"****'
    assert json.loads(data["o"]) == {"api_key": '***"****', "n": "authorization: "}


SOUP = st.lists(
    st.sampled_from([
        *(text for text, _ in MASKED.values()), *KEPT, "password", '"', "'", "`", "\\", '\\"', ":", ": ", "=", ">", "<",
        "--token", " ", "  ", "\n", "{", "}", "[", "]", ",", "token", '"pin": ', "12", "hunter2", "é", "*", "**",
        "u00e9", "n", "Bearer ",
        "authorization", "cookie", "\x00", ";", "omnirecord-redacted-", "None", "-", "b'", "export ",
        "data:", "\ufeff",
    ]) | st.text(max_size=3), max_size=14,
).map(lambda parts: "".join(parts).encode())  # fmt: skip
CUTS = st.lists(st.integers(0, 400), max_size=20)


@settings(deadline=None)
@given(SOUP, CUTS, st.booleans())
def test_neither_cuts_nor_a_second_time_change_anything(text: bytes, cuts: list[int], strict: bool) -> None:
    whole = scanned(text, [], strict=strict)
    assert scanned(text, cuts, strict=strict) == whole
    assert scanned(text, list(range(len(text))), strict=strict) == whole
    assert scanned(whole, [], strict=strict) == whole
    assert len(whole) == len(text)
    assert all(a == b or b in b"*1" or b in b"002a" for a, b in zip(text, whole, strict=True))


PSEUDONYM = "omnirecord-redacted-"
STAYS = set('*1\\"/bfnrtu\b\f\n\r\t')
SECRETS = ("password", "api_key", "pin", "credentials")
NAMES = st.sampled_from([*SECRETS, "n", "delta", "token_count", "a b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | SOUP.map(bytes.decode),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3) | inner.map(json.dumps),
    max_leaves=8,
)


@settings(deadline=None)
@given(VALUES, st.booleans())
@example({"n": "authorization: "}, False)
@example({"n": "{'password': 'hun"}, False)
def test_json_stays_json_with_the_same_names(value: object, ascii_only: bool) -> None:
    data = json.dumps({"type": "x", "v": value}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    for out in (JsonMask(SCANNER, Counter()).masked(data), JsonMask(SCANNER, Counter()).flow(Counter()).feed(data)):
        assert len(out) == len(data)
        assert shape(json.loads(out)) == shape(json.loads(data))
        assert not unmasked(json.loads(out))


def shape(value: object, *, inner: bool = True) -> object:
    """Names and kinds of values, of JSON in strings as well."""
    if isinstance(value, dict):
        return {name: shape(one, inner=inner and name not in SECRETS) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one, inner=inner) for one in value]
    parsed = parsed_or_none(value) if inner else None
    return type(value).__name__ if parsed is None else shape(parsed, inner=False)


def parsed_or_none(value: object) -> object:
    try:
        parsed = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict | list) else None


def unmasked(value: object, *, is_secret: bool = False) -> list[str]:
    """The strings below names of secrets that have a letter or a digit, but for those that escapes become."""
    if isinstance(value, dict):
        return [text for name, one in value.items() for text in unmasked(one, is_secret=is_secret or name in SECRETS)]
    if isinstance(value, list):
        return [text for one in value for text in unmasked(one, is_secret=is_secret)]
    if not is_secret and (parsed := parsed_or_none(value)) is not None:
        return unmasked(parsed)
    text = value if is_secret and isinstance(value, str) else ""
    agrees = next((n for n in range(len(PSEUDONYM), 0, -1) if text.lower().startswith(PSEUDONYM[:n])), 0)
    kept = text[agrees:]
    return [text] if set(kept) - STAYS and not text.startswith(PSEUDONYM) else []


STREAMS = st.lists(
    st.builds(
        lambda type_, piece, ids: event(type_, delta=piece, **ids),
        st.sampled_from(["a.delta", "a.done"]),
        st.sampled_from(['{"pass', 'word"', ": ", '"hun', 'ter2"', "}", '\\"', "token=", "x y", "'", "{'pin': '"])
        | SOUP.map(bytes.decode),
        st.sampled_from([{}, {"item_id": "1"}, {"index": 1}]),
    ),
    max_size=6,
).map(b"".join)  # fmt: skip


@settings(deadline=None)
@given(STREAMS, CUTS)
@example(b"".join(event("a.delta", delta=piece) for piece in ("{'pin': '", "{'pin': '", '{"pass')), [])
@example(event("a.delta", delta="pwd: *"), [])
@example(event("a.delta", delta="Bearer :token\x1f"), [])
def test_how_a_stream_was_cut_changes_nothing_in_the_end(stream: bytes, cuts: list[int]) -> None:
    whole = Disk().feed(stream)
    disk = Disk()
    assert disk.feed(stream, cuts) == whole
    assert len(whole) == len(stream)
    again = Disk().feed(whole)  # a delta has two readings; what one of them masks, the other one does not read again
    assert all(new == old or new in b"*1" or new in b"002a" for old, new in zip(whole, again, strict=True))
    for line in whole.splitlines():
        if line.startswith(b"data: "):
            json.loads(line[6:])


@each(
    "pieces", [("{'pin': '", "{'pin': '", '{"pass'), ("pwd: *",), ("pwd: a\x1f",), ("token=a",), ("{'pin': \"a'b\"}",)]
)
def test_masking_a_masked_stream_changes_nothing(pieces: tuple[str, ...]) -> None:
    once = Disk().feed(b"".join(event("a.delta", delta=piece) for piece in pieces))

    assert Disk().feed(once) == once
    assert all(json.loads(line[6:]) for line in once.splitlines() if line.startswith(b"data: "))


@settings(deadline=None)
@given(STREAMS, CUTS)
def test_what_is_masked_in_the_end_was_at_no_time_written(stream: bytes, cuts: list[int]) -> None:
    """But for what came behind an escape, which a line that is not whole may be read otherwise at."""
    stream = stream.replace(b"\\", b"")
    disk = Disk()
    whole = disk.feed(stream, cuts)
    for before in disk.ever:
        assert all(a in b"*1" for a, b, was in zip(before, whole, stream, strict=False) if b != was)


PUMPED = [
    b"a", b"a:", b"a=", b'"', b'\\"', b"\\", b"password", b"password:", b"password: ", b'"password":', b'"password": {',
    b'["x-a",', b"--token", b"--token ", b"--", b"[", b'["', b"<password>", b" ", b"' ", b'":', b'"password": [[',
    b"token=a ", b"\\u0070", b'"pin":1', b"token=\\", b"Authorization: Bearer ", b"password: `", b"*password:*",
    b"a" * 200 + b'":',
]  # fmt: skip


@each("pump", PUMPED)
def test_hostile_text_is_read_in_linear_time(pump: bytes) -> None:
    def cost(size: int, times: int = 3) -> float:
        text = (pump * (size // len(pump) + 1))[:size]
        took = []
        for _ in range(times):
            began = time.process_time()
            scan(NOTHING, text, strict=True)
            scan(NOTHING, text)
            took.append(time.process_time() - began)
        return min(took)

    most = 12 * cost(5_000) + 0.02
    assert cost(20_000, times=1) < most or cost(20_000) < most


def test_the_dashes_of_an_option_may_come_in_two_deltas() -> None:
    assert texts(Disk().feed(b"".join(deltas("run -", "-token hunter2 -v")))) == ["run -", "-token ******* -v"]


@each("form", [*MASKED, *PREFIXED])
def test_a_secret_is_masked_in_an_event_that_is_like_the_last_ones(form: str) -> None:
    text, safe = {**MASKED, **PREFIXED}[form]
    stream = [event("x.delta", n=n, delta="a word. ", note="more. ", end=None) for n in range(8, 12)]
    stream += [event("x.delta", n=n, delta=text, note="more. ", end=None) for n in range(12, 14)]
    *before, last, again = texts(Disk().feed(b"".join(stream)))
    assert before == ["a word. "] * 4
    assert has_all_stars(last.replace("1", "*"), safe.replace("1", "*"))
    assert has_all_stars(again.replace("1", "*"), safe.replace("1", "*"))


def test_a_secret_in_another_field_of_such_an_event_is_masked() -> None:
    stream = [event("x.delta", n=n, delta="a word. ", note="more. ") for n in range(4)]
    out = Disk().feed(b"".join([*stream, event("x.delta", n=4, delta="a word. ", note="password: hunter2")]))
    assert out.endswith(b'"note": "password: *******"}\n\n')
