"""The page's `curl` command, run by a real shell: the server gets what the recorded client sent."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from omnirecord.headers import header
from omnirecord.web.curl import curl
from omnirecord.web.exchanges import exchange
from tests.cassettes import HEALTHY, Made, zipped
from tests.test_web import ask

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[Any]]]:
    """The address of a server, and the requests that it gets: method, target, header fields, body."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            got.append((self.command, self.path, self.headers, body))
            self.send_response(204)
            self.end_headers()

        do_GET = do_POST = do_PATCH = do_HEAD = answer  # noqa: N815  # the names that the library calls

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", got
    httpd.shutdown()
    httpd.server_close()


NASTY = 'it\'s "quoted" $HOME `id` \\n !! é\n@second line'


@pytest.mark.parametrize(
    ("method", "target", "sent", "body"),
    [
        ("POST", "/v1/sessions/s/events", (("content-type", "application/json"),), f'{{"text": "{NASTY}"}}'.encode()),
        ("POST", "/a/../b?x=[1]&y={a,b}", (("x-empty", ""), ("x-twice", "1"), ("X-Twice", "2")), b"@file"),
        ("POST", "/binary", (("content-type", "application/octet-stream"),), bytes(range(256))),
        ("PATCH", "/none?q='%20'", (("accept-encoding", "gzip"), ("authorization", "Bearer $TOKEN")), b""),
        ("GET", "/", (), b""),
        ("HEAD", "/head", (), b""),
    ],
)
def test_the_server_gets_what_was_recorded(
    server: tuple[str, list[Any]], method: str, target: str, sent: Any, body: bytes
) -> None:
    url, got = server
    tape = Made()
    number = tape.request(method, target, 0.0, body=body, sent=sent)
    x = tape.store().numbered([number])[0]
    subprocess.run(["sh", "-c", curl(x, body, url)], check=True, timeout=20, capture_output=True)
    assert got[-1][:2] == (method, target)
    assert got[-1][3] == body
    for name in {name.lower() for name, _ in sent} - {"accept-encoding"}:
        assert ", ".join(got[-1][2].get_all(name)) == header(sent, name)
    assert got[-1][2]["content-type"] == header(sent, "content-type")


def test_a_compressed_body_is_sent_decoded_and_without_its_coding(server: tuple[str, list[Any]]) -> None:
    url, got = server
    tape = Made()
    ((_, packed),) = zipped([(0.0, b'{"type": "message"}')])
    tape.post("/x", 0.0, body=packed, sent=(("content-encoding", "gzip"), ("host", url.removeprefix("http://"))))
    command = exchange(tape.store(), 1)["curl"]
    subprocess.run(["sh", "-c", command], check=True, timeout=20, capture_output=True)
    assert got[-1][3] == b'{"type": "message"}'
    assert got[-1][2]["content-encoding"] is None


def test_a_shipped_request_names_its_upstream_and_keeps_its_redacted_values() -> None:
    command = ask(HEALTHY["tool"], "exchange", exchange=5)["curl"]
    assert command.startswith("curl --globoff --path-as-is --request POST")
    assert "http://127.0.0.1:60871/v1/sessions/586d66e29ad945e8bc1265a6a1e297c3/events" in command
    assert "--data-raw '{" in command
