"""Documents and queries, without a server."""

from __future__ import annotations

import bson
import pytest
from bson import Decimal128

from credit_payments.adapters import mongo_documents as documents
from credit_payments.domain.decision import Range, Series
from credit_payments.domain.records import (
    NEVER,
    RECORDS,
    Lot,
    Payment,
    Purchase,
    Quote,
    Record,
    StripeCustomer,
    Wallet,
)
from credit_payments.errors import CreditPaymentsError
from credit_payments.testing.contracts.tools import a_lot, a_row


def a_purchase(amount_usd: str | None) -> Purchase:
    return a_row(Purchase, "pi_1", amount_usd=amount_usd, amount_minor=1_000)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
def test_a_document_holds_every_field_under_its_name_and_the_key_as_its_id(
    kind: type[Record],
) -> None:
    document = documents.encode(a_row(kind, "key", optional="given"))
    assert set(document) == {"_id", *kind.__struct_fields__}
    assert document["_id"] == document[kind.KEY] == "key"


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
@pytest.mark.parametrize("optional", [None, "given"])
def test_a_record_comes_back_from_its_bytes(kind: type[Record], optional: str | None) -> None:
    record = a_row(kind, "key", optional=optional, numbers=2**63 - 1)
    document = bson.decode(bson.encode(documents.encode(record)))
    assert documents.decoder(kind)(document) == record


@pytest.mark.parametrize(
    "amount",
    ["10.00", "0.50", "0.00", "1.00", "99999999.99", "100", "1234567890123456789012345678.90"],
)
def test_an_amount_is_a_number_in_the_document_and_the_same_text_afterwards(amount: str) -> None:
    document = documents.encode(a_purchase(amount))
    assert document["amount_usd"] == Decimal128(amount)
    stored = bson.decode(bson.encode(document))
    assert documents.decoder(Purchase)(stored).amount_usd == amount


@pytest.mark.parametrize("amount", ["ten", "", "1e1000000", "10.00 ", "+10.00", "1_0", "1" * 40])
def test_an_amount_that_would_not_come_back_is_refused(amount: str) -> None:
    with pytest.raises(CreditPaymentsError) as caught:
        documents.encode(a_purchase(amount))
    assert caught.value.error_code == "row_refused"
    assert not amount or amount not in str(caught.value)


def test_a_document_that_is_older_than_a_field_gives_its_default() -> None:
    customer = a_row(StripeCustomer, "cus_1", optional="x", phone=None, email_index=None)
    document = documents.encode(customer)
    del document["phone"], document["email_index"]
    assert documents.decoder(StripeCustomer)(document) == customer


def test_a_document_without_a_field_that_it_needs_is_no_record() -> None:
    document = documents.encode(Wallet("ada"))
    del document["user_id"]
    with pytest.raises(TypeError):
        documents.decoder(Wallet)(document)


def test_only_fields_that_change_are_set() -> None:
    before = Wallet("ada", available=1, held=2, updated_at="then")
    after = Wallet("ada", available=3, held=2, updated_at="now")
    assert documents.changes(before, after) == {"available": 3, "updated_at": "now"}
    assert documents.changes(before, before) == {}
    assert set(documents.changes(None, after)) == set(Wallet.MUTABLE)
    quote = a_row(Quote, "q", user_id="ada")
    renamed = a_row(Quote, "q", user_id="eve", payment_intent_id="pi_1")
    assert documents.changes(quote, renamed) == {"payment_intent_id": "pi_1"}


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.TABLE)
def test_a_blank_document_has_the_shape_of_its_kind(kind: type[Record]) -> None:
    blank = documents.blank(kind, "key")
    assert set(blank) == set(documents.encode(a_row(kind, "key")))
    assert isinstance(documents.decoder(kind)(dict(blank)), kind)
    assert blank["_id"] == blank[kind.KEY] == "key"
    if kind is Payment:
        assert blank["amount_minor"] == 0


def test_a_page_goes_on_strictly_behind_a_position() -> None:
    page = documents.page(
        Lot, {"user_id": "ada"}, ("expires_at", "sequence"), ("2024", 7), 5, descending=False
    )
    assert page.where == {
        "user_id": {"$eq": "ada"},
        "expires_at": {"$gte": "2024"},
        "$or": [{"expires_at": {"$gt": "2024"}}, {"expires_at": "2024", "sequence": {"$gt": 7}}],
    }
    assert page.order == (("expires_at", 1), ("sequence", 1))
    back = documents.page(Wallet, {}, ("user_id",), ("ada",), 5, descending=True)
    assert back.where == {"_id": {"$lt": "ada"}}
    assert back.order == (("_id", -1),)


def test_a_value_never_becomes_an_operator() -> None:
    hostile: dict[str, object] = {"user_id": {"$gt": ""}}
    page = documents.page(Wallet, hostile, ("user_id",), None, 1, descending=False)  # type: ignore[arg-type]
    assert page.where == {"_id": {"$eq": {"$gt": ""}}}
    assert documents.by_key(Wallet, {"$gt": ""}).where == {"_id": "{'$gt': ''}"}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["$where", "user_id.x", "nothing", "_id"])
def test_a_column_that_does_not_exist_never_reaches_a_query(name: str) -> None:
    with pytest.raises(ValueError, match="no column"):
        documents.page(Wallet, {name: 1}, ("user_id",), None, 1, descending=False)
    with pytest.raises(ValueError, match="no column"):
        documents.everything(Wallet, (name,))


def test_a_series_that_ends_is_asked_for_in_the_words_of_its_index() -> None:
    series = Series(Lot, "ada", (("open", 1),), ("expires_at", "sequence"), "expires_at")
    query = documents.series(Range(series, 3))
    assert query.where == {
        "user_id": {"$eq": "ada"},
        "open": {"$eq": 1},
        "expires_at": {"$lt": NEVER},
    }
    assert query.stages() == [
        {"$match": query.where},
        {"$sort": {"expires_at": 1, "sequence": 1}},
        {"$limit": 3},
    ]


def test_what_was_read_together_is_shared_out_in_order() -> None:
    users = ("ada", "bob", "eve")
    asked = [
        Range(Series(Lot, user, (("open", 1),), ("priority", "sequence")), 2) for user in users
    ]
    rows = [a_lot(n, user_id=users[n % 2], priority=-(n // 4)) for n in (5, 4, 3, 2, 1, 0)]
    shared = documents.shared_out(asked, rows)
    assert {one.series.group: [row.sequence for row in shared[one]] for one in asked} == {
        "ada": [4, 0],
        "bob": [5, 1],
        "eve": [],
    }
