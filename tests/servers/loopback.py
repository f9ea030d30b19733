"""A small HTTP/1.1 server on loopback whose answers can be made to fail as real ones do."""

import contextlib
import hashlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    at: float
    """Seconds of the monotonic clock when it arrived."""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        """The same for the same question."""
        asked = (self.method, self.path, self.headers.get("range", ""), self.body)
        return hashlib.sha256(repr(asked).encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: Any, status: int = 200, **headers: str) -> "Answer":
        return cls(
            status, json.dumps(value).encode(), {"Content-Type": "application/json"} | headers
        )


@dataclass(frozen=True)
class Fault:
    """What happens to an answer: a status of its own, or damage on the way."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of the right body."""
    short: bool = False
    """Half of the body, then the connection is closed."""
    zeros: bool = False
    """The right length, all zero."""
    reset: bool = False
    """The connection is reset before anything is said."""
    stall: float = 0.0
    """Seconds of silence before the answer."""


Route = Callable[[Request], Answer]


class Server(ThreadingHTTPServer):
    """Answers with `route`; `faults` are used up one a request, first come first served."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, route: Route) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.route = route
        self.log: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.always: Callable[[Request], Fault | None] = lambda _request: None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail_each_once(self, fault: Fault) -> None:
        """The first request of every kind fails, its repetition is answered."""
        seen: set[str] = set()

        def once(request: Request) -> Fault | None:
            fresh = request.key not in seen
            seen.add(request.key)
            return fault if fresh else None

        self.always = once

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.log if request.path == path]

    def receive(self, request: Request) -> Fault:
        with self._lock:
            self.log.append(request)
            if self.faults:
                return self.faults.popleft()
            return self.always(request) or Fault()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


@contextlib.contextmanager
def serving(route: Route) -> Iterator[Server]:
    server = Server(route)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        # Without this every small answer waits 40 ms for the client's delayed acknowledgement.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            parts.path,
            parse_qs(parts.query),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
            time.monotonic(),
        )
        fault = self.server.receive(request)
        time.sleep(fault.stall)
        if fault.reset:
            # Linger 0: close() sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        right = self.server.route(request) if fault.status is None else Answer()
        body = right.body if fault.body is None else fault.body
        if fault.zeros:
            body = bytes(len(body))
        self.send_response(right.status if fault.status is None else fault.status)
        for name, value in {**right.headers, **fault.headers}.items():
            self.send_header(name, value)
        if "Content-Length" not in right.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if fault.short else body)
        if fault.short:
            self.close_connection = True

    do_GET = do_POST = do_HEAD = answer  # noqa: N815 (the names http.server asks for)

    def log_message(self, *_args: Any) -> None:
        """Silent."""
