"""What a page gets of a replay beyond what was recorded: sessions as of the playhead, what any server has, a page."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock, call

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.replayer.omnigent_ui import OmnigentUi, Quiet, is_page
from omnirecord.replayer.omnigent_ui.page import MadeUp
from omnirecord.replayer.omnigent_ui.sessions import Sessions
from omnirecord.replayer.player import Answering, Decision, Incoming, Miss, Playing
from tests.support.cassettes import JSON, Made, child, completed, created, delta, event, heartbeat, status
from tests.support.stage import EVENTS, SESSION, Stage

CHROME = (("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0"), ("Sec-Fetch-Mode", "cors"))
ITEMS = f"{SESSION}/items?limit=100&order=desc"
SESSIONS = "/v1/sessions?order=desc&sort_by=updated_at&limit=30&visibility=mine"
PAGE = b'<!doctype html><script type="module" src="/assets/app-1.js"></script><link href="./assets/app-1.css">'
HTML = (("content-type", "text/html; charset=utf-8"),)


def item(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "message", "role": "assistant", "created_at": 1, **fields}


def done(name: str) -> bytes:
    return event("response.output_item.done", item=item(name))


def consumed(name: str, text: str = "Hi") -> bytes:
    content = [{"type": "input_text", "text": text}]
    data = {"item_id": name, "type": "message", "data": {"role": "user", "content": content}}
    return event("session.input.consumed", data=data)


def asks(name: str) -> bytes:
    return event("response.elicitation_request", elicitation_id=name, params={"message": "May I?"})


def resolved(name: str) -> bytes:
    return event("response.elicitation_resolved", elicitation_id=name, action="accept")


def conversation() -> Made:
    """Asked at 2 s, approved at 4 s, answered from 5 s on; read by a client at the beginning alone."""
    tape = Made()
    tape.get(f"{SESSION}?include_items=false", 0.5, {"id": "s", "title": None, "status": "idle", "agent_id": "a"})
    tape.get(ITEMS, 0.6, {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
    tape.stream(
        "s", 1.0, (1.0, heartbeat()), (3.0, asks("e")), (4.5, resolved("e")), (4.6, consumed("u")),
        (4.7, status("running")), (5.0, created("r")), (5.1, delta("Hel")), (5.2, done("m")), (5.3, completed("r")),
        (5.4, event("session.usage", conversation_id="s", context_tokens=7)), (5.5, status("idle")),
    )  # fmt: skip
    tape.post(EVENTS, 2.0, until=4.4, status=202)
    tape.post(f"{SESSION}/elicitations/e/resolve", 4.0, status=202)
    return tape


class Browser:
    """A page at a replay whose clock is the stage's. `files`: an installed web UI."""

    def __init__(self, tape: Made, files: dict[str, bytes] | None = None, **chosen: Any) -> None:
        self.stage = Stage(tape, **({"timing": "instant"} | chosen))
        found = None if files is None else lambda path: MadeUp(files[path], HTML) if path in files else None
        self.ui = OmnigentUi(self.stage.plan, self.stage.player, found)

    def asks(self, target: str, *, method: str = "GET", headers: Any = CHROME) -> Decision | MadeUp | Quiet:
        request = Incoming(method, target, headers=headers, is_page=is_page(headers))
        return self.ui.answer(request, self.stage.now)

    def reads(self, target: str) -> Any:
        """The answer's JSON."""
        answer = self.asks(target)
        assert isinstance(answer, MadeUp | Answering), answer
        return json.loads(answer.body)

    def ids(self, target: str = ITEMS) -> list[str]:
        return [one["id"] for one in self.reads(target)["data"]]


@pytest.fixture
def browser() -> Browser:
    return Browser(conversation())


def test_a_client_under_test_gets_what_was_recorded_or_its_miss(browser: Browser) -> None:
    for target in ("/v1/me", f"{SESSION}/items?after=x", "/"):
        assert isinstance(browser.asks(target, headers=(("User-Agent", "python-httpx/0.28"),)), Miss)


