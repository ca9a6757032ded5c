"""The change of one request to a model, and the same change in later requests of the agent. Pure.

    change = Change.of(model="m2", sets=["messages[-1].content=rainy"])
    made = change.made(body, target)             # of call N
    made.carried(later_body, later_target)       # of a later call

The agent does not know of the change: its later requests repeat the old message. So a later request gets the same
change where it has the same value in the same place. In the list of messages, a place is a message with the messages
before it. They are compared as `providers.conversation` does, so that ids and marks for caching do not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import takewhile
from operator import eq
from shlex import quote
from typing import Any, NamedTuple

from ..errors import UsageError
from ..providers.api import Data, ModelApi
from ..providers.conversation import conversation_of, differences
from ..providers.register import api_of, model_api
from ..redaction.names import field_looks_secret, is_secret_field, may_be_secret_field
from ..redaction.redactor import Redactor, content_scanner
from ..text import clip, counted, one_line
from ..wire.strict_json import as_dict, loads

_MISSING = object()
"""The value of a field that is not there."""
_LAST_NAME = re.compile(
    r"(?P<parent>.*?)(?:\.(?P<name>[A-Za-z_][\w-]*)|\[(?P<quote>['\"])(?P<quoted>[^'\"]+)(?P=quote)\])"
)
_INDEX = re.compile(r"\[(-?[0-9]{1,9})\]")
_OPENING = "[("
_CLOSING = "])"
_SHOWN = 100
"""Characters of a value in an error, and in the words for a change."""


class Body(NamedTuple):
    """A request: its JSON body, and its target."""

    data: Data
    target: str


class Setting(NamedTuple):
    """One `--set PATH=VALUE`."""

    path: str
    value: str

    @classmethod
    def of(cls, text: str) -> Setting:
        """Return the setting in a text. The first `=` outside of brackets and quotes ends the path. Raises
        `UsageError`."""
        depth = 0
        mark = ""
        for at, character in enumerate(text):
            if mark:
                mark = "" if character == mark else mark
            elif character in "'\"" and depth:
                mark = character
            elif character in _OPENING:
                depth += 1
            elif character in _CLOSING:
                depth -= 1
            elif character == "=" and depth <= 0:
                if path := text[:at].strip():
                    return cls(path, text[at + 1 :])
                break
        raise UsageError(f"--set {text!r} is no PATH=VALUE: write for instance messages[-1].content='Another question'")

    @property
    def shown(self) -> str:
        """The value, without secrets."""
        last = _LAST_NAME.fullmatch(self.expression)
        name = (last["name"] or last["quoted"]) if last is not None else ""
        if is_secret_field(name) or (may_be_secret_field(name) and field_looks_secret(name, self.value)):
            return "****"
        return Redactor(b"", content_scanner("content")).text(self.value)

    @property
    def expression(self) -> str:
        """The path as JSONPath."""
        return self.path if self.path.startswith("$") else f"$.{self.path}"


@dataclass(frozen=True)
class Change:
    """What is changed in a request. `edited`: the whole new body."""

    model: str | None = None
    sets: tuple[Setting, ...] = ()
    edited: Data | None = None

    @classmethod
    def of(cls, model: str | None = None, sets: Iterable[str] = (), edited: Data | None = None) -> Change:
        """Return a change. `sets`: texts `PATH=VALUE`. Raises `UsageError`."""
        if model is not None and not model.strip():
            raise UsageError("--model is empty: give the name of a model")
        return cls(model, tuple(map(Setting.of, sets)), edited)

    def __bool__(self) -> bool:
        return self.model is not None or bool(self.sets) or self.edited is not None

    def told(self) -> str:
        """Return the change in one line, as the options of the command line."""
        parts = [] if self.edited is None else ["--edit"]
        parts += [] if self.model is None else [f"--model {self.model}"]
        parts += ["--set " + quote(f"{setting.path}={clip(one_line(setting.shown), _SHOWN)}") for setting in self.sets]
        return ", ".join(parts)

    def made(self, body: bytes, target: str, recorded: bytes | None = None) -> Made:
        """Return the change of the request of call N. `recorded`: the body that `edited` was made of, if it is another
        one. Raises `UsageError` for a part that changes nothing."""
        before = Body(_object(body), target)
        api = _api(target)
        after = before
        if self.edited is not None:
            after = self._edited(api, before, before if recorded is None else Body(_object(recorded), target))
        if self.model is not None:
            after = _with_model(api, after, self.model)
        for setting in self.sets:
            after = _set(api, after, setting)
        return Made(api, before, after)

    def _edited(self, api: ModelApi, request: Body, recorded: Body) -> Body:
        """Return the request with the differences between the recorded body and the edited one."""
        edited = Body(deepcopy(self.edited or {}), recorded.target)
        if edited == recorded:
            raise UsageError("--edit changes nothing: the file equals the recorded request")
        carried = Made(api, recorded, edited).carried(_written(request.data), request.target)
        if carried is None:
            raise UsageError(
                "--edit changes no part of it: the request differs from the recorded one in the same places"
            )
        return Body(_object(carried[0]), carried[1])


@dataclass(frozen=True)
class Made:
    """A change that was applied to the request of call N: the request before and after."""

    api: ModelApi
    before: Body
    after: Body
    _splices: list[_Splice] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "_splices", _splices(self._messages(self.before.data), self._messages(self.after.data))
        )

    @property
    def parts(self) -> set[str]:
        """The parts of the conversation with a change, as in `--match 'ignore conversation PART'`."""
        before, after = (conversation_of(request.data, request.target) for request in (self.before, self.after))
        return set() if before is None or after is None else {one.part for one in differences(before, after)}

    def carried(self, body: bytes, target: str) -> tuple[bytes, str] | None:
        """Return a request of the agent with the change, as far as it has the same values; None if it has none of
        them."""
        data = loads(body)
        if not isinstance(data, dict) or api_of(target) != self.api.name:
            return None
        if Body(data, target) == self.before:
            return _written(self.after.data), self.after.target
        changed = deepcopy(data)
        for name in self.before.data.keys() | self.after.data.keys():
            old, new = (one.data.get(name, _MISSING) for one in (self.before, self.after))
            if name != self.api.messages and old != new and _same(data.get(name, _MISSING), old):
                _put(changed, name, new)
        if (messages := self._carried_messages(data)) is not None:
            changed[self.api.messages] = messages
        new_target = target
        model = self._model(self.after)
        if model != (old := self._model(self.before)) and old == self._model(Body(data, target)):
            changed, new_target = self.api.with_model(changed, target, model)
        return None if changed == data and new_target == target else (_written(changed), new_target)

    def _model(self, request: Body) -> str:
        return self.api.asked(request.data, request.target).model

    def _carried_messages(self, data: Data) -> list[Any] | None:
        """Return the messages of a request with the change; None if nothing of it fits."""
        theirs = self._messages(data)
        ours = self._messages(self.before.data)
        meant = [self._meaning(item) for item in theirs]
        recorded = [self._meaning(item) for item in ours[: len(theirs)]]
        alike = sum(1 for _ in takewhile(bool, map(eq, meant, recorded)))
        fitting = [splice for splice in self._splices if splice.end <= alike]
        for splice in reversed(fitting):
            theirs[splice.start : splice.end] = splice.new
        return theirs if fitting else None

    def _messages(self, data: Data) -> list[Any]:
        """Return the messages of a request as a list: some APIs also take one text, or one object."""
        value = data.get(self.api.messages)
        if isinstance(value, str):
            return [{"role": "user", "content": value}]
        if isinstance(value, dict):
            return [value]
        return list(value) if isinstance(value, list) else []

    def _meaning(self, message: Any) -> object:
        meant = list(self.api.drafts({self.api.messages: [message]}))
        return meant or message


class _Splice(NamedTuple):
    """The messages from `start` to `end` of a request, and what replaces them."""

    start: int
    end: int
    new: list[Any]


def _splices(old: Sequence[Any], new: Sequence[Any]) -> list[_Splice]:
    """Return where two lists of messages differ, in order."""
    if len(old) == len(new):
        return [_Splice(at, at + 1, [new[at]]) for at in range(len(old)) if old[at] != new[at]]
    start = sum(1 for _ in takewhile(bool, map(eq, old, new)))
    most = min(len(old), len(new)) - start
    behind = sum(1 for _ in takewhile(bool, map(eq, old[: -most - 1 : -1], new[: -most - 1 : -1]))) if most else 0
    return [_Splice(start, len(old) - behind, list(new[start : len(new) - behind]))]


def _object(body: bytes) -> Data:
    data = loads(body)
    if not isinstance(data, dict):
        raise UsageError("the body of this request was not recorded whole, or is no JSON object: choose another call")
    return data


def _api(target: str) -> ModelApi:
    name = api_of(target)
    assert name is not None, target
    return model_api(name)


def _written(data: Data) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _same(value: Any, other: Any) -> bool:
    """Whether two values of a field are equal but for marks for caching."""
    return bool(value == other or _plain(value) == _plain(other))


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "cache_control"}
    return value


def _put(data: Data, name: str, value: Any) -> None:
    if value is _MISSING:
        data.pop(name, None)
    else:
        data[name] = deepcopy(value)


def _with_model(api: ModelApi, request: Body, model: str) -> Body:
    before = api.asked(request.data, request.target).model
    if before == model:
        raise UsageError(f"--model {model} changes nothing: the request already asks this model")
    return Body(*api.with_model(request.data, request.target, model))


def _set(api: ModelApi, request: Body, setting: Setting) -> Body:
    """Return the request with a value set. Raises `UsageError` if that changes nothing."""
    if setting.path == "model":
        return _with_model(api, request, setting.value)
    data = deepcopy(request.data)
    places = _found(data, setting)
    if not places:
        places = _added(api, data, setting)
    unchanged = []
    for parent, key in places:
        old = parent.get(key, _MISSING) if isinstance(parent, dict) else parent[key]
        new = _value(setting.value, old)
        parent[key] = new
        if new == old and type(new) is type(old):
            unchanged.append(old)
    if len(unchanged) == len(places):
        shown = clip(one_line(json.dumps(unchanged[0], ensure_ascii=False)), _SHOWN)
        raise UsageError(f"--set {setting.path} changes nothing: its value is {shown} already")
    if api.messages in setting.path and list(api.drafts(data)) == list(api.drafts(request.data)):
        raise UsageError(
            f"--set {setting.path} changes nothing that a model reads{_nearest(api, request.data, setting)}"
        )
    return Body(data, request.target)


def _value(text: str, old: Any) -> Any:
    """Return a value of the command line: a text in the place of a text, else JSON; a text if it is no JSON."""
    if isinstance(old, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _found(data: Data, setting: Setting) -> list[tuple[Any, Any]]:
    """Return the places of a path, each as an object or a list with its key. Raises `UsageError` for no JSONPath."""
    from jsonpath import JSONPathError

    from ..replayer.matching.json_paths import PATHS

    try:
        matches = list(PATHS.finditer(setting.expression, data))
    except JSONPathError as error:
        raise UsageError(
            f"--set {setting.path}: this is no path ({error.args[0]}): write for instance messages[-1].content, or a"
            " JSONPath such as $.messages[?@.role=='system'].content"
        ) from None
    if any(match.parent is None for match in matches):
        raise UsageError(f"--set {setting.path}: the path names the whole request: give --edit FILE to replace it")
    return [(match.parent.obj, match.parts[-1]) for match in matches if match.parent is not None]


def _added(api: ModelApi, data: Data, setting: Setting) -> list[tuple[Any, Any]]:
    """Return the place of a field that the request lacks. Missing objects around it are made. Raises `UsageError`."""
    names: list[str] = []
    expression = setting.expression
    while (last := _LAST_NAME.fullmatch(expression)) is not None:
        expression = last["parent"]
        names.insert(0, last["name"] or last["quoted"])
        parents = [data] if expression == "$" else [p[k] for p, k in _found(data, Setting(expression, ""))]
        objects = [parent for parent in parents if isinstance(parent, dict)]
        if not objects and parents:
            break
        if objects:
            if expression == "$" and names[0] not in api.parameters:
                break
            return [(_within(parent, names[:-1]), names[-1]) for parent in objects]
    raise UsageError(f"--set {setting.path}: the request has no such field{_nearest(api, data, setting)}")


def _within(parent: Data, names: Iterable[str]) -> Data:
    for name in names:
        parent = parent.setdefault(name, {})
    return parent


def _nearest(api: ModelApi, data: Data, setting: Setting) -> str:
    """Return which paths are like that of this setting, as the end of an error."""
    if past_end := _past_end(data, setting):
        return past_end
    paths = [*_paths(data), *sorted(api.parameters - data.keys())]
    near = get_close_matches(setting.path.removeprefix("$."), paths, 3, 0.5)
    ends = [path for path in paths if path.rpartition(".")[2] == setting.path.rpartition(".")[2]]
    near_paths = list(dict.fromkeys([*ends[:2], *near]))[:3]
    where = f": the nearest {'is' if len(near_paths) == 1 else 'are'} {', '.join(near_paths)}" if near_paths else ""
    return f"{where}. It has {', '.join(data)}"


def _past_end(data: Data, one: Setting) -> str:
    """Return that an index is past the end of its list; empty if none is."""
    for index in _INDEX.finditer(one.expression):
        where = one.expression[: index.start()]
        lists = [data] if where == "$" else [parent[key] for parent, key in _found(data, Setting(where, ""))]
        if not lists or not isinstance(lists[0], list):
            return ""
        if not -len(lists[0]) <= int(index[1]) < len(lists[0]):
            return f": {where.removeprefix('$.')} has {counted(len(lists[0]), 'item')}, and the last one is [-1]"
    return ""


def _paths(value: Any, path: str = "") -> list[str]:
    """Return the paths of the values in a request, the outer ones first, without those deep inside."""
    if path.count(".") + path.count("[") > 4:
        return []
    if isinstance(value, Mapping):
        paths = [f"{path}.{name}" if path else name for name in value]
        return [*paths, *(inner for name, at in zip(value, paths, strict=True) for inner in _paths(value[name], at))]
    if isinstance(value, list):
        return [
            inner for at, item in enumerate(value[-50:]) for inner in _paths(item, f"{path}[{at - len(value[-50:])}]")
        ]
    return []


def edited_body(text: str, where: str) -> Data:
    """Return the body in a file for `--edit`. Raises `UsageError`."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--edit {where} is no JSON: {error}") from None
    if not as_dict(data):
        raise UsageError(f"--edit {where} has no JSON object: it holds the whole body of the request")
    return as_dict(data)
