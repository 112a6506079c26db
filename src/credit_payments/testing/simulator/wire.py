"""A small HTTP/1.1 server: keep-alive, one thread a connection, one send an answer.

``http.server`` parses headers with the e-mail package and writes them line by line; a simulator
that a thousand racing clients go through spends its time better. Everything that it reads is
bounded, and stopping it closes every open connection.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BufferedIOBase
from urllib.parse import unquote

import attrs

__all__ = ["HttpServer", "Request", "Response"]

_LINE_BYTES_MAX = 64 * 1024
_HEADERS_MAX = 100
_BODY_BYTES_MAX = 1024 * 1024
_CONNECTIONS_MAX = 4_096
_IDLE_SECONDS = 120.0
_CLOSE_SECONDS_MAX = 30.0
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@attrs.frozen
class Request:
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def segments(self) -> list[str]:
        """Return the decoded parts of the path."""
        return [unquote(part) for part in self.path.split("/")[1:]]


@attrs.frozen
class Response:
    """One HTTP answer, or the lack of one.

    Attributes:
        lost: close the connection instead of answering.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = attrs.Factory(dict)
    content_type: str = "application/json"
    lost: bool = False

    def encode(self, *, keep_alive: bool) -> bytes:
        """Return status line, headers and body, ready for one send."""
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS.get(self.status, '')}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


class _Malformed(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class HttpServer:
    """Serves one function on a loopback port.

    Args:
        answer: called in the connection's thread for each request.
        port: 0 takes a free one.
    """

    def __init__(self, answer: Callable[[Request], Response], port: int = 0) -> None:
        self._server = _Server(answer, port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="stripe-simulator", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening, close all connections and wait for their threads, but not for ever."""
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    # A program that never stops us ends all the same, instead of waiting for idle connections;
    # `socketserver` forgets daemons, so `close_connections` joins them.
    daemon_threads = True
    request_queue_size = 1_024

    def __init__(self, answer: Callable[[Request], Response], port: int) -> None:
        self.answer = answer
        self.closing = False
        self._open: dict[socket.socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Connection)

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002
        with self._open_lock:
            return len(self._open) < _CONNECTIONS_MAX

    def opened(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open[connection] = threading.current_thread()

    def closed(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.pop(connection, None)

    def close_connections(self) -> None:
        # Before the lock: a connection that opens after it finds this, and serves nothing.
        self.closing = True
        with self._open_lock:
            threads = list(self._open.values())
            for connection in self._open:
                # A reader blocked in recv wakes up; its own thread closes the socket.
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    continue
        # Outside of the lock, which a thread that ends needs.
        until = time.monotonic() + _CLOSE_SECONDS_MAX
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


class _Connection(socketserver.StreamRequestHandler):
    server: _Server
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 0

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            while not self.server.closing and self._serve_one():
                pass
        except OSError:
            # The client went away, which is its right.
            return

    def _serve_one(self) -> bool:
        try:
            request = read_request(self.rfile)
        except _Malformed as exc:
            self.connection.sendall(Response(exc.status, b"{}").encode(keep_alive=False))
            return False
        if request is None:
            return False
        response = self.server.answer(request)
        if response.lost:
            return False
        keep = request.headers.get("connection", "").lower() != "close"
        self.connection.sendall(response.encode(keep_alive=keep))
        return keep


def read_request(stream: BufferedIOBase) -> Request | None:
    """Return the next request on a connection, or ``None`` when the client closed it.

    Raises:
        _Malformed: with the HTTP status that says why.
    """
    line = stream.readline(_LINE_BYTES_MAX + 1)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):  # noqa: PLR2004
        raise _Malformed(400)
    headers = _read_headers(stream)
    if "transfer-encoding" in headers:
        raise _Malformed(411)
    declared = headers.get("content-length", "0")
    if not declared.isdecimal():
        raise _Malformed(400)
    if int(declared) > _BODY_BYTES_MAX:
        raise _Malformed(413)
    body = stream.read(int(declared))
    if len(body) < int(declared):
        return None
    path, _, query = parts[1].partition("?")
    return Request(parts[0], path, query, headers, body)


def _read_headers(stream: BufferedIOBase) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_HEADERS_MAX):
        line = stream.readline(_LINE_BYTES_MAX + 1)
        if line in (b"\r\n", b"\n"):
            return headers
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise _Malformed(400)
        headers[name.lower()] = value.strip()
    raise _Malformed(431)