def test_what_moves_a_session_on_is_never_made_up(browser: Browser) -> None:
    assert isinstance(browser.asks("/v1/sessions/s/interrupt", method="POST"), Miss)


def test_a_message_from_a_page_is_the_one_that_is_waited_for_and_not_one_that_was_given_up() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, delta("no")), (5.0, delta("yes")))
    tape.post(EVENTS, 2.0, answered=False, ending="client_left")
    tape.post(EVENTS, 4.0, status=202)
    browser = Browser(tape)
    listener = browser.stage.opens()
    assert listener.hears() == ["heartbeat", "no"]
    answer = browser.asks(EVENTS, method="POST")
    assert isinstance(answer, Answering)
    assert answer.exchange.exchange == 3
    assert listener.hears() == ["yes"]


def test_what_was_recorded_is_given_as_it_was_where_it_is_still_true(browser: Browser) -> None:
    assert isinstance(browser.asks(ITEMS), Answering)


def test_items_are_those_that_the_stream_has_told_so_far(browser: Browser) -> None:
    listener = browser.stage.opens()
    listener.hears()
    assert browser.ids() == []
    browser.stage.posts()
    listener.hears()
    browser.stage.posts(f"{SESSION}/elicitations/e/resolve")
    listener.hears()
    assert browser.ids() == ["m", "u"]
    said = browser.reads(ITEMS)["data"][1]
    assert (said["role"], said["status"], said["content"][0]["text"]) == ("user", "completed", "Hi")
    assert said["created_at"] == 1767323049  # 4.6 s after the start of the recording


def played(tape: Made, **chosen: Any) -> Browser:
    """A browser that has heard all that there is."""
    browser = Browser(tape, no_gate=True, **chosen)
    browser.stage.opens().hears()
    return browser


def test_a_page_of_items_is_as_long_and_lies_where_it_was_asked_for() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), *((2.0 + n, done(f"m{n}")) for n in range(4)))
    browser = played(tape)
    assert browser.ids(f"{SESSION}/items?order=asc") == ["m0", "m1", "m2", "m3"]
    assert browser.ids(f"{SESSION}/items?order=desc&limit=2") == ["m3", "m2"]
    assert browser.ids(f"{SESSION}/items?order=desc&limit=2&after=m2") == ["m1", "m0"]
    assert browser.ids(f"{SESSION}/items?order=asc&before=m2") == ["m0", "m1"]
    assert [browser.reads(f"{SESSION}/items?limit={n}")["has_more"] for n in (3, 4)] == [True, False]
    assert browser.ids(f"{SESSION}/items?limit=many&after=nobody") == ["m3", "m2", "m1", "m0"]


def test_items_that_only_a_list_has_stand_where_it_has_them() -> None:
    tape = Made()
    tape.get(ITEMS, 0.5, {"data": [item("b"), item("a")]})
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, done("c")), (4.0, done("f")))
    tape.get(f"{SESSION}/items?order=asc&after=b", 3.0, {"data": [item("c"), item("d", text="kept"), item("e")]})
    browser = played(tape)
    assert browser.ids(f"{SESSION}/items?order=asc") == list("abcdef")
    assert browser.reads(f"{SESSION}/items?order=asc")["data"][3]["text"] == "kept"


def test_a_snapshot_has_what_is_asked_and_the_status_as_of_the_playhead(browser: Browser) -> None:
    target = f"{SESSION}?include_items=false&refresh_state=true"

    def now() -> tuple[str, list[str], Any]:
        got = browser.reads(target)
        return got["status"], [one["elicitation_id"] for one in got["pending_elicitations"]], got.get("agent_id")

    listener = browser.stage.opens()
    listener.hears()
    assert now() == ("idle", [], "a")
    browser.stage.posts()
    listener.hears()
    assert now() == ("idle", ["e"], "a")
    browser.stage.posts(f"{SESSION}/elicitations/e/resolve")
    listener.hears()
    assert now() == ("idle", [], "a")


