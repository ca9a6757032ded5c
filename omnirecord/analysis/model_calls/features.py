"""The evidence in a request's conversation and in a turn, as keys that can be compared in constant time. Pure.

A message is a run of user texts with nothing between them. White space does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ...omnigent.protocol import INTERRUPTED_TEXT
from ...providers.conversation import Conversation
from ..turns.values import Turn

Key = tuple[object, ...]
_SHORT = 16
"""Characters of the beginning of a text that was cut."""


class Asked(NamedTuple):
    """What a conversation shows of the turn and the session that it belongs to."""

    keys: tuple[Key, ...]
    """From the most to the least specific: the whole history of messages, the last answer, the last message."""
    messages: tuple[str, ...]
    """The last message, as a whole and its last part."""
    new_ids: tuple[str, ...]
    """The ids of the tool outputs after the last message: they belong to the same turn."""
    old_ids: tuple[str, ...]
    """The other ids of tools: they belong to the same session."""
    history: Key | None = None
    """The key of the whole history, if it has an earlier message."""
    outputs: Mapping[str, str] = {}
    """The outputs of tools with counted ids, by id."""


NOTHING = Asked((), (), (), ())
_COUNTED = re.compile(r"(?:[A-Za-z][A-Za-z_.:-]*)?[0-9]{0,3}")
"""Ids that a provider may count from 1 in each answer."""


def is_counted(call_id: str) -> bool:
    """Return whether a provider may have counted a tool call, so that other calls have the same id: `call_1`."""
    return _COUNTED.fullmatch(call_id) is not None


def asked_of(conversation: Conversation) -> Asked:
    """Return the evidence in a request."""
    history, said = hash(()), ""
    run: list[str] = []
    last: tuple[str, ...] = ()
    said_before, before, prefix = "", "", history
    new: dict[str, None] = {}
    old: dict[str, None] = {}
    outputs: dict[str, str] = {}
    for item in conversation.items:
        if item.kind == "user":
            text = plain(item.text)
            if not text or text.startswith(INTERRUPTED_TEXT):
                continue
            if not run:
                before, said_before, prefix = (last[0] if last else ""), said, history
                old |= new
                new = {}
            run.append(text)
            last = tuple(dict.fromkeys((" ".join(run), run[-1])))
            history = hash((prefix, last[0]))
        elif item.kind != "system":
            run = []
            if item.kind == "assistant":
                said = plain(item.text) or said
            elif item.call_id is not None:
                (new if item.kind == "output" else old)[item.call_id] = None
                if item.kind == "output" and is_counted(item.call_id):
                    outputs[item.call_id] = plain(item.text)
    return Asked(
        tuple(_keys(last, history, said_before, before)), last, tuple(new), tuple(id_ for id_ in old if id_ not in new),
        ("history", history) if before else None, outputs,
    )  # fmt: skip


def _keys(messages: tuple[str, ...], history: int, said: str, before: str) -> Iterator[Key]:
    if messages:
        yield ("history", history)
    for message in messages:
        yield from _message_keys(message, said, before)


def _message_keys(message: str, said: str, before: str) -> Iterator[Key]:
    if said:
        yield ("answer", message, said)
    if before:
        yield ("before", message, before)
    yield ("message", message)


class History(NamedTuple):
    """The messages of a session before a turn."""

    digest: int = hash(())
    said: str = ""
    """The last answer."""
    before: str = ""
    """The last message."""


START = History()


def turn_keys(turns: Iterable[Turn], history: History = START) -> Iterator[list[Key]]:
    """Return the keys of each turn of a session, in order. `history`: before the first one."""
    for turn in turns:
        keys, history = _with_history(turn, history)
        yield keys


def history_after(turns: Iterable[Turn], history: History) -> History:
    """Return the history after further turns."""
    for turn in turns:
        history = _with_history(turn, history)[1]
    return history


def _with_history(turn: Turn, history: History) -> tuple[list[Key], History]:
    """Return the keys of a turn, and the history after it. A denied message never reaches the model."""
    texts = [text for text in (plain(one.text) for one in turn.asked) if text]
    message = " ".join(texts)
    own = hash((history.digest, message)) if message else history.digest
    keys: list[Key] = [("history", own)] if message else []
    for text in dict.fromkeys((message, *texts[-1:], *texts[:1])):
        if text:
            keys += _message_keys(text, history.said, history.before)
    if turn.ended != "denied":
        said = next((plain(one.text) for one in reversed(turn.messages) if one.text.strip()), history.said)
        history = History(own, said, message or history.before)
    return list(dict.fromkeys(keys)), history


def plain(text: str) -> str:
    """Return the text with single spaces."""
    return " ".join(text.split())


def beginning(text: str) -> str:
    """Return the part of a text that is compared if one side was cut."""
    return text[:_SHORT]
