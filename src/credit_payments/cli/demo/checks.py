"""The invariants: Stripe's account, the shop's books and the customers' memory must agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from credit_payments.cli.demo.evidence import ShopBooks, StripeAccount
from credit_payments.cli.demo.stage import Order

_SHOWN_MAX: Final = 5
_HANDLED: Final = frozenset({"applied", "duplicate"})


@attrs.frozen(kw_only=True)
class Check:
    """One invariant, and what breaks it: nothing when it holds."""

    name: str
    title: str
    problems: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing breaks it."""
        return not self.problems


def check(
    stripe: StripeAccount, books: ShopBooks, orders: Mapping[str, Order], forged: Collection[str]
) -> tuple[Check, ...]:
    """Hold all accounts against each other."""
    named = (
        ("ledger", "the ledger proves itself, entry by entry", _ledger(books)),
        ("wallets", "each wallet holds what its user paid Stripe for", _wallets(stripe, books)),
        ("promises", "each customer was charged and promised the same", _promises(stripe, orders)),
        ("purchases", "one purchase for each payment at Stripe", _purchases(stripe, books)),
        ("entries", "one entry for each payment at Stripe", _entries(stripe, books)),
        ("failed_payments", "each declined charge is recorded", _failures(stripe, books)),
        ("quarantine", "nothing waits in quarantine", _quarantine(books)),
        ("webhooks", "each event was taken, and handled once", _webhooks(stripe, books)),
        ("forgeries", "no forged event was kept", _forgeries(books, forged)),
    )
    return tuple(
        Check(name=name, title=title, problems=tuple(problems)) for name, title, problems in named
    )


def _ledger(books: ShopBooks) -> Iterator[str]:
    for problem in books.report.problems:
        yield f"{problem.user_id}: {problem.message}"


def _wallets(stripe: StripeAccount, books: ShopBooks) -> Iterator[str]:
    bought = stripe.bought()
    for user in sorted(bought.keys() | books.balances.keys()):
        balance = books.balances.get(user)
        held = (balance.available - balance.debt) if balance else 0
        if held != bought[user]:
            yield f"{user} holds {held} credits and bought {bought[user]}"


def _promises(stripe: StripeAccount, orders: Mapping[str, Order]) -> Iterator[str]:
    for paid in stripe.paid:
        order = orders.get(paid.payment_intent_id)
        if order is None:
            yield f"{paid.payment_intent_id} was ordered by nobody"
        elif (order.user_id, order.amount_minor, order.credits) != (
            paid.user_id,
            paid.amount_minor,
            paid.credits,
        ):
            yield f"{order} was promised, {paid} was charged"


def _purchases(stripe: StripeAccount, books: ShopBooks) -> Iterator[str]:
    at_stripe = {
        paid.payment_intent_id: (paid.user_id, paid.credits, paid.amount_minor)
        for paid in stripe.paid
    }
    here = {
        row.payment_intent_id: (row.user_id, row.credits_purchased, row.amount_minor)
        for row in books.purchases
    }
    yield from _differences("purchase", at_stripe, here)


def _entries(stripe: StripeAccount, books: ShopBooks) -> Iterator[str]:
    at_stripe = Counter(f"payment:{paid.payment_intent_id}" for paid in stripe.paid)
    yield from _differences("entry", at_stripe, Counter(entry.cause for entry in books.entries))


def _failures(stripe: StripeAccount, books: ShopBooks) -> Iterator[str]:
    here = {row.failure_id for row in books.failed_payments}
    yield from _differences(
        "failed payment", dict.fromkeys(stripe.failed_attempts), dict.fromkeys(here)
    )


def _quarantine(books: ShopBooks) -> Iterator[str]:
    for incident in books.quarantine:
        yield f"{incident.incident_id}: {incident.reason}"


def _webhooks(stripe: StripeAccount, books: ShopBooks) -> Iterator[str]:
    yield from (f"{event_id} was never taken" for event_id in _shown(stripe.refused))
    handled = {event.event_id: event for event in books.events}
    for event_id in _shown(stripe.events.keys() - handled.keys()):
        yield f"{stripe.events[event_id]} {event_id} left no trace"
    for event in books.events:
        if event.outcome not in _HANDLED:
            yield f"{event.type} {event.event_id} ended as {event.outcome}"


def _forgeries(books: ShopBooks, forged: Collection[str]) -> Iterator[str]:
    kept = {event.event_id for event in books.events} & set(forged)
    yield from (f"{event_id} was kept" for event_id in _shown(kept))


def _differences(what: str, at_stripe: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"no {what} for {key}" for key in _shown(at_stripe.keys() - here.keys()))
    yield from (f"one {what} too many: {key}" for key in _shown(here.keys() - at_stripe.keys()))
    for key in _shown(key for key in at_stripe.keys() & here.keys() if at_stripe[key] != here[key]):
        yield f"{what} {key} says {here[key]}, Stripe says {at_stripe[key]}"


def _shown(keys: Iterable[str]) -> list[str]:
    """The first few: one broken rule can break it a thousand times."""
    return sorted(keys)[:_SHOWN_MAX]
