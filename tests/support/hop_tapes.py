"""Cassettes with a model hop, made up: one session, and the calls of a model behind it.

tape = both_hops()          # a turn with three model calls, one of them a retry
tape = model_hop(3)         # only calls
"""

from __future__ import annotations

import json
from typing import Any

from omnirecord.model import Headers
from tests.support.cassettes import Made, delta, event, heartbeat, status

RESPONSES = "/v1/responses"
RETRIED: Headers = (("x-stainless-retry-count", "1"),)
ASKED, ANSWER = "How many lines has the poem?", ["The poem", " has", " three", " lines."]
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "wc", "arguments": '{"path": "poem.txt"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "3 poem.txt"}
TOOLS = [{"type": "function", "name": "wc", "description": "Count lines.", "parameters": {"type": "object"}}]


def asked(*items: Any, instructions: str = "You are a poet.", model: str = "gpt-5") -> bytes:
    """The body of a request."""
    return json.dumps(
        {"model": model, "instructions": instructions, "input": list(items), "tools": TOOLS, "stream": True}
    ).encode()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def response(id_: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_, "object": "response", "created_at": 1767323046, "status": state, "model": "gpt-5", "output": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], **more,
    }  # fmt: skip


def opening(id_: str = "resp_1") -> bytes:
    return event("response.created", response=response(id_, "in_progress"), sequence_number=0)


def told(kind: str, state: str, number: int, usage: Any = None) -> bytes:
    """An event of the client hop about the whole response."""
    fields = {
        "id": "r",
        "object": "response",
        "created_at": 1767323046,
        "status": state,
        "model": "helper",
        "output": [],
    }
    return event(f"response.{kind}", response={**fields, "usage": usage}, sequence_number=number)


def word(text: str) -> bytes:
    return event(
        "response.output_text.delta", delta=text, output_index=0, content_index=0, item_id="msg_1", logprobs=[],
        sequence_number=1,
    )  # fmt: skip


def ending(id_: str = "resp_1", state: str = "completed", **more: Any) -> bytes:
    counted = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 40, "output_tokens": 9, "total_tokens": 49, **counted, **more.pop("usage", {})}
    return event(f"response.{state}", response=response(id_, state, usage=usage, **more), sequence_number=2)


def both_hops(question: str = ASKED, answer: list[str] = ANSWER, *, output: str = "3 poem.txt") -> Made:
    """A turn from 1 s to 15 s. Its model calls: one at 2 s, refused; its retry at 4 s, which asks for a tool; one at
    9 s with the answer, which reaches the client 0.1 s later, two deltas at once."""
    tape, given = Made(), {**OUTPUT, "output": output}
    body = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": question}]}}
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    tape.post("/v1/sessions/s/events", 1.0, until=1.1, status=202, body=body, answer={"item_id": "i"})
    item = "response.output_item.done"
    said = {"role": "user", "content": [{"type": "input_text", "text": question}]}
    consumed = event("session.input.consumed", data={"item_id": "i", "type": "message", "data": said})
    reads = [(0.6, heartbeat()), (1.2, consumed), (1.25, status("running")), (1.3, told("created", "in_progress", 1))]
    reads += [(6.1, event(item, item={**CALL, "status": "completed"})), (8.5, event(item, item=given))]
    pairs = ["".join(answer[n : n + 2]) for n in range(0, len(answer), 2)]
    reads += [(10.6 + n, delta(text, n + 2)) for n, text in enumerate(pairs)]
    usage = {"input_tokens": 80, "output_tokens": 18, "total_tokens": 98}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
               "content": [{"type": "output_text", "text": "".join(answer)}]}  # fmt: skip
    reads += [
        (14.9, event(item, item=message)),
        (15.0, told("completed", "completed", 90, usage)),
        (15.1, status("idle")),
    ]
    tape.stream("s", 0.5, *reads, end=16.0)
    tape.another_recording("model", "auto")
    first, history = asked(user(question)), asked(user(question), CALL, given)
    error = {"error": {"code": "rate_limit_exceeded", "message": "Too many requests."}}
    tape.post(RESPONSES, 2.0, until=2.4, status=429, body=first, answer=error)
    calls = [
        (5.0, opening()),
        (6.0, event(item, item={**CALL, "status": "completed"}, output_index=0, sequence_number=1)),
        (6.1, ending()),
    ]
    tape.stream(RESPONSES, 4.8, *calls, asked=4.0, method="POST", body=first, sent=RETRIED, ending="eof")
    words = [(9.8, opening("resp_2")), *((10.0 + n / 2, word(text)) for n, text in enumerate(answer))]
    words += [(10.2 + len(answer) / 2, ending("resp_2"))]
    tape.stream(RESPONSES, 9.6, *words, asked=9.0, method="POST", body=history, ending="eof")
    return tape


def model_hop(calls: int, prompt: str = "Hi") -> Made:
    """Calls of a model, one each second, without sessions."""
    tape = Made()
    tape._hops[0], tape._contracts[0] = "model", "auto"
    for n in range(calls):
        at = 1.0 + n
        reads = [(at + 0.2, opening(f"resp_{n}")), (at + 0.3, word(f"Answer {n}")), (at + 0.5, ending(f"resp_{n}"))]
        tape.stream(RESPONSES, at + 0.1, *reads, asked=at, method="POST", body=asked(user(prompt)), ending="eof")
    return tape
