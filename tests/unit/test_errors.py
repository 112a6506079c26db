"""The error tree is what its docstring draws, and survives a trip through a pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from credit_payments import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


def make(kind: type[errors.CreditPaymentsError]) -> errors.CreditPaymentsError:
    if kind is errors.PaymentNotSuccessful:
        return errors.PaymentNotSuccessful("processing")
    if kind is errors.HoldEnded:
        return errors.HoldEnded("lapsed")
    if kind is errors.InsufficientCredits:
        return errors.InsufficientCredits(available=1, required=2)
    if kind is errors.CardDeclined:
        return errors.CardDeclined("No.", decline_code="lost_card", code="card_declined")
    return kind("A sentence.", param="amount", code="special")


def drawn_tree() -> dict[str, tuple[str, int | None]]:
    """Each class in the drawing, with the one above it and the status at its line's end."""
    assert errors.__doc__ is not None
    above: list[tuple[int, str]] = []
    tree: dict[str, tuple[str, int | None]] = {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^([\s│├└─]*)([A-Z]\w+)\b.*?(\d{3})?$", line)
        if not match or not hasattr(errors, match[2]):
            continue
        column = len(match[1])
        above = [(at, name) for at, name in above if at < column]
        tree[match[2]] = (above[-1][1] if above else "Exception", int(match[3] or 0) or None)
        above.append((column, match[2]))
    return tree


def test_the_drawing_shows_every_class_where_it_is() -> None:
    tree = drawn_tree()
    assert set(tree) == set(errors.__all__)
    for name, (parent, status) in tree.items():
        kind = getattr(errors, name)
        assert kind.__bases__[0].__name__ == parent
        if status is not None:
            assert kind.http_status == status


def test_every_class_is_exported() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_tells_what_to_do_next(kind: type[errors.CreditPaymentsError]) -> None:
    assert re.fullmatch(r"[a-z_]{3,40}", kind.code)
    assert 400 <= kind.http_status <= 599
    assert kind.retryable is issubclass(kind, errors.TryAgain)
    assert kind.title
    assert kind.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_survives_pickle_and_copy(kind: type[errors.CreditPaymentsError]) -> None:
    error = make(kind)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error) == twin.message
        assert vars(twin) == vars(error)
        assert twin.args == error.args
        assert twin.error_code == error.error_code


def test_without_a_message_the_title_speaks() -> None:
    assert str(errors.NotConfigured()) == "Stripe is not configured"
    assert errors.NotConfigured(param="stripe_secret_key").param == "stripe_secret_key"


def test_a_code_of_stripes_own_replaces_that_of_the_class() -> None:
    assert errors.InvalidRequest("x", code="amount_too_small").error_code == "amount_too_small"
    assert errors.InvalidRequest.code == "parameter_invalid"
