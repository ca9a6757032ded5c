"""The documents of model calls: one for each message, tool and text of instructions of a request, and each text of an
answer. Pure.

Later requests repeat the messages of earlier ones. A message and its repetitions have the same `says`: they are one
hit, at the first call that has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...cassette.sqlite.search_index import COPIES_NEAR, EVER, Doc, digest
from ...model import Exchange, TimedFrame
from ...providers.answers import READERS, Answer, ToolRequest
from ...providers.conversation import Api, conversation_of
from ...providers.parts import Item
from ...wire.strict_json import as_dict, loads, written
from .documents import DocumentMaker, of_request, spaced, text_in

PROMPT = "prompt"
"""The types of the parts of a request begin with it: `prompt.user`, `prompt.tool`."""
ANSWER = "answer"
"""The types of the parts of an answer that is no stream begin with it: `answer.assistant`, `answer.call`."""


def of_call(x: Exchange, body: bytes) -> list[Doc]:
    """Return the documents of a request to a model API. A body that is no conversation is one document."""
    conversation = conversation_of(body, x.request.target)
    if conversation is None:
        found = of_request(x, body)
        return [] if found is None else [found]
    at = x.request.at_ns
    parts = [("instructions", conversation.instructions, digest(PROMPT, "instructions", conversation.instructions))]
    for tool in conversation.tools:
        text = "\n".join(filter(None, (tool.name, tool.description, text_in(tool.schema))))
        parts.append(("tool", text, digest(PROMPT, "tool", text)))
    parts += [(item.kind, _text(item), _says(item)) for item in conversation.items]
    return [
        Doc("request", f"{PROMPT}.{kind}", None, None, at, at, spaced(text), says, EVER)
        for kind, text, says in parts if text
    ]  # fmt: skip


def of_whole_answer(x: Exchange, api: Api, body: bytes) -> list[Doc]:
    """Return the documents of an answer that is no stream: one for each text and tool call."""
    if x.response is None or x.kind != "http":
        return []
    answer = READERS[api]()
    answer.whole(as_dict(loads(body)))
    found = [("assistant", text, digest("assistant", text.strip())) for text in map("".join, answer.texts.values())]
    thought = "".join(answer.reasoning)
    found.append(("reasoning", thought, digest("thought", thought.strip())))
    found += [("call", *_of_tool(tool.request())) for tool in answer.tools.values()]
    at = x.response.at_ns
    return [
        Doc("answer", f"{ANSWER}.{kind}", None, None, at, at, spaced(text), says, EVER)
        for kind, text, says in found if text
    ]  # fmt: skip


def _of_tool(tool: ToolRequest) -> tuple[str, int]:
    """Return the text of a tool call, and its digest."""
    text = "\n".join(filter(None, (tool.name, text_in(tool.arguments))))
    return text, digest("call", tool.call_id, tool.name, written(tool.arguments))


def _text(item: Item) -> str:
    said = item.text if item.value is None else text_in(item.value)
    return "\n".join(filter(None, (item.name, said)))


def _says(item: Item) -> int:
    """Return the digest of a message: that of the answer in which the model wrote it, if it is one."""
    match item.kind:
        case "user" | "assistant":
            return digest(item.kind, item.text.strip())
        case "reasoning":
            return digest("thought", item.text.strip())
        case "call" if item.call_id:
            return digest("call", item.call_id, item.name, written(item.text or item.value))
        case "output" if item.call_id:
            return digest("output", item.call_id, (item.text or written(item.value) or "").strip())
    return digest(PROMPT, item.kind, item.name, _text(item))


class AnswerDocuments(DocumentMaker):
    """Makes documents of the frames of an answer. An event that repeats a streamed text makes the same document."""

    def __init__(self, api: Api, under_way: list[Doc]) -> None:
        super().__init__(under_way)
        self._api = api

    def _made(self, frame: TimedFrame, data: Any) -> Iterator[Doc] | None:
        """Return the documents that a frame of an answer finishes; None for an event like others."""
        if not isinstance(data, dict):
            return None
        one = READERS[self._api]()
        one.event(data)
        if self._api == "openai-responses":
            is_delta = frame.type is not None and frame.type.endswith(".delta")
            return None if is_delta or one.error is not None else self._repeated(frame, one)
        pieces = [(f"assistant:m:{place}", "".join(parts)) for place, parts in one.texts.items()]
        pieces += [("thought:m:", "".join(one.reasoning))] if one.reasoning else []
        pieces += [(f"arguments:m:{key}", "".join(tool.parts)) for key, tool in one.tools.items() if tool.parts]
        if not pieces and one.ending is None:
            return None
        for key, text in pieces:
            self.grow(frame, key, spaced(text))
        return self.close_all() if one.ending is not None else iter(())

    def _repeated(self, frame: TimedFrame, one: Answer) -> Iterator[Doc] | None:
        """Return the documents of an event with whole texts or tool calls; None without any."""
        found = [(text, digest("assistant", text.strip())) for text in map("".join, one.texts.values())]
        thought = "".join(one.reasoning)
        found += [(thought, digest("thought", thought.strip()))] if thought else []
        for tool in (tool.request() for tool in one.tools.values()):
            found.append(_of_tool(tool))
        if not found:
            return None
        return self._finished(frame, found, is_end=one.ending is not None)

    def _finished(self, frame: TimedFrame, found: list[tuple[str, int]], *, is_end: bool) -> Iterator[Doc]:
        yield from self._end(frame.type, {}) if not is_end else self.close_all()
        at, seq = frame.offset_ns, frame.seq
        for text, says in found:
            yield Doc("event", frame.type, seq, seq, at, at, spaced(text), says, EVER)

    def _joined(self, key: str) -> Doc:
        doc = super()._joined(key)
        doc.near_ns = EVER if doc.near_ns != COPIES_NEAR else doc.near_ns
        return doc


def documents_of(api: Api | None, under_way: list[Doc]) -> DocumentMaker:
    """Return the maker for a stream. `api`: of the model call that it answers; None for another stream."""
    return DocumentMaker(under_way) if api is None else AnswerDocuments(api, under_way)
