"""The page put together: one script whose names do not meet, and in which nothing of another place is named."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from importlib.resources import files

from omnirecord.web.bundle import bundle, digest

TOP = re.compile(r"^(?:export )?(?:async )?(?:function\*?|class|const|let) (?:\{ ?)?(\w+)", re.MULTILINE)
MODULES = {
    path.name: path.read_text()
    for path in (files("omnirecord.web") / "page").iterdir()
    if path.name.endswith(".js")
}  # fmt: skip


def test_no_name_at_the_top_of_a_module_is_one_of_another() -> None:
    names = Counter(name for text in MODULES.values() for name in TOP.findall(text))
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []


def test_every_module_is_in_it_once_behind_those_that_it_imports() -> None:
    order = re.findall(r"^// ([\w-]+\.js)$", bundle().script, re.MULTILINE)
    assert sorted(order) == sorted(MODULES)
    for name, text in MODULES.items():
        for other in re.findall(r"from '\./([\w.-]+)'", text):
            assert order.index(other) < order.index(name)


def test_nothing_of_the_modules_is_left_that_only_a_module_may_say() -> None:
    assert re.findall(r"^(?:import|export)\b.*$", bundle().script, re.MULTILINE) == []


def test_it_makes_no_markup_of_text_and_runs_none() -> None:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert word not in bundle().script
    assert "</script" not in bundle().script
    assert "<!--" not in bundle().script
    assert "</style" not in bundle().style


def test_it_names_no_other_server() -> None:
    page = bundle()
    named = re.findall(r"https?://[\w.]+", page.html + page.script + page.style)
    assert set(named) <= {"http://www.w3.org"}  # the name of SVG


def test_a_digest_is_what_a_policy_names_a_script_by() -> None:
    assert digest("é") == f"'sha256-{base64.b64encode(hashlib.sha256('é'.encode()).digest()).decode()}'"
