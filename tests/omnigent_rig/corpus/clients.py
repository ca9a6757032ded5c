"""Stories in which a client leaves, comes back, or does not listen."""

from __future__ import annotations

from omnigent_client import OmnigentClient

from tests.omnigent_rig import agents, script
from tests.omnigent_rig.corpus import said
from tests.omnigent_rig.driver import Listener
from tests.omnigent_rig.scenarios import DELTA
from tests.omnigent_rig.troubles import Bench, at_rest, in_a_turn, is_heartbeat


async def left_in_turn(bench: Bench) -> None:
    """The only client leaves in a turn and does not come back."""
    async with in_a_turn(bench) as talk:
        await talk.stream.leave()


async def left_while_tool_ran(bench: Bench) -> None:
    """The only client leaves while a tool runs."""
    async with bench.conversation(agents.WITH_SHELL) as talk:
        await talk.say(said.SLEEP_TOOL)
        await talk.stream.wait_for(_is_call)
        await talk.stream.leave()


async def missed_end_unread(bench: Bench) -> None:
    """A client leaves in a turn, comes back after its end, and reads no snapshot: it goes on waiting."""
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        await talk.stream.leave()
        await at_rest(bench.stack.url, talk.session_id)
        talk.stream = Listener(talk.client, talk.session_id)
        await talk.stream.wait_for(is_heartbeat, count=2)


async def one_of_two_left(bench: Bench) -> None:
    """Two clients listen; one of them is cut off in the turn and stays away, the other hears the end."""
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        async with OmnigentClient(bench.url) as guest:
            other = Listener(guest, talk.session_id)
            await other.wait_for(DELTA, count=2)
            await other.leave()
        await talk.stream.wait_for_end()
        await talk.look()


async def interrupted_tool(bench: Bench) -> None:
    """The user interrupts while a tool runs."""
    async with bench.conversation(agents.WITH_SHELL) as talk:
        await talk.say(said.SLEEP_TOOL)
        await talk.stream.wait_for(_is_call)
        await talk.interrupt()


async def child_unheard(bench: Bench) -> None:
    """A session asks a sub-agent, whose stream no client opens; the answer comes back all the same."""
    async with bench.conversation(agents.WITH_REVIEWER) as talk:
        await talk.say(script.DELEGATE)
        await talk.stream.wait_for_end()
        await talk.stream.wait_for_turn()
        await talk.look()


async def child_hangs_unheard(bench: Bench) -> None:
    """A session asks a sub-agent, whose model falls silent and whose stream no client opens."""
    async with bench.conversation(agents.WITH_REVIEWER) as talk:
        await talk.say(script.DELEGATE_IN_VAIN)
        await talk.stream.wait_for_end()
        await talk.stream.wait_for(is_heartbeat, count=2)
        await talk.look()


async def child_joined_early(bench: Bench) -> None:
    """A client opens the stream of a sub-agent when its status is `running` and its turn has not begun."""
    async with bench.conversation(agents.WITH_REVIEWER) as talk:
        await talk.say(script.DELEGATE)
        created = await talk.stream.wait_for("session.created")
        await talk.stream.wait_for("session.child_session.updated", count=3)
        child = Listener(talk.client, created["child_session_id"])
        await child.wait_for_end()
        await child.leave()
        await talk.stream.wait_for_end()
        await talk.stream.wait_for_turn()
        await talk.look()


def _is_call(event: dict[str, object]) -> bool:
    item = event.get("item")
    return isinstance(item, dict) and item.get("type") == "function_call"
