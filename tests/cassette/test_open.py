"""Reading a cassette from Python."""

from __future__ import annotations

from pathlib import Path

import omnirecord
from omnirecord.cassette.open import import_file
from omnirecord.contract.base import UntypedEvent
from omnirecord.omnigent.contract import CompletedEvent, OutputTextDeltaEvent

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"


def test_events_are_typed_models() -> None:
    with omnirecord.open_cassette(CASSETTES / "text.jsonl") as cassette:
        (stream,) = cassette.streams()
        events = list(stream.events())
    text = "".join(event.delta for event in events if isinstance(event, OutputTextDeltaEvent))
    (completed,) = (event for event in events if isinstance(event, CompletedEvent))
    assert text.startswith("A flight recorder")
    assert completed.response.status == "completed"


def test_what_fits_no_model_is_there_untyped(tmp_path: Path) -> None:
    body = b': hi\n\ndata: {"type": "new.thing", "x": 1}\n\ndata: nonsense\n\ndata: [DONE]\n\n'
    (tmp_path / "odd.sse").write_bytes(body)
    import_file(tmp_path / "odd.sse", tmp_path / "odd.db")
    with omnirecord.open_cassette(tmp_path / "odd.db") as cassette:
        (stream,) = cassette.streams()
        new, nonsense = stream.events()
        assert [frame.verdict for frame in stream.frames()] == ["comment", "valid", "valid", "sentinel"]
        assert stream.body() == body
    assert isinstance(new, UntypedEvent)
    assert (new.type, new.model_extra) == ("new.thing", {"x": 1})
    assert nonsense.type is None


def test_exchanges_have_their_bodies() -> None:
    with omnirecord.open_cassette(CASSETTES / "text.jsonl") as cassette:
        create = cassette.exchanges()[0]
        assert (create.request.method, create.request.target) == ("POST", "/v1/sessions")
        assert b"bundle" in cassette.body(create, "request")
        assert create.session_id is not None
        assert create.session_id.encode() in cassette.body(create, "response")


def test_a_session_has_its_streams_only() -> None:
    with omnirecord.open_cassette(CASSETTES / "subagent.jsonl") as cassette:
        sessions = {stream.session_id for stream in cassette.streams()}
        assert len(sessions) == 2
        for session in sessions:
            assert {stream.session_id for stream in cassette.streams(session)} == {session}


def test_a_byte_order_mark_costs_no_event(tmp_path: Path) -> None:
    (tmp_path / "bom.sse").write_bytes(b'\xef\xbb\xbfdata: {"type": "session.heartbeat"}\n\n')
    import_file(tmp_path / "bom.sse", tmp_path / "bom.db")
    with omnirecord.open_cassette(tmp_path / "bom.db") as cassette:
        (stream,) = cassette.streams()
        (event,) = stream.events()
    assert event.type == "session.heartbeat"
