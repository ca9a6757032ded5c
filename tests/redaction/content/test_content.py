"""Secrets in content: what is masked, what is not, and that nothing but the text itself decides."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.redaction.content import BodyMask, JsonMask, Scanner, StreamMask
from omnirecord.redaction.content.fields import Span
from omnirecord.redaction.content.scanner import PLAIN
from omnirecord.redaction.content.strings import masked, undone
from omnirecord.redaction.content.texts import LINE
from omnirecord.wire.sse import Parser
from tests.support.examples import each, examples

SCANNER = Scanner()
CUTS = st.lists(st.integers(0, 600), max_size=20)

MASKED = {
    "an OpenAI key": ("my key is sk-Ab12_x-9.", "my key is sk-********."),
    "an Anthropic key": ("sk-ant-api03-AbC", "sk-*************"),
    "a GitHub token": ("ghp_Ab1 github_pat_11AB_x", "ghp_*** github_pat_******"),
    "an AWS key": ("id=AKIA2345ABCD,", "id=AKIA********,"),
    "an AWS secret": ("aws_secret_access_key = 'wJa/lr+XU='", "aws_secret_access_key = '**********'"),
    "a Google key": ("AIzaSy-1_a", "AIza******"),
    "an Azure key": ("AccountKey=a+b/c==;x", "AccountKey=*******;x"),
    "a SAS": ("http://h/c?sv=1&sig=a%2Bb%3D&x=1", "http://h/c?sv=1&sig=********&x=1"),
    "an Azure secret": ("abc8Q~xY.z1", "abc8Q~**.**"),
    "a Slack token": ("xoxb-12-ab", "xoxb-*****"),
    "a Slack webhook": ("https://hooks.slack.com/services/T0/B0/x", "https://hooks.slack.com/services/*******"),
    "a Stripe key": ("sk_live_4eC39", "sk_live_*****"),
    "an npm token": ("npm_Zx1", "npm_***"),
    "a PyPI token": ("pypi-AgEIcHl", "pypi-AgE****"),
    "a Hugging Face token": ("hf_Qwe", "hf_***"),
    "a JWT": ("(eyJhbG.eyJzdW.sig_-)", "(eyJ***.******.*****)"),
    "a header": ('-H "Authorization: Bearer ab.c"', '-H "Authorization: Bearer ****"'),
    "a header of a dict": ("{'authorization': 'Basic dTpw='}", "{'authorization': 'Basic *****'}"),
    "a header of Go": ("map[Authorization:[Basic dTpw=]]", "map[Authorization:[Basic *****]]"),
    "a header in a list": ("authorization: ['Basic dTpw=']", "authorization: ['Basic *****']"),
    "a bearer token": ("Bearer zT~1/x== y", "Bearer ******** y"),
    "a private key": (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE/+\nAb==\n-----END RSA PRIVATE KEY-----\nx",
        "-----BEGIN RSA PRIVATE KEY-----\n******\n****\n-----END RSA PRIVATE KEY-----\nx",
    ),
    "a private key in JSON in JSON": (
        r"-----BEGIN PRIVATE KEY-----\nMIIE/+\nAb==\n-----END PRIVATE KEY-----\nx",
        r"-----BEGIN PRIVATE KEY-----\n******\n****\n-----END PRIVATE KEY-----\nx",
    ),
    "behind an escape of JSON in JSON": (r"a\nsk-Ab1\nb", r"a\nsk-***\nb"),
    "behind a percent sign": ("k%3Dsk-Ab1", "k%3Dsk-***"),
    "a password of a URL": ("postgres://u:aB1-c.d@h:5432/x", "postgres://u:*****.*@h:5432/x"),
    "a password of a URL without a user": ("redis://:p4ss@h:6379/0", "redis://:****@h:6379/0"),
    "a password of curl": ("curl -u bob:aB1! https://h", "curl -u bob:**** https://h"),
    "a password of curl in quotes": ("curl --user 'bob:aB1' h", "curl --user 'bob:***' h"),
    "a password of curl without a blank": ("curl -ubob:aB1 h", "curl -ubob:*** h"),
    "a cookie of curl": ("curl -b 'sid=aB1' h", "curl -b 'sid=***' h"),
    "a password of sshpass": ("sshpass -p aB1 ssh h", "sshpass -p *** ssh h"),
    "a password of mysql": ("mysql -u root -paB1 db", "mysql -u root -p*** db"),
    "a password of HTTPie": ('http POST h/x -a "bob:aB1" a=b', 'http POST h/x -a "bob:***" a=b'),
    "a hash of a password": ("root:$6$salt$aB1/.c:19000:0", "root:$6$***********:19000:0"),
    "a hash of htpasswd": ("bob:$apr1$salt$aB1 x", "bob:$apr1$******** x"),
    "a line of pgpass": ("db.example:5432:app:bob:aB1\nx", "db.example:5432:app:bob:***\nx"),
    "a password of redis-cli": ("redis-cli -h h -a aB1 ping", "redis-cli -h h -a *** ping"),
    "a password of docker login": ("docker login -u bob -p aB1 r.io", "docker login -u bob -p *** r.io"),
    "a line of netrc": ("machine h login bob password aB1", "machine h login bob password ***"),
    "lines of netrc": ("login bob\n  password aB1\n", "login bob\n  password ***\n"),
    "a password of SQL": ("CREATE USER u PASSWORD 'aB1';", "CREATE USER u PASSWORD '***';"),
    "a password of MySQL": ("CREATE USER u IDENTIFIED BY 'aB1';", "CREATE USER u IDENTIFIED BY '***';"),
    "a prompt of aws configure": ("AWS Secret Access Key [None]: aB1/c", "AWS Secret Access Key [None]: *****"),
    "a credential of npm": ("//h/:_auth=dTpw=", "//h/:_auth=*****"),
    "a Discord webhook": ("https://discord.com/api/webhooks/12/aB-1", "https://discord.com/api/webhooks/12/****"),
    "a Teams webhook": ("https://x.webhook.office.com/webhookb2/a-1/x", "https://x.webhook.office.com/webhookb2/*****"),
    "a token of a Telegram bot": ("/bot123456789:AAx-1/send", "/bot123456789:**********"),
    "a slash of JSON in JSON": (r"Bearer zT\/x\n", r"Bearer **\/*\n"),
}
KEPT = [
    "task-1 risk-free desk-top sk-learn scikit sk- sk-. sk-learn-contrib sk-SK ask-1",
    "ASIA ASIAN ASIANS AKIA. MALAYSIA hf_hub_download npm_config_registry npm_lifecycle_event hf_ ghp_ eyJ",
    "Bearer token, the bearer of bad news, a Bearer authentication scheme",
    "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    "aws_secret_access_key is a setting; Authorization: Bearer <token>; Authorization: Bearer $TOKEN",
    "Bearer omnirecord-redacted-0123456789ab x", "pypi-server 1//0 == x xoxo-x skill sk_test",
    "sk-**** ghp_****",
    "http://localhost:6767/x https://h:443, ws://127.0.0.1:80. http://h: http://{h}:{p} ssh://git@h/x",
    "docker run -u 1000:1000 -v a:b, --user <u>:<p>, login and password fields, mysql --port 3306 -u x -p",
]  # fmt: skip


def scanned(text: bytes, cuts: list[int], scanner: Scanner = SCANNER) -> bytes:
    """A text, a piece at a time."""
    out, state = bytearray(text), PLAIN
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for a, b in pairwise(bounds):
        spans, state = scanner.scan(state, text[a:b])
        for span in spans:
            out[a + span.start : a + span.end] = b"*" * (span.end - span.start)
    return bytes(out)


@each(("text", "safe"), [*MASKED.values(), *((text, text) for text in KEPT)])
def test_a_secret_is_masked_behind_its_prefix_and_what_only_looks_like_a_prefix_stays(text: str, safe: str) -> None:
    assert scanned(text.encode(), []).decode() == safe
    assert scanned(text.encode(), list(range(len(text)))).decode() == safe


SOUP = st.lists(
    st.sampled_from([
        *(text for text, _ in MASKED.values()), *KEPT, "sk-", "s", "k", "-", "gh", "p_", "A", "AKIA", "eyJ", ".",
        "-----", "BEGIN PRIVATE KEY-----", "Bearer ", "authorization", ": ", "\\", "\\n", "/", "'", '"', " ", "\n", "n",
        "0", "%3D", "é", "\x00", "*", "**", "learn", "omnirecord-redacted-", "acme_", "acme", "8Q~", "=", "~",
    ]) | st.text(max_size=3), max_size=12,
).map(lambda parts: "".join(parts).encode())  # fmt: skip


@given(SOUP, CUTS)
@example("Jwt: \x80".encode(), [])  # the value of a named field is masked, whatever its characters
def test_neither_cuts_nor_a_second_time_change_anything(text: bytes, cuts: list[int]) -> None:
    whole = scanned(text, [])
    assert scanned(text, cuts) == whole
    assert scanned(text, list(range(len(text)))) == whole
    assert scanned(whole, []) == whole
    assert len(whole) == len(text)
    assert all(a == b or b == ord("*") for a, b in zip(text, whole, strict=True))


OWN = st.lists(
    st.sampled_from(["acme_", "acme_live_", "Bear", "KEY--", "ghp", "foo:sk-", "sk-x", "-----B", "auth", "x.y"]),
    max_size=4,
)


@given(OWN, SOUP, CUTS)
@example([], b"github_pat_11AB_xid=AKIA2345ABCD,", [])
def test_that_holds_for_prefixes_of_a_users_own(own: list[str], text: bytes, cuts: list[int]) -> None:
    scanner = Scanner(own)
    whole = scanned(text, [], scanner)
    assert scanned(text, cuts, scanner) == whole
    assert scanned(text, list(range(len(text))), scanner) == whole
    assert scanned(whole, [], scanner) == whole


def test_what_begins_with_a_users_prefix_is_masked() -> None:
    scanner = Scanner(["acme_", "$2b$"])
    assert scanned(b"acme_x1.y, tacme_x $2b$12 sk-A", [], scanner) == b"acme_**.*, tacme_x $2b$** sk-*"


@each("prefix", ["ab", "", "a b c", 'a"bc', "a\\bc", "a*bc", "äbc", "x" * 65, "ab\nc"])
def test_a_prefix_that_cannot_be_looked_for_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="cannot be looked for"):
        Scanner([prefix])


def test_a_secret_is_counted_once_however_it_comes() -> None:
    counts: Counter[str] = Counter()
    flow = BodyMask(SCANNER, counts)
    for part in (b"sk-a", b"bc gh", b"p_x", b"y eyJa.b", b".c"):
        flow.feed(part)
    assert counts == {"sk": 1, "github": 1, "jwt": 1}


# Escapes


SOUP_TEXT = SOUP.map(lambda text: text.decode())
JSON_TEXT = st.text() | SOUP_TEXT


@given(JSON_TEXT, st.booleans())
def test_one_byte_stands_for_each_escape(text: str, ascii_only: bool) -> None:
    raw = json.dumps(text, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")[1:-1]
    plain = undone(raw)
    assert masked(raw, []) == raw
    everything = masked(raw, [Span(0, len(plain), "x", True)])
    assert len(everything) == len(raw)
    assert b'"' not in everything.replace(b'\\"', b"")
    if text.isascii():
        assert plain == text.encode()


def test_a_secret_is_seen_through_escapes_and_leaves_them_whole() -> None:
    def through(text: bytes) -> bytes:
        flow = BodyMask(SCANNER, Counter())
        return flow.feed(text) + flow.close()

    assert through(b'"\\u0073k-\\u0041b1\\u003d"') == b'"\\u0073k-\\u002a**\\u003d"'
    assert through(b'"Bearer zT\\/1\\u002b2"') == b'"Bearer **\\/*\\u002a*"'
    assert through(b'"\\nsk-Ab\\u00e9"') == b'"\\nsk-**\\u00e9"'
    assert through(b'"C:\\\\sk-Ab"') == b'"C:\\\\sk-**"'


BODIES = st.lists(
    st.sampled_from([
        b"sk-", b"Ab1", b"\\u0041", b"\\u00e9", b"\\", b"\\n", b"\\\\", b'"', b" ", b"eyJ", b"Bearer ", b"\\/", b"u00",
        b"x",
    ]),
    max_size=15,
).map(b"".join) | st.binary(max_size=40)  # fmt: skip


@given(BODIES, CUTS)
def test_how_a_body_was_cut_changes_nothing(body: bytes, cuts: list[int]) -> None:
    def through(cuts: list[int]) -> bytes:
        flow = BodyMask(SCANNER, Counter())
        bounds = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        return b"".join(flow.feed(body[a:b]) for a, b in pairwise(bounds)) + flow.close()

    whole = through([])
    assert through(cuts) == whole
    assert through(list(range(len(body)))) == whole
    assert len(whole) == len(body)
    flow = BodyMask(SCANNER, Counter())
    assert flow.feed(whole) + flow.close() == whole


# Streams


class Disk:
    """What a stream's masking has written, and all that it ever wrote."""

    def __init__(self, scanner: Scanner = SCANNER) -> None:
        self.counts: Counter[str] = Counter()
        self.mask = StreamMask(scanner, self.counts)
        self.data = bytearray()
        self.ever: list[bytes] = []

    def feed(self, stream: bytes, cuts: list[int] | None = None) -> bytes:
        bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts or []), len(stream)]
        for a, b in pairwise(bounds):
            before = len(self.data)
            for piece in self.mask.feed(stream[a:b]):
                assert piece.again is (piece.start < before)
                end = piece.start + len(piece.data)
                assert piece.start <= len(self.data)
                self.data[piece.start : end] = piece.data
                self.ever.append(bytes(self.data))
            assert len(self.data) == before + b - a, "nothing is held back"
        return bytes(self.data)


