"""The limit of a test: it fails and ends where its client does not send what the replay waits for."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from omnirecord.pytest_plugin.server import swallows
from omnirecord.pytest_plugin.settings import settings_of
from tests.support.pytest_suite import Suite
from tests.support.pytest_suite import suite as suite

pytest_plugins = ["pytester"]

AWAITS = "POST /v1/sessions/s/events"
CLOSED = f"the replay waited 0.5 s for {AWAITS}, and the client did not send it"
ABSENT = f"the client sent no request for 0.5 s; the replay waits for {AWAITS}"
LISTENS = """
    import asyncio, queue, ssl, time
    import httpx, pytest

    SSL = ssl.create_default_context()  # takes its time, which no limit is to count

    pytestmark = pytest.mark.omnirecord("talk.jsonl"{marker})

    def listen(url, timeout=None):
        with httpx.Client(base_url=url, timeout=timeout, verify=SSL) as client:
            with client.stream("GET", "/v1/sessions/s/stream") as stream:
                return "".join(stream.iter_text())

    async def alisten(url):
        async with httpx.AsyncClient(base_url=url, timeout=None, verify=SSL) as client:
            async with client.stream("GET", "/v1/sessions/s/stream") as stream:
                return "".join([text async for text in stream.aiter_text()])

    async def a_task_that_goes_on_once():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    {kind} test_it(omnirecord_server):
        url = omnirecord_server.url
        {body}
"""
RECONNECTS = """
        while True:
            try:
                listen(url, 0.1)
            except Exception:
                time.sleep(0.01)
"""
SWALLOWS = """
        try:
            listen(url)
        except Exception:
            pass
"""
POLLS = """
        while "completed" not in httpx.get(url + "/v1/sessions/s", verify=SSL).text:
            time.sleep(0.01)
"""
BLOCKED = {
    "a synchronous client": ("def", "listen(url)", CLOSED),
    "an asynchronous client": ("async def", "await alisten(url)", CLOSED),
    "a client in another thread": ("async def", "await asyncio.to_thread(listen, url)", CLOSED),
    "a client that comes again and again": ("def", RECONNECTS, CLOSED),
    "a client whose error is swallowed": ("def", SWALLOWS, CLOSED),
    "a client that only reads": ("def", POLLS, CLOSED),
    "a client that never connects": ("def", "queue.Queue().get()", ABSENT),
    "an asynchronous client that never connects": ("async def", "await asyncio.Event().wait()", ABSENT),
    "a test that blocks its loop": ("async def", "time.sleep(60)", ABSENT),
    "a task that ignores a cancellation": ("async def", "await a_task_that_goes_on_once()", ABSENT),
}


def listens(suite: Suite, kind: str, body: str, marker: str = ", gate_timeout=0.5") -> pytest.RunResult:
    suite.ini("asyncio_mode=auto")
    suite.file(test_it=LISTENS.format(kind=kind, body=body.strip(), marker=marker))
    return suite.run()


@pytest.mark.parametrize("kind", BLOCKED)
def test_a_test_whose_client_never_posts_fails_and_ends(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("omnirecord.pytest_plugin.server.GRACE", 0.3)
    keyword, body, reason = BLOCKED[kind]
    result = listens(suite, keyword, body)
    result.assert_outcomes(failed=1)
    output = " ".join(result.stdout.str().split())
    assert f"omnirecord: {reason}" in output
    assert "gate_timeout=S sets this limit, 0 means none; skip_gates_after=S continues without the request" in output


def test_nothing_is_raised_in_a_callback_of_a_weak_reference() -> None:
    of_callback: dict[str, Any] = {"__name__": "_weakrefset"}
    exec("import sys\nframe = sys._getframe()", of_callback)
    assert swallows(of_callback["frame"])
    assert not swallows(sys._getframe())


def test_the_section_shows_the_playhead_what_it_waits_for_and_what_came_instead(suite: Suite) -> None:
    body = "httpx.get(url + '/v1/sessions/s', verify=SSL); listen(url)"
    listens(suite, "def", body, ", gate_timeout=1").stdout.fnmatch_lines(
        [
            "*- omnirecord -*",
            "*cassettes/talk.jsonl, replayed at http://127.0.0.1:*",
            "2 requests came:",
            "  GET /v1/sessions/s -> 200",
            "  GET /v1/sessions/s/stream -> 200",
            f"playhead: 0.100 s into s, behind frame 2 of stream 1 (session.presence); *it waits for {AWAITS}",
        ],
        consecutive=True,
    )


def test_the_error_of_the_client_shows_where_it_was_blocked(suite: Suite) -> None:
    output = listens(suite, "async def", "await asyncio.Event().wait()").stdout
    output.fnmatch_lines([">*await asyncio.Event().wait()", "E *CancelledError*", "E *Failed: omnirecord: the client*"])


@pytest.mark.parametrize("marker", [", gate_timeout=0", ", skip_gates_after=30"])
def test_a_test_may_have_no_limit(suite: Suite, marker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.pytest_plugin.settings.GATE_TIMEOUT", 0.1)
    listens(suite, "def", "time.sleep(0.4)", f"{marker}, allow_no_requests=True").assert_outcomes(passed=1)


def test_thirty_seconds_are_the_limit_unless_a_test_says_otherwise() -> None:
    assert settings_of().gate_timeout == 30.0
    assert settings_of({"gate_timeout": "2.5"}).gate_timeout == 2.5
    assert settings_of({"gate_timeout": 0}).gate_timeout is None
    assert settings_of({"skip_gates_after": 5}).gate_timeout is None
    assert settings_of({"skip_gates_after": 5, "gate_timeout": 9}).gate_timeout == 9.0


@pytest.mark.parametrize("where", ["ini", "option"])
def test_the_limit_is_set_in_the_ini_file_or_on_the_command_line(suite: Suite, where: str) -> None:
    suite.ini("omnirecord_gate_timeout=0.5" if where == "ini" else "")
    suite.file(test_it=LISTENS.format(kind="def", body="listen(url)", marker=""))
    result = suite.run(*(["--omnirecord-gate-timeout=0.5"] if where == "option" else []))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*Failed: omnirecord: {CLOSED}*"])


def test_gates_may_be_skipped_instead(suite: Suite) -> None:
    listens(suite, "def", "assert 'completed' in listen(url)", ", skip_gates_after=0.1").assert_outcomes(passed=1)


def test_a_client_that_is_late_but_within_the_limit_passes(suite: Suite) -> None:
    body = """
        from threading import Timer
        Timer(0.2, httpx.post, [url + "/v1/sessions/s/events"], {"json": {"type": "message"}}).start()
        assert "completed" in listen(url)
    """
    listens(suite, "def", body, ", gate_timeout=5").assert_outcomes(passed=1)


def test_a_playhead_that_is_paused_waits_for_nobody(suite: Suite) -> None:
    body = """
        omnirecord_server.pause()
        with pytest.raises(Exception, match="timed out|closed"):
            listen(url, 2.5)
    """
    listens(suite, "def", body, ", gate_timeout=2").assert_outcomes(passed=1)


def test_a_slip_in_the_limit_is_a_sentence(suite: Suite) -> None:
    suite.file(test_it=LISTENS.format(kind="def", body="pass", marker=", gate_timeout='soon'"))
    suite.refuses("gate_timeout 'soon' is no number of seconds: write for instance 30, or 0 for no limit")
