"""Which index does for which, and which ones the records name."""

from __future__ import annotations

import pytest

from credit_payments.domain.records import RECORDS, Entry, Lot
from credit_payments.domain.traits import Index, WebhookEndpoint, indexes, serves

LISTED = Index("lots", ("user_id", "open"))
ONLY_ONE = Index("entries", ("user_id", "sequence"), unique=True)
EXPIRING = Index("lots", ("user_id", "expires_at"), ending="expires_at")


@pytest.mark.parametrize(
    ("found", "wanted", "does"),
    [
        (LISTED, LISTED, True),
        (Index("lots", ("user_id", "open", "lot_id")), LISTED, True),
        (Index("lots", ("user_id", "open"), unique=True), LISTED, True),
        (Index("lots", ("open", "user_id")), LISTED, False),
        (Index("lots", ("user_id",)), LISTED, False),
        (Index("holds", ("user_id", "open")), LISTED, False),
        (Index("lots", ("user_id", "open"), ending="expires_at"), LISTED, False),
        (EXPIRING, EXPIRING, True),
        (Index("lots", ("user_id", "expires_at")), EXPIRING, True),
        (Index("lots", ("user_id", "expires_at"), ending="created_at"), EXPIRING, False),
        (ONLY_ONE, ONLY_ONE, True),
        (Index("entries", ("user_id", "sequence")), ONLY_ONE, False),
        (Index("entries", ("user_id", "sequence", "hash"), unique=True), ONLY_ONE, False),
    ],
)
def test_an_index_does_what_another_is_wanted_for(found: Index, wanted: Index, does: bool) -> None:
    assert serves(found, wanted) is does


def test_all_that_a_record_names_is_wanted() -> None:
    assert list(indexes([Entry])) == [Index("entries", ("cause",), unique=True), ONLY_ONE]
    (sparse,) = [index for index in indexes([Lot]) if index.ending is not None]
    assert (sparse.ending, sparse.columns) == (Lot.SPARSE[0][0], Lot.SPARSE[0][1])
    assert {index.table for index in indexes()} == {kind.TABLE for kind in RECORDS}


def test_the_url_of_an_endpoint_is_not_shown() -> None:
    endpoint = WebhookEndpoint(
        endpoint_id="we_1",
        url="https://shop.example/?token=hunter2",
        is_enabled=True,
        enabled_events=("*",),
        api_version=None,
        livemode=False,
    )
    assert "hunter2" not in repr(endpoint)