def event(type_: str, **fields: object) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n".encode()


def deltas(*pieces: str, **ids: object) -> list[bytes]:
    return [event("response.output_text.delta", delta=piece, **ids) for piece in pieces]


def texts(stream: bytes) -> list[str]:
    parser = Parser()
    return [json.loads(frame.data or "null")["delta"] for frame in [*parser.feed(stream), *parser.close()]]


def test_a_secret_is_followed_through_the_deltas_of_its_text() -> None:
    stream = b"".join(deltas("use s", "k", "-", "Ab", "12", " ok", " tas", "k-1"))
    assert texts(Disk().feed(stream)) == ["use s", "k", "-", "**", "**", " ok", " tas", "k-1"]


BEFORE = [
    "hi", "sk-", "sk-learn", "sk-Ab1", "ghp_x", "eyJa", "eyJa.", "Bearer x", "npm_config", "authorization: ", "AKIA",
]  # fmt: skip


ENDS = ("response.created", "response.output_item.done", "turn.started", "message_stop")


def has_all_stars(out: str | bytes, safe: str | bytes) -> bool:
    return len(out) == len(safe) and all(got in (must, "*", ord("*")) for got, must in zip(out, safe, strict=True))


@each("kind", MASKED)
def test_no_secret_survives_because_of_what_an_earlier_delta_ended_with(kind: str) -> None:
    """It may have been another text, since not all have ids: the message before it, or a status."""
    text, safe = MASKED[kind]
    for before in BEFORE:
        for times in (1, 5):
            out = texts(Disk().feed(b"".join(deltas(*[before] * times, text))))
            assert has_all_stars(out[-1], safe), before


