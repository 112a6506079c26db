"""What an API endpoint is made of: its parameters, its function, and who may call it."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from ._types import Json
from .account import Account
from .params import Schema

__all__ = ["Call", "Endpoint", "Routes"]


_NO_PARAMETERS = Schema()


@attrs.frozen
class Call:
    """One API request after its parameters were read.

    Attributes:
        params: typed parameters; what was not sent is absent.
        ids: the ids in the path, from left to right.
        path: the path as it was called.
        publishable: whether a publishable key is calling, as Stripe.js does in a browser.
        origin: where this simulator is reached, for the links that it hands out.
    """

    params: Json
    ids: tuple[str, ...] = ()
    path: str = ""
    publishable: bool = False
    origin: str = ""

    @property
    def id(self) -> str:
        """The last id in the path."""
        return self.ids[-1]


@attrs.frozen
class Endpoint:
    """One method and path of the API.

    Attributes:
        run: executes the call under the account's lock and returns the answer.
        schema: the parameters that it takes beside ``expand``.
        publishable: whether a publishable key may call it.
    """

    run: Callable[[Account, Call], Json]
    schema: Schema = _NO_PARAMETERS
    publishable: bool = False


Routes = dict[str, Endpoint]
"""Endpoints by method and path; ids are written as ``*``."""
