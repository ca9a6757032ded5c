"""An MCP server with the tools of a weather station, and a client that uses all of them: both are the `mcp` package's.

The server answers over streamable HTTP. With `as_json` it answers each POST with one JSON document, otherwise with a
stream that also carries progress, log messages and questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult, LoggingMessageNotificationParams
from pydantic import BaseModel

from .served import served

SESSION = "mcp-session-id"


class Unit(BaseModel):
    """The answer to a question of the server."""

    fahrenheit: bool


def weather_server(*, as_json: bool = False) -> FastMCP:
    server = FastMCP("weather", json_response=as_json, log_level="ERROR")

    @server.tool()
    async def forecast(city: str, days: int, context: Context[Any, Any, Any]) -> str:
        """Return the forecast for a city, day by day."""
        await context.info(f"asked for {city}")
        for day in range(1, days + 1):
            await asyncio.sleep(0.1)
            await context.report_progress(day, days, f"day {day}")
        return f"{city}: sunny for {days} days"

    @server.tool()
    async def convert(celsius: float, context: Context[Any, Any, Any]) -> str:
        """Return a temperature in the unit that the user wants."""
        answer = await context.elicit("Fahrenheit?", Unit)
        if answer.action == "accept" and answer.data.fahrenheit:
            return f"{celsius * 9 / 5 + 32:g} °F"
        return f"{celsius:g} °C"

    @server.tool()
    def broken(sensor: str) -> str:
        """Fail always."""
        raise ValueError(f"{sensor} is broken")

    @server.resource("station://one")
    def station() -> str:
        """The station's data sheet."""
        return "height: 12 m"

    return server


@asynccontextmanager
async def weather(*, as_json: bool = False) -> AsyncIterator[str]:
    """Yield the URL of a running server."""
    async with served(weather_server(as_json=as_json).streamable_http_app()) as url:
        yield url


class Visit:
    """One client with one MCP session. `seen`: everything that it was told, in order."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/mcp"
        self.seen: list[str] = []

    async def go(self, cities: Sequence[str] = ("Oslo",), *, asks: bool = True) -> list[str]:
        """Use every tool, and return what the client was told."""
        listening = asyncio.Event()

        async def on_response(response: httpx.Response) -> None:
            if response.request.method == "GET" and response.status_code == 200:
                listening.set()

        http = httpx.AsyncClient(event_hooks={"response": [on_response]}, timeout=httpx.Timeout(10, read=30))
        async with http, streamable_http_client(self._url, http_client=http) as (read, write, _):  # noqa: SIM117
            async with ClientSession(
                read, write, elicitation_callback=self.answer, logging_callback=self._log
            ) as session:
                begun = await session.initialize()
                self.seen.append(f"server {begun.serverInfo.name}")
                async with asyncio.timeout(10):
                    await listening.wait()
                tools = await session.list_tools()
                self.seen.append(f"tools {' '.join(tool.name for tool in tools.tools)}")
                resource = await session.read_resource("station://one")  # type: ignore[arg-type]
                self.seen.append(f"resource {resource.contents[0].text}")  # type: ignore[union-attr]
                for city in cities:
                    await self._call(session, "forecast", {"city": city, "days": 2})
                if asks:
                    await self._call(session, "convert", {"celsius": 20})
                await self._call(session, "broken", {"sensor": "wind"})
        return self.seen

    async def _call(self, session: ClientSession, name: str, arguments: dict[str, Any]) -> None:
        result = await session.call_tool(name, arguments, progress_callback=self._progress)
        self.seen.append(f"{name}: {text_of(result)}")

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.seen.append(f"progress {progress:g} of {total:g}: {message}")

    async def _log(self, params: LoggingMessageNotificationParams) -> None:
        self.seen.append(f"log {params.data}")

    async def answer(self, _context: Any, params: ElicitRequestParams) -> ElicitResult:
        self.seen.append(f"asked {params.message}")
        return ElicitResult(action="accept", content={"fahrenheit": True})


def text_of(result: CallToolResult) -> str:
    return "".join(getattr(part, "text", "") for part in result.content)
