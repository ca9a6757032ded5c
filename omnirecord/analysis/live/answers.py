"""The lines of an answer of a model API: its beginning, its tool calls and its end; of a whole answer also its text.

The events of Responses have the types of Omnigent's, and so the lines of `events`. Texts and reasoning have lines of
deltas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from ...providers.answers import CallEnding
from ...providers.api import ModelApi
from ...providers.summary import api_of_type
from ...text import ENOUGH, clip, joined, one_line, seconds, tokens
from ...wire.strict_json import as_dict
from .events import Kind, Line, Make, Row


class AnswerLines:
    """The lines of one answer. Its texts are not held. `asked_ns`: when its request came; None if that is unknown."""

    def __init__(self, api: ModelApi, asked_ns: int | None) -> None:
        self._api = api
        self._asked_ns = asked_ns
        self._answer = api.answer()
        self._told: set[object] = set()
        self._has_begun = self._is_ended = False

    @property
    def goes_on(self) -> bool:
        return self._has_begun and not self._is_ended

    def takes(self, row: Row, *, is_text: bool) -> bool:
        """Return whether an event has more than text, or is the first one."""
        return not self._has_begun or not is_text or self._api.has_more(as_dict(row["data"]))

    def lines_of(self, row: Row, place: str) -> Iterator[Line]:
        """Return the lines that an event completes."""
        answer = self._answer
        make = partial(Line, row["offset_ns"], place=place)
        answer.at_ns, answer.seq = row["offset_ns"], row["seq"]
        is_last = row["verdict"] == "sentinel"
        if is_last:
            answer.done()
        else:
            answer.event(as_dict(row["data"]))
        if not self._has_begun:
            self._has_begun = True
            yield self._first(row, make)
        for key, tool in answer.tools.items():
            if tool.at_ns is not None and key not in self._told:
                self._told.add(key)
                asked = tool.request()
                yield _tool_line(make, asked.name, asked.arguments)
        if is_last or self._api.contract().api.is_end(row["verdict"], row["type"]):
            yield from self.end(row["offset_ns"], place)

    def _first(self, row: Row, make: Make) -> Line:
        """Return the line of the beginning. The events before this one may be left out."""
        if row["seq"] == 1:
            self._asked_ns = row["offset_ns"] if self._asked_ns is None else self._asked_ns
            return _first_line(make, self._answer.model)
        line = _first_line(make, self._answer.model)
        if self._asked_ns is None:
            return replace(line, head="goes on")
        return replace(line, at_ns=self._asked_ns, place=f"stream {row['stream']}")

    def end(self, at_ns: int, place: str) -> Iterator[Line]:
        """Return the line of the end, once; none if the answer has no end yet."""
        answer = self._answer
        if answer.ending is None or self._is_ended:
            return
        self._is_ended = True
        usage = answer.usage
        make = partial(Line, at_ns, place=place)
        used = None if usage is None else tokens(usage.input_tokens, usage.output_tokens)
        ended_ns = at_ns if answer.ended_ns is None else answer.ended_ns
        lasted = None if self._asked_ns is None else ended_ns - self._asked_ns
        yield _last_line(make, answer.ending, lasted, joined([answer.reason, answer.error], ": "), used)


def answer_lines(row: Row, asked_ns: int | None) -> AnswerLines | None:
    """Return the lines of the answer with this event; None if it is of another API. `asked_ns`: see `AnswerLines`."""
    api = api_of_type(row["type"])
    return None if api is None else AnswerLines(api, asked_ns)


def whole_lines(row: Row, place: str) -> Iterator[Line]:
    """Return the lines of a whole answer, from the row of its request, which is over."""
    answer = row.get("answer")  # rows of an older proxy have none
    if answer is None or answer["ending"] is None:
        return
    make = partial(Line, row["end_ns"], place=place)
    yield _first_line(partial(Line, row["offset_ns"], place=place), answer["model"])
    if answer["reasoning"]:
        yield make("thinking", "thought", "", f'"{one_line(answer["reasoning"])}"')
    if answer["text"]:
        yield make("assistant", "said", "", f'"{one_line(answer["text"])}"')
    for tool in answer["tools"]:
        yield _tool_line(make, tool["name"], tool["arguments"])
    used = tokens(answer["input_tokens"], answer["output_tokens"])
    why = joined([answer["reason"], answer["error"]], ": ")
    yield _last_line(make, answer["ending"], row["end_ns"] - row["offset_ns"], why, used)


def _first_line(make: Make, model: str | None) -> Line:
    return make("turn", "note", "begins", f"with {one_line(model)}" if model else "")


def _tool_line(make: Make, name: str, arguments: str) -> Line:
    return make("tool", "tool", "", one_line(clip(f"{name} {arguments}", ENOUGH)))


def _last_line(make: Make, ending: CallEnding, lasted_ns: int | None, why: str, used: str | None) -> Line:
    """Return the line of the end. `why`: reason and error, which a completed answer does not need."""
    kind: Kind = "end" if ending == "completed" else "trouble"
    lasted = "" if lasted_ns is None else f" in {seconds(lasted_ns)}"
    text = joined(["" if ending == "completed" else one_line(why[:ENOUGH]), used], " · ")
    return make("turn", kind, f"{ending}{lasted}{' ·' if text else ''}", text)
