"""Model calls on the page, in a real browser: the lane, the panel, moves between hops, hostile and large prompts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omnirecord.ui.export import sealed_page
from tests.support.browsing import drawn, opened, serious, settled, showing, texts
from tests.support.cassettes import HEALTHY
from tests.support.hop_tapes import ANSWER, ASKED, TOOLS, both_hops, model_hop
from tests.ui.test_page import HOSTILE, unharmed

pytestmark = [pytest.mark.slow, pytest.mark.browser]
CALL = ".detail h2"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return both_hops().save(tmp_path_factory.mktemp("hops") / "both.db")


@pytest.fixture(scope="module")
def url(both: Path) -> Iterator[str]:
    with showing(both) as found:
        yield found


def test_a_call_and_a_turn_show_the_command_that_forks_there(browser: Any, url: str) -> None:
    with opened(browser, url) as page:
        settled(page)
        page.locator(".turn-end .fork summary").first.click()
        of_turn = "omnirecord fork both.db#s --from-turn 1 --message TEXT --upstream URL --upstream model=URL"
        assert page.locator(".turn-end .fork code").first.inner_text() == of_turn
        page.keyboard.press("2")
        drawn(page)
        row = page.locator(".event.call", has_text="⇒6")
        row.scroll_into_view_if_needed()
        drawn(page)  # the list uses an element for another row when it scrolls
        row.click()
        title(page, "Model call 6")
        page.locator(".detail-body .fork summary").click()
        of_call = "omnirecord fork both.db#s --from-call 2 --set PATH=VALUE -- COMMAND"
        assert page.locator(".detail-body .fork code").inner_text() == of_call


def title(page: Any, text: str) -> None:
    page.locator(CALL, has_text=text).wait_for()


def test_the_calls_of_a_session_are_in_the_wire_and_in_a_lane_where_a_click_opens_all_of_one(
    browser: Any, url: str
) -> None:
    with opened(browser, url) as page:
        settled(page)
        assert "Model" in texts(page, ".lane-label")
        page.keyboard.press("2")
        drawn(page)
        rows = texts(page, ".event.call")
        assert ["⇒4" in rows[0], "attempt 2" in rows[1], "⇒6" in rows[2]] == [True] * 3
        assert "refused 429" in rows[0]
        assert texts(page, ".turn-calls") == ["2 model calls (3 attempts) · 1 without a whole answer · 5.70 s"]
        assert {"model: streaming", "retry"} <= set(texts(page, ".legend span"))
        lane = page.locator(".lane-label", has_text="Model").bounding_box()
        box = page.locator(".lanes").bounding_box()
        colour = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--call')").strip()
        x = page.evaluate(
            """([y, colour]) => {
                const canvas = document.querySelector('.lanes'), ratio = devicePixelRatio
                const line = canvas.getContext('2d').getImageData(0, y * ratio, canvas.width, 1).data
                const hex = at => '#' + [0, 1, 2].map(i => line[at * 4 + i].toString(16).padStart(2, '0')).join('')
                for (let x = canvas.width - 1; x > 0; x--) if (hex(x) === colour) return (x - 4) / ratio
            }""",
            [lane["y"] - box["y"] + 3, colour],
        )
        page.mouse.click(box["x"] + x, lane["y"] + 3)
        title(page, "Model call 6")
        assert "call=6" in page.evaluate("new Promise(done => setTimeout(() => done(location.hash), 600))")
        for summary in page.locator(".detail-body summary").all():
            summary.click()
        text = page.text_content(".detail-body")
        for part in (ASKED, "".join(ANSWER), "You are a poet.", TOOLS[0]["description"], "call_1", "3 poem.txt",
                     "exact, by the id of a tool call", "40 → 9 tokens", "content-type", '"instructions"'):  # fmt: skip
            assert part in text, part


def test_keys_step_through_calls_and_between_hops(browser: Any, url: str) -> None:
    with opened(browser, url) as page:
        settled(page)
        page.keyboard.press("Home")
        for number in (4, 5, 6):
            page.keyboard.press("m")
            title(page, f"Model call {number}")
        page.keyboard.press("M")
        title(page, "Model call 5")
        page.evaluate("() => { location.hash = '#/session/1.session.s?event=1:7' }")
        page.wait_for_selector(".partner")
        assert texts(page, ".partner") == ["model call 6, event 3 100 ms earlier, same text"]
        page.keyboard.press("c")
        title(page, "Model call 6")
        page.wait_for_selector(".call-event .partner")
        assert texts(page, ".call-events .selected .took") == ["3 · 0:10.500"]
        page.keyboard.press("c")
        title(page, "1:7")


def test_the_address_opens_a_delta_of_a_call_and_axe_finds_nothing_serious_in_the_panel(browser: Any, url: str) -> None:
    with opened(browser, f"{url}#/session/1.session.s?call=6&delta=4") as page:
        settled(page)
        page.wait_for_selector(".call-event .raw")
        assert texts(page, ".call-events .selected .snippet") == ['" three"']
        assert texts(page, ".player .time")[0].startswith("0:11.00")
        page.wait_for_timeout(600)
        assert "call=6&delta=4" in page.url
        page.reload()
        page.wait_for_selector(".call-event .raw")
        assert texts(page, ".call-events .selected .snippet") == ['" three"']
        page.wait_for_selector(".call-event .partner")
        for summary in page.locator(".detail-body summary").all():
            summary.click()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            drawn(page)
            assert serious(page, ".detail", ".event.call", ".turn-calls", ".legend") == [], scheme


def test_a_cassette_with_only_a_model_hop_lists_its_conversations_and_opens_each(browser: Any, tmp_path: Path) -> None:
    with showing(model_hop(3).save(tmp_path / "model.db")) as url, opened(browser, url) as page:
        page.locator("td.name code", has_text="#3").wait_for()  # before they are grouped, calls have rows without it
        assert texts(page, "td.name code") == ["#1", "#2", "#3"]
        assert serious(page) == []
        page.locator("td.name a").nth(1).click()
        page.locator(".lane-label", has_text="Model").wait_for()
        page.locator("main", has_text="Answer 1").wait_for()
        assert serious(page) == []


def test_one_call_has_a_page_of_its_own(browser: Any, tmp_path: Path) -> None:
    with showing(model_hop(3).save(tmp_path / "model.db")) as url, opened(browser, f"{url}#/call/2") as page:
        page.locator("h1", has_text="Model call 2").wait_for()
        page.locator(".call-line", has_text="output_text.delta").click()
        page.wait_for_selector(".call-event .raw")
        assert "delta=2" in page.url
        assert "Answer 1" in page.inner_text(".call-event")
        assert serious(page) == []


def test_without_a_model_hop_nothing_of_it_is_shown(browser: Any) -> None:
    with showing(HEALTHY["turns"]) as url, opened(browser, url) as page:
        settled(page)
        page.keyboard.press("m")
        page.keyboard.press("c")
        drawn(page)
        assert "Model" not in texts(page, ".lane-label")
        assert page.locator(".swatch.call-stream, .event.call, .partner").count() == 0
        assert set(texts(page, ".turn-calls")) == {""}


def test_at_400_pixels_the_panel_is_not_wider_than_the_page(browser: Any, url: str) -> None:
    with opened(browser, f"{url}#/session/1.session.s?call=6&delta=4", width=400) as page:
        settled(page)
        page.wait_for_selector(".call-event .partner")
        assert page.evaluate("document.documentElement.scrollWidth <= 400")
        wide = "found => found.filter(one => one.scrollWidth > one.clientWidth + 1).length"
        assert page.locator(".detail-body").evaluate_all(wide) == 0


def test_a_strangers_prompt_does_nothing(browser: Any, tmp_path: Path) -> None:
    evil = " ".join(HOSTILE)
    path = both_hops(evil, [evil, evil], output=evil).save(tmp_path / "evil.db")
    with showing(path) as url, opened(browser, url) as page:
        settled(page)
        page.keyboard.press("Home")
        for number in (4, 5, 6):
            page.keyboard.press("m")
            title(page, f"Model call {number}")
            page.wait_for_selector(".detail-body .raw", state="attached")
            unharmed(page)
        page.goto(f"{url}#/session/1.session.s?call=6&delta=2")
        page.wait_for_selector(".call-event .partner")
        assert HOSTILE[0] in page.text_content(".detail-body")
        unharmed(page)
        page.goto(f"{url}#/call/6")
        page.locator("h1", has_text="Model call 6").wait_for()
        page.wait_for_selector(".call-line")
        unharmed(page)


def test_a_prompt_of_two_megabytes_does_not_stop_the_page(browser: Any, tmp_path: Path) -> None:
    path = model_hop(1, "flight recorder " * 131_072).save(tmp_path / "large.db")
    longest = """() => { window.longest = 0
        const later = one => { window.longest = Math.max(window.longest, one.duration) }
        new PerformanceObserver(list => list.getEntries().forEach(later))
            .observe({ type: 'longtask', buffered: true }) }"""
    with showing(path) as url, opened(browser, f"{url}#/call/1") as page:
        page.evaluate(longest)
        page.locator("button", has_text="Show all of 2,097,152 characters").wait_for()
        begun = time.monotonic()
        page.locator("button", has_text="Show all of").first.click()
        page.wait_for_selector(".raw.piece:nth-of-type(50)", state="attached")
        drawn(page)
        assert time.monotonic() - begun < 5
        assert page.evaluate("window.longest") < 1500
        pieces = page.locator(".raw.piece").evaluate_all("found => found.map(one => one.textContent.length)")
        assert sum(pieces) == 2_097_152


def test_the_exported_file_has_the_calls_and_the_moves(browser: Any, both: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(b"".join(sealed_page(both)))
    with opened(browser, f"{file.as_uri()}#/session/1.session.s?event=1:7") as page:
        settled(page)
        page.wait_for_selector(".partner")
        page.keyboard.press("c")
        title(page, "Model call 6")
        page.wait_for_selector(".call-event .raw")
        assert ASKED in page.text_content(".detail-body")
        assert "has" in page.inner_text(".call-event")
