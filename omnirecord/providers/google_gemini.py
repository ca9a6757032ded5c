"""Google Gemini: `generateContent` and `streamGenerateContent`, of the Gemini API and of Vertex AI.

The names are those of the public API reference, https://ai.google.dev/api/generate-content.
`tests/providers/test_sdk_models.py` compares each model with that of the SDK, `google-genai`.

An event has no type of its own. Its type here is `GenerateContentResponse`, the name of the message. With a
`finishReason` or a `blockReason`, it is `GenerateContentResponse.finished`. An event with an `error` has the type
`error`. One of the latter two ends a stream. A stream has no `event:` lines, and no `[DONE]`.

With `alt=sse` in the query, the answer of `streamGenerateContent` is a stream of events. Without it, the answer is a
JSON array of the same objects.
"""

# ruff: noqa: N815 - the fields have the names of the API
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from ..contract import Api
from ..contract.base import Event, Shape
from ..contract.judge import Contract, of_models
from ..model import total
from ..text import as_json, joined, quoted, text_in, tokens
from ..wire.strict_json import as_dict, as_int, as_list, as_text, written
from .answers import Answer, CallUsage, count_of, error_of
from .api import Asked, Data, ModelApi, Summary, TextKind
from .parts import Draft, Kind, placed

NAME = "google-gemini"
CHUNK = "GenerateContentResponse"
FINISHED = f"{CHUNK}.finished"
ERROR = "error"

FinishReason = Literal[
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "CONTINUATION",
    "MODEL_ARMOR",
]
BlockReason = Literal[
    "BLOCKED_REASON_UNSPECIFIED",
    "SAFETY",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
    "MODEL_ARMOR",
    "JAILBREAK",
]


class FunctionCall(Shape):
    """A call of a function of the client. The Gemini API leaves out the `id`."""

    id: str | None = None
    name: str | None = None
    args: dict[str, Any] | None = None
    partialArgs: list[Any] | None = None
    willContinue: bool | None = None


class Part(Shape):
    """A piece of content: a text, a thought, a function call, or something else."""

    text: str | None = None
    thought: bool | None = None
    thoughtSignature: str | None = None
    functionCall: FunctionCall | None = None
    functionResponse: Any = None
    inlineData: Any = None
    fileData: Any = None
    executableCode: Any = None
    codeExecutionResult: Any = None
    toolCall: Any = None
    toolResponse: Any = None
    videoMetadata: Any = None
    mediaResolution: Any = None
    partMetadata: Any = None
    audioMetadata: Any = None
    audioTranscription: Any = None
    documentMetadata: Any = None
    mediaProcessing: Any = None
    speechMetadata: Any = None
    spreadsheetMetadata: Any = None


class Content(Shape):
    role: str | None = None
    parts: list[Part] | None = None


class Candidate(Shape):
    """One of several answers, or the next piece of it."""

    index: int | None = None
    content: Content | None = None
    finishReason: FinishReason | None = None
    finishMessage: str | None = None
    tokenCount: int | None = None
    avgLogprobs: float | None = None
    safetyRatings: list[Any] | None = None
    citationMetadata: Any = None
    groundingMetadata: Any = None
    logprobsResult: Any = None
    urlContextMetadata: Any = None
    continuationToken: Any = None


class PromptFeedback(Shape):
    """Why the prompt was blocked."""

    blockReason: BlockReason | None = None
    blockReasonMessage: str | None = None
    safetyRatings: list[Any] | None = None


class UsageMetadata(Shape):
    """The number of tokens so far. The last one counts for the answer."""

    promptTokenCount: int | None = None
    """All tokens of the prompt, cached ones included."""
    candidatesTokenCount: int | None = None
    """Without thoughts."""
    thoughtsTokenCount: int | None = None
    cachedContentTokenCount: int | None = None
    toolUsePromptTokenCount: int | None = None
    totalTokenCount: int | None = None
    promptTokensDetails: list[Any] | None = None
    candidatesTokensDetails: list[Any] | None = None
    cacheTokensDetails: list[Any] | None = None
    toolUsePromptTokensDetails: list[Any] | None = None
    trafficType: Any = None


