"""Judges frames: from a frame to its verdict. Two rules hold:

1. Judging never raises, whatever the frame contains.
2. A verdict is the first of these that applies to the frame:
   `comment`    it has no data field
   `sentinel`   its data is `[DONE]`
   `truncated`  it was cut off, or was too large to be kept
   `malformed`  its bytes are not UTF-8, or its data is no JSON object with a type
   `unknown`    the contract lacks that type
   `invalid`    the payload does not fit its type, or `event:` names another type
   `valid`

The type of a payload is its `type`, unless the API of the contract has another rule (`Api`).

An oversized frame is `truncated` first of all: its data was not kept. A frame that is not UTF-8 is read with U+FFFD in
place of the invalid bytes, as most clients do. So it can have a type, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic_core import ValidationError  # without pydantic

from ..model import Headers, Verdict
from ..wire.json_rpc import message_of
from ..wire.sse import (
    BLANK_LINE,
    Frame,
    data_start,
    event_before,
    first_not_utf8,
    is_comment,
    is_utf8,
    read_fields,
    with_lf,
)
from ..wire.strict_json import MalformedError, parse, parse_quickly, parsed, without_surrogates
from . import OMNIGENTS, SENTINEL, Api, Issue, ProblemKind, shortened
from .known import OPEN, TAG, Known, sequence_number, type_name
from .shapes import LONGEST, AnyEvent, Shape, Shapes

if TYPE_CHECKING:
    from .base import Event

_MOST_PATHS = 1000
"""Number of paths whose contract is kept."""


@dataclass(slots=True)
class Judgement:
    """The judgement of a contract on one frame. Do not change it."""

    verdict: Verdict
    type: str | None = None
    """The payload's type; None unless it has one."""
    sequence_number: int | None = None
    """The payload's `sequence_number`; None unless it is an integer."""
    issues: tuple[Issue, ...] = ()
    """Why it is `malformed`, `unknown` or `invalid`; empty for every other verdict."""
    data: Any = None
    """The payload as parsed JSON, or as text where it was not parsed; None where there is none."""
    _of: Frame = field(init=False, repr=False, compare=False)
    """The frame of a valid event whose data was not read yet."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for a slot that is empty."""
            if name not in ("data", "sequence_number"):
                raise AttributeError(f"a judgement has no {name}")
            self.data = parse(self._of.data)[0]
            self.sequence_number = sequence_number(self.data)
            return getattr(self, name)


_new = object.__new__


def _valid(type_: str, frame: Frame) -> Judgement:
    """Return the judgement of a valid event. Its data is parsed when it is read."""
    judgement = _new(Judgement)
    judgement.verdict = "valid"
    judgement.type = type_
    judgement.issues = ()
    judgement._of = frame
    return judgement


Check = Callable[[str, dict[str, Any]], Iterable[Issue]]
"""From a type and a payload of that type to its issues, or to its unknown fields."""
Names = Callable[[str], Known]
_PROBLEMS: Mapping[str, ProblemKind] = {"missing": "missing field", "literal_error": "unknown value"}
_PLAIN = {
    "missing": "is required",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "should be an object"),
    "list_type": "should be an array",
    "string_type": "should be a string",
}
NONE = "none"
NOT_UTF8 = "is not UTF-8"
"""The beginning of the message for a frame with other bytes."""


