"""The page put together: one script whose names do not meet, and in which nothing of another place is named."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from importlib.resources import files

import pytest

from omnirecord.ui.viewer import bundle, digest

TOP = re.compile(r"^(?:export )?(?:async )?(?:function\*?|class|const|let) (?:\{ ?)?(\w+)", re.MULTILINE)
MODULES = {
    path.name: path.read_text() for path in (files("omnirecord.ui") / "static").iterdir() if path.name.endswith(".js")
}
PAGES = {"page": bundle(), "lake": bundle("lake.js", "lake.css")}


def test_no_name_at_the_top_of_a_module_is_one_of_another() -> None:
    names = Counter(name for text in MODULES.values() for name in TOP.findall(text))
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def _order(name: str) -> list[str]:
    return re.findall(r"^// ([\w-]+\.js)$", PAGES[name].script, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_module_is_in_it_once_behind_those_that_it_imports(page: str) -> None:
    order = _order(page)
    assert len(order) == len(set(order))
    for name in order:
        for other in re.findall(r"from '\./([\w.-]+)'", MODULES[name]):
            assert order.index(other) < order.index(name)


def test_every_module_is_in_a_page_and_an_exported_file_has_none_of_a_lake() -> None:
    assert {name for page in PAGES for name in _order(page)} == set(MODULES)
    assert not [name for name in _order("page") if name.startswith("lake") or name == "plot.js"]


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_the_modules_is_left_that_only_a_module_may_say(page: str) -> None:
    assert re.findall(r"^(?:import|export)\b.*$", PAGES[page].script, re.MULTILINE) == []


@pytest.mark.parametrize("page", PAGES)
def test_it_makes_no_markup_of_text_and_runs_none(page: str) -> None:
    script = PAGES[page].script
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert word not in script
    assert "</script" not in script
    assert "<!--" not in script
    assert "</style" not in PAGES[page].style


@pytest.mark.parametrize("name", PAGES)
def test_it_names_no_other_server(name: str) -> None:
    page = PAGES[name]
    named = re.findall(r"https?://[\w.]+", page.html + page.script + page.style)
    assert set(named) <= {"http://www.w3.org"}  # the name of SVG


def test_a_digest_is_what_a_policy_names_a_script_by() -> None:
    assert digest("é") == f"'sha256-{base64.b64encode(hashlib.sha256('é'.encode()).digest()).decode()}'"


LUMINANCE = (0.2126, 0.7152, 0.0722)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip(LUMINANCE, linear, strict=True))


def contrast(one: str, other: str) -> float:
    """As WCAG 2 has it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_every_text_can_be_read_on_what_is_below_it_also_on_the_canvas(theme: int) -> None:
    block = re.findall(r":root(?:\[data-theme=dark\])? \{(.*?)\}", bundle().style, re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    names = ("ink", "dim", "accent", "error", "warning", "note", "good")
    texts = [(text, below) for text in names for below in ("page", "panel", "sunk")]
    bars = [("onbar", bar) for bar in ("turn", "thought", "said", "tool", "approval", "child")]
    soft = [(name, f"{name}-soft") for name in ("accent", "error", "warning", "note")]
    for text, below in [*texts, *bars, *soft, ("on-accent", "accent")]:
        assert contrast(colours[text], colours[below]) >= 4.5, (text, below)
    for part in ("edge", "turn", "thought", "said", "tool", "approval", "child", "request", "events", "focus"):
        assert contrast(colours[part], colours["panel"]) >= 3, part
