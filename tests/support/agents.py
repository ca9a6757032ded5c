"""Small agents with the real clients of four model APIs, and what they do in `cassettes/agents/day.jsonl`.

Each function takes the base URL of a server. The answers of the stand-ins are in `SCRIPT` and in `gemini.SCRIPT`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.omnigent_rig.provider import Answer, Failure, InTurn, Step, ToolCall
from tests.support import gemini
from tests.support.model_clients import ANTHROPIC_TOOL, CHAT_TOOL, anthropic_client, openai_client

SCRIPT: Mapping[str, Step] = {
    "What is the weather in Rome?": ToolCall("weather", {"city": "Rome"}, Answer("It is sunny in Rome.")),
    "And tomorrow?": Answer("Tomorrow it rains."),
    "Is it busy?": InTurn((Failure("Slow down.", 429, "rate_limit_exceeded"), Answer("Not any more."))),
    "Tell me a joke.": Answer("A snail walks into a bar."),
    "Another one.": Answer("Two snails walk into a bar."),
    "Fail": Failure("The model is broken.", 400, "invalid_request_error"),
}
WEATHER = "What is the weather in Rome?"


async def weather_by_chat(url: str) -> None:
    """A run of an agent: two calls, with a tool between them."""
    async with openai_client(url) as client:
        messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": WEATHER}]
        first = await client.chat.completions.create(model="gpt-5", messages=messages, tools=[CHAT_TOOL])
        answer = first.choices[0].message
        assert answer.tool_calls
        output = {"role": "tool", "tool_call_id": answer.tool_calls[0].id, "content": "sunny"}
        messages += [answer.model_dump(exclude_none=True), output]
        await client.chat.completions.create(model="gpt-5", messages=messages, tools=[CHAT_TOOL])


async def busy_by_chat(url: str) -> None:
    """A streamed call that the provider refuses once."""
    async with openai_client(url) as client:
        messages: Any = [{"role": "user", "content": "Is it busy?"}]
        stream = await client.chat.completions.create(
            model="gpt-5", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        async for _ in stream:
            pass


async def jokes_by_chat(url: str) -> None:
    """Two clients at the same time whose requests and answers are equal."""
    async with openai_client(url) as client:
        for messages in (_JOKE, _JOKES):
            both = [client.chat.completions.create(model="gpt-5", messages=messages) for _ in range(2)]
            await asyncio.gather(*both)


_JOKE: Any = [{"role": "user", "content": "Tell me a joke."}]
_JOKES: Any = [
    *_JOKE,
    {"role": "assistant", "content": "A snail walks into a bar."},
    {"role": "user", "content": "Another one."},
]


async def weather_by_responses(url: str) -> None:
    """Two messages; the provider keeps the history."""
    async with openai_client(url) as client:
        tool: Any = {"type": "function", "name": "weather", "parameters": CHAT_TOOL["function"]["parameters"]}
        first = await client.responses.create(model="gpt-5", input=WEATHER, tools=[tool])
        call: Any = first.output[-1]
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        second = await client.responses.create(
            model="gpt-5", input=[output], tools=[tool], previous_response_id=first.id
        )
        await client.responses.create(model="gpt-5", input="And tomorrow?", previous_response_id=second.id)


async def weather_by_messages(url: str) -> None:
    """Two messages, a tool, and streamed answers."""
    async with anthropic_client(url) as client:
        messages: list[Any] = [{"role": "user", "content": WEATHER}]
        for _ in range(3):
            async with client.messages.stream(
                model="claude", max_tokens=99, messages=messages, tools=[ANTHROPIC_TOOL]
            ) as stream:
                answer = await stream.get_final_message()
            messages.append({"role": "assistant", "content": [one.model_dump() for one in answer.content]})
            called = next((one for one in answer.content if one.type == "tool_use"), None)
            if called is not None:
                result = {"type": "tool_result", "tool_use_id": called.id, "content": "sunny"}
                messages.append({"role": "user", "content": [result]})
            else:
                messages.append({"role": "user", "content": "And tomorrow?"})


async def refused_by_messages(url: str) -> None:
    async with anthropic_client(url) as client:
        messages: Any = [{"role": "user", "content": "Fail"}]
        await asyncio.gather(
            client.messages.create(model="claude", max_tokens=99, messages=messages), return_exceptions=True
        )


async def day(openai: str, anthropic: str, google: str) -> None:
    """What the agents of a day do. Conversation 1, 2 and 3 are runs of one agent."""
    for _ in range(3):
        await weather_by_chat(openai)
    await weather_by_responses(openai)  # conversation 4
    await weather_by_messages(anthropic)  # conversation 5
    await gemini.tool(google)  # conversation 6
    await busy_by_chat(openai)  # conversation 7
    await jokes_by_chat(openai)  # conversations 8 and 9
    await refused_by_messages(anthropic)  # conversation 10
