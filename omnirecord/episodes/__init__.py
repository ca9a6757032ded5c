"""Answers from a recording, and lets a server answer the rest, which is recorded: mode `new_episodes`, and forks.

    episodes = Episodes("weather.db", {"openai": "https://api.openai.com"}, into="new.db", decide=decide)
    with episodes as server:        # or `async with`
        server.urls["openai"]       # where clients connect; server.url is the first hop
    episodes.served                 # all requests: (hop, Served) with `source`, `why`, `status`
    episodes.db, episodes.recorded  # the cassette, and the number of exchanges in it

`Episodes` is a `Replay` whose `Beyond` is a recorder. `into` is a new cassette: it gets the exchanges of the upstream,
and the answers from the recording, each marked with its exchange there (`Exchange.answered_from`). Without `into`, the
exchanges of the upstream are appended to the cassette, and answers from it are not recorded again.

`decide` gets a `Question` for each request (`replayer.beyond`): its hop, the request with its whole body, and the
recorded exchange that would answer. It returns

- "recording": only the recording may answer; a request that matches nothing gets the refusal of a replay,
- "either", the default: the recording answers, or else the upstream,
- an `Incoming`: this request goes to the upstream at once, changed or not (`with_body` changes the body). A recorded
  exchange that would have answered counts as sent.

Upstreams that the cassette has no hop for are recorded as by a proxy, with a listener of their own.
"""
