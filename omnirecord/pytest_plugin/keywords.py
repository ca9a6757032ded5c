"""The keywords of the marker `omnirecord`."""

OF_REPLAY = (
    "timing",
    "speed",
    "max_gap",
    "gates",
    "no_gate",
    "skip_gates_after",
    "match",
    "match_on",
    "faults",
    "chunks",
    "resume",
    "loop",
    "allow_no_requests",
    "only",
)
"""Keywords of the marker that go to `omnirecord.replay`: all options of a replay but its address and its web UI."""
OF_RECORDING = (
    "before_record",
    "contract",
    "contracts",
    "except_paths",
    "labels",
    "only_paths",
    "redact",
    "redact_patterns",
)
"""Keywords of the marker that go to `omnirecord.record`. Both are names of `omnirecord.options`."""
KEYS = ("cassette", "record", *OF_REPLAY, "gate_timeout", *OF_RECORDING)
"""All keywords of the marker."""
