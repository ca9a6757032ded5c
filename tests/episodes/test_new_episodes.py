"""`record="new_episodes"` of `omnirecord.replay`, and `omnirecord serve --record new_episodes`."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

import omnirecord
from omnirecord.errors import UsageError
from tests.episodes.test_episodes import SCRIPT, base, recorded, said, said_by_anthropic
from tests.support import forked
from tests.support.model_clients import KEYS
from tests.support.providers import ModelApis
from tests.support.wire import bytes_on_disk

NEW = ("--record", "new_episodes")


async def test_a_replay_in_python_records_what_its_cassette_lacks(tmp_path: Path) -> None:
    db = await recorded(tmp_path / "a.db", "One?")
    async with ModelApis(SCRIPT) as provider:
        for live in (1, 0):
            async with omnirecord.replay(
                db, record="new_episodes", upstream=base(provider), timing="instant", recording={"labels": {"a": "b"}}
            ) as server:
                assert [await said(server.url, text) for text in ("One?", "Two?")] == ["One.", "Two."]
                assert [one.source for _, one in server.served].count("live") == live
                assert server.unmatched == []
        assert len(provider.requests) == 1
    with omnirecord.open_cassette(db) as cassette:
        assert [one.labels for one in cassette.recordings()] == [{}, {"a": "b"}]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"upstream": "http://127.0.0.1:9"}, "record is 'none': with upstream, upstreams, output and recording it is"),
        ({"record": "once"}, "record is 'once'"),
        ({"record": "new_episodes"}, "there is no upstream to record: give --upstream URL"),
    ],
)
async def test_an_argument_without_its_mode_is_refused(tmp_path: Path, arguments: dict[str, str], told: str) -> None:
    db = await recorded(tmp_path / "a.db", "One?")
    with pytest.raises(UsageError, match=told):
        async with omnirecord.replay(db, **arguments):  # type: ignore[arg-type]
            pass


async def test_serve_says_for_each_request_where_its_answer_is_from_and_ends_with_the_counts(tmp_path: Path) -> None:
    db, new = await recorded(tmp_path / "a.db", "One?", "Two?"), tmp_path / "new.db"
    async with ModelApis(SCRIPT) as provider:
        upstreams = ("--upstream", base(provider), "--upstream", f"other={base(provider)}")
        words = ["serve", db, "--listen", "127.0.0.1:0", *NEW, *upstreams, "-o", new, "--timing", "instant", "--json"]
        running = forked.Running(words)
        try:
            ready = json.loads(await running.readline())
            assert ready["db"] == str(new)
            assert [await said(ready["url"], text) for text in ("One?", "Three?")] == ["One.", "Three."]
            assert await said_by_anthropic(ready["urls"]["other"], "Two?") == "Two."
        finally:
            running.send_signal(signal.SIGINT)
        _, errors = await running.communicate()
        assert len(provider.requests) == 2
    told = errors.decode()
    assert running.returncode == 0, told
    assert told.startswith(
        "omnirecord: recorded: POST /v1/responses -> 200 (exchange 1)\n"
        "omnirecord: live: POST /v1/responses -> 200 (new exchange 2)\n"
        "    POST /v1/responses was recorded, but not with this conversation"
    )
    assert told.endswith(
        "omnirecord: live: POST /v1/messages -> 200 (new exchange 3)\n"
        f"omnirecord: replayed {db}, recorded into {new}: 2 requests expected, 3 made, 1 answered from the recording,"
        " 2 live, 0 missing\n"
    )
    assert not any(key.encode() in bytes_on_disk(new) for key in KEYS.values())


@pytest.mark.parametrize(
    ("words", "said_"),
    [
        (("-o", "b.db"), "a replay records nothing, and connects to no server: leave out -o, or give --record"),
        (("--redact", "content"), "a replay records nothing, and connects to no server: leave out --redact, or"),
        (NEW, "there is no upstream to record: give --upstream URL"),
        ((*NEW, "--upstream", "ftp://x"), "--upstream 'ftp://x' needs a scheme and a host"),
        ((*NEW, "--upstream", "a=http://x", "-o", "b.txt"), "b.txt is no .db, and a recording is an SQLite file"),
    ],
)
async def test_a_mistake_of_serve_gets_one_sentence(tmp_path: Path, words: tuple[str, ...], said_: str) -> None:
    await recorded(tmp_path / "a.db", "One?")
    done = forked.run(["serve", "a.db", *words, "--listen", "127.0.0.1:0"], tmp_path)
    assert done.code == 2
    assert done.errors.decode().startswith(f"Error: {said_}")
    assert done.errors.count(b"\n") == 1
