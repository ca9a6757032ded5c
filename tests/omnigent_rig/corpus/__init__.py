"""The corpus: stories of broken and of healthy sessions, each told by real clients to a real server.

said.py     user messages and the model's answers      parts.py    runner, server, session, recorder, connection
asking.py   approvals and requests                     turns.py    tools and the model
clients.py  clients that leave, and sub-agents         healthy.py  rare events

`STORIES` has them by name; `tests/support/corpus.py` says what is done in each, and what `doctor` has to find.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.omnigent_rig.corpus import asking, clients, healthy, parts, turns
from tests.omnigent_rig.troubles import Bench

Wiring = Literal["plain", "process", "line below", "line above", "decoder above", "no upstream"]


@dataclass(frozen=True)
class Story:
    """`alone`: it needs a stack of its own. `wiring`: the recorder is in this process, in its own process, behind or
    in front of a line that can be cut, in front of a proxy that decodes requests, or its upstream does not listen."""

    tell: Callable[[Bench], Awaitable[None]]
    alone: bool = False
    wiring: Wiring = "plain"


def _named(*stories: Story) -> dict[str, Story]:
    return {story.tell.__name__: story for story in stories}


STORIES: Mapping[str, Story] = {
    **_named(
        Story(parts.runner_restarted, alone=True),
        Story(parts.session_deleted),
        Story(parts.child_deleted),
    ),
    **{name: Story(story) for name, story in turns.ASKED.items() if name.startswith("tool")},
    **_named(
        Story(asking.approval_post_closed),
        Story(asking.approval_expired),
        Story(asking.approval_too_late),
        Story(asking.approval_after_restart, alone=True),
        Story(asking.approval_declined),
        Story(asking.approval_answered_twice),
        Story(asking.approval_pending),
        Story(clients.left_in_turn),
        Story(clients.left_while_tool_ran),
        Story(clients.missed_end_unread),
        Story(asking.patch_refused),
        Story(asking.message_unbound),
        Story(asking.message_malformed),
        Story(asking.session_unknown),
        Story(asking.gzip_refused),
        Story(asking.gzip_turn_failed, wiring="decoder above"),
        Story(asking.gzip_turns, wiring="decoder above"),
        Story(parts.message_without_runner, alone=True),
        Story(parts.server_killed_back, alone=True),
        Story(parts.server_stopped_back, alone=True),
        Story(parts.runner_restarted_late, alone=True),
        Story(parts.runner_frozen, alone=True),
        Story(parts.runner_frozen_for_a_while, alone=True),
        Story(parts.recorder_killed, wiring="process"),
        Story(parts.recorder_stopped),
        Story(parts.line_cut_below, wiring="line below"),
        Story(parts.line_cut_above, wiring="line above"),
        Story(parts.line_cut_back, wiring="line above"),
        Story(parts.upstream_unreachable, wiring="no upstream"),
        Story(clients.one_of_two_left),
        Story(clients.interrupted_tool),
        Story(clients.child_unheard),
        Story(clients.child_hangs_unheard),
        Story(clients.child_joined_early),
        Story(healthy.rare_events),
        Story(healthy.native_harness),
        Story(healthy.terminal_while_booting),
        Story(turns.model_silent),
        Story(turns.model_out_of_order),
    ),
    **{name: Story(story) for name, story in turns.ASKED.items() if name.startswith("model")},
}
