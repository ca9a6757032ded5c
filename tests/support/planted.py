"""Eighty secrets in sixteen places, many of them split over deltas: what a client sends, what a server answers."""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.wire.content_coding import content_of
from omnirecord.wire.headers import header
from tests.recorder.proxy.test_websocket import HELLO, SWITCH, TEXT, ws
from tests.support import wire
from tests.support.wire import STREAM, Wire, ask, bytes_on_disk, chunk, connected

_RANDOM = random.Random(60)
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_WINDOW = 7
"""Characters of a secret that are enough to be found by."""
NAMED = ("headers", "query", "cookies", "fields of requests", "fields of responses", "form fields", "multipart fields")
CONTENT = ("text of bodies", "gzip bodies", "WebSocket messages", "events, whole", "events, split over deltas")
FIELDS = (
    "fields of events",
    "fields in strings of events",
    "fields of events, split over deltas",
    "settings in events",
)
"""Places of secrets in content that only a name tells."""
FIELD_NAMES = ("password", "access_token", "client_secret", "api_key", "DB_PASSWORD")
PREFIXES = (
    "sk-", "sk-ant-api03-", "sk-proj-", "ghp_", "github_pat_", "AKIA", "AIza", "GOCSPX-", "xoxb-", "sk_live_", "npm_",
    "pypi-AgE", "hf_", "eyJ", "Bearer ", "AccountKey=", "glpat-", "Authorization: Bearer ", "aws_secret_access_key=",
    "-----BEGIN PRIVATE KEY-----\n",
)  # fmt: skip


@dataclass(frozen=True)
class Secret:
    """`prefix` may be kept, of `body` nothing. What is found by its name alone has no prefix."""

    place: str
    prefix: str
    body: str

    @property
    def text(self) -> str:
        end = "\n-----END PRIVATE KEY-----" if self.prefix.endswith("\n") else ""
        return self.prefix + self.body + end

    def windows(self, step: int = 1) -> Iterable[bytes]:
        """Return the parts of `body` that it is found by: one every `step` characters."""
        return (self.body[n : n + _WINDOW].encode() for n in range(0, len(self.body) - _WINDOW + 1, step))


def _secret(place: str, prefix: str = "") -> Secret:
    return Secret(place, prefix, "".join(_RANDOM.choices(_LETTERS, k=32)))


def _planted() -> list[Secret]:
    named = [_secret(place) for place in NAMED for _ in range(4)]
    content = [_secret(place, PREFIXES[(5 * n + k) % 20]) for n, place in enumerate(CONTENT[:4]) for k in range(3)]
    fields = [_secret(place) for place in FIELDS for _ in FIELD_NAMES]
    return [*named, *content, *(_secret(CONTENT[4], prefix) for prefix in PREFIXES), *fields]


PLANTED = _planted()


def of(place: str) -> list[Secret]:
    return [one for one in PLANTED if one.place == place]


# What passes


def _event(type_: str, **fields: object) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n".encode()


def split(text: str, dice: random.Random) -> list[str]:
    """A text in pieces of one to five characters."""
    pieces = []
    while text:
        size = dice.randint(1, 5)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def frames() -> list[bytes]:
    """Text, thoughts and tool arguments of 25 items, whose deltas come in turns, and events with whole ones."""
    dice = random.Random(7)
    kinds = ("response.output_text.delta", "response.reasoning_text.delta", "response.function_call_arguments.delta")
    ids = ("message_id", "item_id", "call_id")
    texts = [(n, split(f"a task-1 {one.text}, sk-learn", dice)) for n, one in enumerate(of(CONTENT[4]))]
    out = [
        _event("response.output_item.done", item={"type": "function_call", "arguments": json.dumps({"cmd": one.text})})
        for one in of(CONTENT[3])
    ]
    for name, plain, inner, setting in zip(FIELD_NAMES, *(of(FIELDS[n]) for n in (0, 1, 3)), strict=True):
        value = {
            "output": json.dumps({"stdout": json.dumps({"n": 1, name: inner.body})}),
            "env": f"{name}={setting.body}",
        }
        out.append(_event("response.output_item.done", **{name: plain.body}, item=value))
    for n, (name, one) in enumerate(zip(FIELD_NAMES, of(FIELDS[2]), strict=True), len(texts)):
        texts.append((n, split(json.dumps({"user": "u", name: one.body, "n": 1}), dice)))
    while texts:
        at = dice.randrange(min(6, len(texts)))
        n, pieces = texts[at]
        out.append(_event(kinds[n % 3], delta=pieces.pop(0), sequence_number=len(out), **{ids[n % 3]: f"i{n}"}))
        if not pieces:
            del texts[at]
    return out


