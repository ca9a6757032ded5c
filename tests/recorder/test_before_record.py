"""`record(before_record=…)`: a function of the user changes exchanges, or leaves them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

import omnirecord
from omnirecord.errors import UsageError
from tests.omnigent_rig.provider import Answer
from tests.support.providers import ModelApis

Value = dict[str, Any]


async def recorded(db: Path, hook: Any, *words: str, **options: Any) -> None:
    """Ask each word as a stream, and once for the models."""
    async with (
        ModelApis({}, default=Answer("Hello there.", delay_ms=0)) as provider,
        httpx.AsyncClient(trust_env=False) as http,
        omnirecord.record(provider.url.removesuffix("/v1"), db, before_record=hook, **options) as proxy,
    ):
        for word in words:
            body = {"model": "m", "input": word, "stream": True}
            headers = {"Authorization": "Bearer sk-proj-SeventeenSecretsOfOpenAi00"}
            await http.post(f"{proxy.url}/v1/responses", json=body, headers=headers)
        await http.get(f"{proxy.url}/v1/models")


def targets(db: Path) -> list[str]:
    with omnirecord.open_cassette(db) as cassette:
        return [x.request.target for x in cassette.exchanges()]


async def test_an_exchange_is_changed_or_left_out_and_the_others_stay(tmp_path: Path) -> None:
    db, seen = tmp_path / "a.db", []

    def hook(exchange: Value) -> Value | None:
        seen.append((exchange["request"]["target"], exchange["kind"], exchange["ending"]))
        body = exchange["request"]["body"]
        if "private" in body:
            return None
        exchange["request"]["body"] = body.replace("Rome", "[place]")
        return exchange

    await recorded(db, hook, "Weather in Rome?", "private", "Hi")
    assert seen == [("/v1/responses", "sse", "done")] * 3 + [("/v1/models", "http", "eof")]
    with omnirecord.open_cassette(db) as cassette:
        first, second, third = cassette.exchanges()
        assert [x.request.target for x in (first, second, third)] == ["/v1/responses", "/v1/responses", "/v1/models"]
        assert b"Weather in [place]?" in cassette.body(first, "request")
        assert all(list(one.events())[-1].type == "response.completed" for one in cassette.streams())
    written = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert b"private" not in written
    assert b"Rome" not in written
    async with omnirecord.replay(db, timing="instant") as server, httpx.AsyncClient(trust_env=False) as http:
        body = {"model": "m", "input": "Weather in [place]?", "stream": True}
        assert "Hello" in (await http.post(f"{server.url}/v1/responses", json=body)).text


async def test_earlier_recordings_of_the_cassette_stay_with_their_pseudonyms(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    await recorded(db, None, "Hi")
    await recorded(db, lambda _: None, "Hi")
    await recorded(db, lambda exchange: exchange if exchange["kind"] == "sse" else None, "Hi")
    assert targets(db) == ["/v1/responses", "/v1/models", "/v1/responses"]
    with omnirecord.open_cassette(db) as cassette:
        keys = {dict(x.request.headers).get("authorization") for x in cassette.exchanges() if x.kind == "sse"}
        assert len(keys) == 1, "the same key has the same pseudonym"
        assert [one.recording for one in cassette.recordings()] == [1, 2, 3]


async def test_an_error_of_the_function_is_raised_and_leaves_the_cassette_as_it_was_recorded(tmp_path: Path) -> None:
    def fails(exchange: Value) -> Value:
        raise LookupError(exchange["request"]["target"])

    with pytest.raises(LookupError, match="/v1/responses"):
        await recorded(tmp_path / "a.db", fails, "Hi")
    assert targets(tmp_path / "a.db") == ["/v1/responses", "/v1/models"]
    with pytest.raises(UsageError, match="before_record returns an exchange or None, not 7"):
        await recorded(tmp_path / "b.db", lambda _: 7, "Hi")
    with pytest.raises(UsageError, match="before_record may not change exchange, recording, kind, stream"):
        await recorded(tmp_path / "c.db", lambda exchange: exchange | {"exchange": 9}, "Hi")
    with pytest.raises(UsageError, match="leave out rotate and ship"):
        await recorded(tmp_path / "d.db", lambda exchange: exchange, rotate="1h")
