"""The pictures of the documentation, made anew from the shipped cassettes: `python -m tests.support.screenshots`. With
`lake` only those of the page on a lake.

Each is a moment of the page as a browser shows it, in few colours, so that the files are small.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from omnirecord.cassette.open import import_file
from omnirecord.lake.location import Lake
from tests.support.browsing import chromium_running, drawn, opened, settled, showing
from tests.support.cassettes import HEALTHY, TROUBLED
from tests.support.hop_tapes import both_hops
from tests.support.lake_sessions import again, drifted, ship, showing_lake

FOLDER = Path(__file__).parent.parent.parent / "docs" / "pictures"
ALL = ("approval", "turns", "subagent", "two_clients", "interrupt", "tool_hangs", "runner_killed", "provider_busy")


MOVE = "(one, part) => { one.value = part * 10000; one.dispatchEvent(new Event('input')) }"


class Picture(NamedTuple):
    name: str
    cassettes: tuple[str, ...]
    act: Callable[[Any], None]
    where: str = ""
    width: int = 1280
    height: int = 800
    scheme: str = "light"


def at_an_event(name: str) -> Callable[[Any], None]:
    """With the playhead at the first event whose type this is part of, of those that are listed."""

    def act(page: Any) -> None:
        settled(page)
        page.locator(".event", has_text=name).first.click()
        page.wait_for_selector(".detail .raw")

    return act


def playing(part: float) -> Callable[[Any], None]:
    """With the playhead there, and nothing selected."""

    def act(page: Any) -> None:
        settled(page)
        page.locator(".scrubber").evaluate(MOVE, part)
        page.wait_for_timeout(200)
        page.keyboard.press("Escape")
        drawn(page)

    return act


def of_findings(page: Any) -> None:
    settled(page)
    page.keyboard.press("3")


def of_a_conversation(page: Any) -> None:
    settled(page)
    page.keyboard.press("1")


def of_a_list(page: Any) -> None:
    page.wait_for_selector(".severity.error")


def comparing(page: Any) -> None:
    page.wait_for_selector(".severity.error")
    for number in (2, 4):
        page.locator(f"tbody:nth-of-type({number}) input").first.check()
    page.click(".compare-bar a")
    page.wait_for_selector(".verdict-line")


def at_a_call(page: Any) -> None:
    """With the refused call selected, and the playhead at the end."""
    settled(page)
    page.evaluate("() => { location.hash = '#/session/1.session.s?tab=wire&call=4&t=16' }")
    page.wait_for_selector(".detail .facts")


PICTURES = (
    Picture("session", ("turns",), playing(0.72)),
    Picture("findings", ("tool_hangs",), of_findings, height=760),
    Picture("wire", ("subagent",), at_an_event("session.created"), "#/session/", height=860),
    Picture("sessions", ALL, of_a_list, height=720),
    Picture("compare", ALL, comparing, height=760),
    Picture("model_calls", ("both_hops",), at_a_call, height=820),
    Picture("dark", ("turns",), playing(0.86), scheme="dark"),
    Picture("narrow", ("tool_hangs",), of_a_conversation, width=400, height=820),
)


def take(browser: Any, picture: Picture, folder: Path) -> None:
    path = cassette(picture.cassettes, folder / picture.name)
    with (
        showing(path) as url,
        opened(
            browser, url, width=picture.width, height=picture.height, color_scheme=picture.scheme, device_scale_factor=1
        ) as page,
    ):
        if picture.where:
            page.wait_for_selector("td.name a")
            page.locator("td.name a").first.click()
        picture.act(page)
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)
        page.screenshot(path=FOLDER / f"{picture.name}.png")


def cassette(names: tuple[str, ...], folder: Path) -> Path:
    """The shipped one, or several of them in one."""
    shipped = {**HEALTHY, **TROUBLED}
    if len(names) == 1 and names[0] in shipped:
        return shipped[names[0]]
    folder.mkdir()
    if names == ("both_hops",):
        return both_hops().save(folder / "session.db")
    for name in names:
        import_file(shipped[name], folder / "week.db")
    return folder / "week.db"


LAKE = (("lake", "#/sessions", ".lake-table", "light"), ("trends", "#/trends", ".figures svg", "light"))
"""Pictures of the page on a lake: name, place, the element that shows that it is drawn, and scheme."""
DAYS = (
    "text",
    "turns",
    "approval",
    "two_clients",
    "tool_hangs",
    "interrupt",
    "runner_killed",
    "subagent",
    "provider_busy",
)


def a_lake(folder: Path) -> str:
    """Return the URL of a lake with copies of the shipped cassettes, some for each of ten days."""
    made, number = [], 0
    for day in range(11, 21):
        version = "0.19.0" if day < 15 else "0.19.1"
        made.append(drifted(folder, f"2026-11-{day}", version))
        for name in [*DAYS, *DAYS][day % 4 : 4 + day * 5 % 7]:
            number += 1
            labels = {"team": ("blue", "red")[number % 2], "env": "ci"}
            made.append(again(folder, name, f"2026-11-{day}", number, labels, version))
    lake = Lake(str(folder / "lake"))
    lake.init()
    ship(lake, made)
    return lake.url


def take_lake(browser: Any, folder: Path) -> None:
    with showing_lake(a_lake(folder)) as url:
        for name, place, drawn_one, scheme in LAKE:
            with opened(browser, url + place, height=900, color_scheme=scheme, device_scale_factor=1) as page:
                page.wait_for_selector(drawn_one, timeout=60_000)
                page.wait_for_timeout(300)
                page.screenshot(path=FOLDER / f"{name}.png")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium_running() as browser:
        take_lake(browser, Path(folder))
        for picture in PICTURES if len(sys.argv) < 2 else ():
            take(browser, picture, Path(folder))
            size = (FOLDER / f"{picture.name}.png").stat().st_size
            print(f"{picture.name}.png  {size // 1000} kB")  # noqa: T201  # for a terminal


if __name__ == "__main__":
    main()
