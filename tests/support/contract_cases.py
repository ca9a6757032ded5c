"""What the tests of the contracts share: an example of each event, and short ways to judge one.

`contract_events.jsonl` has one made-up event of each of the 56 types, each with every key field of the page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from omnirecord.contract.judge import Contract, Judgement
from omnirecord.omnigent.contract import ServerStreamEvent, load
from omnirecord.wire.sse import Frame

EXAMPLES: dict[str, dict[str, Any]] = {
    event["type"]: event
    for event in map(json.loads, Path(__file__).with_name("contract_events.jsonl").read_text().splitlines())
}
OMNIGENT = load("omnigent")
DOCUMENTED = load("documented")
DELTA = '{"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hi"%s}'


def frame(data: str | None, event: str | None = None, *, complete: bool = True, raw: bytes | None = b"") -> Frame:
    return Frame(raw, 0, complete, event, data)


def judge(payload: Any, contract: Contract = OMNIGENT, event: str | None = None) -> Judgement:
    return contract.judge(frame(json.dumps(payload), event))


def paths(judgement: Judgement) -> list[str]:
    return [issue.path for issue in judgement.issues]


def edited(payload: Any, path: str, **new: Any) -> Any:
    """A copy without the value at a path, or with another one there. `[]` goes to the first element."""
    payload = json.loads(json.dumps(payload))
    *parents, last = path.replace("[]", ".0").split(".")
    parent = payload
    for step in parents:
        parent = parent[int(step) if step.isdigit() else step]
    del parent[last]
    return payload if not new else _put(payload, parent, last, new["value"])


def _put(payload: Any, parent: Any, name: str, value: Any) -> Any:
    parent[name] = value
    return payload


def document_of_models() -> dict[str, Any]:
    """Return an openapi.json with the events of Omnigent, made of the models."""
    schema = TypeAdapter(ServerStreamEvent).json_schema(ref_template="#/components/schemas/{model}")
    components = {**schema.pop("$defs"), "ServerStreamEvent": schema}
    return {"openapi": "3.1.0", "components": {"schemas": components}}


def loaded(folder: Path, document: Any) -> Contract:
    path = folder / "openapi.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return load(path)
