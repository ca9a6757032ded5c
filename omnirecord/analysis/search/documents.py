"""The documents of the index. Pure; linear in the frames.

There is one per event, per text of deltas, and per request. A model call has one per message, per tool, for its
instructions, and per text of its answer.

1. The deltas of one text make one document, which maps its characters to the events that carried them.
2. Several texts may be open at a time: each message, call and kind of delta has its own. Certain events end them.
3. Documents with the same content have the same `says`. Examples are a message's deltas and its stored item, a posted
   message and its `session.input.consumed`, an event on two streams. Later requests to a model repeat the messages of
   earlier ones: they are one hit, at the first call that has it.

The text of a JSON value is every string in it; JSON inside strings is unpacked. No recorded value makes this fail.

Zero width spaces divide scripts without blanks (Chinese, Japanese, Thai…) and Korean into single characters, so that
any part of a sentence is found. `spaced` inserts them, `plain` removes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from ...cassette.sqlite.search_index import EVER, SAID_NEAR, Doc, digest
from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ...omnigent.line import COPIES_WITHIN, copied
from ...omnigent.routes import path_of
from ...providers.answers import Answer
from ...providers.conversation import conversation_of
from ...providers.parts import Item
from ...providers.register import Api, model_api
from ...wire.sse import read_fields
from ...wire.strict_json import as_dict, as_text, loads, parsed, text_of, written
from ..turns.requests import act_of, may_have_failed

ZERO = "\u200b"
"""The zero width space: it divides words, and is invisible."""
_UNPARTED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])"
)
_UNSEEN = re.compile("[\0\x02\x03\ud800-\udfff]")
"""Characters that SQLite cannot store, or that mark hits."""
_NAMES_A_KIND = ("type", "object")
"""Fields that hold the name of a kind: otherwise `text` would find every message."""
_BLOB = 1000
"""Characters from which an ASCII string without white space is no text, but an image or an archive."""
_DEEPEST = 3
"""Most levels of JSON inside JSON strings that are unpacked."""
_MOST = 1 << 20
"""Most characters of one string that are indexed."""


def spaced(text: str) -> str:
    """The text with zero width spaces, without characters that SQLite cannot store."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _UNSEEN.search(text) else text
    text = _UNSEEN.sub(" ", text)
    return text if text.isascii() else _UNPARTED.sub(f"{ZERO}\\1{ZERO}", text.replace(ZERO, ""))


def plain(text: str) -> str:
    """The text without zero width spaces."""
    return text.replace(ZERO, "")


def text_in(value: Any, *, with_kinds: bool = False) -> str:
    """All strings and numbers of a JSON value in order, one per line. `with_kinds`: also the names of kinds, as in an
    error, whose type says what went wrong."""
    found: list[str] = []
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        one, depth = todo.pop()
        if isinstance(one, dict):
            items = reversed(one.items())
            todo += [(v, depth) for k, v in items if with_kinds or k not in _NAMES_A_KIND or not isinstance(v, str)]
        elif isinstance(one, list):
            todo += [(v, depth) for v in reversed(one)]
        elif isinstance(one, str):
            inner = loads(one) if depth < _DEEPEST and one[:1] in ("{", "[") else None  # its escapes would hide words
            if isinstance(inner, (dict, list)):
                todo.append((inner, depth + 1))
            elif one and not _is_blob(one):
                found.append(one[:_MOST])
        elif type(one) in (int, float):
            found.append(str(one))
    return "\n".join(found)


def _is_blob(text: str) -> bool:
    return len(text) >= _BLOB and text[:_BLOB].isascii() and not any(c.isspace() for c in text[:_BLOB])


_ENDS_ALL = frozenset(
    {
        protocol.RESPONSE_CREATED,
        protocol.SESSION_INPUT_CONSUMED,
        protocol.SESSION_STATUS,
        protocol.TURN_STARTED,
        *protocol.ENDS,
    }
)
_OWN_IDS = ("call_id", "item_id")
"""Ids that tell the deltas of one call from those of another."""