def test_a_turn_that_goes_on_is_known_by_its_response() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running")), (3.0, created("r")), (9.0, completed("r")))
    browser = Browser(tape, timing="original")
    listener = browser.stage.opens()
    listener.hears()
    browser.stage.at(4.0)
    listener.hears()
    got = browser.reads(SESSION)
    assert (got["status"], got["active_response_id"], got["items"]) == ("running", "r", [])


def test_what_a_later_answer_says_of_the_state_is_not_true_before_it() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, delta("Hi")))
    tape.get(SESSION, 3.0, {"id": "s", "status": "failed", "title": "In the end", "last_total_tokens": 9})
    got = Browser(tape).reads(f"{SESSION}?include_items=false")
    assert (got["status"], got["last_total_tokens"], got["title"]) == ("idle", None, "In the end")


def test_the_list_has_every_session_by_the_name_that_it_gets() -> None:
    tape = Made()
    tape.get(SESSIONS, 0.5, {"data": []})
    tape.post("/v1/sessions", 1.0, status=201, answer={"id": "s"})
    tape.stream("s", 2.0, (2.0, heartbeat()), (4.0, child("c")))
    said = {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}]}
    tape.post(EVENTS, 3.0, status=202, body={"type": "message", "data": said})
    tape.post("/v1/sessions", 5.0, status=201, answer={"id": "t"})
    tape.stream("t", 6.0, (6.0, heartbeat()))
    tape.stream("c", 4.0, (4.0, heartbeat()))
    browser = Browser(tape)
    rows = browser.reads(SESSIONS)["data"]
    assert [(row["id"], row["title"], row["status"]) for row in rows] == [
        ("t", None, "idle"), ("s", "What is it?", "idle"),
    ]  # fmt: skip
    assert browser.ids(f"{SESSIONS}&search_query=what") == ["s"]
    assert browser.ids(f"{SESSIONS}&limit=1") == ["t"]
    assert browser.ids("/v1/sessions?visibility=shared") == browser.ids(f"{SESSIONS}&pinned=true") == []


def test_who_watches_the_list_sees_a_session_go_on(browser: Browser) -> None:
    def now() -> tuple[str, int]:
        row = browser.ui.rows(["s", "nobody"], browser.stage.now)["s"]
        return row["status"], row["pending_elicitations_count"]

    listener = browser.stage.opens()
    listener.hears()
    assert now() == ("idle", 0)
    browser.stage.posts()
    listener.hears()
    assert now() == ("idle", 1)


def test_what_any_server_has_is_made_up_and_noted(browser: Browser) -> None:
    assert browser.reads("/v1/me")["user_id"] == "local"
    assert browser.reads("/v1/hosts") == {"hosts": []}
    assert browser.reads("/health?session_ids=s,t")["sessions"].keys() == {"s", "t"}
    assert browser.reads(f"{SESSION}/agent")["id"] == "a"
    assert browser.reads("/v1/me")["user_id"] == "local"
    assert browser.ui.made_up == ["GET /v1/me", "GET /v1/hosts", "GET /health", f"GET {SESSION}/agent"]


def test_a_sub_agent_is_told_as_its_parent_told_it() -> None:
    tape = Made()
    told = {"id": "c", "title": "reviewer:plan", "tool": "reviewer", "busy": True}
    update = event("session.child_session.updated", conversation_id="s", child_session_id="c", child=told)
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, delta("Hi")), (3.0, child("c")), (3.1, update))
    tape.get("/v1/sessions/c/items", 4.0, {"data": []})
    browser = played(tape)
    (got,) = browser.reads(f"{SESSION}/child_sessions")["data"]
    assert (got["id"], got["title"], got["busy"], got["parent_session_id"]) == ("c", "reviewer:plan", True, "s")
    got = browser.reads("/v1/sessions/c")
    assert (got["kind"], got["parent_session_id"], got["title"]) == ("sub_agent", "s", "reviewer:plan")
    assert browser.ids(SESSIONS) == ["s"]


