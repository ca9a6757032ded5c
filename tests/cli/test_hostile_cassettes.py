"""A stranger's cassette, shown by every command: nothing in it acts on a terminal, and nothing it names is gone to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from omnirecord.cassette.framing import Framed
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import stream_rows
from omnirecord.cli import main
from omnirecord.contract import Issue
from omnirecord.contract.judge import Judgement
from omnirecord.replayer.server import Replay
from omnirecord.wire.sse import Frame
from tests.support import forked
from tests.support.cassettes import HEALTHY, TROUBLED
from tests.support.examples import each
from tests.support.wire import ask, get

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u2066\x08\r\x7f\x00"
KEPT = {"type", "object", "role", "status", "method", "kind", "action"}
"""Fields by which an event is told from another: with these as they are, most of the story is told."""
COMMANDS = {
    "ls": ["ls"], "ls streams": ["ls", "--streams"], "ls exchanges": ["ls", "--exchanges"], "events": ["events"],
    "show": ["show"], "show full": ["show", "--full", "--silence", "0"], "validate": ["validate"], "verify": ["verify"],
    "validate by the page": ["validate", "--contract", "documented", "--unseen"],
    "export": ["export", "--format", "jsonl"], "export sse": ["export", "--format", "sse", "--stream", "1"],
    "serve": ["serve", "--listen", "127.0.0.1:0"], "tail": ["tail", "-n", "1000"], "search": ["search", "evil"],
    "sessions": ["sessions"], "request": ["request", "1"], "doctor": ["doctor"],
    "query": ["query"], "query sessions": ["query", "SELECT * FROM sessions"],
    "query turns": ["query", "SELECT asked, text, agent FROM turns"],
    "query events": ["query", "SELECT data, type, issues, session_id FROM events", "--format", "csv"],
    "stats": ["stats"], "scrub": ["scrub", "--check"], "diff": ["diff", "{cassette}"],
    "export html": ["export", "--format", "html", "-o", "{output}"], "ui": ["ui", "--no-browser"],
    "fork": ["fork", "--from-call", "1"],
    "an unknown session": ["show", "conv_unknown"], "an unknown stream": ["events", "--stream", "99"],
}  # fmt: skip


def poisoned(value: Any, key: str = "") -> Any:
    """The same, with something for a terminal in each text that means nothing to us."""
    if isinstance(value, dict):
        return {name + ("" if known(name) else EVIL): poisoned(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one, key) for one in value]
    return value + EVIL if isinstance(value, str) and key not in KEPT else value


def known(name: str) -> bool:
    return re.fullmatch(r"[a-z_]+", name) is not None


def poisoned_data(text: str) -> str:
    data = text.partition("data: ")[2]
    try:
        value = json.loads(data)
    except ValueError:
        return text
    return text.replace(data.strip(), json.dumps(poisoned(value))).replace(
        "\n\n", f"\n: {EVIL[:-1]}\n\n".replace("\r", "")
    )


def poison(db: Path, connection: sqlite3.Connection) -> None:
    """Each frame anew, in a read of its own."""
    with closing(open_store(db)) as store:
        streams = [(x, list(store.frames(x))) for x in store.streams()]
    connection.executescript(
        "DELETE FROM read_blocks; DELETE FROM frame_blocks; DELETE FROM landmarks; DELETE FROM tallies"
    )
    for x, frames in streams:
        pieces = stream_rows.ReadBlocks(x.exchange)
        made, framed = [], []
        for n, frame in enumerate(frames):
            raw = poisoned_data((frame.raw or b"").decode()).encode()
            pieces.add(frame.offset_ns, frame.sent_ns, len(raw), raw, made)
            evil = frame.seq % 7 == 0
            judgement = Judgement(
                frame.verdict, (frame.type or "") + EVIL if evil else frame.type, None,
                (Issue(EVIL, EVIL),) if evil else (),
            )  # fmt: skip
            framed.append(Framed(Frame(raw, len(raw), True), judgement, n))
        for row in (
            *made,
            *pieces.close(),
            *stream_rows.frame_blocks(x.stream or 0, framed, lambda n, of=frames: of[n].offset_ns),
        ):
            connection.execute(*row)
        connection.execute("UPDATE exchanges SET response_bytes = ? WHERE exchange = ?", (pieces.start, x.exchange))


@pytest.fixture(scope="module")
def cassette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real sessions, one after the other, with poison in every text of every event, and in the rows around them."""
    folder = tmp_path_factory.mktemp("hostile")
    db = folder / "evil.db"
    for source in (HEALTHY["approval"], TROUBLED["child_unfinished"]):
        import_file(source, db)
    with closing(sqlite3.connect(db)) as connection, connection:
        poison(db, connection)
        connection.execute("UPDATE exchanges SET session_id = session_id || ?, party = party || ?", (EVIL, EVIL))
        connection.execute("UPDATE recordings SET version = ?, contract = ?, upstream = ?", (EVIL,) * 3)
        connection.execute("INSERT INTO incidents VALUES (1, 1, ?)", (EVIL,))
    return db


