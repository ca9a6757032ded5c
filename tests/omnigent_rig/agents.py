"""The agents that the scenarios run, and the bundle that carries one to the server.

A bundle is a .tar.gz with one YAML file. Each is different from the last (a random comment in it): clients
never upload the same bytes twice, and a replay must not mind.
"""

from __future__ import annotations

import io
import tarfile
from secrets import token_hex

_HELPER = """\
name: helper
prompt: You are a friendly assistant. Answer in a few plain sentences.
executor:
  harness: openai-agents
  model: stand-in
"""

_SHELL = """\
os_env:
  type: caller_process
  cwd: .
  sandbox:
    type: none
    allow_network: true
"""

_ASKS_FIRST = """\
policies:
  always_ask_on_input:
    type: function
    on: [request]
    function:
      path: omnigent.policies.function.make_fixed_action_callable
      arguments:
        action: ask
        reason: Confirm this message before I process it.
        on_phases: [request]
"""

_BRIEFLY = """\
    ask_timeout: 5
"""

_REVIEWER = """\
tools:
  reviewer:
    type: agent
    description: Reads a plan and says whether it is sound.
    prompt: You review plans. Answer in one sentence.
    executor:
      harness: openai-agents
      model: stand-in
"""

HELPER = _HELPER
WITH_SHELL_AND_CHAT = f"{_HELPER}  use_responses: false\n{_SHELL}"
"""Its harness calls the model over Chat Completions instead of Responses."""
WITH_SHELL = _HELPER + _SHELL
ASKS_FIRST = _HELPER + _ASKS_FIRST
ASKS_FIRST_BRIEFLY = ASKS_FIRST + _BRIEFLY
ASKS_FIRST_WITH_SHELL = _HELPER + _SHELL + _ASKS_FIRST
WITH_REVIEWER = _HELPER + _REVIEWER


def bundle(agent: str) -> bytes:
    """The agent as the server wants it uploaded; other bytes each time."""
    content = f"# {token_hex(8)}\n{agent}".encode()
    member = tarfile.TarInfo("helper.yaml")
    member.size = len(content)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
