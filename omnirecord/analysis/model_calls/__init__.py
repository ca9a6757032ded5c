"""The model calls of a cassette, linked to turns. No I/O, no clock.

    found = linked(calls, sessions, recordings)
    for link in found.of(turn): ...

- `values`: `Link`, `ModelCalls`, and the objects of `show --json`.
- `correlate`: the rules. `features`: messages and history as keys, `pairing`: equal texts by their times, `retries`:
  attempts of one request.
- `spent`: where the time of a turn went.
"""
