"""The order of locks."""

from __future__ import annotations

from credit_payments.adapters import postgres_statements as statements
from credit_payments.adapters.postgres_locks import LockOrder, Retries
from credit_payments.domain.records import Entry, Event, Key, Notification, Payment, Quote, Wallet


def sent(order: LockOrder, *keys: Key) -> list[str]:
    return [one.sql for one in order.before_load(order.with_those_ahead(keys))]


def test_kinds_are_locked_in_one_order_whoever_asks_for_them_in_which() -> None:
    asked = LockOrder().with_those_ahead([(Event, "e"), (Wallet, "b"), (Quote, "q"), (Wallet, "a")])
    assert asked == {Wallet: ["b", "a"], Quote: ["q"], Event: ["e"]}
    assert list(asked) == [Event, Quote, Wallet]


def test_only_locks_that_go_back_in_the_order_are_not_awaited_for_long() -> None:
    order = LockOrder()
    assert sent(order, (Event, "e")) == []
    assert sent(order, (Entry, "never changes")) == []
    assert sent(order, (Quote, "a")) == []
    assert sent(order, (Wallet, "b")) == []
    assert sent(order, (Quote, "b")) == [statements.SET_LATER_LOCKS]
    assert order.before_series([Notification]) == []
    assert [one.sql for one in order.before_series([Notification])] == [statements.SET_LATER_LOCKS]
    assert order.keys == {(Wallet, "b"), (Quote, "a"), (Event, "e"), (Quote, "b")}


def test_a_guarded_kind_locks_names_first() -> None:
    order = LockOrder()
    (lock,) = order.before_load({Payment: ["pi_2", "pi_1", "pi_2"]})
    assert lock.sql == statements.LOCK_NAMES
    (names,) = lock.values
    assert isinstance(names, str)
    numbers = [int(number.strip('"')) for number in names.strip("{}").split(",")]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 2
    assert all(-(2**63) <= number < 2**63 for number in numbers)
    assert sent(order, (Payment, "pi_3")) == [statements.SET_LATER_LOCKS, statements.LOCK_NAMES]


def test_after_a_conflict_all_keys_are_locked_ahead_once() -> None:
    retries, failed = Retries(), LockOrder()
    assert retries.take() == set()
    sent(failed, (Quote, "q"))
    sent(failed, (Wallet, "a"))
    retries.keep(failed)
    order = LockOrder(retries.take())
    assert order.with_those_ahead([(Quote, "q2")]) == {Wallet: ["a"], Quote: ["q2", "q"]}
    assert order.with_those_ahead([(Quote, "q3")]) == {Quote: ["q3"]}
    assert retries.take() == set()
