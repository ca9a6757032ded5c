"""The page in a real browser: every view on the shipped cassettes, the playhead, keys, a stranger's cassette."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.gather import gathered
from omnirecord.analysis.transcript import rows_of
from omnirecord.analysis.turns import session_of
from omnirecord.analysis.turns.values import Session
from omnirecord.cassette.open import import_file, open_store
from omnirecord.omnigent.line import merged
from omnirecord.server.listener import TOKEN_VARIABLE
from omnirecord.ui.events import key_of_exchange
from tests.support.browsing import drawn, eventually, opened, serious, settled, showing, texts
from tests.support.cassettes import HEALTHY, TROUBLED, Made, completed, created, delta, event, status

pytestmark = [pytest.mark.slow, pytest.mark.browser]
SHIPPED = {**HEALTHY, **TROUBLED}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of all shipped cassettes in one is: each is a recording of it."""
    db = tmp_path_factory.mktemp("shipped") / "all.db"
    for path in SHIPPED.values():
        import_file(path, db)
    with showing(db) as url:
        yield url


@pytest.fixture(scope="module")
def turns() -> Iterator[str]:
    with showing(SHIPPED["turns"]) as url:
        yield url


def test_every_view_shows_what_the_commands_say(browser: Any, everything: str, long: bool) -> None:
    """Of each cassette with `--long`, otherwise of each fourth one and of those with two sessions."""
    with opened(browser, f"{everything}#/sessions") as page:
        page.wait_for_selector("td.name a")
        page.wait_for_selector("td .severity.error")
        links = page.locator("td.name a").evaluate_all("found => found.map(one => one.getAttribute('href'))")
        sessions = dict.fromkeys(SHIPPED, 1) | {"subagent": 2, "child_unfinished": 2}
        assert len(links) == sum(sessions.values())
        recordings = {name: number for number, name in enumerate(SHIPPED, 1)}
        for name, number in recordings.items():
            if not long and number % 4 and sessions[name] == 1:
                continue
            said, asked, events = list[str](), list[str](), 0
            for link in (one for one in links if one.startswith(f"#/session/{number}.")):
                go(page, link)
                for more in page.locator(".talk .quiet").all():
                    more.click() if more.is_visible() else None
                drawn(page)
                page.keyboard.press("2")
                said += texts(page, ".talk-turns > .turn > .entries > .said > .text")
                asked += texts(page, ".talk-turns > .turn > .entries > .asked > .text")
                events = int(texts(page, ".wire-count")[0].split()[0])
                assert "Why it stops here: " in texts(page, ".why")[0], name
                page.click("#tab-findings")
                page.click("#tab-about")
            assert (said, asked, events) == told_of(SHIPPED[name], events), name


def told_of(cassette: Path, events: int) -> tuple[list[str], list[str], int]:
    """What the commands have of it."""
    with closing(open_store(cassette)) as store:
        rows = list(rows_of(store, None))
        frames = [sum(store.tally(x)[0].values()) for x in store.streams()]
    count = events if len(frames) > 1 else frames[0]
    return [one["text"] for row in rows for one in row["messages"]], [
        shown(one) for row in rows for one in row["asked"]
    ], count  # fmt: skip


def go(page: Any, link: str) -> None:
    """To a session that is not open."""
    page.wait_for_selector("main")
    page.evaluate("link => { document.querySelector('main').dataset.old = ''; location.hash = link }", link)
    page.wait_for_selector(".session[data-loaded]:not([data-old])")
    drawn(page)


def shown(asked: dict[str, Any]) -> str:
    text: str = asked["text"]
    return text.removeprefix("[System: ").removesuffix("]") if asked["by"] == "system" else text


