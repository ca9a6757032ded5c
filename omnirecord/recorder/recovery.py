"""What a killed recorder left behind in its cassette is finished by the next one that opens it.

`Writer` has already moved the reads of the journal to their streams (`cassette.sqlite.journal.settle`). The frames
begin after the last stored one (`Writer.framed`), so no event is stored twice.
"""

from __future__ import annotations

from ..cassette.contracts import judged_by
from ..cassette.sqlite import Writer, rows
from ..model import Recording
from ..wire.headers import header
from .frames import FrameMaker


def finish_killed(writer: Writer, recording: int = 0) -> None:
    """Give the exchanges that a killed recorder left behind their last frames and their ending.

    `recording`: the number of the recording in which incidents are noted. Call it before a recording begins. Raises
    what SQLite raises.
    """
    maker = FrameMaker(writer, recording)
    for left in writer.unfinished():
        if left.stream is not None:
            coding = header(left.headers, "content-encoding")
            made = Recording(0, "", "", left.contract, left.upstream, hop=left.hop, contract_given=left.contract_given)
            maker.resume(left.exchange, left.stream, coding, judged_by(made, left.target, left.request_headers))
        if left.end_ns is None:
            sizes = left.request_bytes, left.response_bytes
            writer.write([rows.end(left.exchange, left.last_ns, left.ending or "recorder_killed", *sizes)])
    while maker.behind:
        list(maker.make())
