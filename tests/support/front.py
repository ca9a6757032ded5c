"""An HTTP server in front of an S3 server. It forwards requests, or refuses those that a test chooses."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

_NOT_FORWARDED = ("connection", "transfer-encoding", "content-length")


class Front:
    """`refuse`: the status of the answer to a method and a path, or None to forward the request."""

    def __init__(self, endpoint: str) -> None:
        self.upstream = urlsplit(endpoint)
        self.refuse: Callable[[str, str], int | None] = lambda _method, _path: None
        self.refused = 0
        self.url = ""


@contextmanager
def front(endpoint: str) -> Iterator[Front]:
    """Run the server; `url` is its address."""
    made = Front(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status = made.refuse(self.command, self.path)
            if status is not None:
                made.refused += 1
                self._answer(status, [], b"<Error><Code>Refused</Code></Error>")
                return
            upstream = http.client.HTTPConnection(made.upstream.hostname or "", made.upstream.port, timeout=60)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read())
            upstream.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in _NOT_FORWARDED or (self.command == "HEAD" and name.lower() == "content-length"):
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815  # names of http.server

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of a client that closed its connection before the answer, as it does after a second."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    server = Server(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