@pytest.mark.parametrize(
    "name",
    [
        "approval",
        "two_clients",
        "tool_hangs",
        *(pytest.param(one, marks=pytest.mark.long) for one in ("turns", "tool")),
    ],
)
def test_at_three_points_it_shows_what_show_says_of_a_recording_that_ends_there(browser: Any, name: str) -> None:
    with showing(SHIPPED[name]) as url, opened(browser, url) as page:
        settled(page)
        for part in (0.3, 0.6, 0.9):
            at_ns, told = cut(SHIPPED[name], part)
            address = f"#/session/{told_key(SHIPPED[name])}?event={place(SHIPPED[name], at_ns)}"
            page.evaluate("address => { location.hash = address }", address)
            with suppress(AssertionError):  # the comparison below says more
                eventually(lambda: seen(page) == heard(told))  # noqa: B023
            page.wait_for_selector(".event.selected")
            assert seen(page) == heard(told), part


def cut(cassette: Path, part: float) -> tuple[int, Session]:
    """The first session up to so far, told as if nothing more had been recorded; and until when that is."""
    with closing(open_store(cassette)) as store:
        one = next(iter(gathered(store)))
        frames = sorted(one.frames(), key=lambda frame: frame.offset_ns)
        at_ns = frames[int(part * len(frames))].offset_ns
        acts = [act for act in one.acts if act.at_ns <= at_ns]
        frames = [frame for frame in one.frames() if frame.offset_ns <= at_ns]
        return at_ns, session_of(one.exchanges, merged(frames, one.exchanges), acts)[0]


def told_key(cassette: Path) -> str:
    with closing(open_store(cassette)) as store:
        return str(key_of_exchange(next(iter(gathered(store))).exchanges[0]))


def place(cassette: Path, at_ns: int) -> str:
    with closing(open_store(cassette)) as store:
        frames = [frame for frame in next(iter(gathered(store))).frames() if frame.offset_ns == at_ns]
        return f"{frames[-1].stream}:{frames[-1].seq}"


def seen(page: Any) -> list[Any]:
    return [texts(page, f".talk-turns .{kind} > .text") for kind in ("asked", "said", "thought")] + [
        texts(page, ".talk-turns .tool-name"), texts(page, ".talk-turns .output"),
    ]  # fmt: skip


def heard(told: Session) -> list[Any]:
    turns = told.turns
    return [
        [one.text for turn in turns for one in turn.asked],
        [one.text for turn in turns for one in turn.messages],
        [one.text for turn in turns for one in turn.thoughts],
        [one.name for turn in turns for one in turn.tools],
        [printed(one.output) for turn in turns for one in turn.tools if one.output is not None],
    ]


def printed(output: str) -> str:
    try:
        value = json.loads(output)
    except ValueError:
        return output
    return value["stdout"] + value["stderr"] if isinstance(value, dict) and "stdout" in value else output


def test_a_turn_says_how_long_it_goes_on_and_is_played_from_its_beginning_with_short_silences(browser: Any) -> None:
    place = f"#/session/{told_key(SHIPPED['tool_hangs'])}?t=20"
    with showing(SHIPPED["tool_hangs"]) as url, opened(browser, url + place) as page:
        settled(page)
        eventually(lambda: texts(page, ".turn-end") == ["working, 17.2 s"])
        page.keyboard.press("End")
        eventually(lambda: texts(page, ".turn-end")[0].startswith("unfinished"))
        assert page.locator(".scrubber").input_value() == "10000"
        page.keyboard.press("Home")
        eventually(lambda: texts(page, ".talk .empty") == ["No message up to this moment."])
        page.select_option(".player select >> nth=0", "32")
        page.select_option(".player select >> nth=1", "0.5")
        page.keyboard.press("Space")
        page.locator(".talk .why").wait_for(state="visible", timeout=5000)  # 35 s of recording
        assert page.locator(".detail").is_hidden(), "nothing was selected"
        assert page.locator(".scrubber").input_value() == "10000"


