"""The fault harness: the real commands as processes, between hostile upstreams and hostile clients on loopback.

A *row* (`rows_*.py`) is one thing that goes wrong: what upstream does with a connection, what the client does, and what
is expected. Each is run twice, without and with the proxy; `docs/reliability.md` lists their results.
"""