def _answer(body: bytes, *lines: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


CHUNKS = 20
"""Chunks of the stream for which a watch looks at least once."""


async def serve(conn: Wire, looks: Callable[[], int]) -> None:
    """The upstream. Its stream waits for `looks`, the number of times that a watch has looked at the files."""
    line, headers = await conn.head()
    if b"/socket" in line:
        await conn.send(SWITCH + b"\r\n" + ws(TEXT, f"down {of('WebSocket messages')[0].text} x".encode()))
        await conn.gone()
        return
    await conn.body(headers, bodiless=line.startswith(b"GET"))
    if b"/stream" in line:
        dice, stream = random.Random(8), b"".join(frames())
        await conn.send(STREAM)
        for n in itertools.count():
            if not stream:
                break
            size = dice.choice([1, 7, 40, 150, 900])
            await conn.send(chunk(stream[:size]))
            stream = stream[size:]
            await asyncio.sleep(0.002)
            while looks() < n // CHUNKS:  # noqa: ASYNC110  # a thread counts
                await asyncio.sleep(0.002)
        await conn.send(wire.END)
        return
    fields = {f"{name}_token": one.body for name, one in zip("abcd", of("fields of responses"), strict=True)}
    text = " and ".join(one.text + "\n" for one in of("text of bodies"))
    note = gzip.compress(json.dumps({"note": [one.text for one in of("gzip bodies")]}).encode())
    cookies = [f"Set-Cookie: s{n}={one.body}; Path=/" for n, one in enumerate(of("cookies")[2:])]
    if b"/gzip" in line:
        await conn.send(_answer(note, "Content-Encoding: gzip", "Content-Type: application/json"))
    else:
        await conn.send(
            _answer(json.dumps({**fields, "text": text}).encode(), "Content-Type: application/json", *cookies)
        )


def requests() -> list[bytes]:
    """What the client asks, but for the stream and the socket."""
    a, b, c, d = (one.body for one in of("headers"))
    lines = [f"Authorization: Bearer {a}", f"X-Api-Key: {b}", f"X-Auth-Token: {c}", f"Proxy-Authorization: Basic {d}"]
    lines.append("Cookie: " + "; ".join(f"c{n}={one.body}" for n, one in enumerate(of("cookies")[:2])))
    query = "&".join(f"{name}_token={one.body}" for name, one in zip("abcd", of("query"), strict=True))
    json_ = {"list": [{"api_key": one.body} for one in of("fields of requests")]}
    form = "&".join(f"{name}_secret={one.body}" for name, one in zip("abcd", of("form fields"), strict=True))
    parts = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}_password"\r\n\r\n{one.body}\r\n'
        for name, one in zip("abcd", of("multipart fields"), strict=True)
    )
    return [
        wire.get(f"/v1/x?{query}&n=1", *lines), wire.get("/gzip"), _post("application/json", json.dumps(json_)),
        _post("application/x-www-form-urlencoded", form), _post("multipart/form-data; boundary=x", parts + "--x--\r\n"),
    ]  # fmt: skip


def _post(content_type: str, body: str) -> bytes:
    head = f"POST /v1/post HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


async def drive(url: str) -> None:
    """The client."""
    async with connected(url, re.sub(rb"GET \S+", b"GET /socket", HELLO)) as socket:
        await socket.until(b"\r\n\r\n")
        for one in of("WebSocket messages")[1:]:
            packed = base64.b64encode(f"up {one.text} x".encode()).decode()
            await socket.send(ws(TEXT, json.dumps({"body": packed}).encode(), mask=True))
        for request in requests():
            await ask(url, request)
        await ask(url, wire.get("/stream"))


@asynccontextmanager
async def upstream(looks: Callable[[], int]) -> AsyncIterator[str]:
    async with wire.Upstream(lambda conn: serve(conn, looks)) as server:
        yield server.url


# What is left


_RUN = re.compile(b"[%b]{%d,}" % (_LETTERS.encode(), _WINDOW))


def left_in(data: bytes, secrets: Iterable[Secret] = PLANTED, step: int = 1) -> Counter[str]:
    """Return how many secrets of each place are in these bytes. Only runs of letters of a secret are searched, each
    once: most of them are the words of every event."""
    text = b" ".join(set(_RUN.findall(data)))
    return Counter(one.place for one in secrets if any(window in text for window in one.windows(step)))


def left(cassette: Path) -> Counter[str]:
    """How many secrets of each place are in the files of a cassette, or in what these hold in some coding."""
    store = open_store(cassette)
    try:
        return left_in(b"\0".join([bytes_on_disk(cassette), *_decoded(store)]))
    finally:
        store.close()


def _decoded(store: Store) -> Iterable[bytes]:
    for x in store.exchanges():
        for side, headers in (("request", x.request.headers), ("response", x.response.headers if x.response else ())):
            data = store.body(x.exchange, side)  # type: ignore[arg-type]
            content = content_of(data, header(headers, "content-encoding"))
            yield content.data if content.data and content.is_whole else data
        if x.stream is not None:
            yield deltas_joined(store, x.stream)
        for message in store.messages(x.exchange):
            yield message.data
            if b'"body"' in message.data:
                yield base64.b64decode(json.loads(message.data)["body"])


def deltas_joined(store: Store, stream: int) -> bytes:
    """The texts of a stream, each put together from its deltas."""
    texts: dict[str, str] = {}
    (x,) = store.exchanges(stream=stream)
    for frame in store.frames(x):
        value = (
            json.loads((frame.raw or b"").partition(b"data: ")[2] or b"null") if frame.verdict != "truncated" else None
        )
        if isinstance(value, dict) and "delta" in value:
            key = next(str(value[name]) for name in ("message_id", "item_id", "call_id") if name in value)
            texts[key] = texts.get(key, "") + value["delta"]
    return "\n".join(texts.values()).encode()
