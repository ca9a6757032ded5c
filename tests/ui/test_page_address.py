"""The address of the page: it follows the playhead, the selection, the tab and the filters, and leads back to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from omnirecord.ui.export import sealed_page
from tests.support.browsing import eventually, opened, settled, showing, texts
from tests.support.cassettes import HEALTHY, TROUBLED

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with showing(HEALTHY["turns"]) as url:
        yield url


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("sealed") / "turns.html"
    file.write_bytes(b"".join(sealed_page(HEALTHY["turns"])))
    return file.as_uri()


@pytest.fixture(params=["served", "exported"])
def each_url(request: pytest.FixtureRequest, served: str, exported: str) -> str:
    """The page of a server, and of one file."""
    return served if request.param == "served" else exported


@pytest.fixture(params=["served", pytest.param("exported", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest, served: str, exported: str) -> str:
    """The page of a server, and with `--long` of one file, too."""
    return served if request.param == "served" else exported


def holds(page: Any, *parts: str) -> None:
    """Wait until the address has all of these."""
    eventually(lambda: all(part in address(page) for part in parts))


def address(page: Any) -> str:
    found: str = page.evaluate("location.href")
    return found


def enter(page: Any) -> None:
    """Open the first session of the list, once findings no longer change it."""
    page.wait_for_selector("td .none, td .severity")
    page.click("td.name a")


def state(page: Any) -> list[Any]:
    """What a person sees of the place."""
    return [
        texts(page, ".player .time"), texts(page, ".event.selected .seq"), texts(page, ".tab[aria-selected=true]"),
        texts(page, ".wire-count"), texts(page, ".detail h2"), page.locator("input[name=type]").input_value(),
        page.locator("input[name=text]").input_value(), page.locator("input[name=beats]").is_checked(),
    ]  # fmt: skip


def test_a_link_to_a_moment_leads_there(browser: Any, url: str) -> None:
    with opened(browser, url) as page:
        settled(page)
        page.uncheck("input[name=beats]")
        page.fill("input[name=type]", "response.")
        page.fill("input[name=text]", "output_text")
        page.locator(".wire-count", has_text=" of 112").wait_for()
        page.locator(".event").nth(2).click()
        page.wait_for_selector(".detail .raw")
        holds(page, "#/session/", "event=1%3A", "type=response.", "text=output_text", "beats=no")
        here, before = address(page), state(page)
    with opened(browser, here) as page:
        settled(page)
        page.wait_for_selector(".detail .raw")
        eventually(lambda: state(page) == before)
        page.keyboard.press("Escape")
        page.locator(".scrubber").evaluate("one => { one.value = 4000; one.dispatchEvent(new Event('input')) }")
        page.keyboard.press("4")
        holds(page, "t=", "tab=about")
        here, before = address(page), state(page)
        assert "event=" not in here
        page.reload()
        settled(page)
        eventually(lambda: state(page) == before)


def test_a_request_has_an_address_too(browser: Any, each_url: str) -> None:
    with opened(browser, each_url) as page:
        settled(page)
        page.locator(".event.request").nth(1).click()
        holds(page, "exchange=")
        page.wait_for_selector(".detail .facts")
        title = texts(page, ".detail h2")
        page.reload()
        settled(page)
        page.wait_for_selector(".detail .facts")
        assert texts(page, ".detail h2") == title
        assert page.locator(".event.request.selected").count() == 1


def test_what_is_looked_at_makes_no_history_and_the_way_back_comes_to_the_same_place(browser: Any, served: str) -> None:
    with opened(browser, f"{served}#/sessions") as page:
        enter(page)
        settled(page)
        for key in ("Home", "]", "]", "j", "j", "j"):
            page.keyboard.press(key)
        page.click("#tab-about")
        holds(page, "tab=about")
        before = state(page)
        page.click(".back")
        page.wait_for_selector("main.sessions")
        page.go_back()
        settled(page)
        eventually(lambda: state(page) == before)
        page.go_back()
        page.wait_for_selector("main.sessions")


def test_an_address_that_is_typed_moves_the_session_that_is_open(browser: Any, served: str) -> None:
    with opened(browser, f"{served}#/session/1.session.x") as page:
        enter(page)
        settled(page)
        page.evaluate("document.querySelector('main').dataset.same = 'yes'")
        hash_ = page.evaluate("location.hash.split('?')[0]")
        page.evaluate("hash => { location.hash = hash }", f"{hash_}?event=1:7&type=session.&tab=wire")
        page.locator(".detail h2", has_text="1:7").wait_for()
        assert page.locator("input[name=type]").input_value() == "session."
        page.evaluate("hash => { location.hash = hash }", f"{hash_}?t=1")
        page.wait_for_selector(".detail", state="hidden")
        assert page.locator("input[name=type]").input_value() == ""
        assert page.locator("main[data-same]").count() == 1, "it was not loaded anew"


def test_odd_addresses_show_the_session_all_the_same(browser: Any, served: str) -> None:
    with opened(browser, f"{served}#/sessions") as page:
        enter(page)
        settled(page)
        base = address(page).split("?")[0]
        for query in ("event=9:9&tab=nope&from=x&to=", "event=x&t=abc&verdict=no", "t=-5", "t=1e30&exchange=77"):
            page.goto(f"{served}#/sessions")
            page.wait_for_selector("main.sessions")
            page.goto(f"{base}?{query}")
            settled(page)
            assert texts(page, ".talk .turn-number") or query == "t=-5", query
    with opened(browser, f"{base}?{query}") as page:
        settled(page)
        assert texts(page, ".talk .turn-number"), "the same as the first address of a page"


def test_event_data_id_and_link_are_copied(browser: Any, url: str) -> None:
    with opened(browser, url, height=2400, permissions=["clipboard-read", "clipboard-write"]) as page:
        settled(page)

        def copied(name: str, where: str = ".detail") -> str:
            button = page.locator(f"{where} .copy", has_text=f"Copy {name}").element_handle()
            button.click()
            eventually(lambda: button.text_content() == "Copied")
            text: str = page.evaluate("navigator.clipboard.readText()")
            return text

        page.locator(".event.valid", has_text="session.status").first.click()
        page.wait_for_selector(".detail .raw")
        seq = texts(page, ".event.selected .seq")[0]
        assert copied("event").startswith("event: session.status\ndata: {")
        assert copied("data").startswith('{"sequence_number": null, "type": "session.status"')
        assert copied("id") == f"1:{seq}"
        link = copied("link")
        assert f"event=1%3A{seq}" in link
        page.locator(".event.request:visible", has_text="POST").last.click()
        page.locator(".detail .copy", has_text="Copy curl").wait_for()
        assert copied("curl").startswith("curl ")
        assert copied("id").isdecimal()
        assert len(copied("id", ".session-head")) == 32
        page.locator(".session-head .copy", has_text="Copy id").wait_for()
    with opened(browser, link) as page:
        settled(page)
        eventually(lambda: texts(page, ".event.selected .seq") == [seq])


def test_without_a_clipboard_it_is_copied_the_old_way(browser: Any) -> None:
    with showing(TROUBLED["tool_hangs"]) as url, opened(browser, url) as page:
        settled(page)
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page.evaluate("document.addEventListener('copy', () => { window.taken = getSelection().toString() })")
        page.locator(".session-head .copy", has_text="Copy id").click()
        page.locator(".session-head .copy", has_text="Copied").wait_for()


def test_a_link_is_followed_though_the_page_is_about_to_write_its_own_place(served: str, browser: Any) -> None:
    with opened(browser, served) as page:
        settled(page)
        page.keyboard.press("Home")
        holds(page, "t=0")
        page.keyboard.press("ArrowRight")  # 0.4 s later, the page writes this place into the address
        page.evaluate(
            """async () => {
              await new Promise(resolve => setTimeout(resolve, 100))
              const link = location.hash.split('?')[0] + '?tab=about'
              setTimeout(() => (location.hash = link)) // both are due, this first
              const until = performance.now() + 600
              while (performance.now() < until);
            }"""
        )
        page.wait_for_selector(".about:visible", timeout=5000)
        holds(page, "tab=about")
