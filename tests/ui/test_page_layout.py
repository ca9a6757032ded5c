"""What a session shows first, on wide and on narrow pages: its errors, its conversation, names, labels and a legend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from omnirecord.cassette.open import import_file
from tests.support.browsing import eventually, opened, settled, showing, texts, violations
from tests.support.cassettes import HEALTHY, TROUBLED

pytestmark = [pytest.mark.slow, pytest.mark.browser]
SHIPPED = {**HEALTHY, **TROUBLED}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of three shipped cassettes in one."""
    db = tmp_path_factory.mktemp("some") / "some.db"
    for name in ("tool_hangs", "approval", "subagent"):
        import_file(SHIPPED[name], db)
    with showing(db) as url:
        yield url


@pytest.mark.parametrize(("name", "height"), [
    ("two_clients", 640), ("tool_hangs", 800), ("approval", 900),
    *(pytest.param(name, height, marks=pytest.mark.long) for name, height in (
        ("two_clients", 800), ("two_clients", 900), ("tool_hangs", 640), ("tool_hangs", 900), ("approval", 640),
        ("approval", 800),
    )),
])  # fmt: skip
def test_at_400_pixels_a_session_opens_on_its_conversation_which_has_two_thirds(
    browser: Any, name: str, height: int
) -> None:
    with showing(SHIPPED[name]) as url, opened(browser, url, width=400, height=height) as page:
        settled(page)
        assert page.locator(".talk").is_visible()
        assert texts(page, ".tab[aria-selected=true]") == ["Conversation"]
        assert page.locator(".tabs").bounding_box()["y"] <= height / 3
        assert page.locator(".lanes-box").is_visible()
        page.click(".finder")
        page.keyboard.type("tide")
        page.keyboard.press("Enter")
        page.wait_for_selector("main.search")


def test_with_an_error_the_heading_has_it_and_findings_come_first_and_without_one_the_wire_with_its_fields(
    browser: Any, everything: str
) -> None:
    with opened(browser, f"{everything}#/sessions") as page:
        page.click("text=Wait until the tide turns.")
        settled(page)
        assert page.inner_text(".trouble-line").startswith("error")
        assert "tool-without-output" in page.inner_text(".trouble-line")
        assert texts(page, ".tab") == ["Findings 2", "Wire", "About"]
        assert page.locator(".findings").is_visible()
        page.keyboard.press("2")
        page.click(".trouble-line")
        assert page.locator(".findings").is_visible()
        page.click(".back")
        page.click("text=Please summarise the release notes.")
        settled(page)
        assert page.locator(".trouble-line").is_hidden()
        assert texts(page, ".tab") == ["Wire", "Findings", "About"]
        assert page.locator("[placeholder]").count() == 0
        script = """found => found.filter(one => one.checkVisibility() && one.type !== 'range')
            .map(one => one.labels[0]?.innerText.trim().split('\\n')[0] ?? one.outerHTML)"""
        assert page.locator("input, select").evaluate_all(script) == [
            "Search all sessions", "Speed", "Silences", "Rows", "Type", "Text", "Verdict", "From, s", "To, s",
            "heartbeats", "fold deltas",
        ], "each field has a label that can be read, and none a placeholder"  # fmt: skip


def test_a_client_that_left_a_finished_session_is_no_alarm(browser: Any, everything: str) -> None:
    def colour(selector: str) -> str:
        found: str = page.locator(selector).first.evaluate("one => getComputedStyle(one).color")
        return found

    with opened(browser, f"{everything}#/sessions") as page:
        page.wait_for_selector(".severity.error")
        red = colour(".severity.error")
        endings = texts(page, "td .ending")
        assert endings[0].startswith("Unfinished: waiting for the tool sys_os_shell")
        assert endings[1].startswith("Finished at 03:39:52")
        assert "idle" not in page.inner_text("table"), "a status beside the verdict could contradict it"
        assert colour("td .ending.unfinished") == red
        assert colour("td .ending.finished") != red
        page.click("text=Please summarise the release notes.")
        settled(page)
        assert texts(page, ".session-facts .ending") == ["Finished at 03:39:52 UTC"]
        assert colour(".session-facts .ending") != red
        page.press("body", "4")
        assert "client left" in page.inner_text(".about"), "it is told where the rest is"


def test_each_hatching_is_in_the_legend_and_each_is_another_one(browser: Any) -> None:
    with showing(SHIPPED["tool_hangs"]) as url, opened(browser, url) as page:
        settled(page)
        names = ["silence", "silence, waiting for a tool or an approval", "after the playhead"]
        assert texts(page, ".legend > span") == names
        drawn = page.locator(".swatch").evaluate_all("found => found.map(one => getComputedStyle(one).backgroundImage)")
        assert len(set(drawn)) == 3
        page.keyboard.press("Home")
        eventually(lambda: page.locator(".lanes-box .future").bounding_box()["x"] < 130)
    with showing(SHIPPED["approval_timed_out"]) as url, opened(browser, url) as page:
        settled(page)
        assert texts(page, ".legend > span") == names[1:], "an approval was open"
    with showing(SHIPPED["approval"]) as url, opened(browser, url) as page:
        settled(page)
        assert texts(page, ".legend > span") == ["after the playhead"]


def test_a_way_back_is_a_link_that_looks_like_one(browser: Any, everything: str) -> None:
    with opened(browser, f"{everything}#/sessions") as page:
        page.wait_for_selector("td.name a")
        assert page.locator(".back").is_hidden()
        page.locator("td.name a", has_text="↳").click()
        settled(page)
        for link in (".back", ".session-facts a"):
            line = page.locator(link).evaluate("one => getComputedStyle(one).textDecorationLine")
            assert line == "underline", link
        page.click(".session-facts a")
        page.locator("h1", has_text="Ask the reviewer").wait_for()


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.long), "dark"])
def test_at_400_pixels_the_list_keeps_its_labels_and_axe_finds_nothing(
    browser: Any, everything: str, scheme: str
) -> None:
    def found(*new: str) -> list[str]:
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in violations(page, *new)]

    with opened(browser, f"{everything}#/sessions", width=400, color_scheme=scheme) as page:
        page.wait_for_selector(".severity.error")
        script = "found => found.map(one => getComputedStyle(one, '::before').content)"
        labels = page.locator("tbody tr:nth-child(2) td[data-label]").evaluate_all(script)
        names = [one.split('"')[1].strip() for one in labels[:5]]
        assert names == ["Start", "Duration", "Events", "Findings", "Ending"]
        assert found() == []
        page.click("text=Wait until the tide turns.")
        settled(page)
        assert found() == []
        page.keyboard.press("f")
        assert page.locator(".filter-fields").is_visible()
        page.locator(".event.request").first.click()
        page.wait_for_selector(".detail .facts")
        assert found(".wire", ".detail", ".tabs") == []
