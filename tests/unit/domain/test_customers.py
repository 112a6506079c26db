"""A customer is kept once, and what is personal of it as envelopes that others may replace."""

from __future__ import annotations

import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.table import Table

from credit_payments.domain.customers import (
    NOTHING,
    ChangedCustomer,
    KeepCustomer,
    Renew,
    Renewal,
    Reseal,
    Sealed,
    normal_email,
)
from credit_payments.domain.records import NEVER, StripeCustomer
from credit_payments.settlement import Messenger, ReportCustomer

NOW, LATER = "2024-01-01T00:00:00.000000Z", "2024-01-02T00:00:00.000000Z"
LATEST = "2024-01-03T00:00:00.000000Z"
SEALED = Sealed(email="e1", name="n1", phone=None, email_index="i1")
NEWER = Sealed(email="e2", name="n2", phone="p2", email_index="i2")


def rows(table: Table) -> list[StripeCustomer]:
    return [row for row in table.rows.values() if isinstance(row, StripeCustomer)]


def report(changed: ChangedCustomer, event_id: str = "evt_0") -> ReportCustomer:
    messenger = Messenger(event_id=event_id, type="customer.updated")
    return ReportCustomer(facts=changed, messenger=messenger)


def only_row(table: Table) -> StripeCustomer:
    [row] = rows(table)
    return row


def test_a_customer_stays_with_the_first_user() -> None:
    table = Table()
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada"))
    table.run(KeepCustomer(customer_id="cus_1", user_id="eve", sealed=SEALED), LATER)
    assert only_row(table) == StripeCustomer("cus_1", "ada", None, None, NOW)


def test_what_is_personal_is_kept_with_the_customer() -> None:
    table = Table()
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=SEALED))
    assert only_row(table) == StripeCustomer("cus_1", "ada", "e1", "n1", NOW, None, "i1")


def test_a_customer_kept_before_there_were_keys_gets_its_fields_later() -> None:
    table = Table()
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada"))
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=SEALED), LATER)
    assert only_row(table).created_at == NOW
    assert Sealed.of(only_row(table)) == SEALED


def test_a_repetition_leaves_the_first_envelopes() -> None:
    table = Table()
    for sealed in (SEALED, NEWER, NOTHING):
        table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=sealed))
    assert Sealed.of(only_row(table)) == SEALED


@pytest.mark.parametrize(("sealed", "as_of"), [(NEWER, LATER), (NOTHING, NEVER)])
def test_fields_are_replaced_as_a_whole(sealed: Sealed, as_of: str) -> None:
    table = Table()
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=SEALED))
    table.run(Reseal(customer_id="cus_1", sealed=sealed), LATER)
    blank = StripeCustomer("cus_1", "ada", None, None, NOW, as_of=as_of)
    assert only_row(table) == sealed.put_into(blank)


def test_what_was_forgotten_is_not_brought_back_by_a_late_repetition() -> None:
    table = Table()
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=SEALED))
    table.run(Reseal(customer_id="cus_1", sealed=NOTHING), LATER)
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=SEALED), LATER)
    table.run(report(ChangedCustomer(customer_id="cus_1", as_of=LATEST, sealed=NEWER)))
    assert Sealed.of(only_row(table)) == NOTHING


def test_the_latest_word_of_stripe_is_kept_whatever_the_order() -> None:
    older = ChangedCustomer(customer_id="cus_1", as_of=NOW, sealed=SEALED)
    newer = ChangedCustomer(customer_id="cus_1", as_of=LATER, sealed=NEWER)
    for order in ((older, newer), (newer, older)):
        table = Table()
        table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=SEALED))
        for number, changed in enumerate(order):
            table.run(report(changed, f"evt_{number}"))
        assert Sealed.of(only_row(table)) == NEWER


def test_of_a_deleted_customer_only_whose_it_was_is_kept() -> None:
    table = Table()
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada", sealed=SEALED))
    gone = table.run(report(ChangedCustomer(customer_id="cus_1", as_of=NEVER), "evt_1"), LATER)
    late = ChangedCustomer(customer_id="cus_1", as_of=LATEST, sealed=NEWER)
    assert gone.outcome == "applied"
    assert table.run(report(late, "evt_2"), LATEST).outcome == "ignored"
    assert only_row(table) == StripeCustomer("cus_1", "ada", None, None, NOW, as_of=NEVER)


def test_what_is_not_kept_of_a_customer_does_not_begin_to_be() -> None:
    table = Table()
    table.run(KeepCustomer(customer_id="cus_1", user_id="ada"))
    changed = ChangedCustomer(customer_id="cus_1", as_of=LATER, sealed=NEWER)
    assert table.run(report(changed)).outcome == "ignored"
    assert Sealed.of(only_row(table)) == NOTHING
    stranger = ChangedCustomer(customer_id="cus_2", as_of=LATER, sealed=NEWER)
    assert table.run(report(stranger, "evt_2")).outcome == "ignored"
    assert (StripeCustomer, "cus_2") not in table.rows


def test_nobody_is_made_up_by_replacing() -> None:
    table = Table()
    table.run(Reseal(customer_id="cus_1", sealed=SEALED))
    assert table.rows == {}


def test_only_rows_that_are_as_they_were_read_are_renewed() -> None:
    table = Table()
    for number in "123":
        table.run(KeepCustomer(customer_id=f"cus_{number}", user_id="ada", sealed=SEALED))
    read = rows(table)
    other = msgspec.structs.replace(SEALED, email="other")
    table.run(Reseal(customer_id="cus_2", sealed=other))
    del table.rows[StripeCustomer, "cus_3"]

    done = table.run(Renew(renewals=tuple(Renewal(row, NEWER) for row in read)))

    assert done == 1
    left = {row.stripe_customer_id: Sealed.of(row) for row in rows(table)}
    assert left == {"cus_1": NEWER, "cus_2": other}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Example.com", "ada@example.com"),
        ("  ada@example.com\t", "ada@example.com"),
        ("jose\u0301@example.com", "jos\u00e9@example.com"),
        ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
        ("STRASSE@example.com", "stra\u00dfe@example.com"),
    ],
)
def test_an_address_is_found_however_it_is_written(one: str, other: str) -> None:
    assert normal_email(one) == normal_email(other)


@pytest.mark.parametrize("other", ["ad.a@example.com", "ada+x@example.com", "ada@example.org"])
def test_what_may_be_another_mailbox_stays_another_address(other: str) -> None:
    assert normal_email(other) != normal_email("ada@example.com")


@given(st.text())
def test_what_is_normal_stays_as_it_is(text: str) -> None:
    normal = normal_email(text)
    assert normal_email(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
