"""The command that sends a request again: bash and curl run it, and a server says what it got."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.analysis.curl import _quoted, curl_of
from omnirecord.errors import UsageError
from omnirecord.model import Headers
from omnirecord.ui.events import exchange
from omnirecord.wire.headers import header
from tests.support.cassettes import HEALTHY, Made
from tests.support.command import invoke
from tests.support.examples import each

PSEUDONYM = "omnirecord-redacted-0123456789ab"
OTHER = "omnirecord-redacted-ba9876543210"
TEXT: Headers = (("Content-Type", "text/plain"), ("User-Agent", "a client"), ("Accept", "*/*"))
BODIES = {
    "json": b'{"type": "message", "text": "it\'s \\"so\\""}',
    "a file name": b"@/etc/hostname",
    "what a shell expands": b"$HOME `id` $(id) !! \\ %s *",
    "lines": b"\n\nfirst\r\nsecond\n\n",
    "no letters": "\x1b[2Jé\u202eabc\x7f".encode(),
    "an option": b"--data-raw",
    "a NUL": b"a\0b",
    "no text": bytes(range(256)) * 20,
    "a long text": b"it's long\n" * 30_000,
    "two megabytes": b"\xff" * (2 << 20),
}


@dataclass
class Server:
    url: str = ""
    line: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that notes the last request."""
    seen = Server()

    class Handler(BaseHTTPRequestHandler):
        def take(self) -> None:
            seen.line, seen.headers = self.requestline, list(self.headers.items())
            seen.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = take  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=[0.01])
        thread.start()
        seen.url = f"http://127.0.0.1:{listening.server_address[1]}"
        yield seen
        listening.shutdown()
        thread.join()


def sent(command: str, server: Server, **environment: str) -> Server:
    """What the server gets when bash runs the command, with no configuration of curl's."""
    server.line = ""
    around = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    subprocess.run(["bash"], input=command.encode(), env=around, capture_output=True, check=True, timeout=30)
    return server


def command_of(tape: Made, url: str, number: int = 1) -> str:
    with closing(tape.store()) as store:
        (x,) = store.numbered([number])
        return curl_of(x, store.body(number, "request"), url).text


@each("name", BODIES)
def test_any_body_arrives_as_it_was(name: str, server: Server) -> None:
    tape = Made()
    tape.post("/v1/sessions/s/events?a=%20b", 0.0, body=BODIES[name], sent=TEXT)
    got = sent(command_of(tape, server.url), server)
    assert got.body == BODIES[name]
    assert got.line == "POST /v1/sessions/s/events?a=%20b HTTP/1.1"
    fields = [one for one in got.headers if one[0] not in ("Host", "Content-Length")]
    assert sorted(fields) == sorted(TEXT)


