"""The rules of `--match`: which parts of a request have to equal the recorded one. Pure.

    ignore query [GLOB]      these parameters do not count; without a GLOB, none does
    ignore conversation [PART]
                             this part of a request to a model does not count; without a PART, only the path does
    add query GLOB           these count, though they would be ignored
    add header NAME          this header counts; of a header with a secret, only its presence counts
    path                     bodies do not count, conversations in requests to models included
    body [JSONPATH]          the values at this path of the JSON body have to be equal (RFC 9535), instead of the whole
                             body; without a path, the whole body
    order loose | strict     equal requests in any order, told apart by their bodies | all of a session as recorded
    sessions mapped          the nth session id that a client generates stands for the nth recorded session

A rule, but for the last, may end in `for METHOD GLOB` and then applies to such requests only. `add` takes precedence
over `ignore`, `body` over `path`, and the last `order` applies. Without a rule `path` or `body`, the whole body counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from ...errors import UsageError
from ...omnigent.routes import GATE_EXAMPLE

if TYPE_CHECKING:
    from jsonpath import CompoundJSONPath, JSONPath

Order = Literal["recorded", "loose", "strict"]

_FORMS = {
    "ignore": {"query": "ignore query [GLOB]", "conversation": "ignore conversation [PART]"},
    "add": {"query": "add query GLOB", "header": "add header NAME"},
    "path": {"": "path"},
    "body": {"": "body [JSONPATH]"},
    "order": {"loose": "order loose", "strict": "order strict"},
    "sessions": {"mapped": "sessions mapped"},
}
FORMS = tuple(form for forms in _FORMS.values() for form in forms.values())
PARTS = ("model", "stream", "instructions", "tools", "messages")
"""The parts of a request to a model that have to be equal."""
_METHOD = re.compile(r"[*?A-Z-]+")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MEMBERS = re.compile(r"\$(?:\.[A-Za-z_][0-9A-Za-z_]*)+")
"""A JSON path of names only, such as `$.params.name`."""
_IGNORED = "idle"
_RELAXED = ("include_*", "refresh_state*", "limit*")
IGNORE_BODIES = "path"
"""The rule that ignores bodies."""
WHOLE_BODY = ""
"""The JSON path of a whole body."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The requests to which a rule applies: globs for the method and the path."""

    method: str = "*"
    path: str = "*"

    def __call__(self, method: str, path: str) -> bool:
        return fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


