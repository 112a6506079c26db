from __future__ import annotations

from typing import Any, cast

import pytest

from credit_payments.errors import ConfigurationError
from credit_payments.http.identity import Identity, check_current_user, identify


def test_a_user_id_is_a_caller_without_privileges() -> None:
    identity = identify("alice")
    assert identity == Identity("alice", operator=False)
    assert identity is not None
    assert identity.owner == "alice"


def test_an_operator_reaches_everybodys_things() -> None:
    operator = Identity("olga", operator=True)
    assert identify(operator) is operator
    assert operator.owner is None


@pytest.mark.parametrize("answer", [None, ""])
def test_no_user_id_is_nobody(answer: object) -> None:
    assert identify(answer) is None


@pytest.mark.parametrize("answer", [0, 7, True, b"alice", ["alice"], object()])
def test_anything_else_is_the_hosts_mistake_and_never_a_caller(answer: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        identify(answer)
    assert caught.value.param == "current_user"


@pytest.mark.parametrize("arguments", [("",), (7,), (None,), ("olga", "false"), ("olga", 1)])
def test_an_identity_is_checked_when_it_is_made(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError):
        Identity(*arguments)


@pytest.mark.parametrize("current_user", [None, "alice", 7])
def test_routes_are_not_mounted_without_a_way_to_tell_callers_apart(current_user: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_current_user(cast("Any", current_user))
    assert caught.value.param == "current_user"