class GenerateContentResponse(Event):
    """A piece of an answer."""

    type: str | None = CHUNK
    """No field of the API."""
    candidates: list[Candidate] | None = None
    promptFeedback: PromptFeedback | None = None
    usageMetadata: UsageMetadata | None = None
    modelVersion: str | None = None
    responseId: str | None = None
    createTime: str | None = None
    modelStatus: Any = None
    error: Annotated[Any, "its value decides the type, so it is literal in a shape"] = None


class FinishedResponse(GenerateContentResponse):
    """The last piece of an answer."""

    type: str | None = FINISHED


class ErrorEvent(Event):
    type: str | None = ERROR
    """No field of the API."""
    error: Annotated[Any, "likewise"]


EVENTS: Mapping[str, type[Event]] = {CHUNK: GenerateContentResponse, FINISHED: FinishedResponse, ERROR: ErrorEvent}
_FIELDS = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"})


def type_of(data: Mapping[str, Any], _event: str | None = None) -> str | None:
    """Return the type of a payload; None if it has no field of an answer."""
    if data.get("error"):
        return ERROR
    candidates = map(as_dict, as_list(data.get("candidates")))
    if as_dict(data.get("promptFeedback")).get("blockReason") or any(one.get("finishReason") for one in candidates):
        return FINISHED
    return CHUNK if data.keys() & _FIELDS else None


@cache
def contract() -> Contract:
    rules = Api(NAME, type_of, "candidates", event_line="ignored", end_marker=None, ends=(FINISHED, ERROR))
    return of_models(NAME, EVENTS, rules)


class GeminiAnswer(Answer):
    """An answer of Gemini. Some models put a `finishReason` into every piece: the last one counts."""

    def event(self, data: Data) -> None:
        self.id = as_text(data.get("responseId")) or self.id
        self.model = as_text(data.get("modelVersion")) or self.model
        self._count(as_dict(data.get("usageMetadata")))
        for number, candidate in enumerate(map(as_dict, as_list(data.get("candidates")))):
            index = as_int(candidate.get("index"))
            self._read(candidate, number if index is None else index)
        feedback = as_dict(data.get("promptFeedback"))
        if reason := as_text(feedback.get("blockReason")):
            self.end("incomplete", reason, as_text(feedback.get("blockReasonMessage")))
        if data.get("error"):
            self.fail(data["error"])

    def whole(self, data: Data) -> None:
        self.body([data])

    def body(self, value: Any) -> None:
        """Read one object, or the array of `streamGenerateContent` without `alt=sse`."""
        for data in value if isinstance(value, list) else [value]:
            self.event(as_dict(data))
        self.first_ns = None  # it has no time of its own
        self.forget_deltas()

    def error_of(self, error: Any) -> tuple[str | None, str | None]:
        """Return the status, such as `RESOURCE_EXHAUSTED`, and the message."""
        code, message = error_of(error)
        return as_text(as_dict(error).get("status")) or code, message

    def _read(self, candidate: Data, index: int) -> None:
        for part in _parts_of(candidate.get("content")):
            call = as_dict(part.get("functionCall"))
            text = as_text(part.get("text"))
            if call:
                key = index, len(self.tools)
                self.tool(key, as_text(call.get("id")), as_text(call.get("name")))
                self.argue(key, as_json(call.get("args") or {}))
                self.tools[key].at_ns = self.at_ns
            elif part.get("thought") is True:
                self.think(text)
            else:
                self.say(text, (index, 0))
        reason = as_text(candidate.get("finishReason"))
        if reason and index == 0:
            if self.ending != "failed":
                self.ending = None
            self.end("completed" if reason == "STOP" else "incomplete", reason, as_text(candidate.get("finishMessage")))

    def _count(self, usage: Data) -> None:
        if not usage:
            return
        prompt, tools, said, thought, cached, all_tokens = (
            count_of(usage.get(name))
            for name in (
                "promptTokenCount",
                "toolUsePromptTokenCount",
                "candidatesTokenCount",
                "thoughtsTokenCount",
                "cachedContentTokenCount",
                "totalTokenCount",
            )
        )
        self.usage = CallUsage(total([prompt, tools]), total([said, thought]), cached, thought, all_tokens)


