"""The services' own tests once more, on databases that are servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from credit_payments.adapters.databases import Opening, open_storage
from credit_payments.ports.storage import Storage

SERVERS = ("postgres", "mongo")
WITHOUT_DATABASE = {
    "test_a_cursor_that_no_listing_gave_is_refused",
    "test_a_header_that_stripe_would_not_send_is_refused",
    "test_a_limit_is_a_number_from_one_to_a_hundred",
    "test_a_signals_handler_may_stop_a_worker_wherever_it_is",
    "test_a_signed_body_that_is_no_event_is_refused_and_stores_nothing",
    "test_a_time_to_live_that_cannot_be_right_is_refused",
    "test_a_worker_survives_a_database_that_is_down_for_a_while",
    "test_an_argument_that_cannot_be_right_is_named",
    "test_pages_of_a_filtered_history_hold_each_entry_once",  # long, and the pages' own
    "test_random_bytes_never_raise_anything_else",
    "test_work_adds_up_and_is_true_where_something_was_done",
}
"""They end before a row is read; once is enough."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what another database cannot change."""
    here = Path(__file__).parent
    items[:] = [
        item
        for item in items
        if here not in item.path.parents
        or getattr(item, "originalname", item.name) not in WITHOUT_DATABASE
    ]


@pytest.fixture(params=SERVERS)
def database_url(request: pytest.FixtureRequest) -> str:
    """Instead of memory and SQLite."""
    url: str = request.getfixturevalue(f"{request.param}_database")
    return url


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    """Instead of memory and SQLite."""
    opened = open_storage(database_url, Opening())
    yield opened
    opened.close()