def test_a_token_is_asked_for_or_taken_from_the_address_and_never_gets_into_a_link(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, clipboard = "a-token-of-sixteen-letters", ["clipboard-read", "clipboard-write"]
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    with showing(SHIPPED["text"]) as url:
        with opened(browser, url, expected="401") as page:
            page.fill("main input", token)
            page.keyboard.press("Enter")
            settled(page)
            page.goto("about:blank")
            page.goto(f"{url}#token=another-of-sixteen-letters")
            page.wait_for_selector("main.token")
        with opened(browser, f"{url}#token={token}", permissions=clipboard) as page:
            settled(page)
            assert token not in page.url
            page.keyboard.press("Home")
            page.locator(".session-head .copy", has_text="Copy link").click()
            page.locator(".session-head .copy", has_text="Copied").wait_for()
            link = page.evaluate("navigator.clipboard.readText()")
            assert "t=0" in link
            assert token not in link
            page.reload()
            settled(page)


def test_each_key_does_what_the_list_of_keys_says(browser: Any, turns: str) -> None:
    with opened(browser, turns) as page:
        settled(page)
        press = page.keyboard.press
        press("?")
        assert page.locator("dialog.help").is_visible()
        press("Escape")
        assert not page.locator("dialog.help").is_visible()
        for key, count in (("Home", 0), ("]", 1), ("]", 2), ("]", 3), ("[", 2), ("End", 3)):
            press(key)
            eventually(lambda count=count: len(texts(page, ".turn-number")) == count)  # type: ignore[misc]
        before = texts(page, ".player .time")
        press(",")
        eventually(lambda: texts(page, ".player .time") != before)
        press("Home")
        press("j")
        page.wait_for_selector(".event.selected")
        press("Escape")
        eventually(lambda: page.locator(".event.selected").count() == 0)
        press("3")
        assert page.locator(".findings").is_visible()
        theme = page.evaluate("document.documentElement.dataset.theme")
        press("t")
        assert page.evaluate("document.documentElement.dataset.theme") != theme
        press("/")
        page.keyboard.type("poem lines")
        press("Enter")
        page.wait_for_selector(".hits mark")
        page.locator(".hits a", has_text="response.").first.click()
        page.wait_for_selector(".event.selected")


def test_what_has_the_focus_can_be_seen_and_a_click_on_the_timeline_selects_the_event(browser: Any, turns: str) -> None:
    with opened(browser, turns) as page:
        settled(page)
        for _ in range(25):
            page.keyboard.press("Tab")
            outline = page.evaluate("() => getComputedStyle(document.activeElement).outline")
            assert "none" not in outline, page.evaluate("document.activeElement.outerHTML.slice(0, 100)")
        box = page.locator(".lanes-box").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
        page.wait_for_selector(".event.selected")
        eventually(lambda: abs(int(page.locator(".scrubber").input_value()) - 5000) < 60)
        page.keyboard.press("+")
        page.mouse.wheel(0, -300)
        page.keyboard.press("0")
        page.mouse.click(box["x"] + 3, box["y"] + 40)  # before the first event
        page.wait_for_selector(".detail", state="hidden")
        page.mouse.click(box["x"] + 20, box["y"] + box["height"] - 30)  # a request, in the last lane
        page.wait_for_selector(".detail >> text=Request")


def test_a_finding_on_the_timeline_says_what_it_is_and_leads_to_its_event(browser: Any) -> None:
    with showing(SHIPPED["tool_hangs"]) as url, opened(browser, url) as page:
        page.wait_for_selector("#tab-findings[data-severity=error]")
        settled(page)
        assert page.locator(".scrubber").input_value() == "10000", "it opens at its end"
        box = page.locator(".lanes-box").bounding_box()
        findings = box["y"] + box["height"] - 16  # the last lane
        for x in range(int(box["x"]) + 400, int(box["x"] + box["width"]), 6):
            page.mouse.move(x, findings)
            if "tool-without-output" in page.inner_text(".tip"):
                break
        tip = page.locator(".tip").bounding_box()
        assert tip["y"] >= box["y"]
        assert tip["y"] + tip["height"] <= box["y"] + box["height"], "all of it can be read"
        page.mouse.click(x, findings)
        page.locator(".event.selected", has_text="sys_os_shell").wait_for()


def test_the_list_of_events_is_filtered_by_type_verdict_text_and_time(browser: Any, turns: str) -> None:
    with opened(browser, turns) as page:
        settled(page)

        def counts(text: str) -> None:
            page.locator(".wire-count", has_text=text).wait_for()

        with closing(open_store(SHIPPED["turns"])) as store:
            begin = min(x.request.at_ns for x in store.exchanges())
            frames = [frame for x in store.streams() for frame in store.frames(x)]
        deltas = sum(str(frame.type).startswith("response.") and str(frame.type).endswith(".delta") for frame in frames)
        poems = sum(b"poem" in (frame.raw or b"").lower() for frame in frames)
        early = sum(frame.offset_ns <= begin + 2_000_000_000 for frame in frames)
        page.fill("input[name=type]", "response.*.delta")
        counts(f"{deltas} of 112")
        page.fill("input[name=type]", "")
        page.select_option("select[name=verdict]", "odd")
        counts("0 of 112")
        page.select_option("select[name=verdict]", "")
        page.fill("input[name=text]", "POEM")
        counts(f"{poems} of 112")
        page.fill("input[name=text]", "")
        counts("112 events")
        page.fill("input[name=to]", "2")
        counts(f"{early} of 112")


def test_two_cassettes_are_compared_and_each_difference_leads_to_its_place(browser: Any) -> None:
    with showing(SHIPPED["turns"], SHIPPED["two_clients"]) as url, opened(browser, url) as page:
        page.wait_for_selector(".verdict-line.bad")
        assert texts(page, ".cassette") == ["turns.jsonl · two_clients.jsonl"]
        assert texts(page, ".pair .missing") == ["not there", "not there"]
        page.locator(".side-turn a").nth(1).click()
        settled(page)
        assert "two_clients.jsonl" in page.inner_text(".session-facts")
        assert page.locator(".talk .said").count() == 1


def test_of_many_sessions_in_two_cassettes_those_that_are_the_same_stand_side_by_side(
    browser: Any, tmp_path: Path
) -> None:
    db = tmp_path / "week.db"
    for name in ("approval", "subagent"):
        import_file(SHIPPED[name], db)
    with showing(db, SHIPPED["subagent"]) as url, opened(browser, url) as page:
        page.wait_for_selector(".pairs tbody tr")
        assert texts(page, ".pairs tr td:last-child") == ["none", "only in week.db", "none"]
        page.locator(".pairs tr td:last-child a").first.click()
        page.get_by_text("No difference").wait_for()


def test_with_the_keyboard_one_comes_back_to_the_session_that_one_left(browser: Any, everything: str) -> None:
    with opened(browser, f"{everything}#/sessions") as page:
        page.wait_for_selector("td .severity.error")
        page.locator("td.name a").nth(3).focus()
        name = page.evaluate("document.activeElement.textContent")
        page.keyboard.press("Enter")
        settled(page)
        assert page.evaluate("document.activeElement.matches('main.session')")
        page.keyboard.press("g")
        page.wait_for_selector("main.sessions")
        assert page.evaluate("document.activeElement.textContent") == name


def test_at_400_pixels_nothing_is_wider_than_the_page(browser: Any, turns: str) -> None:
    def is_narrow() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth <= 400"))

    with opened(browser, turns, width=400) as page:
        settled(page)
        for tab in ("talk", "wire", "findings", "about"):
            page.click(f"#tab-{tab}")
            assert is_narrow()
            assert page.locator(".talk").is_visible() is (tab == "talk")
        for view in ("#/sessions", "#/search?q=recorder"):
            page.evaluate("view => { location.hash = view }", view)
            page.wait_for_selector("main table, main .hits")
            assert is_narrow()
            wide = "found => found.filter(one => one.scrollWidth > one.clientWidth).length"
            assert page.locator(".table-box, .hits").evaluate_all(wide) == 0, "nothing is cut off"


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_axe_finds_nothing_serious(browser: Any, everything: str, scheme: str) -> None:
    names = list(SHIPPED)
    with opened(browser, everything, color_scheme=scheme) as page:
        page.wait_for_selector(".severity")
        assert serious(page) == [], "sessions"
        links = page.locator("td.name a").evaluate_all("found => found.map(one => one.getAttribute('href'))")
        keys = [one.rpartition("/")[2] for one in links]
        for view in ("#/search?q=plan", f"#/compare?a={keys[0]}&b={keys[1]}"):
            page.evaluate("view => { location.hash = view }", view)
            page.wait_for_selector(".hits, .verdict-line")
            assert serious(page) == [], view
        number = names.index("runner_killed") + 1
        go(page, next(one for one in links if one.startswith(f"#/session/{number}.")))
        assert serious(page) == [], "findings"
        page.keyboard.press("2")
        page.locator(".event:not(.request)").nth(3).click()
        page.wait_for_selector(".detail .raw")
        assert serious(page, ".wire", ".detail", ".tabs") == [], "wire"
        for tab in ("about",) if scheme == "light" else ():
            page.click(f"#tab-{tab}")
            assert serious(page, f".{tab}", ".tabs") == [], tab
        page.keyboard.press("?")
        assert serious(page, "dialog.help") == [], "keys"


HOSTILE = (
    "<script>window.owned=1</script>", "<img src=x onerror='window.owned=2'>",
    "</script><script>window.owned=3</script>", "javascript:window.owned=4", "\u202eevil\u2066",
    "\x1b[2J\x07", "<!--", "${window.owned=5}", "]]>",
)  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session in which every text is something that a page might act upon."""
    tape, evil = Made(), " ".join(HOSTILE)
    message = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": evil}]}}
    tape.post("/v1/sessions/s/events", 1.0, body=message, answer={"item_id": "i"})
    call = {"type": "function_call", "id": "f", "call_id": "c", "name": evil, "arguments": evil, "status": "completed"}
    output = {"type": "function_call_output", "call_id": "c", "output": evil}
    reads = [
        status("running"), created(), delta(evil), event("response.output_item.done", item=call),
        event("response.output_item.done", item=output), event("response.reasoning_text.delta", delta=evil),
        event("response.elicitation_request", elicitation_id=evil, params={"message": evil}),
        event("response.error", source=evil, error={"code": evil, "message": evil}),
        event("evil." + evil), event("session.created", child_session_id=evil, conversation_id="s"),
        f"data: {evil}\n\n".encode(), completed(),
    ]  # fmt: skip
    tape.stream("s", 0.5, *[(2.0 + n / 10, read) for n, read in enumerate(reads)])
    tape.get("/v1/agents", 0.1, {"name": evil}, headers=(("content-type", "application/json"), ("x-evil", HOSTILE[1])))
    tape.get(f"/v1/sessions/s?{HOSTILE[1].replace(' ', '')}", 4.0, {"title": evil, "status": evil, "id": "s"})
    return tape.save(tmp_path_factory.mktemp("hostile") / "evil.db")


def test_a_strangers_cassette_does_nothing(browser: Any, hostile: Path) -> None:
    with showing(hostile) as url, opened(browser, f"{url}#/sessions") as page:
        page.wait_for_selector("td.name a")
        page.click(".others > summary")
        page.click(".others > details > summary")
        page.wait_for_selector(".other-body .facts")
        unharmed(page)
        page.click("td.name a")
        settled(page)
        page.keyboard.press("2")
        page.keyboard.press("Home")
        for _ in range(12):
            page.keyboard.press("j")
            page.wait_for_timeout(60)
            page.wait_for_selector(".detail-body > *")
            unharmed(page)
        page.keyboard.press("End")
        assert HOSTILE[0] in page.inner_text(".talk")
        assert "\\u202eevil" in page.inner_text(".talk")
        for tab in ("findings", "about"):
            page.click(f"#tab-{tab}")
            unharmed(page)
        page.goto(f"{url}#/search?q=evil")
        page.wait_for_selector(".hits")
        unharmed(page)


def unharmed(page: Any) -> None:
    """Nothing ran, nothing was made an element, nothing turns the writing."""
    assert page.evaluate("window.owned") is None
    assert page.locator("img, iframe, object, embed, body script").count() == 0
    text = page.evaluate("document.documentElement.textContent")
    assert not set("\u202e\u2066\x1b\x07") & set(text)
    assert page.locator("a[href^='javascript']").count() == 0
