"""The page put together: its modules as one script, in the order of their imports. Pure but for reading its files.

`page/` holds plain ES modules. A browser could load them one by one; but the exported file must not load anything, and
what is tested as one script is then what is served as well. So `import` lines are dropped and `export` is taken away:
all names at the top of modules are different ones, which a test checks.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib.resources import files
from typing import NamedTuple

_IMPORT = re.compile(r"^import\s+(?:[\w*{}\s,]+?from\s+)?'\./([\w.-]+)'\n", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?=(?:async\s+)?(?:function|const|let|class)\b)", re.MULTILINE)
_FIRST = "main.js"


class Bundle(NamedTuple):
    """The parts of the page: its body, its script, its style."""

    html: str
    script: str
    style: str


@functools.cache
def bundle() -> Bundle:
    return Bundle(_file("index.html"), _script(), _file("page.css"))


def digest(text: str) -> str:
    """By which a Content-Security-Policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def joined(name: str) -> str:
    """A module and all that it imports, as one."""
    order: list[str] = []
    _visit(name, order)
    return "\n".join(f"// {one}\n{_EXPORT.sub('', _IMPORT.sub('', _file(one)))}" for one in order)


def _script() -> str:
    """In strict mode, and with no name in the page's own space."""
    return f"'use strict';\n(() => {{\n{joined(_FIRST)}\n}})()\n"


def _visit(name: str, order: list[str]) -> None:
    """Those that it imports first."""
    for other in _IMPORT.findall(_file(name)):
        if other not in order:
            _visit(other, order)
    order.append(name)


def _file(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")