@each("kind", MASKED)
def test_not_even_one_that_comes_in_pieces_in_a_new_turn(kind: str, long: bool) -> None:
    """Each end of a turn with each text before it with `--long`, otherwise each with some of them."""
    text, safe = MASKED[kind]
    for number, before in enumerate(BEFORE, len(text)):
        for ends in ENDS if long else [ENDS[number % len(ENDS)]]:
            out = Disk().feed(b"".join([*deltas(before), event(ends, delta=""), *deltas("", *text)]))
            assert has_all_stars("".join(texts(out)[2:]), safe), (before, ends)


def test_a_secret_goes_on_behind_the_end_of_another_text() -> None:
    out = Disk().feed(b"".join([*deltas("s", "k"), event("response.created", delta=""), *deltas("-Ab", "1 x")]))
    assert texts(out) == ["s", "k", "", "-**", "* x"]
    out = Disk().feed(b"".join([*deltas("sk-A"), event("response.created", delta=""), *deltas("b1", "Cd2", " x")]))
    assert texts(out) == ["sk-*", "", "**", "***", " x"]


@pytest.mark.parametrize("name", ["index", "chunk_index", "chunkIndex"])
def test_a_count_of_the_pieces_never_lets_a_secret_out(name: str) -> None:
    parts = enumerate(["use sk", "-", "Ab1", "Cd2 x"])
    out = Disk().feed(b"".join(event("t", delta=part, message_id="m", **{name: n}) for n, part in parts))
    assert texts(out) == ["use sk", "-", "***", "*** x"]