def test_terminals_are_none_since_they_are_not_replayed() -> None:
    tape = conversation()
    tape.get(f"{SESSION}/resources/terminals", 0.7, {"data": [{"id": "t", "url": "ws://127.0.0.1:1/"}]})
    assert Browser(tape).ids(f"{SESSION}/resources/terminals?limit=9") == []


def test_a_stream_that_nobody_opened_is_quiet_and_one_of_no_session_is_a_miss() -> None:
    tape = Made()
    tape.get(SESSION, 1.0, {"id": "s"})
    assert isinstance(Browser(tape).asks(f"{SESSION}/stream"), Quiet)
    assert isinstance(Browser(tape).asks("/v1/sessions/nobody/stream"), Miss)


def test_what_nobody_knows_is_a_miss_or_is_not_there(browser: Browser) -> None:
    assert isinstance(browser.asks("/v1/usage"), Miss)
    assert isinstance(browser.asks("/assets/gone.js"), Miss)
    gone = browser.asks(f"{SESSION}/resources/files/f/content")
    assert isinstance(gone, MadeUp)
    assert (gone.status, json.loads(gone.body)["error"]["code"]) == (404, "not_found")


def test_only_messages_of_users_need_the_time_of_day(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = browser.stage.plan
    epoch = Mock(side_effect=plan.epoch)
    monkeypatch.setattr(plan, "epoch", epoch)
    items = Sessions(plan).items("s", float("inf"))
    assert [one["id"] for one in items] == ["u", "m"]
    assert epoch.call_args_list == [call(1, 4_600_000_000)]


def test_only_for_a_page_is_a_stream_kept_alive_behind_its_end(browser: Browser) -> None:
    stream = browser.asks(f"{SESSION}/stream")
    assert isinstance(stream, Playing)
    assert stream.is_kept_alive
    assert not browser.stage.opens().playing.is_kept_alive


def test_a_pages_stream_ends_where_the_recorded_client_came_back() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, delta("Hel")), end=2.5)
    tape.stream("s", 3.0, (3.0, heartbeat()), (4.0, delta("lo")))
    browser = Browser(tape)
    first = browser.asks(f"{SESSION}/stream")
    assert isinstance(first, Playing)
    assert first.stop == "clean"
    while first.has_more:
        first.take(browser.stage.now)
    browser.stage.player.closed(first)
    second = browser.asks(f"{SESSION}/stream")
    assert isinstance(second, Playing)
    assert second.stop == "open"
    assert Browser(tape).stage.opens().playing.stop == "open"


def test_a_pages_stream_goes_on_where_two_clients_had_listened_at_once() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, delta("Hi")), end=5.0)
    tape.stream("s", 2.0, (2.0, heartbeat()), (3.0, delta("Hi")), end=5.0)
    stream = Browser(tape).asks(f"{SESSION}/stream")
    assert isinstance(stream, Playing)
    assert stream.stop == "open"


def test_a_session_is_put_together_where_its_server_was_gone() -> None:
    tape = conversation()
    for target in (SESSION, ITEMS):
        tape.get(target, 9.0, {"error": {}}, status=502, ending="upstream_unreachable")
    browser = played(tape)
    assert browser.reads(SESSION)["agent_id"] == "a"
    assert browser.ids() == ["m", "u"]


def page_of(answer: Any) -> tuple[bytes, str]:
    """A page, and its policy."""
    assert isinstance(answer, MadeUp | Answering), answer
    headers = answer.headers if isinstance(answer, MadeUp) else answer.exchange.response.headers  # type: ignore[union-attr]
    return answer.body, dict(headers)["Content-Security-Policy"]


