"""The page on a lake: access, errors and fetched sessions over HTTP; list, trends and sessions in a real browser."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner

from omnirecord.cli import main
from omnirecord.errors import LakeError
from omnirecord.lake import page as pages
from omnirecord.lake.location import Lake
from omnirecord.lake.page import LakeViewer
from omnirecord.lake.page_data import LakeAnswers
from omnirecord.server.listener import TOKEN_VARIABLE
from tests.support import forked
from tests.support.browsing import drawn, eventually, opened, serious, settled, texts
from tests.support.lake_sessions import EVIL_ID, drifted, filled, hostile, ship, showing_lake, without
from tests.ui.test_page import unharmed
from tests.ui.test_viewer import told

UI = "/-/omnirecord/ui/"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    made = filled(str(folder / "lake"), folder)
    ship(made, [drifted(folder), hostile(folder)])
    return made


@pytest.fixture(scope="module")
def ids(lake: Lake) -> dict[str, str]:
    """The id of each session by its question."""
    answers = LakeAnswers(lake)
    rows = answers.answer("sessions", {})["sessions"]
    answers.close()
    return {row["asked"]: row["session_id"] for row in rows}


@pytest.fixture(scope="module")
def shown(lake: Lake) -> Iterator[str]:
    with showing_lake(lake.url) as url:
        yield url


# Over HTTP


async def test_the_page_and_each_session_have_the_policy_and_no_data_in_their_files(
    lake: Lake, ids: dict[str, str]
) -> None:
    async with LakeViewer(lake.url) as viewer:
        assert (await told(viewer.url, "/"))[1]["location"] == UI
        for base in (UI, f"{UI}session/id=x/", f"{UI}compare/a=x/b=y/"):
            for name in ("", "page.js", "page.css"):
                status, headers, body = await told(viewer.url, base + name)
                assert status == 200
                assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
                assert not any(one.encode() in body for one in ids.values())


async def test_data_of_a_lake_and_of_its_sessions_needs_the_token(
    lake: Lake, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "a-token-of-sixteen-letters")
    session = next(iter(ids.values()))
    async with LakeViewer(lake.url) as viewer:
        for name in ("data/lake", "data/sessions", f"session/id={session}/data/overview"):
            assert (await told(viewer.url, UI + name))[0] == 401
            assert (await told(viewer.url, UI + name, "Authorization: Bearer a-token-of-sixteen-letters"))[0] == 200
            assert (await told(viewer.url, UI + name, host="evil.example"))[0] == 403
            assert (await told(viewer.url, UI + name, "Origin: http://evil.example"))[0] == 403
        assert (await told(viewer.url, f"{UI}session/id={session}/"))[0] == 200


async def test_a_request_that_cannot_be_answered_gets_a_sentence(lake: Lake) -> None:
    statuses = {
        "data/sessions?from=x": 400, "data/sessions?sort=x": 400, "data/nothing": 404, "other": 404,
        "session/id=nobody/data/overview": 400, "session/id=/data/overview": 400, "session/x/data/overview": 404,
        "compare/a=nobody/b=x/data/overview": 400, "session/id=x/data/nothing": 404, "session/id=x": 404,
    }  # fmt: skip
    async with LakeViewer(lake.url) as viewer:
        for path, status in statuses.items():
            found, _, body = await told(viewer.url, UI + path)
            assert found == status, path
            assert json.loads(body)["error"]["message"].startswith("omnirecord: "), path


async def test_a_session_is_fetched_once_and_removed_at_the_end(
    lake: Lake, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    class Counting(pages.Fetch):
        def __init__(self, of: Lake, session: str) -> None:
            fetched.append(session)
            super().__init__(of, session)

    monkeypatch.setattr(pages, "Fetch", Counting)
    session = ids["Wait until the tide turns."]
    async with LakeViewer(lake.url) as viewer:
        for _ in range(3):
            status, _, body = await told(viewer.url, f"{UI}session/id={session}/data/overview")
            assert status == 200
        assert json.loads(body)["opens"] == {"view": "session", "key": f"1.session.{session}"}
        assert fetched == [session]
        folder = Path(viewer._page_of((session,))._answers._path()).parent  # type: ignore[attr-defined]
        assert folder.exists()
    assert not folder.exists()


async def test_of_many_fetched_sessions_the_oldest_ones_are_removed(
    lake: Lake, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_OPENED", 2)
    async with LakeViewer(lake.url) as viewer:
        for session in [*ids.values()][:4]:
            assert (await told(viewer.url, f"{UI}session/id={session.replace('/', '%2F')}/data/overview"))[0] == 200
        assert len(viewer._opened) == 2


async def test_a_slow_query_delays_neither_a_fetched_session_nor_the_files(
    lake: Lake, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    session, slow = ids["Wait until the tide turns."], Event()
    async with LakeViewer(lake.url) as viewer:
        overview = f"{UI}session/id={session}/data/overview"
        assert (await told(viewer.url, overview))[0] == 200
        monkeypatch.setattr(Lake, "table", lambda *_: slow.wait(30) and None)
        asked = [asyncio.create_task(told(viewer.url, f"{UI}data/sessions")) for _ in range(12)]
        try:
            await asyncio.sleep(0)
            for path in (overview, UI, f"{UI}page.js"):
                async with asyncio.timeout(10):
                    assert (await told(viewer.url, path))[0] == 200
            assert not any(one.done() for one in asked)
        finally:
            slow.set()
            await asyncio.gather(*asked)


async def test_a_folder_that_is_no_lake_and_a_lake_that_is_away_are_errors_of_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="is no lake"):
        async with LakeViewer(str(tmp_path)):
            pass
    lake = filled(str(tmp_path / "lake"), tmp_path)
    async with LakeViewer(lake.url) as viewer:
        shutil.rmtree(tmp_path / "lake")
        for path in ("data/sessions", "session/id=x/data/overview"):
            status, _, body = await told(viewer.url, UI + path)
            assert (status, json.loads(body)["error"]["code"]) == (502, "lake_failed")


# The command


def test_ui_prints_the_address_of_the_page_on_a_lake_as_json(lake: Lake) -> None:
    done = forked.run(["ui", lake.url, "--json"], stopped_by=signal.SIGINT)
    assert done.code == 0
    row = json.loads(done.out)
    assert row["lake"] == lake.url
    assert row["url"].endswith(UI)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["FOLDER"], "is a folder and no lake"), (["ftp://x/y"], "ftp:// is no address of a lake"),
        (["LAKE", "a.db"], "is a lake, and OTHER is for cassettes"), (["a.db", "s3://x/y"], "s3://x/y is a lake"),
    ],
)  # fmt: skip
def test_ui_refuses_what_is_no_lake_in_one_sentence(
    lake: Lake, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    names = {"FOLDER": str(tmp_path), "LAKE": lake.url}
    result = CliRunner().invoke(main, ["ui", *(names.get(one, one) for one in arguments)])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert sentence in result.output


def test_ui_without_the_packages_of_the_lake_says_what_to_install(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    without("deltalake", monkeypatch)
    done = CliRunner().invoke(main, ["ui", lake.url])
    assert done.exit_code == 2
    assert done.stderr == 'Error: the lake needs more packages: install them with `pip install "omnirecord[lake]"`\n'


# In a browser


@pytest.mark.slow
@pytest.mark.browser
class TestInABrowser:
    def test_the_list_has_each_session_and_a_filter_is_in_the_address(self, browser: Any, shown: str) -> None:
        with opened(browser, shown) as page:
            page.wait_for_selector(".lake-table")
            total = int(texts(page, ".lake-found")[0].split(" of ")[1].split()[0])
            assert page.locator("tbody tr").count() == total
            page.locator(".facet button", has_text="tool-without-output").click()
            eventually(lambda: page.locator("tbody tr").count() == 1)
            assert "finding=tool-without-output" in page.url
            page.select_option("select[name=label]", "team=blue")
            eventually(lambda: texts(page, ".chips code") == ["team=blue"])
            again_url = page.url
            page.click(".chips button")
            eventually(lambda: "label" not in page.url)
            page.go_back()
            eventually(lambda: page.url == again_url and page.locator(".chips li").count() == 1)
            with opened(browser, again_url) as other:
                other.wait_for_selector(".lake-table")
                assert texts(other, "td.name a") == ["Wait until the tide turns."]
                assert other.locator(".facet button[aria-pressed=true]").count() == 1
                other.click("text=Clear filters")
                eventually(lambda: other.locator("tbody tr").count() == total)

    def test_dates_status_model_and_text_filter_the_list(self, browser: Any, shown: str) -> None:
        with opened(browser, shown) as page:
            page.wait_for_selector(".lake-table")
            page.fill("input[name=from]", "2026-11-23")
            page.fill("input[name=to]", "2026-11-23")
            eventually(lambda: "to=2026-11-23" in page.url and page.locator("tbody tr").count() == 1)
            page.click("text=Clear filters")
            page.select_option("select[name=status]", "unfinished")
            eventually(lambda: set(texts(page, "td .ending")) != set() and all(
                one.startswith("Unfinished") for one in texts(page, "td .ending")))  # fmt: skip
            page.click("text=Clear filters")
            page.fill("input[name=text]", "tide turns")
            eventually(lambda: texts(page, "td.name a") == ["Wait until the tide turns."])
            page.fill("input[name=text]", "nothing like it")
            page.wait_for_selector("text=No session matches the filters.")
            assert texts(page, ".lake-found") == ["no session"]

    def test_the_focus_can_be_seen_and_the_worst_finding_comes_first_if_the_list_is_sorted_so(
        self, browser: Any, shown: str
    ) -> None:
        with opened(browser, shown) as page:
            page.wait_for_selector(".lake-table")
            for _ in range(20):
                page.keyboard.press("Tab")
                outline = page.evaluate("() => getComputedStyle(document.activeElement).outline")
                assert "none" not in outline, page.evaluate("document.activeElement.outerHTML.slice(0, 100)")
            page.locator("h1, h2").first.click()
            page.keyboard.press("s")
            eventually(lambda: page.locator("tbody tr:first-child .severity.error").count() == 1)
            assert page.locator("select[name=sort]").input_value() == "finding"
            page.select_option("select[name=sort]", "")
            eventually(lambda: "sort" not in page.url)

    def test_a_session_opens_and_the_way_back_leads_to_the_same_list(self, browser: Any, shown: str) -> None:
        with opened(browser, f"{shown}#/sessions?label=team%3Dblue") as page:
            page.click("text=Wait until the tide turns.")
            settled(page)
            assert "/session/id=" in page.url
            assert "tool-without-output" in page.inner_text(".trouble-line")
            address = page.url
            page.click(".back")
            page.wait_for_selector(".lake-table")
            assert "label=team%3Dblue" in page.url
            page.goto(address)
            settled(page)
            page.reload()
            settled(page)

    def test_a_sub_agent_opens_as_itself_with_its_tree(self, browser: Any, shown: str) -> None:
        with opened(browser, shown) as page:
            page.locator("td.name a", has_text="↳").click()
            settled(page)
            page.locator(".session-facts a").first.wait_for()

    def test_two_sessions_are_compared(self, browser: Any, shown: str) -> None:
        with opened(browser, shown) as page:
            page.wait_for_selector(".lake-table")
            boxes = page.locator("td.choose input")
            boxes.nth(1).check()
            assert "choose a second session" in page.inner_text(".compare-bar")
            boxes.nth(2).check()
            page.click(".compare-bar .primary")
            page.wait_for_selector(".verdict-line")
            assert page.locator(".pair").count() >= 2
            page.locator(".side-turn a").last.click()
            settled(page)
            assert "/compare/" in page.url

    def test_a_session_that_is_unknown_and_a_store_that_fails_are_told(
        self, browser: Any, shown: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with opened(browser, f"{shown}session/id=nobody/", expected="400") as page:
            assert "no session begins with 'nobody'" in page.inner_text(".problem")
        with showing_lake(lake.url) as url:
            held = Event()

            def failing(*_: object) -> None:
                held.wait(20)
                raise LakeError("the store failed: try again, and nothing local was changed")

            with monkeypatch.context() as patched, opened(browser, url, expected="502") as page:
                page.wait_for_selector(".lake-table")
                patched.setattr(Lake, "table", failing)
                page.keyboard.press("r")
                page.locator(".busy", has_text="Asking the lake").wait_for()
                assert page.locator(".lake-table").is_visible(), "the old list stays"
                held.set()
                page.locator(".problem", has_text="the store failed").wait_for()
                patched.undo()
                page.get_by_role("button", name="Try again").click()
                page.wait_for_selector(".problem", state="detached")

    def test_a_session_that_takes_long_says_that_it_is_fetched(
        self, browser: Any, shown: str, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = Event()

        class Slow(pages.Fetch):
            def __init__(self, of: Lake, session: str) -> None:
                held.wait(20)
                super().__init__(of, session)

        monkeypatch.setattr(pages, "Fetch", Slow)
        session = ids["Please summarise the release notes."]
        with opened(browser, f"{shown}session/id={session}/") as page:
            page.locator(".busy", has_text="Fetching the session from the lake").wait_for()
            held.set()
            settled(page)

    def test_trends_have_plots_whose_numbers_a_keyboard_and_a_table_tell(self, browser: Any, shown: str) -> None:
        with opened(browser, shown) as page:
            page.click("text=Trends")
            page.wait_for_selector(".figures")
            plots = page.get_by_role("slider")
            assert plots.evaluate_all("found => found.map(one => one.getAttribute('aria-label'))") == [
                "Sessions by status, by day", "Sessions by finding, by day", "Time to the first token, by day",
                "Problems against the contract, by server version, by day",
            ]  # fmt: skip
            eventually(lambda: page.locator(".plot svg").count() == 4)
            assert page.locator(".bar").count() > 4
            plots.first.focus()
            page.keyboard.press("End")
            page.keyboard.press("ArrowLeft")
            assert plots.first.get_attribute("aria-valuetext").startswith("2026-11-23: ")
            assert texts(page, ".plot-readout")[0].startswith("2026-11-23: failed 1")
            page.locator(".plot-table summary").first.click()
            rows = page.locator(".plot-table tbody tr")
            eventually(lambda: rows.count() == 5)  # the page draws them when the table opens
            assert rows.first.locator("th").inner_text() == "2026-11-20"
            plots.first.focus()
            page.keyboard.press("Enter")
            page.wait_for_selector(".lake-table")
            assert "from=2026-11-23&to=2026-11-23" in page.url
            page.keyboard.press("d")
            page.wait_for_selector(".figures")
            assert "from=2026-11-23" in page.url, "the trends have the filters of the list"

    def test_a_page_of_the_list_has_its_number_in_the_address(
        self, browser: Any, shown: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("omnirecord.lake.page_data.ON_A_PAGE", 4)
        with opened(browser, shown) as page:
            page.get_by_role("link", name="Next").click()
            eventually(lambda: texts(page, ".lake-found")[0].startswith("5\u20138 of "))
            assert "page=2" in page.url
            page.keyboard.press("[")
            eventually(lambda: texts(page, ".lake-found")[0].startswith("1\u20134 of "))
            page.keyboard.press("j")
            page.keyboard.press("j")
            second = page.locator("td.name a").nth(1)
            assert second.evaluate("one => one === document.activeElement")

    def test_an_empty_lake_says_how_to_fill_it(self, browser: Any, tmp_path: Path) -> None:
        Lake(str(tmp_path / "lake")).init()
        with showing_lake(str(tmp_path / "lake")) as url, opened(browser, url) as page:
            page.locator(".empty", has_text="This lake holds no sessions yet.").wait_for()
            assert "omnirecord ship CASSETTE --lake" in page.inner_text(".empty")
            page.click("text=Trends")
            page.locator(".empty", has_text="This lake holds no sessions yet.").wait_for()

    def test_a_strangers_texts_do_nothing(self, browser: Any, shown: str) -> None:
        with opened(browser, shown) as page:
            page.wait_for_selector(".lake-table")
            unharmed(page)
            assert "<script>window.owned=1</script>" in page.inner_text(".lake-table")
            page.select_option("select[name=label]", "q=a=b&c#d")
            eventually(lambda: page.locator("tbody tr").count() == 1)
            unharmed(page)
            page.keyboard.press("d")
            page.wait_for_selector(".figures")
            unharmed(page)
            page.keyboard.press("g")
            page.click("td.name a")
            settled(page)
            assert page.url.endswith(f"#/session/1.session.{_quoted(EVIL_ID)}")
            unharmed(page)
            page.keyboard.press("4")
            assert "label team" in page.inner_text(".about")
            unharmed(page)

    @pytest.mark.parametrize(("width", "scheme"), [
        (1280, "light"), (400, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.long), pytest.param(400, "light", marks=pytest.mark.long),
    ])  # fmt: skip
    def test_axe_finds_nothing_serious_and_at_400_pixels_nothing_is_wider_than_the_page(
        self, browser: Any, shown: str, scheme: str, width: int
    ) -> None:
        def fits() -> None:
            drawn(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            wide = "found => found.filter(one => one.scrollWidth > one.clientWidth).length"
            assert width > 400 or page.locator("main, .table-box, .plot").evaluate_all(wide) == 0

        with opened(browser, shown, width=width, color_scheme=scheme) as page:
            page.wait_for_selector(".lake-table")
            if width == 400:
                page.click(".lake-filter summary")
                page.click(".facets summary")
            fits()
            page.locator("td.choose input").first.check()
            assert serious(page) == [], "list"
            page.goto(f"{shown}#/sessions?label=team%3Dblue&finding=none&page=2")
            page.wait_for_selector(".chips li")
            assert serious(page, ".lake-filter", ".facets", ".lake-found") == [], "filtered"
            page.goto(f"{shown}#/trends")
            page.wait_for_selector(".figures svg")
            fits()
            page.locator(".plot-table summary").first.click()
            page.locator(".plot").first.press("End")
            drawn(page)
            assert serious(page) == [], "trends"


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="!~*'()")
