"""A payment's story told to several processes at once: the end is that of the facts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.payment_story import (
    CHARGE_1,
    DISPUTE,
    FAILURE,
    LINK,
    REFUNDS,
    SUCCESS,
    Books,
    Case,
)

from credit_payments.adapters.databases import Opening, open_storage
from credit_payments.errors import TryAgain
from credit_payments.ports.storage import Storage

MESSAGES = (SUCCESS, FAILURE, LINK, CHARGE_1, *REFUNDS, *DISPUTE)
STORIES = 12


@pytest.fixture
def two_storages(database: str) -> Iterator[tuple[Storage, Storage]]:
    """As two processes have them: neither knows of the other's locks and queue."""
    one = open_storage(database, Opening())
    other = open_storage(database, Opening())
    yield one, other
    one.close()
    other.close()


def _patiently(tell: Callable[[str], str], message: str) -> None:
    """Stripe delivers again what was answered with 503."""
    for _ in range(50):
        try:
            tell(message)
        except TryAgain:
            continue
        return
    raise AssertionError(message)


@pytest.mark.parametrize("seed", range(STORIES))
def test_a_story_told_to_two_processes_at_once_ends_as_its_facts_say(
    two_storages: tuple[Storage, Storage], seed: int
) -> None:
    chance = random.Random(seed)
    case = Case(linked=False, end=chance.choice(["won", "lost"]))
    books = [Books(case, storage=storage) for storage in two_storages]
    told = chance.sample(MESSAGES, chance.randint(3, len(MESSAGES)))
    twice = [*told, *told]
    chance.shuffle(twice)
    with ThreadPoolExecutor(6) as threads:
        done = [threads.submit(_patiently, chance.choice(books).tell, message) for message in twice]
        for future in done:
            future.result(60)
    books[0].verify()
    books[0].check_state(frozenset(told), twice)
    for book in books:
        book.queue.close()
