"""One recorder with several upstreams: a recording for each, on one clock."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord import open_cassette, record
from omnirecord.cassette.open import open_store
from omnirecord.errors import ServerError, UsageError
from omnirecord.recorder.proxy.server import Proxy
from tests.support import wire
from tests.support.process import ForkedProcess
from tests.support.wire import Upstream, Wire, ask, bytes_on_disk, connected, get

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CREATED = b'data: {"type": "response.created"}\n\n'


@asynccontextmanager
async def both(folder: Path, *answers: bytes, **options: Any) -> AsyncIterator[Proxy]:
    """A recorder in front of two servers that give the same answers; one has the name `model`."""
    async with (
        Upstream(wire.answering(*(answers or (JSON,)))) as first,
        Upstream(wire.answering(*(answers or (JSON,)))) as second,
        record(first.url, folder / "both.db", upstreams={"model": second.url}, **options) as proxy,
    ):
        yield proxy


def recordings(db: Path) -> list[Any]:
    with closing(open_store(db)) as store:
        return store.recordings()


def hops(db: Path) -> list[tuple[str | None, str, str | None, str]]:
    """Hop, target, session and party of each exchange, by time."""
    with closing(open_store(db)) as store:
        of = {one.recording: one.hop for one in store.recordings()}
        found = sorted(store.exchanges(), key=lambda x: x.exchange)
        return [(of[x.recording], x.request.target, x.session_id, x.party) for x in found]


async def test_each_upstream_has_a_recording_on_one_clock(tmp_path: Path) -> None:
    async with both(tmp_path, labels={"branch": "main"}) as proxy:
        await ask(proxy.url, get("/v1/sessions/s"))
        await ask(proxy.urls["model"], get("/v1/sessions/s"))
        await ask(proxy.url, get("/v1/sessions/t"))
    first, second = recordings(proxy.db)
    assert (first.hop, second.hop) == (None, "model")
    assert [(one.contract, one.contract_given) for one in (first, second)] == [("auto", False), ("auto", False)]
    assert (first.upstream, second.upstream) == (proxy.upstream, proxy.upstreams["model"])
    assert (first.started_at, first.run_id, first.labels) == (second.started_at, second.run_id, second.labels)
    assert first.recording_id != second.recording_id
    assert hops(proxy.db) == [
        (None, "/v1/sessions/s", "s", "client"),
        ("model", "/v1/sessions/s", None, "client"),
        (None, "/v1/sessions/t", "t", "client"),
    ]
    with open_cassette(proxy.db) as cassette:
        times = [x.request.at_ns for x in sorted(cassette.exchanges(), key=lambda x: x.exchange)]
    assert times == sorted(times)
    assert (proxy.exchanges, proxy.exchanges_of) == (3, {"model": 1})


async def test_the_contract_of_its_hop_judges_a_stream(tmp_path: Path) -> None:
    only_of_openai = b'data: {"type": "response.refusal.delta"}\n\n'
    answer = SSE + wire.chunk(only_of_openai) + b"0\r\n\r\n"
    async with both(tmp_path, answer, contracts={"model": "openai-responses"}) as proxy:
        await ask(proxy.url, get("/v1/sessions/s/stream"))
        await ask(proxy.urls["model"], get("/v1/responses"))
    with closing(open_store(proxy.db)) as store:
        verdicts = [frame.verdict for x in store.streams() for frame in store.frames(x)]
    assert verdicts == ["unknown", "invalid"]
    assert [(one.contract, one.contract_given) for one in recordings(proxy.db)] == [
        ("auto", False), ("openai-responses", True),
    ]  # fmt: skip


async def test_a_request_to_one_listener_reaches_its_upstream_only(tmp_path: Path) -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
    async with (
        Upstream(wire.answering(ok % (5, b"first"))) as first,
        Upstream(wire.answering(ok % (6, b"second"))) as second,
        Proxy(first.url, tmp_path / "a.db", upstreams={"model": second.url, "other": first.url}) as proxy,
    ):
        bodies = [(await ask(url, get())).body for url in (proxy.url, proxy.urls["model"], proxy.urls["other"])]
    assert bodies == [b"first", b"second", b"first"]


async def test_a_recorder_may_have_one_upstream_with_a_name(tmp_path: Path) -> None:
    async with (
        Upstream(wire.answering(JSON)) as only,
        record(None, tmp_path / "a.db", upstreams={"model": only.url}) as proxy,
    ):
        await ask(proxy.url, get("/v1/sessions/s"))
        assert proxy.urls == {"model": proxy.url}
    assert hops(proxy.db) == [("model", "/v1/sessions/s", None, "client")]


def test_a_recorder_in_a_thread_tells_the_urls(tmp_path: Path) -> None:
    with record("http://127.0.0.1:9", tmp_path / "a.db", upstreams={"model": "http://127.0.0.1:9/v1"}) as recorder:
        assert recorder.upstreams == {"model": "http://127.0.0.1:9/v1"}
        assert recorder.urls["model"] != recorder.url


async def test_a_dead_upstream_of_one_hop_does_not_touch_the_other(tmp_path: Path) -> None:
    async with (
        Upstream(wire.answering(JSON)) as first,
        Proxy(first.url, tmp_path / "a.db", upstreams={"model": wire.nobody_listens()}) as proxy,
    ):
        assert (await ask(proxy.urls["model"], get("/v1/responses"))).status.startswith(b"HTTP/1.1 502")
        assert (await ask(proxy.url, get())).status.startswith(b"HTTP/1.1 200")
    assert (wire.ending(proxy.db, 1), wire.ending(proxy.db, 2)) == ("upstream_unreachable", "eof")


async def test_only_the_first_listener_has_the_control_path(tmp_path: Path) -> None:
    async with both(tmp_path, control=True) as proxy:
        host = proxy.url.removeprefix("http://")
        state = json.loads((await ask(proxy.url, get("/-/omnirecord/", host=host))).body)
        await ask(proxy.urls["model"], get("/-/omnirecord/"))
    assert [one["hop"] for one in state["upstreams"]] == [None, "model"]
    assert state["upstreams"][1]["url"] == proxy.urls["model"]
    assert hops(proxy.db) == [("model", "/-/omnirecord/", None, "client")]


async def test_twenty_hops_record_at_once(tmp_path: Path) -> None:
    async with Upstream(wire.answering(JSON)) as server:
        names = {f"hop-{number}": server.url for number in range(20)}
        async with Proxy(server.url, tmp_path / "a.db", upstreams=names) as proxy:
            await asyncio.gather(*(ask(url, get("/v1/x")) for url in proxy.urls.values()))
    assert sorted(str(hop) for hop, *_ in hops(proxy.db)) == sorted(names)
    assert [one.recording for one in recordings(proxy.db)] == list(range(1, 22))


async def test_a_stream_of_a_model_goes_on_in_the_next_file(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def script(conn: Wire) -> None:
        await conn.request()
        await conn.send(SSE + wire.chunk(CREATED))
        while not release.is_set():  # what arrives while the file is changed may be in the old one
            await conn.send(wire.chunk(CREATED))
            await asyncio.sleep(0.02)
        await conn.send(b"0\r\n\r\n")

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Upstream(wire.answering(JSON)))
        second = await stack.enter_async_context(Upstream(script))
        proxy = await stack.enter_async_context(
            Proxy(first.url, tmp_path / "run.db", upstreams={"model": second.url}, rotate="1s")
        )
        client = await stack.enter_async_context(connected(proxy.urls["model"], get("/v1/responses")))
        await client.until(b"response.created")
        before = proxy.db.resolve()
        await ask(proxy.url, get())
        await wire.eventually(lambda: proxy.db.resolve() != before, 20)
        await wire.eventually(lambda: any(target == "/v1/responses" for _, target, *_ in hops(proxy.db)), 20)
        release.set()
        await client.until(b"0\r\n\r\n")
    assert [one.hop for one in recordings(before)] == [one.hop for one in recordings(proxy.db)] == [None, "model"]
    runs = {one.run_id for path in (before, proxy.db) for one in recordings(path)}
    assert len(runs) == 1
    later = {path.resolve() for path in tmp_path.glob("*.db")} - {before}  # a slow machine rotates once more
    assert {hop for path in later for hop, target, *_ in hops(path) if target == "/v1/responses"} == {"model"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"upstreams": {"a b": "http://a"}}, "'a b' is no name of a hop: take letters, digits, - and _, at most 32"),
        ({"upstreams": {"": "http://a"}}, "'' is no name of a hop"),
        ({"upstreams": {"m": "ftp://a"}}, "needs a scheme and a host"),
        ({"listens": {"m": "127.0.0.1:1"}}, "--listen m= has no upstream: give --upstream m=URL as well"),
        ({"contracts": {"m": "auto"}}, "--contract m= has no upstream: give --upstream m=URL as well"),
        ({"upstreams": {"m": "http://a"}, "listens": {"m": "0.0.0.0:1"}}, "is reachable from elsewhere"),
        ({"upstreams": {"m": "http://a"}, "listens": {"m": "1"}}, "--listen m= '1' is no HOST:PORT"),
        ({"upstreams": {"m": "http://a"}, "listens": {"m": "127.0.0.1:6868"}, "port": 6868}, "to two upstreams"),
    ],
)
def test_a_mistake_is_a_sentence(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        record("http://127.0.0.1:9", tmp_path / "a.db", **options)
    assert sentence in str(error.value)
    assert not (tmp_path / "a.db").exists()


def test_no_upstream_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no upstream to record: give --upstream URL"):
        record(None, tmp_path / "a.db")


async def test_the_proxy_is_no_upstream_of_its_own_over_any_listener(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    made = record("http://127.0.0.1:9", tmp_path / "a.db", upstreams={"m": f"http://{place}"}, listens={"m": place})
    with pytest.raises(UsageError, match="is the proxy's own address"):
        await made.__aenter__()
    assert not (tmp_path / "a.db").exists()


async def test_a_port_in_use_names_its_option(tmp_path: Path) -> None:
    async with Upstream(wire.answering(JSON)) as taken:
        place = taken.url.removeprefix("http://")
        made = record("http://127.0.0.1:9", tmp_path / "a.db", upstreams={"m": "http://a"}, listens={"m": place})
        with pytest.raises(ServerError, match=r"is in use: choose another --listen m="):
            await made.__aenter__()


async def test_options_of_tls_need_one_upstream_with_https(tmp_path: Path) -> None:
    made = record("http://127.0.0.1:9", tmp_path / "a.db", upstreams={"m": "http://127.0.0.1:8"}, insecure=True)
    with pytest.raises(UsageError, match="has none"):
        await made.__aenter__()
    async with record(
        "http://127.0.0.1:9", tmp_path / "a.db", upstreams={"m": "https://127.0.0.1:8"}, insecure=True
    ) as proxy:
        assert proxy.urls


KEYS = {
    "openai": "sk-proj-PLANTED0123456789abcdef",
    "anthropic": "sk-ant-api03-PLANTED0123456789",
    "azure": "0123PLANTED4567890abcdef01234567",
    "google": "AIzaSyPLANTED0123456789",
    "organization": "org-PLANTED0123456789",
    "project": "proj_PLANTED0123456789",
    "account": "b2e9c0de-PLANTED-3333-444455556666",
    "mcp": "ya29.PLANTED0123456789",
}
HEADERS = [
    f"Authorization: Bearer {KEYS['openai']}", f"x-api-key: {KEYS['anthropic']}", f"api-key: {KEYS['azure']}",
    f"x-goog-api-key: {KEYS['google']}", f"OpenAI-Organization: {KEYS['organization']}",
    f"OpenAI-Project: {KEYS['project']}", f"chatgpt-account-id: {KEYS['account']}",
    "anthropic-version: 2023-06-01", "x-stainless-retry-count: 1",
]  # fmt: skip
BODY = {
    "model": "gpt-5", "max_output_tokens": 100, "prompt_cache_key": "cache-1", "input": "hello",
    "tools": [{"type": "mcp", "server_url": "https://mcp.example/", "authorization": KEYS["mcp"],
               "headers": {"Authorization": f"Bearer {KEYS['mcp']}", "x-api-key": KEYS["google"]}}],
    "mcp_servers": [{"type": "url", "url": "https://mcp.example/", "authorization_token": KEYS["mcp"]}],
}  # fmt: skip
ANSWERED = [
    f"openai-organization: {KEYS['organization']}", f"openai-project: {KEYS['project']}",
    f"anthropic-organization-id: {KEYS['account']}", "x-request-id: req_1", "openai-processing-ms: 12",
    f"set-cookie: __cf_bm={KEYS['azure']}; path=/; HttpOnly", "x-ratelimit-remaining-tokens: 1000",
]  # fmt: skip


@pytest.mark.parametrize("hop", [None, "model"])
async def test_no_key_of_a_model_api_reaches_the_disk(hop: str | None, tmp_path: Path) -> None:
    body = json.dumps(BODY).encode()
    lines = "\r\n".join([*HEADERS, "Content-Type: application/json", f"Content-Length: {len(body)}"])
    request = f"POST /v1/responses HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n".encode() + body
    answer = "HTTP/1.1 200 OK\r\n" + "\r\n".join(ANSWERED) + "\r\nContent-Length: 0\r\n\r\n"
    async with both(tmp_path, answer.encode()) as proxy:
        await ask(proxy.url if hop is None else proxy.urls[hop], request)
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
        during = bytes_on_disk(proxy.db)
    found = during + bytes_on_disk(proxy.db)
    assert [name for name, value in KEYS.items() if value.encode() in found] == []
    assert b"PLANTED" not in found
    for kept in (b"prompt_cache_key", b"cache-1", b"x-stainless-retry-count", b"req_1", b"max_output_tokens"):
        assert kept in found


def test_a_killed_recorder_leaves_both_hops_readable(tmp_path: Path) -> None:
    asyncio.run(_killed(tmp_path))
    db = tmp_path / "run.db"
    with closing(open_store(db)) as store:
        assert [one.hop for one in store.recordings()] == [None, "model"]
        assert {x.ending for x in store.streams()} == {"recorder_killed"}
        assert [frame.type for x in store.streams() for frame in store.frames(x)] == ["response.created"] * 2
    with record("http://127.0.0.1:9", db, upstreams={"model": "http://127.0.0.1:9"}):
        pass
    with closing(open_store(db)) as store:
        assert [one.hop for one in store.recordings()] == [None, "model", None, "model"]
        assert {x.ending for x in store.streams()} == {"recorder_killed"}


async def _killed(folder: Path) -> None:
    async def script(conn: Wire) -> None:
        await conn.request()
        await conn.send(SSE + wire.chunk(CREATED))
        await asyncio.Event().wait()

    async with (
        Upstream(script) as server,
        ForkedProcess(server.url, folder / "run.db", "--upstream", f"model={server.url}") as process,
        connected(process.url, get("/v1/sessions/s/stream")) as one,
        connected(process.urls["model"], get("/v1/responses")) as other,
    ):
        await one.until(b"response.created")
        await other.until(b"response.created")
        await wire.eventually(lambda: len(wire.frames(folder / "run.db", 2)) == 1, 20)
        await process.end(signal.SIGKILL)


async def test_both_hops_go_on_in_a_new_file_if_the_file_is_removed(tmp_path: Path) -> None:
    async with both(tmp_path) as proxy:
        before = recordings(proxy.db)
        proxy.db.unlink()
        await wire.eventually(proxy.db.exists, 20)
        await ask(proxy.urls["model"], get("/v1/responses"))
        await ask(proxy.url, get("/v1/sessions/s"))
    after = recordings(proxy.db)
    assert [(one.recording, one.hop, one.run_id) for one in after] == [
        (one.recording, one.hop, one.run_id) for one in before
    ]
    assert {one.recording_id for one in after}.isdisjoint(one.recording_id for one in before)
    assert [hop for hop, *_ in hops(proxy.db)] == ["model", None]
