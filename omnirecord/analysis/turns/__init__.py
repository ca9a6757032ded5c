"""The turns of a session, from its exchanges, frames and client actions. No I/O, no clock, no printing.

    session, drafts = session_of(exchanges, frames, acts)
    for turn in session.turns: ...

- `session_builder` makes one sequence of frames out of a session's streams, so that each event is in it once. It gives
  these frames to a `TurnBuilder` (`builder`), which has the turns. A turn is a `Draft` until nothing follows, and then
  a frozen `Turn` (`values`).
- `events` adds each event to its turn by its type, `builder` each output item.
- `requests` reads what clients did: messages, interrupts, answers, and what the server refused.
- `why_stopped` finds out why a recording holds no more of a session; `conclusion` has that in one line.

The work is linear in the number of frames. No frame makes it fail: an event that fits no type is counted, and read as
far as possible.
"""