@each("method", ["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_the_method_and_the_target_are_the_recorded_ones(method: str, server: Server) -> None:
    tape = Made()
    tape.request(method, "/a/../[b]/{c}?x='$y", 0.0, sent=(("Content-Length", "0"), ("X-Empty", "")))
    got = sent(command_of(tape, f"{server.url}/prefix/"), server)
    assert got.line == f"{method} /prefix/a/../[b]/{{c}}?x='$y HTTP/1.1"
    assert got.body == b""
    assert dict(got.headers)["X-Empty"] == ""
    assert not {"User-Agent", "Accept", "Content-Type"} & set(dict(got.headers))


def test_a_masked_secret_is_a_variable_without_which_nothing_is_sent(server: Server) -> None:
    tape = Made()
    fields = (("Authorization", f"Bearer {PSEUDONYM}"), ("Cookie", f"sid={OTHER}; theme=dark"))
    body = json.dumps({"api_key": PSEUDONYM, "text": "it's"}).encode()
    tape.post(f"/v1/sessions?token={OTHER}", 0.0, answer={"id": "s"}, body=body, sent=fields)
    with closing(tape.store()) as store:
        (x,) = store.numbered([1])
        made = curl_of(x, body, server.url)
    assert made.variables == {"SECRET_TOKEN": "the URL", "SECRET_AUTHORIZATION": "the header field Authorization"}
    with pytest.raises(subprocess.CalledProcessError):
        sent(made.text, server)
    assert server.line == ""
    got = sent(made.text, server, SECRET_TOKEN="one", SECRET_AUTHORIZATION="other")
    assert got.line == "POST /v1/sessions?token=one HTTP/1.1"
    headers = dict(got.headers)
    assert (headers["Authorization"], headers["Cookie"]) == ("Bearer other", "sid=one; theme=dark")
    assert got.body == body.replace(PSEUDONYM.encode(), b"other")


def test_two_secrets_of_one_name_are_two_variables() -> None:
    tape = Made()
    tape.get(f"/x?key={PSEUDONYM}&key={OTHER}", 0.0)
    with closing(tape.store()) as store:
        made = curl_of(store.numbered([1])[0], b"", "http://a")
    assert list(made.variables) == ["SECRET_KEY", "SECRET_KEY_2"]


def test_a_stream_is_printed_as_it_comes_and_a_compressed_answer_is_unpacked() -> None:
    tape = Made()
    tape.stream("s", 0.0)
    tape.get("/x", 1.0, sent=(("Accept-Encoding", "gzip"),))
    assert "--no-buffer" in command_of(tape, "http://a")
    assert "--compressed" in command_of(tape, "http://a", 2)


def test_a_websocket_is_refused() -> None:
    tape = Made()
    tape.websocket("/v1/sessions/updates", 0.0)
    with pytest.raises(UsageError, match="is a WebSocket"):
        command_of(tape, "http://a")


def test_masked_content_gets_a_remark() -> None:
    tape = Made()
    tape.post("/x", 0.0, body=b"my key is ********************")
    with closing(tape.store()) as store:
        assert curl_of(store.numbered([1])[0], store.body(1, "request"), "http://a").notes


def test_a_body_that_was_not_recorded_gets_a_remark() -> None:
    tape = Made()
    tape.post("/x", 0.0, sent=(("Content-Length", "494"),), ending="upstream_unreachable")
    with closing(tape.store()) as store:
        (note,) = curl_of(store.numbered([1])[0], b"", "http://a").notes
    assert note == "the body, of 494 bytes, is not in the recording: add it with --data-raw"


@settings(max_examples=5)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=20, max_size=60))
def test_bash_reads_any_quoted_text_as_it_was(texts: list[str]) -> None:
    printed = subprocess.run(
        ["bash", "-c", "printf '%s\\0' " + " ".join(map(_quoted, texts))], capture_output=True, check=True
    ).stdout
    assert printed.decode().split("\0")[:-1] == texts


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_quoted_text_moves_no_cursor(text: str) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in _quoted(text))


def test_the_command_goes_to_the_recorded_upstream_or_to_another_server(server: Server) -> None:
    recorded = invoke("request", HEALTHY["text"], "5", "--curl").stdout
    assert recorded.startswith("curl http://127.0.0.1:")
    result = invoke("request", HEALTHY["text"], "5", "--curl", "--base-url", server.url)
    got = sent(result.stdout, server)
    assert got.line.startswith("POST /v1/sessions/")
    assert got.line.endswith("/events HTTP/1.1")
    row = json.loads(invoke("request", HEALTHY["text"], "5", "--json").stdout)
    assert json.loads(got.body) == row["request"]["data"]
    assert header(tuple(got.headers), "content-type") == "application/json"


def test_the_page_copies_the_same_command(server: Server) -> None:
    tape = Made()
    fields = (("Host", server.url.removeprefix("http://")), ("Content-Encoding", "gzip"), ("X-Api-Key", PSEUDONYM))
    tape.post("/x", 0.0, body=gzip.compress(b"{}"), sent=fields)
    with closing(tape.store()) as store:
        command = exchange(store, 1)["curl"]
    assert command.startswith("# set SECRET_X_API_KEY first: ")
    got = sent(command, server, SECRET_X_API_KEY="one")
    assert (gzip.decompress(got.body), dict(got.headers)["X-Api-Key"]) == (b"{}", "one")


def test_without_an_upstream_a_base_url_is_asked_for(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/x", 0.0)
    result = invoke("request", tape.save(tmp_path / "x.db"), "1", "--curl")
    assert (result.exit_code, "--base-url" in result.stderr) == (2, True)
