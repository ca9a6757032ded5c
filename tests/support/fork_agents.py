"""Agent programs with the SDKs of four model APIs, unmodified: three calls, of which the last one is retried.

Call 1 asks for the weather, and gets a tool call. Call 2 has the output of the tool. Call 3 asks “Busy?” in the same
conversation; the provider refuses it once with status 429. Calls 1 and 3 are streamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.omnigent_rig.provider import Answer, Failure, InTurn, Step, ToolCall

SCRIPT: Mapping[str, Step] = {
    "Weather?": ToolCall("weather", {"city": "Rome"}, then=Answer("It is sunny in Rome.")),
    "Snow?": Answer("There is no snow."),
    "Busy?": InTurn((Failure("Slow down.", 429, "rate_limit_exceeded"), Answer("Sorry for the wait."))),
    "Hi": Answer("Hello there."),
}
SAID = "It is sunny in Rome.\nSorry for the wait.\n"
_CHAT = """
import openai
client = openai.OpenAI()
ask = client.chat.completions.create
tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}]
with client.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
    for _ in stream: pass
    said = stream.get_final_completion().choices[0].message
for call in said.tool_calls or ():
    messages.append({"role": "assistant", "tool_calls": [{"id": call.id, "type": "function",
        "function": {"name": call.function.name, "arguments": call.function.arguments}}]})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
if said.tool_calls:
    said = ask(model="m", messages=messages, tools=tools).choices[0].message
print(said.content)
messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": "Busy?"}]
with client.chat.completions.stream(model="m", messages=messages, tools=tools) as stream:
    for _ in stream: pass
    print(stream.get_final_completion().choices[0].message.content)
"""
_RESPONSES = """
import openai
client = openai.OpenAI()
tools = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
items = [{"role": "user", "content": "Weather?"}]
def ask(**more): return client.responses.create(model="m", input=items, tools=tools, instructions="Be brief.", **more)
def streamed():
    with ask(stream=True) as stream:
        return [one.response for one in stream if one.type == "response.completed"][0]
said = streamed()
calls = [one for one in said.output if one.type == "function_call"]
for call in calls:
    items.append({"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments})
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
if calls:
    said = ask()
print(said.output_text)
items += [{"role": "assistant", "content": said.output_text}, {"role": "user", "content": "Busy?"}]
print(streamed().output_text)
"""
_MESSAGES = """
import anthropic
client = anthropic.Anthropic()
tools = [{"name": "weather", "input_schema": {"type": "object"}}]
more = dict(model="m", max_tokens=99, system="Be brief.", tools=tools)
messages = [{"role": "user", "content": "Weather?"}]
def streamed():
    with client.messages.stream(messages=messages, **more) as stream:
        return stream.get_final_message()
said = streamed()
calls = [one for one in said.content if one.type == "tool_use"]
for call in calls:
    asked = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
    messages.append({"role": "assistant", "content": [asked]})
    messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]})
if calls:
    said = client.messages.create(messages=messages, **more)
print(said.content[0].text)
messages += [{"role": "assistant", "content": said.content[0].text}, {"role": "user", "content": "Busy?"}]
print(streamed().content[0].text)
"""
_GEMINI = """
from google import genai
from google.genai import types
client = genai.Client(http_options={"retry_options": {"attempts": 3, "initial_delay": 0.01, "max_delay": 0.02}})
tool = {"function_declarations": [{"name": "weather", "parameters_json_schema": {"type": "object"}}]}
config = {"tools": [tool], "system_instruction": "Be brief.", "automatic_function_calling": {"disable": True}}
contents = [types.Content(role="user", parts=[types.Part(text="Weather?")])]
pieces = list(client.models.generate_content_stream(model="m", contents=contents, config=config))
calls = [call for piece in pieces for call in piece.function_calls or ()]
text = "".join(piece.text or "" for piece in pieces) if not calls else ""
for call in calls:
    contents.append(pieces[0].candidates[0].content)
    part = types.Part.from_function_response(name=call.name, response={"result": "sunny"})
    contents.append(types.Content(role="user", parts=[part]))
if calls:
    text = client.models.generate_content(model="m", contents=contents, config=config).text
print(text)
contents += [types.Content(role="model", parts=[types.Part(text=text)]),
             types.Content(role="user", parts=[types.Part(text="Busy?")])]
print("".join(p.text or "" for p in client.models.generate_content_stream(model="m", contents=contents, config=config)))
"""


@dataclass(frozen=True)
class Agent:
    """`question`, `output`: the paths of the last message and of the tool's output, as `fork --set` takes them."""

    name: str
    program: str
    variable: str
    key: str
    question: str
    output: str


AGENTS = (
    Agent("chat", _CHAT, "OPENAI_BASE_URL", "OPENAI_API_KEY", "messages[-1].content", "messages[-1].content"),
    Agent("responses", _RESPONSES, "OPENAI_BASE_URL", "OPENAI_API_KEY", "input[-1].content", "input[-1].output"),
    Agent(
        "messages", _MESSAGES, "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY",
        "messages[-1].content", "messages[-1].content[0].content",
    ),
    Agent(
        "gemini", _GEMINI, "GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY",
        "contents[-1].parts[0].text", "contents[-1].parts[0].functionResponse.response.result",
    ),
)  # fmt: skip
"""An agent for each API."""
