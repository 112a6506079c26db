"""Who is calling: the one thing that only the host application can know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from credit_payments.errors import ConfigurationError

CurrentUser = Callable[..., Any]
"""The host's identity callable: it returns a user id, an `Identity`, or None for nobody."""


@attrs.frozen
class Identity:
    """The caller of a request.

    Args:
        user_id: the host's id of the user, the same that wallets are kept under.
        operator: whether the caller may act for every user; only for the host's own staff.

    Raises:
        ConfigurationError: another type than documented, or an empty user id.
    """

    user_id: str
    operator: bool = False

    def __attrs_post_init__(self) -> None:
        user_id: object = self.user_id
        operator: object = self.operator
        if not isinstance(user_id, str) or not user_id:
            raise ConfigurationError(
                "Identity.user_id must be a string with something in it", param="current_user"
            )
        # A truthy "false" out of a session or a token must not make an operator.
        if not isinstance(operator, bool):
            raise ConfigurationError(
                "Identity.operator must be True or False", param="current_user"
            )

    @property
    def owner(self) -> str | None:
        """Whose things the caller may see: None means everybody's."""
        return None if self.operator else self.user_id


def check_current_user(current_user: CurrentUser | None) -> CurrentUser:
    """Refuse to mount routes that could not tell one caller from another.

    Returns:
        `current_user` itself.

    Raises:
        ConfigurationError: `current_user` cannot be called.
    """
    if not callable(current_user):
        raise ConfigurationError(
            "current_user must be a callable that returns the caller's user id, an Identity, "
            "or None for nobody: without it everybody could read everything",
            param="current_user",
        )
    return current_user


def identify(answer: object) -> Identity | None:
    """What the host's callable returned, as an `Identity`; None and an empty id are nobody.

    Raises:
        ConfigurationError: it returned something else, an ORM object for instance.
    """
    if answer is None or answer == "":
        return None
    if isinstance(answer, Identity):
        return answer
    if isinstance(answer, str):
        return Identity(answer)
    raise ConfigurationError(
        "current_user must return a user id (str), an Identity or None, "
        f"not {type(answer).__name__}",
        param="current_user",
    )
