"""The model calls of a cassette, linked to turns. No I/O, no clock.

    found = linked(calls, sessions, recordings)
    for link in found.of(turn): ...

- `values`: `Link`, `ModelCalls`, and the objects of `show --json`.
- `correlate`: the rules. `features`: messages and history as keys, `pairing`: equal texts by their times, `retries`:
  attempts of one request.
- `spent`: where the time of a turn went.
"""

from __future__ import annotations

from .correlate import linked
from .spent import FirstToken, TimeSpent, first_token, time_spent
from .values import By, Certainty, Link, ModelCalls, Offset, TurnKey, call_row, key_of, requests_of

__all__ = [
    "By", "Certainty", "FirstToken", "Link", "ModelCalls", "Offset", "TimeSpent", "TurnKey", "call_row", "first_token",
    "key_of", "linked", "requests_of", "time_spent",
]  # fmt: skip
