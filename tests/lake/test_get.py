"""A session comes out of a lake as it was recorded: with its tree, from all recordings that hold a part of it."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema

from omnirecord.analysis.gather import model_calls
from omnirecord.cassette.export import write_lines
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.select import session_ids, with_children
from omnirecord.errors import UsageError
from omnirecord.lake.get import Fetch
from omnirecord.lake.layout import SCHEMAS, conversation_ids
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from omnirecord.replayer.verify import verify
from omnirecord.text import dumps
from tests.analysis.model_calls.test_background import asked
from tests.support.answers import rows
from tests.support.cassettes import (
    HEALTHY,
    SHIPPED,
    SSE,
    Made,
    completed,
    conversation,
    created,
    delta,
    event,
    heartbeat,
    lines,
    status,
    zipped,
)
from tests.support.command import invoke
from tests.support.lakes import as_an_older_version, shipped, split
from tests.support.stores import lake_url

__all__ = ["lake_url"]
TWICE = {"web_ui", "web_ui_old_session", "v0_5_1_approval", "v0_5_1_approval_runner"}
"""Shipped cassettes with a part of a session that another one has, too."""
ALL = [path for path in sorted(SHIPPED.rglob("*.jsonl*")) if path.name.split(".")[0] not in TWICE]
SOME = [path for path in ALL if path.name.split(".")[0] in {
    "approval", "both_chat", "child_joined_early", "gzip_turns", "recorder_killed", "rare_events", "runner_restarted",
    "two_clients", "web_ui_new_session",
}]  # fmt: skip
"""One cassette of each kind."""


def expected(path: Path, session: str) -> list[str]:
    """The text form of the whole tree of a session in a cassette, with its model calls."""
    with closing(open_store(path)) as store:
        parents, root = store.parents(), session
        while root in parents:
            root = parents[root]
        family = with_children(store, root)
        links = model_calls(store).links
        calls = {one.call.exchange for one in links if one.turn is not None and one.turn.session_id in family}
        found = jsonl_bytes(store, lambda x: x.session_id in family or x.exchange in calls)
        return [line.decode().removesuffix("\n") for line in found]


def fetched(lake: Lake, session: str) -> list[str]:
    with closing(Fetch(lake, session)) as fetch:
        return list(map(dumps, fetch.values()))


def sessions_of(path: Path) -> list[str]:
    with closing(open_store(path)) as store:
        return session_ids(store)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Lake:
    """A lake with the shipped cassettes: all of them with `--long`, otherwise one of each kind."""
    paths = ALL if request.config.getoption("--long") else SOME
    return shipped(str(tmp_path_factory.mktemp("everything") / "lake"), *paths)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path if path in SOME else pytest.param(path, marks=pytest.mark.long) for path in ALL],
    ids=lambda path: path.name,
)  # fmt: skip
def test_each_session_of_a_shipped_cassette_has_its_text_form_again(path: Path, everything: Lake) -> None:
    for session in sessions_of(path):
        assert fetched(everything, session) == expected(path, session)


@pytest.mark.parametrize("is_old", [False, True], ids=["", "shipped by an older version"])
@pytest.mark.parametrize(
    "name",
    ["both_failed.jsonl", "both_retried.jsonl", pytest.param("both_parallel.jsonl.zst", marks=pytest.mark.long)],
)
def test_a_session_comes_with_its_model_calls(name: str, is_old: bool, tmp_path: Path) -> None:
    path = SHIPPED / "both_hops" / name
    lake = shipped(str(tmp_path / "lake"), path, SHIPPED / "both_hops" / "both_tool.jsonl")
    if is_old:
        as_an_older_version(tmp_path / "lake")
    for session in sessions_of(path):
        found = fetched(lake, session)
        assert found == expected(path, session)
        (tmp_path / "one.jsonl").write_text("\n".join(found) + "\n")
        codes = [
            sorted(one["code"] for one in rows(of, "doctor") if one["session_id"] == session)
            for of in (path, tmp_path / "one.jsonl")
        ]
        assert codes[0] == codes[1]
        (stats,) = rows(tmp_path / "one.jsonl", "stats")
        assert stats["model_calls"]["calls"] > 0


def test_a_conversation_of_model_calls_comes_as_a_cassette(tmp_path: Path) -> None:
    path = SHIPPED / "agents" / "day.jsonl"
    lake = shipped(str(tmp_path / "lake"), path, SHIPPED / "both_hops" / "both_tool.jsonl")
    with closing(open_store(path)) as store:
        ids = {one.recording: one.recording_id for one in store.recordings()}
        names = conversation_ids(model_calls(store), ids)
    assert len(names) == 10
    for name, id_ in names.items():
        with closing(open_store(f"{path}#{name}")) as part:
            assert fetched(lake, id_) == list(lines(part))
    recording, _, number = id_.partition("#")
    assert fetched(lake, f"{recording[:18]}#{number}") == fetched(lake, id_)
    with pytest.raises(UsageError, match="several sessions begin with '01a232ba#2': there are 01a232ba-"):
        fetched(lake, "01a232ba#2")


def test_the_requests_for_an_answer_in_the_background_come_and_leave_with_their_conversation(tmp_path: Path) -> None:
    path = asked("in_progress", "completed").save(tmp_path / "made.db")
    lake = shipped(str(tmp_path / "lake"), path)
    with closing(open_store(path)) as store:
        (recording,) = (one.recording_id for one in store.recordings())
        with closing(open_store(f"{path}#1")) as part:
            assert fetched(lake, f"{recording}#1") == list(lines(part))
    assert invoke("lake", "forget", lake.url, f"{recording}#1", "--yes").exit_code == 0
    with LakeQuery(lake) as query:
        assert list(query.rows("SELECT exchange FROM exchanges", None).rows) == [(2,)]


def odd() -> Made:
    """What is rare in a recording."""
    tape = conversation("open")
    tape.post("/v1/sessions/s/events", 6.5, body=b"\xff\x00 raw", answered=False, ending="upstream_unreachable")
    tape.get("/v1/sessions/s/file", 6.6, b"\x00\xfe", headers=(("content-type", "application/octet-stream"),))
    tape.stream(
        "s", 7.0, (7.1, event("session.note", text="\u0000\u2028é")), (7.2, b"data: \xff\xfe\n\n"), ending="eof"
    )
    whole = created("q") + delta("a", 2) + delta("b", 3)
    tape.stream("s", 8.0, (8.1, whole[:30]), (8.1, whole[30:70]), (8.3, whole[70:]), (8.4, b": x\n\nda"), lag=0.5)
    coded = (*SSE, ("content-encoding", "gzip"))
    tape.stream("s", 9.0, *zipped([(9.1, status("idle")), (9.2, delta("z"))]), headers=coded, ending="upstream_lost")
    tape.websocket("/v1/sessions/s/terminal", 10.0, (10.1, "up", b"\xff"), (10.2, "down", "text"))
    tape.post("/v1/sessions/s/events", 2.5, body=b"only the begi", status=413, cut=True)
    tape.post("/v1/sessions/s/events", 2.6, body=b"{}", answered_from=7, replaced=True)
    tape.incident(3.0, "the disk was full")
    return tape


def test_an_odd_session_has_its_text_form_again_from_every_store(lake_url: str, tmp_path: Path) -> None:
    path = odd().save(tmp_path / "odd.db")
    lake = shipped(lake_url, path)
    assert fetched(lake, "s") == expected(path, "s")


def whole_of(parts: tuple[Path, Path], folder: Path) -> Path:
    """The only session of two cassettes, as a cassette out of a lake."""
    lake = shipped(str(folder / "lake"), *parts)
    (session,) = sessions_of(parts[0])
    with closing(Fetch(lake, session)) as fetch:
        write_lines(fetch.values(), folder / "whole.db", is_text=False, is_compressed=False)
        assert len(fetch.recordings) == 2
    return folder / "whole.db"


async def test_recordings_that_overlap_in_time_become_one_that_replays(tmp_path: Path) -> None:
    whole = whole_of(split(HEALTHY["turns"], tmp_path), tmp_path)
    with closing(open_store(whole)) as store:
        assert [one.recording for one in store.recordings()] == [1]
        exchanges = store.exchanges()
    assert [x.exchange for x in exchanges] == list(range(1, 20))
    assert [x.request.at_ns for x in exchanges] == sorted(x.request.at_ns for x in exchanges)
    assert (await verify(whole, timing="instant")).equal


def test_a_text_that_a_second_recorder_carries_on_is_whole_though_the_first_was_killed(tmp_path: Path) -> None:
    first, second = Made(), Made()
    begin = [status("running"), created("r1")]
    first.stream("s", 1.0, (1.0, heartbeat()), *((1.1, one) for one in begin), (1.2, delta("On the")), ending="open")
    in_flight = [status("running"), created("r1"), delta("On the sea", None)]
    rest = [delta(" all is calm."), completed("r1"), status("idle")]
    second.stream("s", 2.0, (2.0, heartbeat()), *((2.01, one) for one in in_flight), *((3.0, one) for one in rest))
    paths = first.save(tmp_path / "first.db"), second.save(tmp_path / "second.db")
    whole = whole_of(paths, tmp_path)
    shown = invoke("show", whole).stdout
    assert "On the sea all is calm." in shown
    assert "killed" not in shown.split("Why it stops here")[1]
    assert "middle of a turn; another stream carried the rest" in invoke("doctor", whole).stdout


def test_recordings_one_after_the_other_stay_two_with_numbers_of_their_own(tmp_path: Path) -> None:
    requests, streams = split(HEALTHY["turns"], tmp_path)
    head, *values = streams.read_text().splitlines()
    moved = json.loads(head)
    for one in moved["recordings"]:
        one["started_at"] = (datetime.fromisoformat(one["started_at"]) + timedelta(hours=1)).isoformat()
    streams.write_text("\n".join([json.dumps(moved), *values]) + "\n")
    with closing(open_store(whole_of((requests, streams), tmp_path))) as store:
        assert [one.recording for one in store.recordings()] == [1, 2]
        assert len(store.exchanges()) == 19
        assert len({x.exchange for x in store.exchanges()}) == 19


def test_a_start_without_a_zone_is_utc(tmp_path: Path) -> None:
    path, text = tmp_path / "naive.jsonl", HEALTHY["text"].read_text()
    path.write_text(text.replace("+00:00", "", 1))
    assert path.read_text() != text
    (session,) = sessions_of(path)
    assert fetched(shipped(str(tmp_path / "lake"), path), session) == expected(path, session)


def test_the_name_of_a_sub_agent_brings_its_parent_and_the_name_of_the_parent_its_sub_agents(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["subagent"], HEALTHY["text"])
    tree = sessions_of(HEALTHY["subagent"])
    assert len(tree) == 2
    assert fetched(lake, tree[0]) == fetched(lake, tree[1]) == expected(HEALTHY["subagent"], tree[0])


@pytest.mark.parametrize("name", ["out.db", "out.jsonl.zst"])
async def test_what_is_written_replays_byte_for_byte(name: str, tmp_path: Path) -> None:
    lake, output = shipped(str(tmp_path / "lake"), HEALTHY["tool"]), tmp_path / name
    (session,) = sessions_of(HEALTHY["tool"])
    with closing(Fetch(lake, session)) as fetch:
        write_lines(fetch.values(), output, is_text="jsonl" in name, is_compressed=name.endswith(".zst"))
    assert expected(output, session) == expected(HEALTHY["tool"], session)
    assert (await verify(output, timing="instant")).equal


def test_an_id_may_be_shortened_and_an_unknown_one_names_the_nearest(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"], HEALTHY["tool"])
    (session,) = sessions_of(HEALTHY["text"])
    assert fetched(lake, session[:6]) == fetched(lake, session)
    with pytest.raises(UsageError, match=f"no session begins with .*: the nearest is {session}"):
        Fetch(lake, "0" + session[1:8] if session[0] != "0" else "1" + session[1:8])
    with pytest.raises(UsageError, match="several sessions begin with ''"):
        Fetch(lake, "")


def test_an_empty_lake_has_no_session(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"))
    with pytest.raises(UsageError, match="no session begins with 'x': there are none"):
        Fetch(lake, "x")


def test_a_recording_keeps_its_id_its_labels_and_its_hop(tmp_path: Path) -> None:
    text = HEALTHY["text"].read_text().replace('"upstream": ', '"hop": "model", "upstream": ', 1)
    (tmp_path / "text.jsonl").write_text(text)
    import_file(tmp_path / "text.jsonl", tmp_path / "text.db")
    lake = shipped(str(tmp_path / "lake"), tmp_path / "text.db", labels={"team": "blue"})
    (session,) = sessions_of(HEALTHY["text"])
    with closing(Fetch(lake, session)) as fetch:
        write_lines(fetch.values(), tmp_path / "out.db", is_text=False, is_compressed=False)
    with closing(open_store(tmp_path / "out.db")) as out, closing(open_store(tmp_path / "text.db")) as recorded:
        assert out.recordings()[0].recording_id == recorded.recordings()[0].recording_id
        assert (out.recordings()[0].labels, out.recordings()[0].hop) == ({"team": "blue"}, "model")


def test_a_lake_of_a_version_without_hops_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "lake" / "recordings"
    lake = Lake(str(tmp_path / "lake"))
    lake.init()
    shutil.rmtree(folder)
    schema = pa.schema([field for field in SCHEMAS["recordings"] if field.name != "hop"])
    DeltaTable.create(lake.table_url("recordings"), Schema.from_arrow(schema), partition_by=["day"])
    with LakeQuery(lake) as query:
        assert list(query.rows("SELECT hop FROM recordings").rows) == []
