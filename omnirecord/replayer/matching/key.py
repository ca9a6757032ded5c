"""The key of a request: the parts that have to equal the recorded request. And a miss: no recorded request matches.
Pure.

By default the key is method, path and query, without `idle` and in any order. Secrets count as equal, so that clients
with other credentials match. `rules` add and ignore parts, such as the model in a path of Gemini. For a request that
matches none, `nearest` finds the most similar recorded requests, `difference` and `line` say how they differ.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import SequenceMatcher
from functools import cached_property
from itertools import zip_longest
from shlex import quote
from typing import Any, Literal
from urllib.parse import parse_qsl

from ...model import Headers
from ...omnigent.routes import path_of, query_of
from ...providers.register import api_of, model_api
from ...redaction.redactor import body_without_secrets, header_without_secrets, without_secrets
from ...text import clip, same_start
from ...wire.content_coding import decoded
from ...wire.headers import header
from ...wire.json_rpc import Message
from .rules import DEFAULT, IGNORE_BODIES, Rules

_MASKED = re.compile(r"\*{4,}")
"""A secret that `--redact content` or `scrub` masked. Its length may differ in another client."""
_NOT_IN_GAP = re.compile(r"[/?&\s]")
_LARGE_QUERY = 16 * 1024
_MANY_PARAMETERS = 200
"""Characters and parameters above which a query is not parsed: parsing blocks the event loop."""
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Masked:
    """A spelling with gaps in place of masked secrets. `parts`: the text around the gaps."""

    parts: tuple[str, ...]

    def fits(self, text: str) -> bool:
        """Whether `text` is this spelling with a value in each gap. Takes time linear in its length."""
        first, *middle, last = self.parts
        at = len(first)
        end = len(text) - len(last)
        if at >= end or not text.startswith(first) or not text.endswith(last):
            return False
        for part in middle:
            found = text.find(part, at + 1, end)
            if found < 0 or _NOT_IN_GAP.search(text, at, found):
                return False
            at = found + len(part)
        return at < end and _NOT_IN_GAP.search(text, at, end) is None


@dataclass(frozen=True, slots=True)
class Key:
    """The parts of a request that have to be equal. `headers`: those that a rule adds and that are present."""

    method: str
    path: str
    query: Pairs
    headers: Pairs = ()

    def relaxed(self, rules: Rules = DEFAULT) -> Key:
        """Return the key without the parameters that only select the detail of a read."""
        kept = tuple(pair for pair in self.query if not rules.is_relaxed(pair[0], self.method, self.path))
        return replace(self, query=kept)

    @property
    def masked(self) -> Masked | None:
        """The spelling that a request has to fit; None if no secret is masked in this key."""
        parts = tuple(_MASKED.split(str(self)))
        return Masked(parts) if len(parts) > 1 else None

    @property
    def query_text(self) -> str:
        """The query with its `?`; empty if there is none."""
        return "?" + "&".join(f"{name}={value}" for name, value in self.query) if self.query else ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}{self.query_text}"


def _is_large(part: str, separator: str) -> bool:
    """Whether this part of a target is compared as it is: it is too large to look for secrets in each parameter."""
    return len(part) > _LARGE_QUERY or part.count(separator) >= _MANY_PARAMETERS


def key_of(method: str, target: str, headers: Headers = (), rules: Rules = DEFAULT) -> Key:
    path, _, query = target.partition("?")
    path = path_of(path if _is_large(path, ";") else without_secrets(path))
    if rules.ignores_model(method, path) and (api := api_of(path)) is not None:
        path = model_api(api).with_model({}, path, "MODEL")[1]
    pairs = [("", query)]  # a large query is one parameter
    if not _is_large(query, "&"):
        pairs = parse_qsl(query_of(without_secrets(f"?{query}")), keep_blank_values=True)
    counted = sorted(pair for pair in pairs if rules.counts(pair[0], method, path))
    values = ((name, header(headers, name)) for name in rules.headers(method, path))
    told = ((name, header_without_secrets(name, value)) for name, value in values if value is not None)
    return Key(method, path, tuple(counted), tuple(told))


@dataclass(frozen=True, eq=False)
class Incoming:
    """A request to the replay. `headers` and `body` are read only as far as a matching rule needs them. `is_page`: a
    browser sent it, and the replay answers for Omnigent's web UI. `day`: the current day, which a prompt may tell."""

    method: str
    target: str
    is_runner: bool = False
    if_none_match: str | None = None
    body: bytes = b""
    headers: Headers = ()
    last_event_id: str | None = None
    is_page: bool = False
    day: date | None = None

    @cached_property
    def content(self) -> bytes:
        return decoded(self.body, header(self.headers, "content-encoding")) if self.body else b""

    @cached_property
    def safe(self) -> bytes:
        """The decoded body with one constant for every secret: recorded bodies have pseudonyms."""
        return body_without_secrets(self.content) if self.body else b""


