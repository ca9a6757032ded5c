"""The wire of the page: requests and messages are rows, a run of deltas is one row, an empty filter says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browsing import drawn, eventually, opened, settled, showing, texts
from tests.support.cassettes import HEALTHY, JSON, Made, completed, created, delta, heartbeat, status

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A session with a refused request, one that has no answer, a WebSocket, and two runs of deltas."""
    tape = Made()
    message = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}}
    tape.post("/v1/sessions/s/events", 1.0, until=1.02, body=message, answer={"item_id": "i"}, status=202)
    tape.stream(
        "s", 0.5, (1.1, status("running")), (1.2, created()), *((2 + n / 10, delta(f"a{n} ")) for n in range(5)),
        (2.6, heartbeat()), *((3 + n / 10, delta(f"b{n} ")) for n in range(4)), (4.0, delta("c")), (4.2, completed()),
        (4.3, status("idle")), end=6.0,
    )  # fmt: skip
    tape.request("PATCH", "/v1/sessions/s", 3.95, status=400, answer={"error": {"message": "Unknown Model"}})
    tape.request("GET", "/v1/sessions/s/items", 5.0, ending="upstream_lost", answered=False)
    tape.websocket("/v1/sessions/s/updates", 5.1, (5.2, "up", b'{"ping": 1}'), (5.3, "down", b"\xff\x00"))
    with showing(tape.save(tmp_path_factory.mktemp("mixed") / "mixed.db")) as url:
        yield f"{url}#/session/1.session.s?tab=wire"


def rows(page: Any) -> list[tuple[str, str, str]]:
    """The rows that can be seen, from above: number, type, what it says."""
    script = """found => found.filter(one => one.checkVisibility())
        .toSorted((a, b) => a.dataset.index - b.dataset.index)
        .map(one => ['seq', 'type', 'summary'].map(name => one.querySelector('.' + name).textContent))"""
    return [tuple(one) for one in page.locator(".event").evaluate_all(script)]


def test_requests_and_messages_stand_between_the_events_and_each_row_opens_what_it_stands_for(
    browser: Any, mixed: str
) -> None:
    with opened(browser, mixed, height=2400) as page:
        settled(page)
        page.locator(".summary", has_text="a0 a1").wait_for()
        seen = rows(page)
        assert seen == [
            ("→2", "GET /v1/sessions/s/stream", "200 · stream 1, open 5.50 s, client left"),
            ("→1", "POST /v1/sessions/s/events", "202 · 20 ms"),
            ("1", "session.status", "running"),
            ("2", "response.created", seen[3][2]),
            ("3", "▸ response.output_text.delta", "5 in 400 ms · a0 a1 a2 a3 a4"),
            ("8", "session.heartbeat", ""),
            ("9", "▸ response.output_text.delta", "4 in 300 ms · b0 b1 b2 b3"),
            ("→3", "PATCH /v1/sessions/s", "✗ failed: 400 · 0"),
            ("13", "response.output_text.delta", '"c"'),
            ("14", "response.completed", seen[9][2]),
            ("15", "session.status", "idle"),
            ("→4", "GET /v1/sessions/s/items", "✗ failed: no answer · 0"),
            ("→5", "GET /v1/sessions/s/updates", "101 · WebSocket, 0"),
            ("⇄5", "WebSocket client → server", '{"ping": 1}'),
            ("⇄5", "WebSocket server → client", "2 B, binary"),
        ]
        assert texts(page, ".wire-count") == ["15 events · 5 requests"]
        assert texts(page, ".event.failed .seq") == ["→3", "→4"]
        page.locator(".event.failed").first.click()
        page.locator(".detail .json", has_text="Unknown Model").wait_for()
        assert "400" in page.inner_text(".detail .facts")
        page.locator(".event.message").first.click()
        page.locator(".detail .raw", has_text='{"ping": 1}').wait_for()
        assert texts(page, ".event.selected .seq") == ["⇄5"]
        page.locator(".event.message").last.click()
        page.locator(".detail .raw", has_text="\\xff\\x00").wait_for()


