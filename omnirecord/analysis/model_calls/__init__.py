"""The model calls of a cassette, linked to turns. No I/O, no clock.

    found = linked(calls, sessions, recordings)
    for link in found.of(turn): ...

- `values`: `Link`, `ModelCalls`, the objects of `show --json`, and where the time of a turn went.
- `correlate`: the rules. `places`: turns by message and history, `pairing`: equal texts by their times, the attempts of
  one request, and moves between the deltas of both hops.
"""