IDS = [
    ({"item_id": "a"}, {"item_id": "b"}), ({"output_index": 0}, {"output_index": 1}),
    ({"call_id": "x"}, {"call_id": "y"}), ({"message_id": "m"}, {"message_id": None}),
    ({"toolCallId": "x"}, {"toolCallId": "y"}),
]  # fmt: skip


@each(("one", "other"), IDS)
def test_texts_that_come_in_turns_are_told_apart(one: dict[str, object], other: dict[str, object]) -> None:
    left = deltas("sk", "-A", "b1", "c d", **one)
    right = deltas("tas", "k-1 ", "ghp_", "zz", **other)
    stream = b"".join(part for pair in zip(left, right, strict=True) for part in pair)
    assert texts(Disk().feed(stream)) == ["sk", "tas", "-*", "k-1 ", "**", "ghp_", "* d", "**"]


def test_texts_of_different_types_and_places_are_told_apart() -> None:
    frames = [
        event("response.output_text.delta", delta="sk-"), event("response.reasoning_text.delta", delta="Hello"),
        event("response.output_text.delta", delta="Ab1"),
        event("x", choices=[{"delta": {"content": "hf_"}, "index": 0}]),
        event("x", choices=[{"delta": {"content": "Hi"}, "index": 1}]),
        event("x", choices=[{"delta": {"content": "Zz"}, "index": 0}]),
        event("x", choices=[{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "ghp_"}}]}}]),
        event("x", choices=[{"delta": {"tool_calls": [{"index": 1, "function": {"arguments": "Hi"}}]}}]),
        event("x", choices=[{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "Zz"}}]}}]),
    ]  # fmt: skip
    out = Disk().feed(b"".join(frames))
    changed = [frame.replace(b"Ab1", b"***").replace(b"Zz", b"**") for frame in frames]
    assert out == b"".join(changed)


