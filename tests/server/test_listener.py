"""Where our servers listen: on loopback unless told otherwise, and then with a token for the control path."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from pathlib import Path

import pytest

import omnirecord
from omnirecord.errors import ServerError, UsageError
from omnirecord.replayer.server import Replay
from omnirecord.server.listener import TOKEN_VARIABLE, Listener, Place, error_response
from tests.support import forked
from tests.support.cassettes import conversation
from tests.support.examples import each
from tests.support.wire import ask, get, nobody_listens, opened

STATE = "/-/omnirecord/state"
TOKEN = "a-token-of-my-own"


async def state(url: str, *lines: str) -> int:
    return int((await ask(url, get(STATE, *lines, host="localhost"))).status.split()[1])


@each("host", ["0.0.0.0", "::", "", "127.1", "example.com", "192.168.1.5"])
def test_from_python_too_only_loopback_is_listened_on_unless_allowed(host: str, tmp_path: Path) -> None:
    for make in (
        lambda: omnirecord.record(nobody_listens(), tmp_path / "a.db", host=host),
        lambda: omnirecord.replay(tmp_path / "a.db", host=host),
    ):
        with pytest.raises(UsageError, match="reachable from elsewhere: pass allow_remote=True"):
            make()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_said(port: int) -> None:
    with pytest.raises(UsageError, match=f"port {port} is none"):
        Place(port=port)


async def test_a_name_counts_as_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real = loop.create_server
    monkeypatch.setattr(loop, "create_server", lambda make, _, port, **more: real(make, "0.0.0.0", port, **more))
    listener = Listener(lambda _: asyncio.sleep(0, error_response(404, "x", "x")), Place("localhost"))
    with pytest.raises(ServerError, match=r"localhost is 0\.0\.0\.0 here, reachable from elsewhere"):
        await listener.bind()
    await listener.stop(0)


async def test_on_loopback_no_token_is_needed(tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "a.db")) as server:
        assert (server.token, await state(server.url)) == (None, 200)


async def test_beyond_it_one_is_made_up_each_time_and_the_rest_stays_open_as_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, tokens = conversation().save(tmp_path / "a.db"), set[str | None]()
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "omnirecord"):
            async with omnirecord.replay(path, timing="instant", host="0.0.0.0", allow_remote=True) as server:
                url = server.url.replace("0.0.0.0", "127.0.0.1")
                tokens.add(server.token)
                assert await state(url) == await state(url, "Authorization: Bearer no") == 401
                assert await state(url, f"Authorization: Bearer {server.token}") == 200
                assert (await ask(url, get("/v1/sessions/s"))).status.split()[1] != b"401"
    assert len(tokens) == 2
    assert all(token is not None and len(token) >= 32 for token in tokens)
    assert [said for said in caplog.messages if "any client that can reach http://0.0.0.0" in said][1:]


async def test_a_refusal_for_want_of_a_token_says_which_scheme(tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "a.db"), token=TOKEN) as server:
        answer = await ask(server.url, get(STATE, host="localhost"))
    assert (b"WWW-Authenticate", b"Bearer") in answer.headers
    assert json.loads(answer.body)["error"]["code"] == "unauthorized"


async def test_a_token_of_ones_own_is_asked_for_on_loopback_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = conversation().save(tmp_path / "a.db")
    monkeypatch.setenv(TOKEN_VARIABLE, "the-one-of-the-environment")
    for given, expected in ((None, "the-one-of-the-environment"), (TOKEN, TOKEN)):
        async with Replay(path, token=given) as server:
            assert await state(server.url) == 401
            assert await state(server.url, f"Authorization: Bearer {expected}") == 200
            assert server.made_token is None


async def test_a_token_that_is_none_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = conversation().save(tmp_path / "a.db")
    with pytest.raises(UsageError, match="the token has to be 16"):
        Replay(path, token="")
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    with pytest.raises(UsageError, match="OMNIRECORD_TOKEN has to be 16"):
        async with Replay(path):
            pass


async def test_no_answer_of_the_control_path_lets_another_origin_read_it(tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "a.db")) as server:
        for lines in ((), ("Origin: http://evil.example",)):
            answer = await ask(server.url, get(STATE, *lines, host="localhost"))
            assert not [name for name, _ in answer.headers if name.lower().startswith(b"access-control")]


async def test_a_proxy_beyond_loopback_says_what_that_means(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    upstream = nobody_listens()
    with caplog.at_level(logging.WARNING, "omnirecord"):
        async with omnirecord.record(upstream, tmp_path / "a.db", host="0.0.0.0", allow_remote=True) as proxy:
            pass
    (said,) = caplog.messages
    assert said == f"any client that can reach {proxy.url} can use {upstream} through it: the proxy asks for no token"
    with opened(tmp_path / "a.db") as store:
        assert store.exchanges() == []


def test_the_token_is_told_once_where_it_was_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = conversation().save(tmp_path / "a.db")
    row, errors = serve(path, "--listen", "0.0.0.0:0", "--allow-remote")
    assert errors.count(row["token"]) == 1
    assert f"omnirecord: requests below /-/omnirecord/ need: Authorization: Bearer {row['token']}\n" in errors
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    row, errors = serve(path, "--listen", "0.0.0.0:0", "--allow-remote")
    assert set(row) == {"url", "cassette"}
    assert TOKEN not in errors
    row, errors = serve(path, "--listen", "127.0.0.1:0")
    assert (set(row), errors) == ({"url", "cassette"}, "")


def test_a_proxy_tells_one_only_where_there_is_something_to_use_it_for(tmp_path: Path) -> None:
    words = ["--upstream", nobody_listens(), "--db", str(tmp_path / "a.db"), "--listen", "0.0.0.0:0", "--allow-remote"]
    row, errors = started("proxy", *words, "--control")
    assert f"requests below /-/omnirecord/ need: Authorization: Bearer {row['token']}\n" in errors
    row, errors = started("proxy", *words)
    assert set(row) == {"url", "db", "upstream"}
    assert "Bearer" not in errors


def serve(path: Path, *words: str) -> tuple[dict[str, str], str]:
    return started("serve", str(path), *words)


def started(*words: str) -> tuple[dict[str, str], str]:
    """Start it, stop it; what it said when it was ready, and on stderr."""
    done = forked.run([*words, "--json"], stopped_by=signal.SIGTERM)
    assert done.code == 0
    return json.loads(done.out), done.errors.decode()


def test_every_address_of_this_machine_is_a_name_of_a_server_that_listens_on_all(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "a.db")
    with omnirecord.replay(path, host="0.0.0.0", allow_remote=True, token=TOKEN, allow_no_requests=True) as server:
        assert server.token == TOKEN
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        for host, expected in ((socket.gethostname(), b"200"), ("10.1.2.3:80", b"200"), ("evil.example", b"403")):
            lines = get(STATE, f"Authorization: Bearer {TOKEN}", host=host)
            assert asyncio.run(ask(url, lines)).status.split()[1] == expected
