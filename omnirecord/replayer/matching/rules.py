"""How requests are matched, where the default is not enough: the rules of `--match`, one grammar. Pure.

    ignore query [GLOB]      these parameters do not count; without a GLOB, none does
    add query GLOB           these count, though they would be ignored
    add header NAME          this header counts; of one that holds a secret, whether it is there
    body [JSONPATH]          what lies there in the JSON body has to be equal (RFC 9535); without it, all of the body
    order loose | strict     equal requests in any order, told apart by their bodies | all of a session as recorded
    sessions mapped          the nth session id that a client makes up stands for the nth recorded session

Each but the last may end in `for METHOD GLOB`, and then holds for such requests alone. Of two that speak of the same,
`add` beats `ignore`, and the last `order` holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Literal

from ...errors import UsageError
from ...omnigent.routes import GATE_EXAMPLE
from . import jsonpaths

Order = Literal["recorded", "loose", "strict"]

_FORMS = {
    "ignore": {"query": "ignore query [GLOB]"},
    "add": {"query": "add query GLOB", "header": "add header NAME"},
    "body": {"": "body [JSONPATH]"},
    "order": {"loose": "order loose", "strict": "order strict"},
    "sessions": {"mapped": "sessions mapped"},
}
FORMS = tuple(form for forms in _FORMS.values() for form in forms.values())
_METHOD = re.compile(r"[*?A-Z-]+")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_IGNORED = "idle"
_RELAXED = ("include_*", "refresh_state*", "limit*")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which requests a rule holds for: globs for the method and the path."""

    method: str = "*"
    path: str = "*"

    def __call__(self, method: str, path: str) -> bool:
        return fnmatchcase(method, self.method) and fnmatchcase(path, self.path)


EVERY = Scope()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `kind`: its first two words, or `body`; `what`: the rest, empty where there is none."""

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
        """The rules that are written so. Raises `UsageError`."""
        rules = tuple(parse_rule(spec) for spec in ([specs] if isinstance(specs, str) else specs))
        _check_orders(rules)
        return cls(rules)

    @property
    def maps_sessions(self) -> bool:
        return any(rule.kind == "sessions" for rule in self.rules)

    def counts(self, name: str, method: str, path: str) -> bool:
        """Whether a query parameter of such a request has to be the same."""
        if self._is_added(name, method, path):
            return True
        return name != _IGNORED and not _matches(name, self._of("ignore query", method, path))

    def is_relaxed(self, name: str, method: str, path: str) -> bool:
        """Whether it only says how much a read is to hold, so that one with another value will do."""
        return _matches(name, _RELAXED) and not self._is_added(name, method, path)

    def headers(self, method: str, path: str) -> list[str]:
        """The headers that count, lower case."""
        return sorted(set(self._of("add header", method, path)))

    def body_paths(self, method: str, path: str) -> list[str]:
        """Where in a body has to be the same, as JSON paths; the empty one for all of it."""
        return list(dict.fromkeys(self._of("body", method, path)))

    def order(self, method: str, path: str) -> Order:
        found = list(self._of("order", method, path))
        return found[-1] if found else "recorded"  # type: ignore[return-value]  # the parser knows no others

    def _is_added(self, name: str, method: str, path: str) -> bool:
        return _matches(name, self._of("add query", method, path))

    def _of(self, kind: str, method: str, path: str) -> Iterator[str]:
        return (rule.what for rule in self.rules if rule.kind == kind and rule.scope(method, path))


DEFAULT = Rules()


MATCH_ON = ("method", "path", "query", "body")
"""What `match_on` takes. The first three always count."""


def rules_of(match_on: str | Iterable[str]) -> list[str]:
    """The rules that these names stand for, of which only `body` adds one. Raises `UsageError`."""
    names = [match_on] if isinstance(match_on, str) else list(match_on)
    for name in names:
        if name not in MATCH_ON:
            instead = "; a header counts with match='add header NAME'" if name == "headers" else ""
            raise UsageError(f"match_on has no {name!r}: it takes {', '.join(MATCH_ON)}{instead}")
    return ["body"] if "body" in names else []


def parse_rule(spec: str) -> Rule:
    """The rule that is written so. Raises `UsageError`, which names the word that is wrong."""
    body, scope = _split_scope(spec)
    first, _, rest = body.strip().partition(" ")
    forms = _FORMS[_known(spec, first.lower(), _FORMS)]
    if first.lower() == "body":
        return Rule("body", _json_path(spec, rest.strip()) if rest.strip() else "", scope)
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
    return Rule(f"{first} query", what[0] if what else "*", scope)


def _split_scope(spec: str) -> tuple[str, Scope]:
    head, found, tail = f"{spec} ".rpartition(" for ")
    if not found:
        return spec, EVERY
    words = tail.split()
    if len(words) != 2 or not _METHOD.fullmatch(words[0].upper()) or not words[1].startswith(("/", "*")):
        raise _wrong(spec, f"behind 'for' stands no METHOD GLOB, as in 'for {GATE_EXAMPLE}'")
    return head, Scope(words[0].upper(), words[1])


def _json_path(spec: str, path: str) -> str:
    if problem := jsonpaths.problem(path):
        raise _wrong(spec, f"{path!r} is no JSON path: {problem}", "body")
    return path


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
    return UsageError(f"the rule for matching {spec!r} cannot be used: {what}; there {_are(len(forms))} {listed}")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _check_orders(rules: Iterable[Rule]) -> None:
    orders: dict[Scope, Rule] = {}
    for rule in rules:
        if rule.kind == "order" and (other := orders.setdefault(rule.scope, rule)) != rule:
            raise UsageError(f"the rules for matching '{other}' and '{rule}' exclude each other: give one of them")


def _matches(name: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
