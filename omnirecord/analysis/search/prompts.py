"""The documents of model calls: one for each message, tool and text of instructions of a request, and each text of an
answer. Pure.

Later requests repeat the messages of earlier ones. A message and its repetitions have the same `says`: they are one
hit, at the first call that has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from ...cassette.sqlite.search_index import COPIES_NEAR, EVER, Doc, digest
from ...model import Exchange, TimedFrame
from ...providers.answers import READERS, Answer
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
    at = x.response.at_ns
    return [
        Doc("answer", f"{ANSWER}.{kind}", None, None, at, at, spaced(text), says, EVER)
        for kind, text, says in _parts_of(answer) if text
    ]  # fmt: skip


def _parts_of(answer: Answer) -> Iterator[tuple[str, str, int]]:
    """Return the texts, the thoughts and the tool calls of an answer: kind, text and digest."""
    for text in map("".join, answer.texts.values()):
        yield "assistant", text, digest("assistant", text.strip())
    if thought := "".join(answer.reasoning):
        yield "reasoning", thought, digest("thought", thought.strip())
    for tool in (one.request() for one in answer.tools.values()):
        text = "\n".join(filter(None, (tool.name, text_in(tool.arguments))))
        yield "call", text, digest("call", tool.call_id, tool.name, written(tool.arguments))


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
        at, seq = frame.offset_ns, frame.seq
        docs = [
            Doc("event", frame.type, seq, seq, at, at, spaced(text), says, EVER) for _, text, says in _parts_of(one)
        ]
        ended = self._end(frame.type, {}) if one.ending is None else self.close_all()
        return chain(ended, docs) if docs else None

    def _joined(self, key: str) -> Doc:
        doc = super()._joined(key)
        doc.near_ns = EVER if doc.near_ns != COPIES_NEAR else doc.near_ns
        return doc
