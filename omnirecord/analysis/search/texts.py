"""The text of a JSON value, as it is searched: every string in it, JSON inside of strings unpacked. Pure, never fails.

Scripts without blanks (Chinese, Japanese, Thai…) and Korean, whose endings are joined on, are parted into single
characters by a space of no width, so that any part of a sentence is found. `spaced` puts it in, `plain` takes it out.
"""

from __future__ import annotations

import json
import re
from typing import Any

ZERO = "\u200b"
"""The zero width space: it parts words, and is shown nowhere."""
_UNPARTED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])"
)
_UNSEEN = re.compile("[\0\x02\x03\ud800-\udfff]")
"""What SQLite, or our marks around the words that were found, could not stand."""
_NAMES_A_KIND = ("type", "object")
"""Fields whose values name a kind of thing: every message would be found by `text`."""
_BLOB = 1000
"""From how many ASCII characters on a string without white space is no text: an image, an archive."""
_DEEPEST = 3
"""How often JSON inside of a JSON string is unpacked."""
_MOST = 1 << 20
"""How much of one string is looked at, in characters."""


def spaced(text: str) -> str:
    """The text with its unparted scripts parted, and fit for SQLite."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _UNSEEN.search(text) else text
    text = _UNSEEN.sub(" ", text)
    return text if text.isascii() else _UNPARTED.sub(f"{ZERO}\\1{ZERO}", text.replace(ZERO, ""))


def plain(text: str) -> str:
    return text.replace(ZERO, "")


def text_in(value: Any) -> str:
    """All strings and numbers of a JSON value, a line each, in its order."""
    found: list[str] = []
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        one, depth = todo.pop()
        if isinstance(one, dict):
            todo += [(v, depth) for k, v in reversed(one.items()) if k not in _NAMES_A_KIND or not isinstance(v, str)]
        elif isinstance(one, list):
            todo += [(v, depth) for v in reversed(one)]
        elif isinstance(one, str):
            inner = _unpacked(one) if depth < _DEEPEST else None
            if inner is not None:
                todo.append((inner, depth + 1))
            elif one and not _is_blob(one):
                found.append(one[:_MOST])
        elif type(one) in (int, float):
            found.append(str(one))
    return "\n".join(found)


def _unpacked(text: str) -> Any:
    """The JSON object or list that a string is; None where it is none. An escape in it would hide a word."""
    if text[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def _is_blob(text: str) -> bool:
    return len(text) >= _BLOB and text[:_BLOB].isascii() and not any(c.isspace() for c in text[:_BLOB])
