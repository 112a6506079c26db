"""Settings from files, one value a file, as Docker and Kubernetes mount secrets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from credit_payments.errors import ConfigurationError

SECRET_BYTES_MAX = 16 * 1024
"""The largest file that is taken for a secret; Stripe's secrets have about a hundred bytes."""


class SecretFiles:
    """A `SecretSource` over a directory: `stripe_secret_key` is the file of that name.

    Line ends at the end of a file are dropped, as editors and `echo` add them; everything else is
    kept. A file that is missing means "not here", a file that cannot be read means that somebody
    meant to configure something: the second is an error, which names the file and never quotes it.

    Args:
        directory: where the files are; it need not exist.
    """

    def __init__(self, directory: str | os.PathLike[str] = "/secrets") -> None:
        self._directory = Path(directory)
        self.name = f"secret files in {self._directory}"
        self.optional = False

    def refresh(self) -> None:
        """Nothing: a file is read whenever it is asked for."""

    def get(self, name: str) -> str | None:
        """The content of the file of that name, or None where there is no such file.

        Raises:
            ConfigurationError: the file is unreadable, not a regular file, too large, or not
                UTF-8 text.
        """
        if not name.isidentifier():
            # A name is never a path: it cannot lead out of the directory.
            raise ConfigurationError("A secret's name has letters, digits and underscores only.")
        path = self._directory / name
        content = _read(path)
        if content is None:
            return None
        text = _decode(content)
        if text is None:
            raise ConfigurationError(f"The secret file {path} is not UTF-8 text.")
        return text.rstrip("\r\n")

    def __repr__(self) -> str:
        return f"SecretFiles({str(self._directory)!r})"


def _read(path: Path) -> bytes | None:
    try:
        # Opening a named pipe would wait for its writer, perhaps for ever: look before.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"The secret file {path} is not a regular file.")
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(
            f"The secret file {path} cannot be read ({error.strerror}): check its permissions."
        ) from error
    if len(content) > SECRET_BYTES_MAX:
        raise ConfigurationError(
            f"The secret file {path} is larger than {SECRET_BYTES_MAX} bytes: not a secret."
        )
    return content


def _decode(content: bytes) -> str | None:
    # UnicodeDecodeError carries the bytes: it must not become the context of another error.
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
