"""Everything specific to Omnigent. The other packages import these modules, and no event type or path stands in them:

- `protocol`: event types by their role (`HEARTBEATS`, `RESPONSE_BEGINS`, `ENDS`…), error codes, fixed texts; and the
  frames of a stream that tell of the state at connect (`connect_snapshot_length`).
- `routes`: what a method and a target mean (`session_of`, `is_gate`, `opens_session_stream`…), and the sender of a
  request (`Parties`, `party_name`); the answers that tell the version of the server (`version_in`).
- `summary`: an event in one line (`summary`), or in a sentence of a turn (`sentence`).
- `contract`: judges events (`load`, `Contract`), with the models of `response_events` and `session_events`.

A contract for another kind of stream gets a package beside this one, with the modules that it needs.
`tests/omnigent/test_protocol.py` checks the rule.
"""
