"""A recorded stream as parts: cut where its reads and its frames end, and nothing lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import TimedFrame
from omnirecord.replayer.parts import frames_of
from omnirecord.replayer.player.stream_parts import StreamParts, decoded_parts, parts_of
from tests.support.cassettes import Made, delta, heartbeat, ns, status

BODY = heartbeat() + status("running") + delta("é") + b": comment\n\n" + delta("b") + b"data: cut o"


def frames(*reads: tuple[float, bytes]) -> list[TimedFrame]:
    tape = Made()
    tape.stream("s", 1.0, *reads, ending="open")
    store = tape.store()
    return list(store.frames(store.streams()[0], unfinished=True))


def parts(*reads: tuple[float, bytes]) -> StreamParts:
    return parts_of(((ns(at), len(data)) for at, data in reads), frames(*reads))


def test_a_part_ends_where_its_read_or_its_frame_does() -> None:
    made = parts((1.0, b"data: "), (1.5, b"1\n\nda"), (2.0, b"ta: 2\n\n"))
    assert [(part.offset_ns, part.data, part.seq, part.read) for part in made] == [
        (ns(1.0), b"data: ", 1, 0), (ns(1.5), b"1\n\n", 1, 1), (ns(1.5), b"da", 2, 1), (ns(2.0), b"ta: 2\n\n", 2, 2),
    ]  # fmt: skip


def test_only_the_frames_of_the_connect_snapshot_are_of_it() -> None:
    made = parts((1.0, heartbeat() + status("running")[:10]), (1.5, status("running")[10:] + delta("a")))
    assert [part.in_snapshot for part in made] == [True, False, False, False]


def test_an_unfinished_frame_at_the_end_is_a_part_as_well() -> None:
    assert parts((1.0, b"data: 1\n\ndata: cu"))[-1].data == b"data: cu"


def test_of_a_frame_that_was_not_kept_the_time_goes_by_and_the_next_one_comes_when_it_did() -> None:
    made = frames((1.0, delta("a") + delta("b")[:5]), (2.0, delta("b")[5:]), (3.0, delta("c")))
    made[1] = made[1]._replace(raw=None)
    reads = [(ns(1.0), made[0].length + 5), (ns(2.0), made[1].length - 5), (ns(3.0), made[2].length)]
    assert [(part.offset_ns, part.seq) for part in parts_of(reads, made)] == [(ns(1.0), 1), (ns(3.0), 3)]


def test_frames_alone_come_whole_when_their_last_byte_did() -> None:
    made = decoded_parts(frames((1.0, delta("a")[:9]), (2.0, delta("a")[9:] + delta("b"))))
    assert [(part.offset_ns, part.data) for part in made] == [(ns(2.0), delta("a")), (ns(2.0), delta("b"))]


@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=12).map(sorted))
def test_whatever_the_reads_the_parts_are_every_byte_in_order_each_within_one_read_and_one_frame(
    cuts: list[int],
) -> None:
    bounds = [0, *cuts, len(BODY)]
    reads = [(1.0 + n, BODY[a:b]) for n, (a, b) in enumerate(pairwise(bounds)) if b > a]
    made = parts(*reads)
    assert b"".join(part.data for part in made) == BODY
    assert [b"".join(part.data for part in made if part.read == n) for n in range(len(reads))] == [d for _, d in reads]
    whole = [b"".join(part.data for part in frame) for frame in frames_of(made)]
    assert whole == [frame.raw for frame in frames(*reads)]