@pytest.mark.parametrize("unique", [True, False])
def test_an_id_that_may_be_the_events_own_never_lets_a_secret_out(unique: bool) -> None:
    frames = [event("t", id=str(n if unique else n % 2), delta=part) for n, part in enumerate(
        ["ghp_", "ghp_", "Ab1", "Cd2", "Ef3", "Gh4"]
    )]  # fmt: skip
    out = texts(Disk().feed(b"".join(frames)))
    assert out == ["ghp_", "****" if unique else out[1], "***", "***", "***", "***"]


def test_plain_text_other_lines_and_lines_that_only_look_like_json_are_masked_too() -> None:
    stream = b": sk-Ab\n\nevent: n\ndata: so gh\n\nevent: n\ndata: p_Ab x\nid: eyJx\n\ndata\ndata:ghp_Z\r\n\r\n"
    safe = b": sk-**\n\nevent: n\ndata: so gh\n\nevent: n\ndata: p_** x\nid: eyJ*\n\ndata\ndata:ghp_*\r\n\r\n"
    assert Disk().feed(stream) == safe
    key = b"data: -----BEGIN PRIVATE KEY-----\ndata: MII\ndata: Ab\n\n"
    stream = b"data: a word\ndata: sk-Ab\n\ndata: [x] key sk-Cd.\n\n" + key
    safe = b"data: a word\ndata: sk-**\n\ndata: [x] key sk-**.\n\n" + key.replace(b"MII", b"***").replace(b"Ab", b"**")
    assert Disk().feed(stream) == safe


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_after_a_loss_the_rest_of_a_line_is_masked_to_where_a_secret_may_end(cut: int) -> None:
    disk = Disk()
    disk.mask.lose(100)
    disk.data += b"." * 100
    rest = b'EDsEcReT and", "n": 1}\n\n'
    disk.feed(rest, list(range(cut, len(rest), cut)))
    assert all(b"EDsE" not in data for data in disk.ever)
    assert disk.data.endswith(b'******** and", "n": 1}\n\n')
    assert disk.feed(event("d", delta="x y", item_id="a")).endswith(event("d", delta="* y", item_id="a"))