def words_of(name: str, cassette: Path, *more: str) -> list[str]:
    command, *options = COMMANDS[name]
    options = [option.format(cassette=cassette, output=cassette.with_suffix(".html")) for option in options]
    return [command, str(cassette), *options, *more]


def harmful(text: str) -> list[str]:
    """What is left in an output that a terminal acts upon, but for colours, the moves of a progress bar, and those
    of a line that grows."""
    text = text.replace("\r\x1b[2K", "")
    text = re.sub(r"\x1b\[(?:[0-9;]*m|\?25[hl]|[0-9]*[AKG])", "", text).replace("\r\n", "\n")
    text = text.replace("\r", "") if "━" in text or "0:00:0" in text else text
    return [c for c in text if not c.isprintable() and c not in "\n\t\u3000"]


@pytest.mark.slow
@each("name", COMMANDS)
def test_nothing_of_it_acts_on_a_terminal(name: str, cassette: Path) -> None:
    shown, code = on_a_terminal(words_of(name, cassette))
    assert code in (0, 1, 2)
    assert "Traceback" not in shown
    assert harmful(shown) == []
    assert "\x1b[2J" not in shown
    assert "evil" in shown or name in ("ls streams", "verify", "diff", "scrub", "an unknown stream", "query"), (
        "the poison did not get so far"
    )


def on_a_terminal(words: list[str]) -> tuple[str, int | None]:
    ready = {"serve": b"serving ", "ui": b"showing "}.get(words[0])
    return forked.on_a_terminal(*words, stopped_behind=ready, COLUMNS="200")


@pytest.mark.slow
@each("name", [name for name in COMMANDS if "export" not in name and name not in ("serve", "ui", "query events")])
def test_nor_as_json(name: str, cassette: Path) -> None:
    done = forked.run(words_of(name, cassette, "--json"))
    assert done.code in (0, 1, 2), done.errors
    text = (done.out + done.errors).decode()
    assert harmful(text) == []
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert name != "events" or any(str(row["session_id"]).endswith(EVIL) for row in rows)


def test_in_a_pipe_an_export_is_byte_for_byte(cassette: Path) -> None:
    done = forked.run(words_of("export sse", cassette))
    assert "\x9b31m\u202eevil".encode() in done.out


def test_a_name_of_a_file_does_not_act_either(tmp_path: Path) -> None:
    for command in (
        ["ls"], ["show"], ["verify"], ["validate"], ["export", "--format", "jsonl"], ["doctor"], ["stats"], ["tail"],
        ["search", "x"], ["scrub", "--check"],
    ):  # fmt: skip
        for name in (f"none{EVIL[:-1]}.db", f"junk{EVIL[:-1]}.jsonl"):
            (tmp_path / f"junk{EVIL[:-1]}.jsonl").write_text("junk")
            shown, code = on_a_terminal([command[0], str(tmp_path / name), *command[1:]])
            assert (code, harmful(shown)) == (2, [])


@contextmanager
def nobody() -> Iterator[str]:
    """The URL of a server that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("form", ["db", "jsonl"])
async def test_no_upstream_and_no_contract_that_it_names_is_gone_to(form: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    os.mkfifo(trap)  # to open it would take for ever
    with nobody() as url:
        lines = HEALTHY["approval"].read_text().splitlines(keepends=True)
        head = json.loads(lines[0])
        for recording in head["recordings"]:
            recording |= {"upstream": url, "contract": str(trap)}
        path = tmp_path / "a.jsonl"
        path.write_text("".join([json.dumps(head) + "\n", *lines[1:]]).replace("http://127.0.0.1:6767", url))
        if form == "db":
            import_file(path, tmp_path / "a.db")
            path = tmp_path / "a.db"
        for name in ("ls", "events", "show", "validate", "verify", "export", "doctor", "stats", "tail", "diff"):
            done = await asyncio.to_thread(forked.run, words_of(name, path))
            assert done.code in (0, 1), done.errors
        async with Replay(path, timing="instant") as server:
            for target in ("/v1/sessions", "/never", f"{url}/v1/sessions"):
                await ask(server.url, get(target))


def test_every_command_that_takes_a_cassette_is_tried() -> None:
    tried = {words[0] for words in COMMANDS.values()}
    takes = {"cassette", "cassettes", "source", "a"}
    taking = {name for name, command in main.commands.items() if takes & {one.name for one in command.params}}
    assert taking - {"run"} == tried  # run reads a cassette as serve does, and prints what doctor says
