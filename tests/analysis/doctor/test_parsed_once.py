"""Payloads that two readers of a frame need are parsed once."""

from __future__ import annotations

from omnirecord.analysis.doctor.examine import ParsedOnce
from omnirecord.model import TimedFrame


def numbered(seq: int, number: int) -> TimedFrame:
    raw = b'data: {"type": "response.output_text.delta", "sequence_number": %d}\n\n' % number
    return TimedFrame(1, seq, number, None, raw, len(raw), "response.output_text.delta", "valid", ())


def test_a_frame_never_gets_the_payload_of_another_one_with_its_number() -> None:
    parsed = ParsedOnce()
    for chunk in parsed.chunks([[numbered(seq, seq) for seq in range(100)]]):
        assert [data["sequence_number"] for data in parsed(chunk)] == list(range(100))
    del chunk
    later = [numbered(seq, seq + 1000) for seq in range(100)]
    assert [data["sequence_number"] for data in parsed(later)] == list(range(1000, 1100))