def test_after_a_loss_care_is_taken_for_a_while() -> None:
    masks = JsonMask(SCANNER, Counter())
    masks.lose()
    first = [masks.masked(json.dumps({"delta": "word x", "item_id": n}).encode()) for n in range(1001)]
    assert b'"**** x"' in first[0]
    assert b'"word x"' in first[-1]


def test_after_a_loss_the_next_word_of_every_text_is_masked() -> None:
    disk = Disk()
    disk.feed(b"".join(deltas("ghp_")))
    disk.mask.lose(100)
    disk.data += b"." * 100
    out = disk.feed(b"".join(deltas("Ab1 is it", " and so on")))
    assert b'"*** is it"' in out
    assert b'" and so on"' in out


def test_a_line_that_is_not_whole_is_there_and_safe_at_once_and_exact_later() -> None:
    disk = Disk()
    disk.feed(b"".join(deltas("sk-", item_id="a")))
    begun, rest = b'data: {"type": "response.output_text.delta", "delta": "Hello", "item', b'_id": "b"}\n\n'
    assert disk.feed(begun).endswith(b'"delta": "*****", "item'), "it may be the secret's"
    assert disk.feed(rest).endswith(begun + rest)


FRAMES = st.lists(
    st.builds(
        lambda type_, piece, ids, end: (
            f"event: {type_}{end}data: " + json.dumps({"type": type_, "delta": piece, **ids}) + end + end
        ).encode(),
        st.sampled_from(["a.delta", "b.delta", "a.done"]),
        st.sampled_from(["sk-", "s", "k-", "Ab1", "task-1", " x", "learn", "\n", "é", "gh", "p_", "Bearer ", ""])
        | SOUP_TEXT,
        st.sampled_from([{}, {"item_id": "1"}, {"item_id": "2"}, {"id": "1"}, {"id": 2, "index": 0}, {"index": 1}]),
        st.sampled_from(["\n", "\r\n", "\r"]),
    )
    | st.sampled_from([
        b"data: plain sk-", b"Ab1\n\n", b": ghp_x\n\n", b"\n", b"\r", b'data: {"a": "sk-A', b'data: "x\\',
        b"\xef\xbb\xbf",
    ]),
    max_size=8,
).map(b"".join)  # fmt: skip


EVENTS = st.lists(
    st.builds(
        lambda type_, piece, ids: event(type_, delta=piece, **ids),
        st.sampled_from(["a.delta", "b.delta", "a.done"]),
        st.sampled_from(["sk-", "s", "k-", "Ab1", "learn", " ", "gh", "p_", "Bear", "er ", "", "Q~", "8"]) | SOUP_TEXT,
        st.sampled_from([{}, {"item_id": "1"}, {"id": "1"}, {"id": 2, "index": 0}, {"index": 1}]),
    ),
    max_size=6,
)  # fmt: skip