class DocumentMaker:
    """Makes documents of the frames of a stream; `add` them in order. `under_way`: texts that are not finished."""

    def __init__(self, under_way: Iterable[Doc] = ()) -> None:
        self._open = {doc.key or "": doc for doc in under_way}
        self._parts: dict[str, list[str]] = {}
        self._length = {key: len(doc.text) for key, doc in self._open.items()}

    def add(self, frame: TimedFrame) -> Iterator[Doc]:
        """The documents that this frame finishes: texts that it ends, and its own."""
        if frame.raw is None or frame.verdict == "comment":
            return
        data = parsed(read_fields(frame.raw, bom=frame.seq == 1).data)
        if data is None:
            return
        made = self._made(frame, data)
        if made is not None:
            yield from made
            return
        payload = as_dict(data)
        delta = payload.get("delta")
        if frame.type is not None and frame.type.endswith(".delta") and isinstance(delta, str):
            yield from self._say(frame, payload, spaced(delta))
            return
        yield from self._end(frame.type, as_dict(payload.get("item")))
        text = "\n".join(filter(None, (frame.type, text_in(data, with_kinds=bool(payload.get("error"))))))
        (says, near) = _says(frame, payload)
        seq = frame.seq
        at = frame.offset_ns
        yield Doc("event", frame.type, seq, seq, at, at, spaced(text), says, near)

    def _made(self, frame: TimedFrame, data: Any) -> Iterator[Doc] | None:  # noqa: ARG002
        """Return the documents that a frame of an API with other deltas finishes; None for an event like others."""
        return None

    def rest(self) -> list[Doc]:
        """The unfinished texts that have grown."""
        return [self._joined(key) for key in list(self._parts)]

    def _say(self, frame: TimedFrame, payload: dict[str, Any], delta: str) -> Iterator[Doc]:
        assert frame.type is not None
        own = next(filter(None, (_storable(as_text(payload.get(name))) for name in _OWN_IDS)), None)
        place = f"c:{own}" if own else f"m:{_storable(as_text(payload.get('message_id'))) or ''}"
        key = f"{frame.type}:{place}"
        if key not in self._open and not own:  # a message with an id ends the one before
            yield from self._close([one for one in self._open if one.startswith(f"{frame.type}:m:")])
        self.grow(frame, key, delta)

    def grow(self, frame: TimedFrame, key: str, delta: str) -> None:
        """Add a delta to the text with this key, new or open."""
        if key not in self._open:
            seq = frame.seq
            at_ns = frame.offset_ns
            self._open[key] = Doc("text", frame.type, seq, seq, at_ns, at_ns, "", key=key)
            self._length[key] = 0
        doc = self._open[key]
        doc.marks.extend((self._length[key], frame.seq))
        doc.last_seq = frame.seq
        doc.last_ns = frame.offset_ns
        self._parts.setdefault(key, []).append(delta)
        self._length[key] += len(delta)

    def _end(self, type_: str | None, item: dict[str, Any]) -> Iterator[Doc]:
        if type_ in _ENDS_ALL:
            yield from self.close_all()
        elif type_ == protocol.RESPONSE_OUTPUT_ITEM_DONE:
            own = _storable(as_text(item.get("call_id")) or as_text(item.get("id")))
            is_output = item.get("type") in ("function_call", "function_call_output")
            yield from self._close(
                [key for key in self._open if ":m:" in key or (is_output and own and key.endswith(f":c:{own}"))]
            )

    def close_all(self) -> Iterator[Doc]:
        """Yield the open texts, which are finished."""
        yield from self._close(list(self._open))

    def _close(self, keys: list[str]) -> Iterator[Doc]:
        for key in keys:
            doc = self._joined(key)
            doc.key = None
            del self._open[key], self._length[key]
            yield doc

    def _joined(self, key: str) -> Doc:
        doc = self._open[key]
        doc.text += "".join(self._parts.pop(key, ()))
        doc.says, doc.near_ns = _said_in(doc, key)
        return doc


def of_request(exchange: Exchange, body: bytes) -> Doc | None:
    """The document of a request body; None if it is no JSON, or has no text."""
    value = loads(body)
    text = text_in(value)
    if not isinstance(value, (dict, list)) or not text:
        return None
    act = act_of(exchange, body, b"")
    at = exchange.request.at_ns
    doc = Doc("request", None, None, None, at, at, spaced(text), digest("request", body))
    if act is not None and act.kind == "message":  # session.input.consumed repeats it
        doc.says = digest("user", act.text.strip())
        doc.near_ns = SAID_NEAR
    return doc


def of_answer(exchange: Exchange, body: bytes) -> Doc | None:
    """The document of the answer to a failed request, JSON or text; None for other answers, and without text."""
    if exchange.response is None or not may_have_failed(exchange):
        return None
    try:
        text = text_in(json.loads(body), with_kinds=True)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
    request = exchange.request
    text = "\n".join(filter(None, (f"{exchange.response.status} {request.method} {path_of(request.target)}", text)))
    at = exchange.response.at_ns
    return Doc("answer", None, None, None, at, at, spaced(text), digest("answer", str(exchange.exchange), body))


def _storable(name: str | None) -> str | None:
    """A name that SQLite can store: lone surrogates become escapes."""
    return None if name is None else name.encode("utf-8", "backslashreplace").decode()