class Contract:
    """A contract: the event types and their payloads."""

    _is_checked = True

    def __init__(
        self,
        name: str,
        types: Iterable[str],
        check: Check,
        names: Names = lambda _: OPEN,
        odd: Check | None = None,
        shapes: Shapes | None = None,
        models: Mapping[str, type[Event]] = MappingProxyType({}),
        api: Api = OMNIGENTS,
    ) -> None:
        self.name: str = name
        """`omnigent`, `documented`, `auto`…, or the path it was loaded from."""
        self.api = api
        self.types: frozenset[str] = frozenset(types)
        self._check = check
        self._odd = odd
        self._names = names
        self._known: dict[str | None, Known] = {}
        self._models = models
        self.shapes = shapes
        """What may be judged without being read; None where every frame has to go through `judge`."""

    def __repr__(self) -> str:
        return f"<Contract {self.name!r}, {len(self.types)} types>"

    def of(self, target: str, headers: Headers = ()) -> Contract:  # noqa: ARG002
        """Return the contract for the stream of a request: itself, unless these decide. No headers: unknown."""
        return self

    def unchecked(self) -> Contract:
        """Return a contract for programs that need no verdicts: a payload with a type is `valid`. It uses no models."""
        shapes = Shapes(lambda _type: AnyEvent) if self.api.is_omnigent else None
        return _Unchecked(self.name, (), lambda _type, _data: (), shapes=shapes, api=self.api)

    def judge(self, frame: Frame) -> Judgement:
        """Return the judgement of a frame, with its first issues."""
        raw = frame.raw
        shapes = self.shapes
        if shapes is None or raw is None or not frame.complete or len(raw) > LONGEST or not is_utf8(raw):
            return self._judge(frame)
        raw = with_lf(raw)
        type_ = shapes.type_of(raw)
        return self._judge_and_learn(frame, raw, shapes) if type_ is None else _valid(type_, frame)

    def judge_all(self, frames: list[Frame]) -> list[Judgement]:
        """Return the judgements of consecutive frames."""
        shapes = self.shapes
        if shapes is None:
            return [self.judge(frame) for frame in frames]
        judged = []
        head, at, match, type_, _ = shapes.last
        for frame in frames:
            raw = frame.raw
            if (
                raw is None
                or not raw.startswith(head)
                or len(raw) > LONGEST
                or not match(raw, at)
                or not frame.complete
                or not (raw.isascii() or is_utf8(raw))
            ):
                judged.append(self.judge(frame))
                head, at, match, type_, _ = shapes.last
                continue
            judgement = _new(Judgement)  # as `_valid` makes it, without the call
            judgement.verdict = "valid"
            judgement.type = type_
            judgement.issues = ()
            judgement._of = frame
            judged.append(judgement)
        return judged

    def run(self, data: bytes, start: int) -> tuple[list[int], str]:
        """How long the frames are that begin at `start`, follow each other, are surely valid and of one type; which."""
        if self.shapes is None or data.find(BLANK_LINE, start, start + LONGEST) < 0:
            return [], ""
        shape = self.shapes.last
        return shape.run(data, start), shape.type

    def _judge(self, frame: Frame) -> Judgement:
        judgement = self.examine(frame)
        issues = shortened(judgement.issues)
        return judgement if issues is judgement.issues else replace(judgement, issues=issues)

    def _judge_and_learn(self, frame: Frame, raw: bytes, shapes: Shapes) -> Judgement:
        judgement = self._judge(frame)
        if judgement.verdict == "valid" and shapes.missed(raw):
            surely = self.examine(read_fields(raw))  # by its bytes alone, whatever else the frame was made with
            if surely.verdict == "valid" and surely.type is not None:
                shapes.learn(raw, surely.type)
        return judgement

    def examine(self, frame: Frame) -> Judgement:
        """Return the judgement of a frame with all issues."""
        raw = frame.raw
        if raw is None:
            return Judgement("truncated")
        raw = with_lf(raw)
        if is_comment(raw):
            return Judgement("comment")
        is_text = raw.isascii() or is_utf8(raw)
        start = data_start(raw) if frame.complete and is_text else 0
        data = parse_quickly(raw[start:-2]) if start else None
        if data is not None:
            return self._judge_payload(event_before(raw, start), data, data)
        text = frame.data
        if text is None:
            return Judgement("comment")
        if text == SENTINEL:
            return Judgement("sentinel", data=text)
        if not frame.complete:
            return Judgement("truncated", data=text)
        if not is_text:
            return self._not_utf8(frame, text)
        try:
            data, checkable = parse(text)
        except MalformedError as error:
            return self._malformed(frame.event, text, str(error))
        return self._judge_payload(frame.event, data, checkable)

    def _not_utf8(self, frame: Frame, text: str) -> Judgement:
        """Return the judgement of a frame that is not UTF-8, with its type if the rest of it has one."""
        data = parsed(text)
        raw = frame.raw or b""
        fields = data if isinstance(data, dict) else {}
        start, end = first_not_utf8(raw) or (0, 0)
        wrong = " ".join(f"0x{byte:02X}" for byte in raw[start:end])
        issue = Issue("", f"{NOT_UTF8}: {wrong} at byte {start + 1}", "malformed")
        return Judgement("malformed", self.api.type_of(fields, frame.event), sequence_number(fields), (issue,), data)

    def _malformed(self, _event: str | None, text: str, problem: str) -> Judgement:
        return Judgement("malformed", issues=(Issue("", problem, "malformed"),), data=text)

    def _judge_payload(self, event: str | None, data: Any, checkable: Any) -> Judgement:
        if not isinstance(data, dict):
            return Judgement("malformed", issues=(Issue("", "is not a JSON object", "malformed"),), data=data)
        api = self.api
        number = sequence_number(data)
        type_ = api.type_of(data, event)
        field_ = api.type_field
        if type_ is None:
            problem = "should be a string" if field_ in data else "is required"
            return Judgement("malformed", None, number, (Issue(field_, problem, "malformed"),), data)
        if not self._is_checked:
            return Judgement("valid", type_, number, (), data)
        if type_ not in self.types:
            return Judgement("unknown", type_, number, (Issue(field_, "is not in the contract", "unknown type"),), data)
        issues = tuple(self._check(type_, checkable))
        if event != type_ and (event or api.event_line == "required") and api.event_line != "ignored":
            differs = Issue("event", f"differs from the type {type_}", "event differs")
            issues = (differs if event else Issue("event", "is required", "missing field"), *issues)
        return Judgement("invalid" if issues else "valid", type_, number, issues, data)

    def unheard_of(self, type_: str, data: dict[str, Any]) -> list[Issue]:
        """What is in a payload of that type and not in the contract. Never a fault: no verdict depends on it."""
        known = self._of(type_)
        if known is None:
            return []
        unknown = [Issue.at(steps, "is not named", "unknown field") for steps in known.unknown(data)]
        return unknown if self._odd is None else [*unknown, *self._odd(type_, data)]

    def shape_of(self, raw: bytes) -> Shape | None:
        """Return the shape of a valid event, if one tells what is unheard of in it. All events of it have that."""
        shapes = self.shapes
        if shapes is None or self._odd is not None or len(raw) > LONGEST or not (raw.isascii() or is_utf8(raw)):
            return None
        last = shapes.last
        if raw.startswith(last.head) and last.match(raw, last.at):
            return last
        raw = with_lf(raw)
        if shapes.type_of(raw) is None:
            self._judge_and_learn(read_fields(raw), raw, shapes)
            return None
        return shapes.last

    def place(self, type_: str | None, issue: Issue) -> str:
        """The issue's path as all events of its type share it: `viewers[*].idle`, `usage_by_model.*.cost`."""
        known = self._of(type_) if issue.steps else None
        return issue.path if known is None else known.path(issue.steps)

    def _of(self, type_: str | None) -> Known | None:
        """Return the fields of a type; None for a type that the contract lacks."""
        known = self._known.get(type_)
        if known is None and type_ in self.types:
            known = self._known[type_] = self._names(type_)
        return known

    def event(self, data: dict[str, Any], type_: str | None = None) -> Event:
        """The payload as the model of its type, if that takes it; with its fields unchecked otherwise. `type_`: the
        type that `judge` found; by default the type of the payload alone. The models say what can be read, not what is
        right: those of `documented` and of an openapi.json are those of `omnigent`."""
        from .base import UntypedEvent

        model = self._models.get(type_ or self.api.type_of(data, None) or "")
        if model is None:
            return UntypedEvent.of(data)
        try:
            return model.model_validate(data)
        except ValidationError:
            pass  # pydantic takes a lone surrogate in a text, but in no field's name
        try:
            return model.model_validate(without_surrogates(data))
        except (ValueError, TypeError, RecursionError):
            return UntypedEvent.of(data)


