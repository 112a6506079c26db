"""A TCP proxy between a client and a server, to lose what it is told to lose."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536


class Proxy:
    """Forwards a port of its own to another one on the loopback: `with Proxy(5432) as proxy`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._swallow = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Only `shutdown` wakes a thread that waits in `accept`.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def swallow_next_answer(self) -> None:
        """Let the server do what it is asked next, and lose its answer with the connection."""
        self._swallow.set()

    def cut(self) -> None:
        """Break all connections."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += (client, server)
            for source, target, loses in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._forward, args=(source, target, loses), daemon=True
                ).start()

    def _forward(self, source: socket.socket, target: socket.socket, loses: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if loses and self._swallow.is_set():
                    self._swallow.clear()
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
