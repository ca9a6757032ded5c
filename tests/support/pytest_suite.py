"""A project with tests of its own that use the pytest plugin, and a server to record from; both are fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest

import omnirecord
import omnirecord.pytest_plugin.server
from omnirecord.cassette.jsonl import jsonl_bytes
from tests.support.cassettes import conversation

PLUGIN = "omnirecord.pytest_plugin"
IS_INSTALLED = any(one.value == PLUGIN for one in entry_points(group="pytest11"))
OPTIONS = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "error", "--strict-markers"]
OPTIONS += ["-o", "asyncio_default_fixture_loop_scope=function"]
OPTIONS += [] if IS_INSTALLED else ["-p", PLUGIN]
CLIENT = """
import httpx

def talk(url, says="message"):
    with httpx.Client(base_url=url, timeout=5) as client:
        client.post("/v1/sessions")
        with client.stream("GET", "/v1/sessions/s/stream") as stream:
            client.post("/v1/sessions/s/events", json={"type": says})
            return "".join(stream.iter_text())

async def atalk(url):
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        await client.post("/v1/sessions")
        async with client.stream("GET", "/v1/sessions/s/stream") as stream:
            await client.post("/v1/sessions/s/events", json={"type": "message"})
            return "".join([text async for text in stream.aiter_text()])
"""
TALKS = """
    import pytest
    from client import talk

    @pytest.mark.omnirecord("talk.jsonl")
    def test_talk(omnirecord_server):
        assert "response.completed" in talk(omnirecord_server.url)
        omnirecord_server.assert_all_matched()
"""
RECORDED = """
    from client import talk

    def test_it(omnirecord_server):
        assert "response.completed" in talk(omnirecord_server.url)
        omnirecord_server.assert_all_matched()
"""


class Suite:
    """A project with tests of its own and a cassette, `cassettes/talk.jsonl`."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path
        self.cassettes = self.path / "cassettes"
        self.cassettes.mkdir()
        (self.path / "client.py").write_text(CLIENT)
        (self.cassettes / "talk.jsonl").write_bytes(b"".join(jsonl_bytes(conversation("eof").store())))
        pytester.syspathinsert()
        self.ini("")

    def file(self, **files: str) -> None:
        self._pytester.makepyfile(**files)

    def ini(self, lines: str) -> None:
        self._pytester.makeini(f"[pytest]\n{lines}\n")

    def run(self, *options: str) -> pytest.RunResult:
        return self._pytester.runpytest_inprocess(*OPTIONS, *options)

    def run_apart(self, *options: str) -> pytest.RunResult:
        return self._pytester.runpytest_subprocess(*OPTIONS, *options)

    def refuses(self, sentence: str, *options: str) -> None:
        """Run, and have one error at the setup of a test that says this, without a traceback."""
        result = self.run(*options)
        result.assert_outcomes(errors=1)
        output = result.stdout.str()
        assert sentence in " ".join(output.split())
        assert "Traceback" not in output
        assert "During handling" not in output
        assert "def omnirecord_server" not in output


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


@pytest.fixture
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server to record from."""
    cassette = conversation("eof").save(tmp_path_factory.mktemp("upstream") / "talk.db")
    with omnirecord.replay(cassette, timing="instant", allow_no_requests=True) as server:
        yield server.url


def from_upstream(url: str, mode: str = "once") -> list[str]:
    return [f"--omnirecord-record={mode}", f"--omnirecord-upstream={url}"]
