"""What the core asks of the host about its users."""

from __future__ import annotations

from typing import Protocol


class Users(Protocol):
    """The host's user directory."""

    def exists(self, user_id: str) -> bool:
        """Whether there is such a user; asked before anything is sold or granted to them.

        May raise whatever it likes: nothing has been written yet, and the caller gets the
        exception. Money that has arrived is never refused for an answer of this.
        """
        ...


class AnyUser:
    """Takes every user id for a user's: the default."""

    def exists(self, user_id: str) -> bool:  # noqa: ARG002 - part of the protocol
        """Always."""
        return True
