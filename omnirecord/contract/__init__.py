"""Contracts, which judge events: the engine. Nothing here knows an API.

- `judge`: from a frame to its verdict (`Contract`), and the rules of an API for its streams (`Api`). `ByPath` is chosen
  for each exchange.
- `models`, `openapi`: contracts of pydantic models and of an unknown API; of an OpenAPI document or a JSON Schema.
- `events`: the base classes of models. `known_fields`: the fields that a contract names. `shapes`: the shapes of valid
  events, so that equal ones need no parsing.
"""
