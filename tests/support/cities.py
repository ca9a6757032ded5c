"""The provider of `cassettes/cities/agent.py`: a script that asks for the weather of six cities, one after the other.

    async with CitiesApi() as provider:
        provider.url  # http://127.0.0.1:PORT/v1

The small model gives up at the seventh call, unless the question asks for one name. The large model does not.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

from tests.omnigent_rig.provider import Answer, Failure, Item, Step, ToolCall
from tests.support.providers import ModelApis, Raw

SMALL = "gpt-5-mini"
_CITIES = ("Rome", "Oslo", "Cairo", "Lima", "Paris", "Tokyo")


class CitiesApi(ModelApis):
    def __init__(self) -> None:
        super().__init__({})

    def step_for(self, items: list[Item]) -> Answer | ToolCall | Failure | Raw:  # type: ignore[override]
        """Return the step for the model of the newest request."""
        question = next(item["content"] for item in reversed(items) if item.get("role") == "user")
        if self.requests[-1]["model"] != SMALL:
            end = "Cairo is the warmest, with 28 degrees."
        else:
            end = "Cairo." if "one name" in question else "I cannot compare so many cities."
        calls: Step = reduce(_before, reversed(_CITIES), Answer(end))
        self.script = {question: calls}
        found: Any = super().step_for(items)
        return found


def _before(then: Step, city: str) -> ToolCall:
    return ToolCall("weather", {"city": city}, then=then)