UsedBy = Literal["serve", "python", "pytest"]
"""How a replay was started: with the command, from Python, or by the plugin."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a miss. `serve`, `python`, `pytest`: what a user of each writes."""

    purpose: str
    serve: str
    python: str
    pytest: str

    def sentence(self, used_by: UsedBy) -> str:
        """Return what a user of the replay has to write."""
        return f"To {self.purpose}: {getattr(self, used_by)}"


RECORD_REST = Advice(
    "record the rest", "--record new_episodes", 'record="new_episodes"', "--omnirecord-record=new_episodes"
)
"""For a request that comes after the end of its recorded conversation."""


def how_to_ignore(differences: str, rule: str) -> Advice:
    """Return the advice to use a rule that ignores these differences."""
    argument = "match_on=[]" if rule == IGNORE_BODIES else f'match="{rule}"'
    return Advice(f"ignore {differences}", f"--match {quote(rule)}", argument, f"@pytest.mark.omnirecord({argument})")


@dataclass(frozen=True, slots=True)
class Miss:
    """No recorded exchange answers a request. `nearest`: `request` and `differs` of the most similar recorded requests.
    `lines`: the same as text, with the differences marked. `advice`: how to ignore these differences, or to record the
    request. `call`: the JSON-RPC message of the request."""

    message: str
    nearest: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    advice: Advice | None = None
    call: Message | None = None

    @property
    def why(self) -> str:
        """The message, and a line for each recorded request, with short ids."""
        head = self.message + ("; nearest recorded, as [-recorded-]{+asked+}:" if self.lines else "")
        return "\n".join(_shortened(line) for line in (head, *(f"  {line}" for line in self.lines)))

    def advised(self, used_by: UsedBy) -> str:
        """Return the advice as a sentence; empty if there is none."""
        return "" if self.advice is None else _shortened(self.advice.sentence(used_by))

    def text(self, used_by: UsedBy = "serve") -> str:
        """Return `why` and the advice."""
        return "\n".join(filter(None, (self.why, self.advised(used_by))))


_LONGEST = 1000
"""Characters of a line."""


_ID_OR_MARK = re.compile(
    r"\[-[^\n]{0,200}?-\]|\{\+[^\n]{0,200}?\+\}"
    r"|(?<![\w-])((?:[A-Za-z]{2,24}_)*[0-9a-f]{8})(?:-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{24})(?![\w-])"
)
"""A marked difference, or a long id with its shown part."""


def short_ids(text: str) -> str:
    """Return a text with long ids cut. Marked differences stay whole."""
    return _ID_OR_MARK.sub(lambda found: f"{found[1]}…" if found[1] else found[0], text)


