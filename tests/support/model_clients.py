"""The clients of OpenAI and Anthropic in every way of use, for a live provider and for a replay of it.

`SCRIPT` is what the provider answers. Each of `USES` takes the base URL of a server, without `/v1`, and returns what
the client got. All are unmodified clients; only their address and their key are given.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.omnigent_rig.provider import Answer, Failure, InTurn, Step, ToolCall
from tests.support.later import later

anthropic = later("anthropic")
openai = later("openai")

KEYS = {"openai": "sk-proj-SeventeenSecretsOfOpenAi00", "anthropic": "sk-ant-api03-SecretsOfAnthropic0000"}
SCRIPT: Mapping[str, Step] = {
    "Hi": Answer("Hello there, friend of the sea.", reasoning="A greeting.", delay_ms=2),
    "Weather?": ToolCall("weather", {"city": "Rome"}, then=Answer("It is sunny in Rome.", delay_ms=2)),
    "Busy?": InTurn((Failure("Slow down.", 429, "rate_limit_exceeded"), Answer("Sorry for the wait."))),
    "Overloaded?": InTurn((Failure("Overloaded", 529, "overloaded_error"), Answer("There is room again."))),
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
RESPONSES_TOOL: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": True}}
ANTHROPIC_TOOL: Any = {"name": "weather", "input_schema": SCHEMA}
HI: Any = [{"role": "user", "content": "Hi"}]
Use = Callable[[str], Awaitable[object]]


def openai_client(url: str, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEYS["openai"], **options)


def anthropic_client(url: str, **options: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key=KEYS["anthropic"], **options)


async def responses_stream(url: str) -> str:
    async with openai_client(url) as client:
        stream = await client.responses.create(model="m", input="Hi", stream=True)
        return "".join([one.delta async for one in stream if one.type == "response.output_text.delta"])


async def responses_whole(url: str) -> str:
    async with openai_client(url) as client:
        return (await client.responses.create(model="m", input="Hi")).output_text


async def responses_tool(url: str) -> list[object]:
    """The streaming helper, a call, and the answer to its output."""
    async with openai_client(url) as client:
        async with client.responses.stream(model="m", input="Weather?", tools=[RESPONSES_TOOL]) as stream:
            called = [one.type async for one in stream]
            first = await stream.get_final_response()
        call: Any = first.output[0]
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        items: Any = [{"role": "user", "content": "Weather?"}, call.model_dump(exclude={"parsed_arguments"}), output]
        second = await client.responses.create(model="m", input=items, tools=[RESPONSES_TOOL])
    return [called, call.name, call.arguments, second.output_text]


async def chat_stream(url: str) -> str:
    async with openai_client(url) as client:
        stream = await client.chat.completions.create(
            model="m", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        return "".join([one.choices[0].delta.content or "" async for one in stream if one.choices])


async def chat_tool(url: str) -> list[object]:
    async with openai_client(url) as client:
        messages: list[Any] = [{"role": "user", "content": "Weather?"}]
        async with client.chat.completions.stream(model="m", messages=messages, tools=[CHAT_TOOL]) as stream:
            types = [one.type async for one in stream]
            message = (await stream.get_final_completion()).choices[0].message
        assert message.tool_calls
        call: Any = message.tool_calls[0]
        plain = {
            "id": call.id,
            "type": "function",
            "function": {"name": call.function.name, "arguments": call.function.arguments},
        }
        messages += [{"role": "assistant", "tool_calls": [plain]}]
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        second = await client.chat.completions.create(model="m", messages=messages, tools=[CHAT_TOOL])
    return [types, call.function.arguments, second.choices[0].message.content]


async def messages_stream(url: str) -> list[str]:
    async with anthropic_client(url) as client, client.messages.stream(model="c", max_tokens=9, messages=HI) as stream:
        text = "".join([one async for one in stream.text_stream])
        return [text, str((await stream.get_final_message()).stop_reason)]


async def messages_tool(url: str) -> list[object]:
    async with anthropic_client(url) as client:
        messages: list[Any] = [{"role": "user", "content": "Weather?"}]
        stream = await client.messages.create(
            model="c", max_tokens=9, messages=messages, tools=[ANTHROPIC_TOOL], stream=True
        )
        types = [one.type async for one in stream]
        first = await client.messages.create(model="c", max_tokens=9, messages=messages, tools=[ANTHROPIC_TOOL])
        call: Any = first.content[0]
        messages += [{"role": "assistant", "content": [call.model_dump()]}]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
        messages += [{"role": "user", "content": [result]}]
        second: Any = await client.messages.create(model="c", max_tokens=9, messages=messages, tools=[ANTHROPIC_TOOL])
    return [types, call.input, second.content[0].text]


async def retried(url: str) -> list[object]:
    """A 429 and a 529, each retried by the client."""
    async with openai_client(url) as one, anthropic_client(url) as other:
        first = await one.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": "Busy?"}]
        )
        second = await other.messages.with_raw_response.create(
            model="c", max_tokens=9, messages=[{"role": "user", "content": "Overloaded?"}]
        )
        text: Any = (await second.parse()).content[0]
        return [first.retries_taken, first.parse().choices[0].message.content, second.retries_taken, text.text]


async def synchronous(url: str) -> list[object]:
    """The clients without async, in a thread."""
    return await asyncio.to_thread(_synchronous, url)


def _synchronous(url: str) -> list[object]:
    got: list[object] = []
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEYS["openai"]) as client:
        with client.responses.stream(model="m", input="Hi") as stream:
            got.append([one.type for one in stream])
        with client.responses.create(model="m", input="Hi", stream=True) as events:
            got.append([json.loads(one.to_json()) for one in events][-1]["type"])
        chunks = client.chat.completions.create(model="m", messages=HI, stream=True)
        got.append("".join(one.choices[0].delta.content or "" for one in chunks if one.choices))
        got.append([one.id for one in client.models.list()])
    with anthropic.Anthropic(base_url=url, api_key=KEYS["anthropic"]) as other:
        with other.messages.stream(model="c", max_tokens=9, messages=HI) as told:
            got.append("".join(told.text_stream))
        got.append(other.messages.create(model="c", max_tokens=9, messages=HI).to_json())
    return got


USES: Mapping[str, Use] = {
    use.__name__: use
    for use in (
        responses_stream, responses_whole, responses_tool, chat_stream, chat_tool, messages_stream, messages_tool,
        retried, synchronous,
    )
}  # fmt: skip


async def use_all(url: str) -> dict[str, object]:
    """Return what every use got."""
    return {name: await use(url) for name, use in USES.items()}
