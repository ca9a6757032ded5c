"""An agent that finds the warmest of six cities."""

import json

import openai

WEATHER = {"Rome": 21, "Oslo": 3, "Cairo": 28, "Lima": 19, "Paris": 12, "Tokyo": 15}
TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}

client = openai.OpenAI()
messages = [{"role": "user", "content": f"Which city is the warmest: {', '.join(WEATHER)}?"}]
while True:
    answer = client.chat.completions.create(
        model="gpt-5-mini", messages=messages, tools=[{"type": "function", "function": TOOL}]
    )
    message = answer.choices[0].message
    if not message.tool_calls:
        break
    messages.append(message)
    for call in message.tool_calls:
        city = json.loads(call.function.arguments)["city"]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"{WEATHER[city]} degrees"})
print(message.content)