def _shortened(line: str) -> str:
    return short_ids(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A request that was matched although its body has another `type` or `action`."""

    request: str
    field: str
    recorded: Any
    got: Any


NEAREST = 3
_LOOKED_AT = 40
"""Recorded requests, with the same and with other methods, that are compared with a request."""
_COMPARED = 200
"""Characters of a path that are compared."""
_TOLD = 3
"""Most segments, parameters or headers that are named one by one."""
_DEEPEST = 64
"""Most segments of a path that are compared."""
_SHOWN = 60
"""Characters of a value."""


def in_order(recorded: Iterable[Key]) -> list[Key]:
    """Return the requests by path, as `nearest` takes them: sorting 10,000 takes 25 ms."""
    return sorted(set(recorded), key=lambda key: (key.path, key.method, key.query, key.headers))


def around(key: Key, ordered: Sequence[Key]) -> list[Key]:
    """Return the requests that are compared with `key`: those around its path, with its method and with others."""
    found: list[Key] = []
    for is_same in (True, False):
        those = [other for other in ordered if (other.method == key.method) is is_same]
        at = max(0, bisect_left(those, key.path, key=lambda other: other.path) - _LOOKED_AT // 2)
        found += those[at : at + _LOOKED_AT]
    return found


def nearest(key: Key, ordered: Sequence[Key]) -> list[Key]:
    """Return the recorded requests most similar to `key`, best first, without equal ones. `ordered`: by `in_order`.
    Comparing is slow and blocks the event loop, so only those `around` it are compared."""
    matcher = SequenceMatcher(b=key.path[:_COMPARED])
    others = (other for other in around(key, ordered) if other != key)
    return sorted(others, key=lambda other: (-_likeness(key, other, matcher), str(other)))[:NEAREST]


def _likeness(one: Key, other: Key, matcher: SequenceMatcher[str]) -> float:
    """Return the similarity of two keys: the path counts most, then the method and the common first segments."""
    path = other.path[:_COMPARED]
    matcher.set_seq1(path)
    wanted = one.path[:_COMPARED].split("/")[1:]
    found = path.split("/")[1:]
    return (
        2.0 * (one.path == other.path)
        + 0.6 * (one.method == other.method)
        + same_start(wanted, found) / max(1, len(wanted))
        + matcher.ratio()
        + 0.1 * (one.query == other.query)
        + 0.1 * (one.headers == other.headers)
    )


def named(key: Key, differs: str) -> dict[str, str]:
    return {"request": str(key), "differs": differs}


def line(got: Key, recorded: Key) -> str:
    """A recorded request for a person: where it differs, `[-recorded-]{+asked+}`."""
    path = _marked_path(got.path, recorded.path)
    said = f"{_marked(recorded.method, got.method)} {path}{_marked(recorded.query_text, got.query_text)}"
    headers = ", ".join(f"header {one}" for one in _headers(got.headers, recorded.headers))
    return f"{said}  {headers}" if headers else said


def _marked(recorded: str, got: str) -> str:
    """Two texts as one, with short ids unless these would look alike."""
    if recorded == got:
        return recorded
    whole = clip(recorded, _SHOWN), clip(got, _SHOWN)
    short = short_ids(whole[0]), short_ids(whole[1])
    gone, new = short if short[0] != short[1] else whole
    return (f"[-{gone}-]" if gone else "") + (f"{{+{new}+}}" if new else "")


def _marked_path(got: str, recorded: str) -> str:
    """Mark the differences of two paths segment by segment; segments that only one has are marked together."""
    ours, theirs = (path.split("/", _DEEPEST)[1:] for path in (recorded, got))
    both = min(len(ours), len(theirs))
    made = "".join(f"/{_marked(one, other)}" for one, other in zip(ours, theirs, strict=False))
    return made + _marked(*("".join(f"/{one}" for one in rest[both:]) for rest in (ours, theirs)))


def difference(got: Key, recorded: Key) -> str:
    """Return in which parts two keys differ, and how."""
    told = ["method"] if got.method != recorded.method else []
    if got.path != recorded.path:
        told.append(f"path ({_segments(got.path, recorded.path)})")
    if got.query != recorded.query:
        told.append(f"query ({_parameters(got.query, recorded.query)})")
    return " and ".join([*told, *(f"header {one}" for one in _headers(got.headers, recorded.headers))])


def shown(value: str | None) -> str:
    """Return a value for a sentence: in quotes, cut."""
    return "nothing" if value is None else repr(clip(value, _SHOWN))


def _segments(got: str, recorded: str) -> str:
    pairs = zip_longest(got.split("/", _DEEPEST)[1:], recorded.split("/", _DEEPEST)[1:])
    differ = [(number, *pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]]
    if len(differ) > _TOLD:
        return f"more than {_TOLD} segments"
    return ", ".join(f"segment {number}: {shown(one)} instead of {shown(other)}" for number, one, other in differ)


def _parameters(got: Pairs, recorded: Pairs) -> str:
    """`limit=50 instead of limit=20, after=x instead of nothing`."""
    names = dict.fromkeys(name for name, _ in set(got) ^ set(recorded)) or dict.fromkeys(name for name, _ in got)
    if len(names) > _TOLD:
        return f"more than {_TOLD} parameters"
    told = ((_of(name, got), _of(name, recorded)) for name in sorted(names))
    return ", ".join(f"{one or 'nothing'} instead of {other or 'nothing'}" for one, other in told if one != other)


def _of(name: str, pairs: Pairs) -> str:
    return clip("&".join(f"{one}={value}" for one, value in pairs if one == name), _SHOWN)


def _headers(got: Pairs, recorded: Pairs) -> Iterator[str]:
    ours = dict(got)
    theirs = dict(recorded)
    for name in dict.fromkeys((*ours, *theirs)):
        one = ours.get(name)
        other = theirs.get(name)
        if one != other:
            yield f"{name} ({shown(one)} instead of {shown(other)})"
