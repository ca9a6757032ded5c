"""The exported page: one file, which says what was scrubbed, and needs nothing but a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from omnirecord.cassette.open import import_file
from omnirecord.errors import UsageError
from omnirecord.ui.export import sealed_page
from omnirecord.ui.viewer import bundle, digest
from tests.support.browsing import eventually, opened, settled, texts
from tests.support.cassettes import HEALTHY, TROUBLED, Made, completed, created, delta, status
from tests.support.command import invoke
from tests.ui.test_page import HOSTILE, unharmed
from tests.ui.test_page import hostile as hostile

SECRET = "sk-ant-api03-" + "aB3" * 12


def page_of(cassette: Path, **options: Any) -> str:
    return b"".join(sealed_page(cassette, **options)).decode()


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="cassette">([A-Za-z0-9+/=]*)</script>', page)
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    tape = Made()
    message = {
        "type": "message",
        "data": {"role": "user", "content": [{"type": "input_text", "text": f"use {SECRET}"}]},
    }
    tape.post("/v1/sessions/s/events", 1.0, body=message, answer={"item_id": "i"})
    reads = [status("running"), created(), delta(f"I use {SECRET} now"), completed()]
    tape.stream("s", 0.5, *[(2.0 + n / 10, read) for n, read in enumerate(reads)])
    return tape.save(tmp_path / "leaky.db")


def test_it_is_scrubbed_and_says_what_was_replaced(leaky: Path) -> None:
    data = data_of(page_of(leaky))
    assert SECRET not in json.dumps(data)
    shared = data["overview"]["shared"]
    assert shared["badge"] == "scrubbed"
    assert "replaced" in shared["sentence"]
    assert sum(one["count"] for one in shared["replaced"]) >= 2


def test_as_it_was_recorded_only_if_that_is_asked_for(leaky: Path) -> None:
    data = data_of(page_of(leaky, redact=None))
    assert SECRET in json.dumps(data)
    assert data["overview"]["shared"]["badge"] == "as recorded"
    assert "not scrubbed" in data["overview"]["shared"]["sentence"]


def test_its_policy_allows_its_own_script_and_nothing_else() -> None:
    page = page_of(HEALTHY["approval"])
    policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert len(policy) == 1
    assert f"script-src {digest(bundle().script)}; style-src {digest(bundle().style)}" in policy[0]
    assert policy[0].startswith("default-src 'none';")
    assert page.index("Content-Security-Policy") < page.index("<script")
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', page) == []


def test_it_is_less_than_a_megabyte_beside_its_data() -> None:
    page = page_of(HEALTHY["turns"])
    assert len(page) < 280_000
    assert page_of(HEALTHY["turns"]) == page, "it is the same each time"


def test_of_one_session_nothing_of_the_others_is_in_it(tmp_path: Path) -> None:
    for name in ("subagent", "approval"):
        import_file(HEALTHY[name], tmp_path / "two.db")
    page = data_of(page_of(tmp_path / "two.db", session="9a9099"))
    assert [one["recording"] for one in page["overview"]["sessions"]] == [1, 1]
    assert len(page["sessions"]) == 2
    assert "release notes" not in json.dumps(page)
    with pytest.raises(UsageError, match="no session begins with 'nobody'"):
        page_of(HEALTHY["text"], session="nobody")


def test_on_the_command_line_it_says_what_it_did(tmp_path: Path) -> None:
    def export(*words: str) -> Result:
        return invoke("export", HEALTHY["approval"], *words)

    done = export("--format", "html", "-o", str(tmp_path / "a.html"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "open it in a browser" in done.stdout
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert export("--format", "jsonl", "--redact", "none").exit_code == 2
    refused = export("--format", "html", "--redact", "none", "--redact-pattern", "x")
    assert "--redact none scrubs nothing" in refused.stderr


@pytest.mark.slow
@pytest.mark.browser
def test_it_opens_from_a_disk_with_no_network_and_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "a b.html"
    file.write_text(page_of(TROUBLED["tool_hangs"]))
    with opened(browser, "about:blank", offline=True) as page:
        asked = list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        settled(page)
        assert texts(page, ".state") == ["scrubbed"]
        assert "sleep 600" in texts(page, ".talk .arguments")[0]
        assert "Why it stops here: " in texts(page, ".why")[0]
        assert len(texts(page, ".finding")) == 2
        assert "tool-without-output" in page.inner_text(".trouble-line")
        page.keyboard.press("2")
        eventually(lambda: len(texts(page, ".event:not(.request) .summary")) == 11)
        page.keyboard.press("Home")
        eventually(lambda: texts(page, ".talk .entry") == [])
        page.select_option(".player select >> nth=0", "32")
        page.keyboard.press("Space")
        page.locator(".talk .why").wait_for(state="visible")
        page.locator(".event.valid").nth(5).click()
        page.wait_for_selector(".detail .json")
        page.fill("input[name=text]", "SLEEP")
        page.locator(".wire-count", has_text=" of 11").wait_for()
        page.fill("input[name=text]", "wait until the tide")
        page.locator(".wire-count", has_text=" 1 of ").wait_for()
        page.locator(".event.request").first.click()
        page.locator(".detail .copy", has_text="Copy curl").wait_for()
        page.click("#tab-findings")
        eventually(lambda: "tool-without-output" in texts(page, ".finding h2"))
        page.click("#tab-about")
        assert "Replaced secrets" in page.inner_text(".about")
        page.fill("input[name=q]", '"no such thing" OR sleep NOT tide')
        page.keyboard.press("Enter")
        page.wait_for_selector(".hits mark")
        assert set(texts(page, ".hits mark")) == {"sleep"}
        page.locator(".hits a").first.click()
        page.wait_for_selector(".event.selected")
        assert asked == [file.as_uri()]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize(("sessions", "boxes"), [(2, 2), (7, 0)])
def test_what_it_cannot_compare_it_does_not_offer(browser: Any, tmp_path: Path, sessions: int, boxes: int) -> None:
    for _ in range(sessions):
        import_file(HEALTHY["text"], tmp_path / "many.db")
    file = tmp_path / "many.html"
    file.write_text(page_of(tmp_path / "many.db"))
    with opened(browser, file.as_uri(), offline=True) as page:
        page.wait_for_selector("td.name a")
        assert page.locator("td.choose input").count() == boxes
        if boxes:
            page.locator("td.choose input").first.check()
            page.locator("td.choose input").last.check()
            page.click(".compare-bar a")
            page.wait_for_selector(".verdict-line")


@pytest.mark.slow
@pytest.mark.browser
def test_a_strangers_cassette_does_nothing_there_either(browser: Any, tmp_path: Path, hostile: Path) -> None:
    file = tmp_path / "evil.html"
    file.write_text(page_of(hostile))
    assert HOSTILE[0] not in file.read_text()
    with opened(browser, file.as_uri(), offline=True) as page:
        settled(page)
        unharmed(page)
        page.keyboard.press("2")
        page.keyboard.press("j")
        page.wait_for_selector(".detail-body > *")
        unharmed(page)