def _said_in(doc: Doc, key: str) -> tuple[int, int]:
    """The content digest of a text of deltas, and the time in which copies of it count as one."""
    text = plain(doc.text).strip()
    type_ = doc.type or ""
    if type_ == protocol.RESPONSE_OUTPUT_TEXT_DELTA or key.startswith("assistant:"):
        return digest("assistant", text), SAID_NEAR
    if "reasoning" in type_ or key.startswith("thought:"):
        return digest("thought", text), SAID_NEAR
    if "output" in type_ and ":c:" in key:
        return digest("output", key.rpartition(":c:")[2], text), EVER
    return digest(type_, key, text), SAID_NEAR


def _says(frame: TimedFrame, data: dict[str, Any]) -> tuple[int, int]:
    """The content digest of an event, and the time in which copies of it count as one."""
    if frame.type == protocol.SESSION_INPUT_CONSUMED:
        text = text_of(as_dict(as_dict(data.get("data")).get("data")).get("content"))
        return (digest("user", text.strip()), SAID_NEAR) if text else _itself(frame)
    item = as_dict(data.get("item")) if frame.type == protocol.RESPONSE_OUTPUT_ITEM_DONE else {}
    call_id = as_text(item.get("call_id"))
    match item.get("type"):
        case "message":
            role = "assistant" if item.get("role") == "assistant" else "user"
            return digest(role, text_of(item.get("content")).strip()), SAID_NEAR
        case "reasoning":
            return digest("thought", (text_of(item.get("content")) or text_of(item.get("summary"))).strip()), SAID_NEAR
        case "function_call" if call_id:
            return digest("call", call_id, as_text(item.get("name")), written(item.get("arguments"))), EVER
        case "function_call_output" if call_id:
            return digest("output", call_id, (written(item.get("output")) or "").strip()), EVER
    return _itself(frame)


def _itself(frame: TimedFrame) -> tuple[int, int]:
    return digest("event", copied(frame) or b""), COPIES_WITHIN


PROMPT = "prompt"
"""The types of the parts of a request begin with it: `prompt.user`, `prompt.tool`."""


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
    parts += [(item.kind, _text(item), _message_says(item)) for item in conversation.items]
    return [
        Doc("request", f"{PROMPT}.{kind}", None, None, at, at, spaced(text), says, EVER)
        for kind, text, says in parts
        if text
    ]


def of_whole_answer(x: Exchange, api: Api, body: bytes) -> list[Doc]:
    """Return the documents of an answer that is no stream: one for each text, tool call and error, with a type such as
    `answer.assistant`."""
    if x.response is None or x.kind != "http":
        return []
    answer = model_api(api).answer()
    answer.body(loads(body))
    at = x.response.at_ns
    return [
        Doc("answer", f"answer.{kind}", None, None, at, at, spaced(text), says, EVER)
        for kind, text, says in _parts_of(answer)
        if text
    ]


def _parts_of(answer: Answer) -> Iterator[tuple[str, str, int]]:
    """Return the texts, the thoughts, the tool calls and the error of an answer: kind, text and digest."""
    for text in map("".join, answer.texts.values()):
        yield "assistant", text, digest("assistant", text.strip())
    if thought := "".join(answer.reasoning):
        yield "reasoning", thought, digest("thought", thought.strip())
    for tool in (one.request() for one in answer.tools.values()):
        text = "\n".join(filter(None, (tool.name, text_in(tool.arguments))))
        yield "call", text, digest("call", tool.call_id, tool.name, written(tool.arguments))
    if answer.error is not None:
        text = "\n".join(filter(None, (answer.reason, answer.error)))
        yield "error", text, digest("error", text)


def _text(item: Item) -> str:
    said = item.text if item.value is None else text_in(item.value)
    return "\n".join(filter(None, (item.name, said)))


def _message_says(item: Item) -> int:
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
        self._api = model_api(api)

    def _made(self, frame: TimedFrame, data: Any) -> Iterator[Doc] | None:
        if not isinstance(data, dict):
            return None
        one = self._api.answer()
        one.event(data)
        if one.error is not None:
            return None
        if self._api.repeats_texts:
            is_delta = frame.type is not None and frame.type.endswith(".delta")
            return None if is_delta else self._repeated(frame, one)
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
        at = frame.offset_ns
        seq = frame.seq
        parts = _parts_of(one)
        docs = [Doc("event", frame.type, seq, seq, at, at, spaced(text), says, EVER) for _, text, says in parts]
        ended = self._end(frame.type, {}) if one.ending is None else self.close_all()
        return chain(ended, docs) if docs else None

    def _joined(self, key: str) -> Doc:
        doc = super()._joined(key)
        doc.near_ns = EVER
        return doc