class _Unchecked(Contract):
    _is_checked = False


class Later(Contract):
    """A contract that `make` makes when it first judges: its models take time to import."""

    def __init__(self, name: str, make: Callable[[], Contract], api: Api = OMNIGENTS) -> None:
        self.name = name
        self._make = make
        self.api = api

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for an attribute that is not set."""
            if "shapes" in vars(self):
                raise AttributeError(f"a contract has no {name}")
            vars(self).update(vars(self._make()))
            return getattr(self, name)


class ByPath(Contract):
    """A contract that is chosen for each exchange by the path of its request. `find` returns the contract for a path.
    `otherwise` judges a stream for which it is None, and a single frame."""

    def __init__(self, name: str, find: Callable[[str], Contract | None], otherwise: Contract) -> None:
        super().__init__(name, otherwise.types, lambda _type, _data: (), api=otherwise.api)
        self._find = lru_cache(_MOST_PATHS)(find)
        self._otherwise = otherwise

    def of(self, target: str, headers: Headers = ()) -> Contract:  # noqa: ARG002
        return self._find(target.partition("?")[0]) or self._otherwise

    def examine(self, frame: Frame) -> Judgement:
        return self._otherwise.examine(frame)


class NoContract(Contract):
    """The contract `none`, for an API of which nothing is known: only the bytes of a frame decide its verdict. An event
    that is neither a comment, nor `[DONE]`, nor cut off is `valid` if it is UTF-8: its data may be any text. `types`:
    those that other contracts of the same document know."""

    def __init__(self, name: str = NONE, types: Iterable[str] = ()) -> None:
        super().__init__(name, types, lambda _type, _data: (), api=Api("", any_type, has_ends=False))

    def unchecked(self) -> Contract:
        return self

    def _judge_payload(self, event: str | None, data: Any, _checkable: Any) -> Judgement:
        fields = data if isinstance(data, dict) else {}
        return Judgement("valid", any_type(fields, event), sequence_number(fields), (), data)

    def _malformed(self, event: str | None, text: str, _problem: str) -> Judgement:
        return Judgement("valid", any_type({}, event), data=text)


def any_type(data: Mapping[str, Any], event: str | None) -> str | None:
    """Return what names an event of an unknown API; None without a name. It is the payload's `type`, else the line
    `event:`, else the payload's `object` or `method`, as far as they exist. An answer of JSON-RPC has the type `result`
    or `error`."""
    found = type_name(data)
    if found is None and event in (None, "message"):  # the standard's default
        found = next((text for name in ("object", "method") if isinstance(text := data.get(name), str)), None)
        if found is None and (message := message_of(data)) is not None:
            found = message.kind
    return found if found is not None else event or None


def of_models(name: str, models: Mapping[str, type[Event]], api: Api = OMNIGENTS) -> Contract:
    """Return the contract of these models, by type: an event is valid if its model takes it. They are applied as a
    client does: numbers in strings are numbers, and other fields are allowed."""

    def known(type_: str) -> Known:
        schema = models[type_].model_json_schema()
        return Known(schema, [schema])

    shapes = Shapes(models.get)
    return Contract(name, models, lambda type_, data: check(models[type_], data), known, None, shapes, models, api)


def check(model: type[Event], data: dict[str, Any], *, strict: bool = False) -> list[Issue]:
    """Return the issues of a payload by its model. `strict`: a number in a string is no number."""
    try:
        # The core of `model_validate`, in two thirds of its time.
        model.__pydantic_validator__.validate_python(data, strict=strict or None)
    except ValidationError as error:
        return issues_of(error)
    return []


def issues_of(error: ValidationError, under: tuple[str | int, ...] = ()) -> list[Issue]:
    """pydantic's findings in our words. `under`: where in the event the value is."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        Issue.at(
            (*under, *(step for step in one["loc"] if not (isinstance(step, str) and step.startswith(TAG)))),
            _message(one["type"], one["msg"]),
            _PROBLEMS.get(one["type"], "wrong kind"),
        )
        for one in found
    ]


def _message(kind: str, text: str) -> str:
    plain = text.removeprefix("Input ").removeprefix("Value error, ")
    return _PLAIN.get(kind) or plain[:1].lower() + plain[1:]
