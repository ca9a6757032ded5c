"""The server of the page: who may have what, and what it says where something is wrong."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from omnirecord import record
from omnirecord.cassette.open import open_store
from omnirecord.errors import NotACassette, ServerError, UsageError
from omnirecord.server.listener import TOKEN_VARIABLE, Place
from omnirecord.ui.viewer import Viewer
from tests.support.cassettes import HEALTHY
from tests.support.forked import run
from tests.support.wire import Upstream, ask

UI = "/-/omnirecord/ui/"


def request(path: str, *lines: str, method: str = "GET", host: str = "127.0.0.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


async def told(url: str, path: str, *lines: str, **more: str) -> tuple[int, dict[str, str], bytes]:
    answer = await ask(url, request(path, *lines, **more))
    headers = {name.decode().lower(): value.decode() for name, value in answer.headers}
    return int(answer.status.split()[1]), headers, answer.body


async def test_the_page_is_found_from_the_address_and_below_the_control_path() -> None:
    async with Viewer(HEALTHY["text"]) as viewer:
        status, headers, _ = await told(viewer.url, "/")
        assert (status, headers["location"]) == (302, UI)
        for name, type_ in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
            status, headers, body = await told(viewer.url, UI + name)
            assert (status, headers["content-type"]) == (200, f"{type_}; charset=utf-8")
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
            assert headers["x-content-type-options"] == "nosniff"
            assert body


async def test_data_is_json_that_no_browser_takes_for_anything_else() -> None:
    async with Viewer(HEALTHY["text"]) as viewer:
        status, headers, body = await told(viewer.url, f"{UI}data/overview")
        assert (status, headers["content-type"], headers["cache-control"]) == (200, "application/json", "no-store")
        assert json.loads(body)["name"] == "text.jsonl"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("data/session?key=1.session.nobody", 400), ("data/session?key=", 400), ("data/session?key=1.stream.x", 400),
        ("data/events?stream=99", 400), ("data/events?stream=-1", 400), ("data/event?stream=1&seq=9999", 400),
        ("data/exchange?exchange=999", 400), ("data/search?query=", 400), ("data/nothing", 404), ("other", 404),
        ("data/comparison?a=1&b=2", 400), ("data/../../x", 404), ("page.html", 404),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_gets_a_sentence(path: str, status: int) -> None:
    async with Viewer(HEALTHY["text"]) as viewer:
        found, _, body = await told(viewer.url, UI + path)
        assert found == status
        assert json.loads(body)["error"]["message"].startswith("omnirecord: ")


async def test_nothing_can_be_changed() -> None:
    async with Viewer(HEALTHY["text"]) as viewer:
        for path in ("", "data/overview"):
            status, _, _ = await told(viewer.url, UI + path, "Content-Type: application/json", method="POST")
            assert status == 405


async def test_a_page_of_another_origin_gets_nothing() -> None:
    async with Viewer(HEALTHY["text"]) as viewer:
        for path in ("", "page.js", "data/overview"):
            assert (await told(viewer.url, UI + path, host="evil.example"))[0] == 403
            assert (await told(viewer.url, UI + path, "Origin: http://evil.example"))[0] == 403
            assert (await told(viewer.url, UI + path, "Sec-Fetch-Site: cross-site"))[0] == 403


async def test_a_link_may_lead_to_the_page_but_not_to_data() -> None:
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    async with Viewer(HEALTHY["text"]) as viewer:
        assert (await told(viewer.url, UI, *link))[0] == 200
        assert (await told(viewer.url, f"{UI}data/overview", *link))[0] == 403
        assert (await told(viewer.url, UI, *link, host="evil.example"))[0] == 403


async def test_with_a_token_the_page_is_there_and_its_data_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "a-token-of-sixteen-letters")
    async with Viewer(HEALTHY["text"]) as viewer:
        assert viewer.address == viewer.page, "a token that somebody chose is not printed"
        assert (await told(viewer.url, UI))[0] == 200
        assert (await told(viewer.url, f"{UI}data/overview"))[0] == 401
        token = "Authorization: Bearer a-token-of-sixteen-letters"
        assert (await told(viewer.url, f"{UI}data/overview", token))[0] == 200


async def test_what_cannot_be_shown_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_bytes(b"junk")
    for name in ("none.db", "junk.db"):
        with pytest.raises((NotACassette, UsageError)):
            async with Viewer(tmp_path / name):
                pass


async def test_an_address_that_is_taken_is_said() -> None:
    async with Viewer(HEALTHY["text"]) as viewer:
        port = int(viewer.url.rpartition(":")[2])
        with pytest.raises(ServerError, match="is in use"):
            async with Viewer(HEALTHY["text"], place=Place(port=port)):
                pass


async def test_a_text_form_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(HEALTHY["text"].read_bytes())
    async with Viewer(path) as viewer:
        path.write_bytes(HEALTHY["approval"].read_bytes())
        _, _, body = await told(viewer.url, f"{UI}data/overview")
        assert json.loads(body)["sessions"][0]["asked"] == "Please summarise the release notes."


async def test_a_proxy_has_the_page_only_if_it_was_asked_for(tmp_path: Path) -> None:
    async with Upstream(lambda conn: conn.gone()) as upstream:
        async with record(upstream.url, tmp_path / "a.db", control=True) as proxy:
            assert proxy.page is None
            assert (await told(proxy.url, UI))[0] == 404
        async with record(upstream.url, tmp_path / "b.db", ui=True) as proxy:
            assert proxy.page is not None
            own = proxy.page.removesuffix(UI)
            assert own != proxy.url
            assert (await told(own, UI))[0] == 200
            assert json.loads((await told(own, f"{UI}data/overview"))[2])["is_recorded"] is True
            assert (await told(own, "/v1/sessions"))[0] == 404, "nothing is forwarded from there"
            status, headers, _ = await told(proxy.url, UI)
            assert (status, headers["location"]) == (302, proxy.page)
            assert (await told(proxy.url, f"{UI}data/overview"))[0] == 404
            assert json.loads((await told(proxy.url, "/-/omnirecord/"))[2])["recording"] == 1, "a tool still may"
    with closing(open_store(tmp_path / "b.db")) as store:
        assert store.exchanges() == [], "it is not recorded itself"


async def test_the_page_of_a_proxy_is_on_the_port_behind_it_or_on_a_free_one_or_where_it_is_told(
    tmp_path: Path,
) -> None:
    async with Upstream(lambda conn: conn.gone()) as upstream:
        port = free_port(2)
        async with record(upstream.url, tmp_path / "free.db", port=port, ui=True) as proxy:
            assert proxy.page == f"http://127.0.0.1:{port + 1}{UI}"
        with closing(socket.create_server(("127.0.0.1", port + 1))):
            async with record(upstream.url, tmp_path / "taken.db", port=port, ui=True) as proxy:
                assert proxy.page not in (None, f"http://127.0.0.1:{port + 1}{UI}")
            with pytest.raises(ServerError, match="is in use: choose another --ui"):
                async with record(upstream.url, tmp_path / "told.db", ui=f"127.0.0.1:{port + 1}"):
                    pass
        async with record(upstream.url, tmp_path / "told.db", ui=f"127.0.0.1:{port + 1}") as proxy:
            assert proxy.page == f"http://127.0.0.1:{port + 1}{UI}"


@pytest.mark.parametrize(("ui", "said"), [("6869", "--ui '6869' is no HOST:PORT"), ("0.0.0.0:1", "add --allow-remote")])
def test_where_the_page_cannot_be_is_said_before_anything_is_opened(ui: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        record("http://127.0.0.1:1", tmp_path / "a.db", ui=ui)


async def test_a_page_that_is_reachable_from_elsewhere_asks_for_a_token_of_its_own(tmp_path: Path) -> None:
    async with (
        Upstream(lambda conn: conn.gone()) as upstream,
        record(upstream.url, tmp_path / "a.db", ui="0.0.0.0:0", allow_remote=True) as proxy,
    ):
        assert proxy.page is not None
        own = proxy.page.removesuffix(UI).replace("0.0.0.0", "127.0.0.1")
        assert proxy.made_token is not None
        assert (await told(own, f"{UI}data/overview"))[0] == 401
        assert (await told(own, f"{UI}data/overview", f"Authorization: Bearer {proxy.made_token}"))[0] == 200


def test_the_command_prints_where_the_page_is(tmp_path: Path) -> None:
    words = [
        "proxy",
        "--upstream",
        "http://127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
        "--db",
        tmp_path / "a.db",
        "--json",
    ]
    for given in ([], ["127.0.0.1:0"]):
        done = run([*words, "--ui", *given], stopped_by=signal.SIGINT)
        row = json.loads(done.out)
        assert (done.code, set(row)) == (0, {"url", "db", "upstream", "ui", "page"})
        assert row["page"] == row["ui"] + UI
        assert row["ui"] != row["url"]