EVERY = Scope()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `kind`: its first two words, or `body` or `path`; `what`: the rest, may be empty."""

    kind: str
    what: str = ""
    scope: Scope = EVERY

    def __str__(self) -> str:
        said = f"{self.kind} {self.what}".rstrip()
        return said if self.scope == EVERY else f"{said} for {self.scope.method} {self.scope.path}"


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a replay."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, specs: str | Iterable[str]) -> Rules:
        """Return the rules of these lines. Raises `UsageError`."""
        rules = tuple(parse_rule(spec) for spec in ([specs] if isinstance(specs, str) else specs))
        orders: dict[Scope, Rule] = {}
        for rule in rules:
            if rule.kind == "order" and (other := orders.setdefault(rule.scope, rule)) != rule:
                raise UsageError(f"the rules for matching '{other}' and '{rule}' exclude each other: give one of them")
        return cls(rules)

    @property
    def maps_sessions(self) -> bool:
        return any(rule.kind == "sessions" for rule in self.rules)

    def counts(self, name: str, method: str, path: str) -> bool:
        """Whether a query parameter of such a request has to be equal."""
        if self._is_added(name, method, path):
            return True
        return name != _IGNORED and not _matches(name, self._of("ignore query", method, path))

    def is_relaxed(self, name: str, method: str, path: str) -> bool:
        """Whether a parameter only selects the detail of a read, so that a read with another value may answer."""
        return _matches(name, _RELAXED) and not self._is_added(name, method, path)

    def headers(self, method: str, path: str) -> list[str]:
        """Return the headers that count, in lower case."""
        return sorted(set(self._of("add header", method, path)))

    def body_paths(self, method: str, path: str) -> list[str]:
        """Return the JSON paths at which bodies have to be equal, or `WHOLE_BODY`. The list is empty if bodies do not
        count."""
        chosen = list(dict.fromkeys(self._of("body", method, path)))
        ignores_bodies = any(True for _ in self._of("path", method, path))
        return chosen if chosen or ignores_bodies else [WHOLE_BODY]

    def ignored_parts(self, method: str, path: str) -> set[str]:
        """Return the parts of a request to a model that do not count. If bodies do not count, no part does."""
        ignored = set(self._of("ignore conversation", method, path))
        ignores_all = "*" in ignored or not self.body_paths(method, path)
        return {*PARTS, "settings"} if ignores_all else ignored

    def ignores_model(self, method: str, path: str) -> bool:
        """Whether the model does not count, also if it is in the path of such a request."""
        return not {"*", "model"}.isdisjoint(self._of("ignore conversation", method, path))

    def order(self, method: str, path: str) -> Order:
        found = list(self._of("order", method, path))
        return found[-1] if found else "recorded"  # type: ignore[return-value]  # the parser accepts no others

    def _is_added(self, name: str, method: str, path: str) -> bool:
        return _matches(name, self._of("add query", method, path))

    def _of(self, kind: str, method: str, path: str) -> Iterator[str]:
        return (rule.what for rule in self.rules if rule.kind == kind and rule.scope(method, path))


DEFAULT = Rules()


MATCH_ON = ("method", "path", "query", "body")
"""The names that `match_on` takes. The first three always count."""


def rules_of(match_on: str | Iterable[str] | None) -> list[str]:
    """Return the rule of these names: `body`, or `path` without the name `body`. None has no rule. Raises
    `UsageError`."""
    if match_on is None:
        return []
    names = [match_on] if isinstance(match_on, str) else list(match_on)
    for name in names:
        if name not in MATCH_ON:
            instead = "; a header counts with match='add header NAME'" if name == "headers" else ""
            raise UsageError(f"match_on has no {name!r}: it takes {', '.join(MATCH_ON)}{instead}")
    return ["body"] if "body" in names else ["path"]


def parse_rule(spec: str) -> Rule:
    """Return the rule of a line. Raises `UsageError`, with the wrong word."""
    body, scope = _split_scope(spec)
    first, _, rest = body.strip().partition(" ")
    forms = _FORMS[_known(spec, first.lower(), _FORMS)]
    if first.lower() == "path":
        if rest.strip():
            raise _wrong(spec, f"{rest.split()[0]!r} is too much", "path")
        return Rule("path", "", scope)
    if first.lower() == "body":
        path = rest.strip()
        if path and (problem := json_path_problem(path)):
            raise _wrong(spec, f"{path!r} is no JSON path: {problem}", "body")
        return Rule("body", path, scope)
    second, _, what = rest.strip().partition(" ")
    _known(spec, second.lower(), forms)
    return _rule(spec, first.lower(), second.lower(), what.split(), scope)


def _rule(spec: str, first: str, second: str, what: list[str], scope: Scope) -> Rule:
    takes = 0 if first in ("order", "sessions") else 1
    if len(what) > takes:
        raise _wrong(spec, f"{what[takes]!r} is too much", first)
    if takes and not what and first == "add":
        raise _wrong(spec, f"it does not say which {second}", first)
    if first == "order":
        return Rule("order", second, scope)
    if first == "sessions":
        if scope != EVERY:
            raise _wrong(spec, "it holds for all requests, so it takes no 'for'", first)
        return Rule("sessions", second)
    if second == "header":
        if not _FIELD_NAME.fullmatch(what[0]):
            raise _wrong(spec, f"{what[0]!r} is no name of a header", first)
        return Rule("add header", what[0].lower(), scope)
    if second == "conversation" and what and what[0] not in (*PARTS, "settings"):
        raise _wrong(spec, f"{what[0]!r} is no part of a conversation: take {', '.join((*PARTS, 'settings'))}", first)
    return Rule(f"{first} {second}", what[0] if what else "*", scope)


def _split_scope(spec: str) -> tuple[str, Scope]:
    head, found, tail = f"{spec} ".rpartition(" for ")
    if not found:
        return spec, EVERY
    words = tail.split()
    if len(words) != 2 or not _METHOD.fullmatch(words[0].upper()) or not words[1].startswith(("/", "*")):
        raise _wrong(spec, f"behind 'for' stands no METHOD GLOB, as in 'for {GATE_EXAMPLE}'")
    return head, Scope(words[0].upper(), words[1])


def _known(spec: str, word: str, words: Iterable[str]) -> str:
    known = [one for one in words if one]
    if word in known:
        return word
    near = get_close_matches(word, known, 1, 0.0)[0]
    what = f"{word!r} is none of its words; the nearest is {near!r}" if word else f"a word is missing, such as {near!r}"
    raise _wrong(spec, what)


def _wrong(spec: str, what: str, first: str = "") -> UsageError:
    forms = list(_FORMS.get(first, {}).values()) or FORMS
    listed = ", ".join(f"'{form}'" for form in forms)
    are = "is" if len(forms) == 1 else "are"
    return UsageError(f"the rule for matching {spec!r} cannot be used: {what}; there {are} {listed}")


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def json_path_problem(path: str) -> str | None:
    """Return why a text is no JSON path, in a few words; None if it is one."""
    from jsonpath import JSONPathError

    try:
        _compiled(path)
    except (JSONPathError, RecursionError, ValueError, ArithmeticError) as error:  # a number may raise the last two
        return str(error.args[0]) if error.args else "it cannot be read"  # str(error) adds lines of context
    return None


def values_at(path: str, body: bytes) -> list[str]:
    """Return the values at a JSON path, as canonical JSON; none if the body is no JSON, or is cut."""
    if _MEMBERS.fullmatch(path):
        return _member(path.split(".")[1:], body)
    from jsonpath import JSONPathError

    try:
        compiled = _compiled(path)
        value = json.loads(body, parse_float=_number)
        if isinstance(value, str):  # the library would parse it
            return [spelled(value)] if str(compiled) == "$" else []
        return [spelled(found) for found in compiled.findall(value)]
    except (ValueError, ArithmeticError, RecursionError, JSONPathError):
        return []


def _member(names: list[str], body: bytes) -> list[str]:
    """Return the value at a path of names only. The library would do the same, but takes 0.2 s to load, during which
    every stream of the replay waits."""
    try:
        value = json.loads(body, parse_float=_number)
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return []
            value = value[name]
        return [spelled(value)]
    except (ValueError, ArithmeticError, RecursionError):
        return []


def spelled(value: Any) -> str:
    """Return canonical JSON: members are sorted, and 1.0 equals 1."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


@lru_cache(64)
def _compiled(path: str) -> JSONPath | CompoundJSONPath:
    from .json_paths import PATHS

    return PATHS.compile(path)
