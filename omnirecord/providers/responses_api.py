"""OpenAI Responses: how its requests, answers and errors are read. `openai_responses` has the models of its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..contract.judge import Contract
from ..text import joined, quoted, text_in
from ..wire.strict_json import as_dict, as_int, as_list, as_text, text_of
from .answers import Answer, error_of, said_in
from .api import Asked, Data, ModelApi, Summary, first_of
from .openai_errors import error_body

IN_BACKGROUND = ("queued", "in_progress")
"""The states of a response on which the model still works; the client asks for it again later."""


class ResponsesAnswer(Answer):
    """An answer of OpenAI Responses."""

    _ENDS = ("completed", "failed", "incomplete", "cancelled")

    def event(self, data: dict[str, Any]) -> None:
        type_ = as_text(data.get("type")) or ""
        kind = type_.removeprefix("response.")
        place = as_int(data.get("output_index")) or 0, as_int(data.get("content_index")) or 0
        if kind in ("output_text.delta", "refusal.delta"):
            self.say(as_text(data.get("delta")), place)
        elif kind == "content_part.done":
            self.say(said_in(data.get("part")), place, whole=True)
        elif kind in ("output_text.done", "refusal.done"):
            self.say(said_in(data), place, whole=True)
        elif kind in ("reasoning_text.delta", "reasoning_summary_text.delta"):
            self.think(as_text(data.get("delta")))
        elif kind in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
            self.argue(place[0], as_text(data.get("delta")))
        elif kind in ("output_item.added", "output_item.done"):
            self._item(as_dict(data.get("item")), place[0], is_done=kind == "output_item.done")
        elif kind in ("created", "in_progress", "queued", *self._ENDS):
            self._response(as_dict(data.get("response")), kind)
        elif type_ == "error":
            self.fail(data.get("error") or data)

    def whole(self, data: dict[str, Any]) -> None:
        self._response(data)
        if self.ending is None and data.get("status") in IN_BACKGROUND:
            self.reason = data["status"]
        if data.get("error") and self.ending is None:
            self.fail(data["error"])

    def _item(self, item: dict[str, Any], index: int, *, is_done: bool) -> None:
        type_ = as_text(item.get("type"))
        call_id = as_text(item.get("call_id"))
        if (id_ := as_text(item.get("id"))) is not None:
            self.ids.append(id_)
        if call_id is not None and type_ is not None and not type_.endswith("_output"):
            name = as_text(item.get("name")) or type_
            if is_done:
                arguments = next((item[key] for key in ("arguments", "input", "action") if item.get(key)), None)
                self.asked(index, call_id, name, arguments)
            else:
                self.tool(index, call_id, name)
        elif type_ == "message" and is_done:
            for number, part in enumerate(as_list(item.get("content"))):
                self.say(said_in(part), (index, number), whole=True)
        elif type_ == "reasoning" and is_done:
            self.think(text_of(item.get("summary")) or text_of(item.get("content")), whole=True)

    def _response(self, response: dict[str, Any], kind: str = "") -> None:
        """`kind`: the status in the type of the event, which counts if the response has no such status."""
        self.head(response, "input_tokens", "output_tokens")
        status = next((one for one in (response.get("status"), kind) if one in self._ENDS), None)
        if status is None:
            return
        for index, item in enumerate(as_list(response.get("output"))):
            if index not in self.tools:
                self._item(as_dict(item), index, is_done=True)
        if status == "completed":
            self.end("completed", None)
        elif status == "incomplete":
            self.end("incomplete", as_text(as_dict(response.get("incomplete_details")).get("reason")))
        else:
            code, message = error_of(response.get("error"))
            self.end("failed", code or (status if status == "cancelled" else None), message)


def _item(data: Data) -> str:
    item = as_dict(data.get("item"))
    return joined([text_in(item.get("type")), text_in(item.get("role")) or text_in(item.get("name"))])


def _part(data: Data) -> str:
    part = as_dict(data.get("part"))
    return joined([text_in(part.get("type")), quoted(part.get("text", part.get("refusal")))])


_OF_ITEM = first_of("delta", "text", "refusal", "arguments", "input", "code", "item_id")
_IN_PIECES = (
    "refusal",
    "function_call_arguments",
    "mcp_call_arguments",
    "custom_tool_call_input",
    "code_interpreter_call_code",
)


_SUMMARIES: Mapping[str, Summary] = {
    "response.output_item.added": _item,
    "response.content_part.added": _part,
    "response.content_part.done": _part,
    "response.reasoning_summary_part.added": _part,
    "response.reasoning_summary_part.done": _part,
    **{f"response.{of}_text.done": _OF_ITEM for of in ("output", "reasoning", "reasoning_summary")},
    **{f"response.{name}.{step}": _OF_ITEM for name in _IN_PIECES for step in ("delta", "done")},
}


class Responses(ModelApi):
    name = "openai-responses"
    path = "/v1/responses"
    messages = "input"
    parameters = frozenset(
        {
            "background",
            "context_management",
            "conversation",
            "include",
            "input",
            "instructions",
            "max_output_tokens",
            "max_tool_calls",
            "metadata",
            "model",
            "moderation",
            "parallel_tool_calls",
            "previous_response_id",
            "prompt",
            "prompt_cache_key",
            "prompt_cache_retention",
            "reasoning",
            "safety_identifier",
            "service_tier",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        }
    )
    answer = ResponsesAnswer
    repeats_texts = True
    summaries = _SUMMARIES

    def contract(self) -> Contract:
        from .openai_responses import contract  # its models take 20 ms to import, and few commands judge events

        return contract()

    def asks(self, data: Data) -> bool:
        return isinstance(data.get("input"), str | list) or "previous_response_id" in data or "prompt" in data

    def likeness(self, data: Data, target: str) -> int:
        is_one = isinstance(data.get("input"), str | list) and isinstance(data.get("model"), str)
        return 1 if is_one and not target else 0

    def asked(self, data: Data, target: str) -> Asked:
        named = data.get("conversation")
        conversation_id = named if isinstance(named, str) else as_text(as_dict(named).get("id"))
        return replace(
            super().asked(data, target),
            instructions=[as_text(data.get("instructions")) or ""],
            previous_id=as_text(data.get("previous_response_id")) or conversation_id,
            conversation_id=conversation_id,
            history_ids=[as_text(as_dict(item).get("id")) for item in as_list(data.get("input"))],
        )

    def error(self, status: int, message: str, code: str | None = None) -> Data:
        return error_body(status, message, code)


API = Responses()