@given(EVENTS)
def test_what_is_masked_of_an_event_alone_is_masked_behind_any_other(events: list[bytes]) -> None:
    disk = Disk()
    for one in events:
        out = disk.feed(one)[-len(one) :]
        assert has_all_stars(out, Disk().feed(one))


@settings(max_examples=examples(300))
@given(EVENTS, EVENTS)
def test_what_is_masked_of_a_turn_alone_is_masked_behind_any_other(turn: list[bytes], following: list[bytes]) -> None:
    alone = Disk().feed(b"".join(following))
    out = Disk().feed(b"".join([*turn, event("response.created"), *following]))
    assert has_all_stars(out[len(out) - len(alone) :], alone)


@settings(deadline=None)
@given(FRAMES, CUTS)
@example(b'data: {"delta": "sk-"}\r\n\r\ndata: {"delta": "Ab1"}', [])
def test_how_a_stream_was_cut_changes_nothing_in_the_end(stream: bytes, cuts: list[int]) -> None:
    stream += b"\n"
    whole = Disk().feed(stream)
    disk = Disk()
    assert disk.feed(stream, cuts) == whole
    assert Disk().feed(stream, list(range(len(stream)))) == whole
    assert len(whole) == len(stream)
    assert disk.mask.settled == len(stream)
    assert Disk().feed(whole) == whole
    for before in disk.ever:
        assert all(a == b or ord("*") in (a, b) for a, b in zip(before, whole, strict=False))


@settings(deadline=None)
@given(FRAMES, CUTS)
@example(b'data: "sk-"\n\ndata: "Ab1"\n\n', [22])
@example(b'data:"sk-"\n\ndata:"Ab1"\n\n', [17, 18, 19, 20])
def test_what_is_masked_in_the_end_was_at_no_time_written(stream: bytes, cuts: list[int]) -> None:
    """Not even before it was known which text it belongs to; but for characters that came as escapes."""
    stream = stream.replace(b"\\u", b"") + b"\n"
    disk = Disk()
    whole = disk.feed(stream, cuts)
    for before in disk.ever:
        assert all(a == ord("*") for a, b, was in zip(before, whole, stream, strict=False) if b != was)


@settings(deadline=None, max_examples=examples(50))
@given(FRAMES, st.lists(st.integers(0, 2 * LINE), max_size=5))
@example(event("a.delta", delta="a\\nsk-Ab1\\nb"), [])
def test_a_line_of_any_length_is_masked_the_same_however_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    filler = b"word " * (LINE // 5)
    stream = stream.replace(b"\\", b"") + b'data: {"delta": "' + filler + b' sk-Ab1 x", "item_id": "1"}\n\n' + stream
    stream = stream.replace(b"\\", b"") + b"\n"
    whole = Disk().feed(stream)
    assert b'word  sk-*** x", "item_id"' in whole
    assert Disk().feed(stream, cuts) == whole
    assert len(whole) == len(stream)


def test_json_is_still_json_and_its_strings_differ_in_the_secret_alone() -> None:
    value = {"arguments": json.dumps({"cmd": 'echo "sk-Ab1\n"', "key": "-----BEGIN PRIVATE KEY-----\nMII\n"}), "n": [1]}
    masks = JsonMask(SCANNER, Counter())
    out = json.loads(masks.masked(json.dumps(value).encode(), b""))
    assert json.loads(out["arguments"]) == {"cmd": 'echo "sk-***\n"', "key": "-----BEGIN PRIVATE KEY-----\n***\n"}
    assert out["n"] == [1]


def test_a_thousand_texts_and_deep_nesting_are_no_trouble() -> None:
    disk = Disk()
    disk.feed(b"".join(event("d", delta="gh", item_id=n) for n in range(3000)))
    disk.feed(b"data: " + b'{"a":[' * 20_000 + b'"sk-Ab1\n\n')
    assert disk.data.endswith(b'"sk-***\n\n')