def test_a_run_of_deltas_opens_by_a_click_and_by_the_keyboard(browser: Any, mixed: str) -> None:
    with opened(browser, mixed, height=2400) as page:
        settled(page)
        many = len(rows(page))
        page.locator(".event.run").first.click()
        eventually(lambda: len(rows(page)) == many + 5)
        assert page.locator(".event.run .type").first.inner_text().startswith("▾")
        assert [one[0] for one in rows(page)][4:10] == ["3", "3", "4", "5", "6", "7"]
        page.keyboard.press("j")
        eventually(lambda: texts(page, ".event.selected .seq") == ["4"])
        page.keyboard.press("o")
        eventually(lambda: len(rows(page)) == many)
        page.locator(".wire-rows").focus()
        for _ in range(2):
            page.keyboard.press("ArrowDown")
        eventually(lambda: texts(page, ".event.selected .seq") == ["9"])
        page.keyboard.press("Enter")
        eventually(lambda: len(rows(page)) == many + 4)
        for key in ("ArrowUp", "ArrowDown", "ArrowDown"):
            page.keyboard.press(key)
        eventually(lambda: texts(page, ".event.selected .seq") == ["10"])
        page.uncheck("input[name=fold]")
        eventually(lambda: len(rows(page)) == many + 5 + 4 - 2)


def test_an_event_inside_a_folded_run_selects_the_row_of_the_run(browser: Any, mixed: str) -> None:
    with opened(browser, f"{mixed}&event=1:5", height=2400) as page:
        settled(page)
        page.locator(".detail h2", has_text="1:5").wait_for()
        assert texts(page, ".event.selected .seq") == ["3"]


def test_two_clients_have_the_names_of_their_user_agents_and_the_same_deltas_make_one_run(browser: Any) -> None:
    with showing(HEALTHY["two_clients"]) as url, opened(browser, f"{url}#/?", height=1600) as page:
        page.wait_for_selector("td .severity")
        page.click("td.name a")
        settled(page)
        assert page.locator(".event.run").count() <= 3
        assert "Python client" in texts(page, ".lane-label")
        assert not [one for one in texts(page, ".lane-label") if one.startswith("Client")]
        page.locator(".event.request").first.click()
        page.locator(".detail .facts", has_text="Python client").wait_for()


def test_a_filter_takes_requests_too_and_one_that_nothing_passes_says_so(browser: Any, mixed: str) -> None:
    with opened(browser, mixed, height=2400) as page:
        settled(page)

        def counts(text: str) -> None:
            page.locator(".wire-count", has_text=text).wait_for()

        page.fill("input[name=type]", "PATCH *")
        counts("0 of 15 events · 1 of 5 requests")
        page.fill("input[name=type]", "")
        page.fill("input[name=text]", "unknown model")
        counts("0 of 15 events · 1 of 5 requests")
        page.fill("input[name=text]", "")
        counts("15 events · 5 requests")
        page.select_option("select[name=verdict]", "odd")
        counts(" · 2 of 5 requests")
        page.select_option("select[name=rows]", "events")
        page.select_option("select[name=verdict]", "malformed")
        page.locator(".wire-none", has_text="No row passes the filter: only events, verdict malformed.").wait_for()
        page.click("text=Clear the filter")
        counts("15 events · 5 requests")
        assert page.locator("select[name=verdict]").input_value() == ""
        assert page.locator(".wire-none").is_hidden()
        page.select_option("select[name=rows]", "requests")
        counts("0 of 15 events · 5 requests")
        drawn(page)
        assert {one[0] for one in rows(page)} == {"→1", "→2", "→3", "→4", "→5", "⇄5"}


def test_a_session_without_anything_says_so(browser: Any, tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, ending="open", headers=JSON)
    with showing(tape.save(tmp_path / "empty.db")) as url, opened(browser, url) as page:
        settled(page)
        page.keyboard.press("2")
        assert len(rows(page)) == 1
        page.select_option("select[name=rows]", "events")
        page.locator(".wire-none", has_text="No row passes").wait_for()
