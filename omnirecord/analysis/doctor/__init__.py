"""Findings: what is wrong with a recorded session. No socket, no clock. Reads each frame once.

Each file of checks is named after its subject:

- `turns`: how turns end, their silences
- `tools`: tools, sub-agents, approvals
- `endings`: why a stream ended in the middle of a turn; reconnects, refused and failed requests, deleted sessions
- `model`: model calls
- `stream`: the bytes of one stream: its events (contract, order, copies), heartbeats, a slow reader, `[DONE]`
- `status`: the session's status on one stream
- `items`: texts and items, on the stream and as stored

Most checks are functions over the session that `show` prints (`session.Examined`). Those of `stream`, `status` and
`items` read the events of one stream.

`checks` is the table of checks. To add a check, add an entry to `checks.CODES`, and to `checks.EXPLAINS` if it is a
cause.
Put the check into the file of its subject, its example into `tests/support/doctor_examples.py`, and its page into
`docs/doctor/`.

A check returns a `Sign`. `finding.explained` makes findings of signs, each with its cause. `examine.examine` runs all
checks on an open cassette. All work is linear in the number of frames.
"""