def with_page(*assets: str, at: str = "/", status: int = 200) -> Made:
    tape = conversation()
    tape.get(at, 0.1, PAGE, headers=HTML, status=status)
    for asset in assets:
        tape.get(asset, 0.2, b"1", headers=(("content-type", "text/javascript"),))
    return tape


ASSETS = ("/assets/app-1.js", "/assets/app-1.css")


def test_a_recorded_page_is_given_at_every_path_of_the_pages_and_may_talk_to_nobody_else() -> None:
    browser = Browser(with_page(*ASSETS), {"/index.html": b"another"})
    assert browser.ui.shell.page_is == "the recorded web UI"
    for path in ("/", "/c/s", "/inbox?tab=1"):
        body, policy = page_of(browser.asks(path))
        assert body == PAGE
        assert policy.startswith("default-src 'self'")
    assert isinstance(browser.asks(ASSETS[0]), Answering)


def test_a_page_whose_scripts_came_from_a_cache_is_not_given() -> None:
    browser = Browser(with_page(ASSETS[0]), {"/index.html": b"another"})
    assert browser.ui.shell.page_is == "an installed web UI"
    assert page_of(browser.asks("/"))[0] == b"another"
    complete = Browser(with_page(ASSETS[0]), {"/index.html": b"another", ASSETS[1]: b"css"})
    assert page_of(complete.asks("/"))[0] == PAGE


def test_a_file_of_an_installed_web_ui_stands_in_for_one_that_was_not_recorded() -> None:
    browser = Browser(with_page(*ASSETS), {"/assets/lazy.js": b"lazy"})
    lazy = browser.asks("/assets/lazy.js")
    assert isinstance(lazy, MadeUp)
    assert lazy.body == b"lazy"
    assert browser.ui.made_up == []


def test_without_any_web_ui_there_is_a_page_that_says_so_and_lists_the_sessions() -> None:
    tape = conversation()
    tape.get("/v1/sessions/%3Cb%3E", 0.1, {"id": "<b>", "title": "<script>alert(1)</script> \u202e"})
    body, policy = page_of(Browser(tape).asks("/c/s"))
    assert b"<code>s</code>" in body
    assert b"none is installed" in body
    assert b"<script" not in body
    assert policy.startswith("default-src 'none'")
    assert b"fresh profile" in page_of(Browser(with_page()).asks("/"))[0]


def test_a_recorded_answer_that_is_no_page_is_given_as_it_was() -> None:
    answer = Browser(with_page(status=503), {"/index.html": b"another"}).asks("/")
    assert isinstance(answer, Answering)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(
        st.sampled_from(["id", "data", "items", "title", "status", "item", "content", "text", "role", "type"]), one
    ), max_leaves=8,
)  # fmt: skip


@given(answers=st.lists(anything, max_size=3), fields=st.dictionaries(st.sampled_from(["item", "data", "child", "error",
    "elicitation_id", "response", "status", "title", "context_tokens"]), anything))  # fmt: skip
def test_whatever_a_cassette_holds_a_page_gets_an_answer(answers: list[Any], fields: dict[str, Any]) -> None:
    tape = Made()
    for n, answer in enumerate(answers):
        body = json.dumps(answer).encode()
        for target in (SESSION, ITEMS, SESSIONS, f"{SESSION}/agent"):
            tape.get(target, 0.1 * n, body, headers=JSON)
    kinds = ("response.output_item.done", "session.input.consumed", "response.elicitation_request", "session.status",
             "session.title", "response.created", "session.usage", "session.child_session.updated")  # fmt: skip
    tape.stream("s", 1.0, (1.0, heartbeat()), *((2.0, event(kind, **fields)) for kind in kinds), (3.0, delta("Hi")))
    browser = played(tape)
    for target in (SESSION, ITEMS, SESSIONS, "/c/s", "/v1/agents", f"{SESSION}/agent", f"{SESSION}/child_sessions"):
        assert isinstance(browser.asks(target), MadeUp | Answering)
    browser.ui.rows(["s"], browser.stage.now)