def _parts_of(content: Any) -> Iterator[Data]:
    return map(as_dict, as_list(as_dict(content).get("parts")))


_SETTINGS = {
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "topP": "top_p",
    "topK": "top_k",
    "candidateCount": "n",
    "responseSchema": "format",
    "responseJsonSchema": "format",
}
"""Parameters that other APIs have by another name."""
_ROLES: Mapping[str, Kind] = {
    "user": "user",
    "function": "user",
    "model": "assistant",
    "system": "system",
}
_TARGET = re.compile(r"(?P<model>[^/]*):(?P<verb>[A-Za-z]+)")
_NOT_COMPARED = ("thoughtSignature", "partMetadata")
_LOWER_CASE = re.compile(r"_([a-z])")


def _in_camel_case(data: Data) -> Data:
    """Return an object with the names of JSON: the API also takes `system_instruction` for `systemInstruction`."""
    return {_LOWER_CASE.sub(lambda found: found[1].upper(), name): value for name, value in data.items()}


def _target(target: str) -> tuple[str, str]:
    """Return the model and the verb in the path of a request."""
    found = _TARGET.fullmatch(unquote(target.partition("?")[0]).rstrip("/").rpartition("/")[2])
    return (found["model"], found["verb"]) if found else ("", "")


def _contents(value: Any) -> list[Data]:
    return [_in_camel_case(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _drafts(contents: list[Data]) -> Iterator[Draft]:
    for place, content in enumerate(contents):
        yield from placed(_of_content(content), place)


def _of_content(content: Data) -> Iterator[Draft]:
    role = as_text(content.get("role")) or "user"
    kind: Kind = _ROLES.get(role, "other")
    for part in map(_in_camel_case, _parts_of(content)):
        text = as_text(part.get("text"))
        if text is not None and kind != "other":
            if text:
                yield Draft("reasoning" if part.get("thought") is True else kind, text)
        elif call := as_dict(part.get("functionCall")):
            arguments = call.get("args") or {}
            yield Draft("call", as_json(arguments), as_text(call.get("name")) or "", arguments, _id(call))
        elif answer := as_dict(part.get("functionResponse")):
            yield Draft("output", _output(answer.get("response")), _output_name(answer), None, _id(answer))
        elif rest := {name: value for name, value in part.items() if name not in _NOT_COMPARED}:
            yield Draft("other", value=rest, name=kind if kind != "other" else role)


def _id(call: Data) -> str | None:
    return as_text(call.get("id")) or None


def _output_name(answer: Data) -> str:
    """Return the name of the function, if no id tells its call."""
    return "" if _id(answer) else as_text(answer.get("name")) or ""


def _output(response: Any) -> str:
    """Return the output of a function: the text alone, if the SDK wrapped it."""
    fields = as_dict(response)
    text = as_text(fields.get("result")) if fields.keys() == {"result"} else None
    return text if text is not None else written(response) or ""


def _tools(value: Any) -> Iterator[Data]:
    for tool in map(_in_camel_case, map(as_dict, as_list(value))):
        declared = map(as_dict, as_list(tool.pop("functionDeclarations", None)))
        for function in map(_in_camel_case, declared):
            schema = function.pop("parametersJsonSchema", None)
            yield function if schema is None else function | {"parameters": schema}
        for kind, options in tool.items():
            yield {"type": kind, "options": options or None}


def _chunk(data: Data) -> str:
    usage = as_dict(data.get("usageMetadata"))
    said = [_candidate(as_dict(one)) for one in as_list(data.get("candidates"))[:8]]
    blocked = text_in(as_dict(data.get("promptFeedback")).get("blockReason"))
    used = tokens(usage.get("promptTokenCount"), usage.get("candidatesTokenCount"))
    return joined([*said, blocked and f"blocked: {blocked}", used], " · ")


def _candidate(candidate: Data) -> str:
    parts = []
    for part in _parts_of(candidate.get("content")):
        call = as_dict(part.get("functionCall"))
        called = joined([text_in(call.get("name")), as_json(call.get("args") or {})]) if call else ""
        parts += [quoted(part.get("text")), called]
    return joined([*parts, text_in(candidate.get("finishReason"))])


_SUMMARIES: Mapping[str, Summary] = {CHUNK: _chunk, FINISHED: _chunk}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Gemini(ModelApi):
    name = NAME
    path = "/v1beta/models/gemini:streamGenerateContent?alt=sse"
    messages = "contents"
    parameters = frozenset(
        {
            "cachedContent",
            "contents",
            "generationConfig",
            "labels",
            "modelArmorConfig",
            "safetySettings",
            "serviceTier",
            "store",
            "systemInstruction",
            "toolConfig",
            "tools",
        }
    )
    answer = GeminiAnswer
    summaries = _SUMMARIES
    own_types = frozenset({CHUNK, FINISHED})
    overloaded = (429, 503)
    overloaded_reasons = ("RESOURCE_EXHAUSTED", "UNAVAILABLE")

    def contract(self) -> Contract:
        return contract()

    def asks(self, data: Data) -> bool:
        return isinstance(data.get("contents"), list | dict)

    def likeness(self, data: Data, target: str) -> int:  # noqa: ARG002
        contents = _contents(data.get("contents"))
        return 2 if contents and all("parts" in content for content in contents) else 0

    def drafts(self, data: Data) -> Iterator[Draft]:
        return _drafts(_contents(data.get("contents")))

    def asked(self, data: Data, target: str) -> Asked:
        model, verb = _target(target)
        data = _in_camel_case(data)
        config = _in_camel_case(as_dict(data.get("generationConfig")))
        settings = {_SETTINGS.get(name, name): value for name, value in config.items()}
        instruction = data.get("systemInstruction")
        opening = [instruction] if isinstance(instruction, str) else map(_text, _parts_of(instruction))
        return Asked(
            model=model,
            is_streamed=verb == "streamGenerateContent",
            instructions=list(opening),
            drafts=self.drafts(data),
            tools=_tools(data.get("tools")),
            settings=settings | {"tool_choice": data.get("toolConfig"), "safety": data.get("safetySettings")},
            previous_id=as_text(data.get("cachedContent")),
        )

    def with_model(self, data: Data, target: str, model: str) -> tuple[Data, str]:
        path, mark, query = target.partition("?")
        before, slash, _ = path.rpartition("/")
        verb = _target(target)[1]
        return data, f"{before}{slash}{quote(model)}:{verb}{mark}{query}" if verb else target

    def deltas(self, data: Data) -> Iterator[tuple[TextKind, str]]:
        for candidate in as_list(data.get("candidates"))[:1]:
            for part in _parts_of(as_dict(candidate).get("content")):
                if text := as_text(part.get("text")):
                    yield "reasoning" if part.get("thought") is True else "text", text

    def has_more(self, data: Data) -> bool:
        candidates = list(map(as_dict, as_list(data.get("candidates"))))
        parts = (part for one in candidates for part in _parts_of(one.get("content")))
        return type_of(data) == FINISHED or any("functionCall" in part for part in parts)

    def error(self, status: int, message: str, code: str | None = None) -> Data:
        usual = "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"
        error: Data = {"code": status, "message": message, "status": _STATUSES.get(status, usual)}
        if code is not None:
            reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "omnirecord"}
            error["details"] = [reason]
        return {"error": error}


def _text(part: Data) -> str:
    return as_text(part.get("text")) or ""


API = Gemini()
