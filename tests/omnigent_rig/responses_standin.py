"""A stand-in for the server route that is gone: `POST /v1/responses`, as the older API answered it.

The stream is the response's own: `response.created`, `response.in_progress`, the text in deltas, the finished
item, `response.completed`, and `data: [DONE]` without an `event:` line. `session.query` in the client still
speaks it. The live server answers 404 there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Self

from aiohttp import web

from tests.omnigent_rig.provider import Answer
from tests.omnigent_rig.script import SCRIPT

Event = dict[str, Any]


class ResponsesStandin:
    """`async with ResponsesStandin() as standin:` listens on a free loopback port at `standin.url`."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Event] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/responses", self._respond)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body: Event = await request.json()
        self.requests.append(body)
        step = SCRIPT.get(str(body.get("input")))
        answer = step.text if isinstance(step, Answer) else "Hello."
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in _events(len(self.requests), str(body.get("model")), answer):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def _events(number: int, model: str, answer: str) -> Iterator[Event]:
    item: Event = {"id": f"msg_{number:04}", "type": "message", "role": "assistant", "status": "completed"}
    item["content"] = [{"type": "output_text", "text": answer, "annotations": []}]
    response: Event = {
        "id": f"resp_{number:04}",
        "object": "response",
        "model": model,
        "created_at": 1_700_000_000,
    }
    response |= {"conversation": {"id": f"conv_{number:04}"}, "output": [], "error": None}
    done = {"status": "completed", "output": [item], "completed_at": 1_700_000_002}
    done["usage"] = {"input_tokens": 40, "output_tokens": 60, "total_tokens": 100}
    parts: list[Event] = [
        {"type": "response.created", "response": response | {"status": "queued"}},
        {"type": "response.in_progress", "response": response | {"status": "in_progress"}},
        *({"type": "response.output_text.delta", "delta": word} for word in re.findall(r"\s*\S+", answer)),
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": response | done},
    ]
    for sequence, event in enumerate(parts, 1):
        yield event | {"sequence_number": sequence}
