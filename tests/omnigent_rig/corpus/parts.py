"""Stories in which a part of the stack stops: runner, server, session, recorder, connection."""

from __future__ import annotations

import contextlib
import os
import signal

import httpx
from omnigent_client import OmnigentError

from tests.omnigent_rig import agents, script
from tests.omnigent_rig.corpus import said
from tests.omnigent_rig.driver import Listener, conversation
from tests.omnigent_rig.scenarios import DELTA
from tests.omnigent_rig.troubles import GIVEN_UP_S, Bench, has_failed, in_a_turn, is_heartbeat


async def runner_restarted(bench: Bench) -> None:
    """The runner is killed in a turn and started again at once: the server runs the turn a second time."""
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        await bench.stack.kill_runner()
        await bench.stack.start_runner()
        await talk.stream.wait_for_end()
        await talk.look()


async def runner_restarted_late(bench: Bench) -> None:
    """The runner is killed in a turn; a new one starts once the server has given the turn up, and answers the next."""
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        await bench.stack.kill_runner()
        await talk.stream.wait_for(has_failed, timeout=GIVEN_UP_S)
        await talk.look()
        await bench.stack.start_runner()
        await talk.ask(script.GO_ON)


async def runner_frozen(bench: Bench) -> None:
    """The runner gets SIGSTOP in a turn; the client leaves after two heartbeats."""
    async with in_a_turn(bench) as talk:
        _runner(bench, signal.SIGSTOP)
        await talk.stream.wait_for(is_heartbeat, count=2)
        await talk.look()
    _runner(bench, signal.SIGCONT)


async def runner_frozen_for_a_while(bench: Bench) -> None:
    """The runner gets SIGSTOP in a turn and SIGCONT after two heartbeats; the turn ends well."""
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        _runner(bench, signal.SIGSTOP)
        await talk.stream.wait_for(is_heartbeat, count=2)
        _runner(bench, signal.SIGCONT)
        await talk.stream.wait_for_end()
        await talk.look()


async def message_without_runner(bench: Bench) -> None:
    """The runner is killed between two turns; the client's next message is answered with 503."""
    async with bench.conversation(agents.HELPER) as talk:
        await talk.ask(script.GO_ON)
        await bench.stack.kill_runner()
        with contextlib.suppress(OmnigentError):
            await talk.say(script.EXPLAIN)
        await talk.stream.wait_for(is_heartbeat)
        await talk.look()


async def server_killed_back(bench: Bench) -> None:
    """The server gets SIGKILL in a turn and starts again; the client reconnects and looks."""
    await _server_back(bench, signal.SIGKILL)


async def server_stopped_back(bench: Bench) -> None:
    """The server gets SIGTERM in a turn and starts again; the client reconnects and looks."""
    await _server_back(bench, signal.SIGTERM)


async def _server_back(bench: Bench, how: signal.Signals) -> None:
    async with in_a_turn(bench, said.TELL_SLOWLY) as talk:
        await bench.stack.stop_server(how)
        await talk.stream.wait_for_close()
        await bench.stack.start_server()
        await talk.stream.leave()
        talk.stream = Listener(talk.client, talk.session_id)
        await talk.stream.wait_for("session.heartbeat")
        await talk.look()
        await talk.stream.wait_for(is_heartbeat)
        await talk.look()


async def session_deleted(bench: Bench) -> None:
    """Another client deletes the session in a turn; the first one waits for two heartbeats."""
    async with in_a_turn(bench) as talk:
        await _delete(bench, talk.session_id)
        await talk.stream.wait_for(is_heartbeat, count=2)
        with contextlib.suppress(OmnigentError):
            await talk.look()


async def child_deleted(bench: Bench) -> None:
    """A client deletes the session of a sub-agent in its turn; both streams are left after two heartbeats."""
    async with bench.conversation(agents.WITH_REVIEWER) as talk:
        await talk.say(said.DELEGATE_SLOWLY)
        created = await talk.stream.wait_for("session.created")
        child = Listener(talk.client, created["child_session_id"])
        await child.wait_for(DELTA, count=5)
        await _delete(bench, created["child_session_id"])
        await child.wait_for(is_heartbeat, count=2)
        await child.leave()
        await talk.look()


async def recorder_killed(bench: Bench) -> None:
    """The recorder gets SIGKILL in a turn."""
    await recorder_stopped(bench)


async def recorder_stopped(bench: Bench) -> None:
    """The recorder is stopped in a turn."""
    async with in_a_turn(bench) as talk:
        await bench.stop_recording()
        await talk.stream.wait_for_close()


async def line_cut_below(bench: Bench) -> None:
    """The connection between client and recorder breaks in a turn; the client does not come back."""
    await _line_cut(bench)


async def line_cut_above(bench: Bench) -> None:
    """The connection between recorder and server breaks in a turn; the client looks at the session."""
    await _line_cut(bench)


async def line_cut_back(bench: Bench) -> None:
    """The connection between recorder and server breaks in a turn; the client reconnects and hears the end."""
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        assert bench.line is not None
        bench.line.cut()
        await talk.stream.wait_for_close()
        await talk.stream.leave()
        talk.stream = Listener(talk.client, talk.session_id)
        await talk.stream.wait_for_end()
        await talk.look()


async def _line_cut(bench: Bench) -> None:
    async with in_a_turn(bench, script.EXPLAIN) as talk:
        assert bench.line is not None
        bench.line.cut()
        await talk.stream.wait_for_close()
        await talk.look()


async def upstream_unreachable(bench: Bench) -> None:
    """The recorder's upstream does not listen: the client tries three times to make a session."""
    for _ in range(3):
        with contextlib.suppress(OmnigentError, httpx.HTTPError):
            async with conversation(bench.url, bench.stack.runner_id, agents.HELPER):
                pass


async def _delete(bench: Bench, session_id: str) -> None:
    async with httpx.AsyncClient(trust_env=False, headers={"Origin": "omnigent://internal"}) as http:
        (await http.delete(f"{bench.url}/v1/sessions/{session_id}")).raise_for_status()


def _runner(bench: Bench, how: signal.Signals) -> None:
    assert bench.stack.runner is not None
    os.kill(bench.stack.runner.pid, how)
