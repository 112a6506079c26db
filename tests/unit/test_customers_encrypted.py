"""Customers are kept encrypted, found by their address, and survive their keys."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import stripe as sdk
from tests.conftest import TurnableClock

import credit_payments as cp
from credit_payments import personal_data
from credit_payments.adapters.encryption import AesGcmCipher
from credit_payments.adapters.retries import RetryPolicy
from credit_payments.adapters.stripe_gateway import StripeGateway
from credit_payments.client import PaymentsClient
from credit_payments.domain.key_ring import KeyRing, encode
from credit_payments.domain.records import StripeCustomer
from credit_payments.ports.storage import Storage
from credit_payments.posting import PostingQueue
from credit_payments.testing.simulator import StripeSimulator

EMAIL, NAME, PHONE = "Canary-7f3a@Example.com", "Canary Schmidt-7f3a", "+49 7f3a 5550100"
NEW, OLD, INDEX = (bytes([n]) * 32 for n in (1, 2, 3))
OLD_CIPHER = AesGcmCipher(KeyRing({"old": OLD}, INDEX))
BOTH_CIPHER = AesGcmCipher(KeyRing({"new": NEW, "old": OLD}, INDEX))
NEW_CIPHER = AesGcmCipher(KeyRing({"new": NEW}, INDEX))


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeSimulator]:
    with StripeSimulator() as simulator:
        yield simulator


@attrs.frozen
class Desk:
    """Clients with different keys, or none, over one storage."""

    gateway: StripeGateway
    storage: Storage
    queue: PostingQueue

    def client(self, cipher: AesGcmCipher | None) -> PaymentsClient:
        return PaymentsClient(
            self.gateway,
            self.storage,
            self.queue,
            cp.CreditCalculator(rates={"usd": 10}),
            new_id=lambda: os.urandom(16).hex(),
            cipher=cipher,
        )

    def rotate(self, cipher: AesGcmCipher, *, dry_run: bool = False) -> cp.RotationReport:
        return personal_data.rotate(self.storage, self.queue, cipher, dry_run=dry_run)

    def rows(self) -> dict[str, StripeCustomer]:
        found = self.storage.scan(StripeCustomer, order=("stripe_customer_id",))
        return {row.stripe_customer_id: row for row in found}

    def fill(self, cipher: AesGcmCipher, *users: str) -> list[str]:
        create = self.client(cipher).create_customer
        return sorted(create(user, f"{user}@example.com", name=user).id for user in users)


@pytest.fixture
def desk(stripe: StripeSimulator, storage: Storage, clock: TurnableClock) -> Iterator[Desk]:
    stripe.reset()
    gateway = StripeGateway(
        stripe.secret_key, api_base=stripe.url, retry=RetryPolicy.immediate(attempts=1)
    )
    queue = PostingQueue(storage, clock)
    yield Desk(gateway, storage, queue)
    queue.close()
    gateway.close()


def test_what_is_personal_is_kept_encrypted_and_found_by_the_address(desk: Desk) -> None:
    payments = desk.client(OLD_CIPHER)
    created = payments.create_customer("ada", EMAIL, NAME, PHONE)
    row = desk.rows()[created.id]
    assert all((row.email, row.name, row.phone, row.email_index))
    assert "7f3a" not in repr(row)

    [found] = payments.customers_by_email(f" {EMAIL.upper()}".strip())
    assert (found.customer_id, found.user_id) == (created.id, "ada")
    assert (found.email, found.name, found.phone) == (EMAIL, NAME, PHONE)
    assert "7f3a" not in repr(found)
    assert list(payments.customers_by_email("nobody@example.com")) == []


def test_what_was_not_given_stays_empty(desk: Desk) -> None:
    payments = desk.client(OLD_CIPHER)
    customer_id = payments.create_customer("ada", EMAIL).id
    row = desk.rows()[customer_id]
    assert (row.name, row.phone) == (None, None)
    [found] = payments.customers_by_email(EMAIL)
    assert (found.name, found.phone) == (None, None)


def test_without_a_cipher_nothing_is_kept_and_nothing_is_looked_up(desk: Desk) -> None:
    payments = desk.client(None)
    customer_id = payments.create_customer("ada", EMAIL, NAME, PHONE).id
    row = desk.rows()[customer_id]
    assert (row.email, row.name, row.phone, row.email_index) == (None, None, None, None)
    for call in (
        lambda: payments.customers_by_email(EMAIL),
        lambda: payments.refresh_customer(customer_id),
    ):
        with pytest.raises(cp.NotConfigured, match="encryption_keys") as caught:
            call()
        assert caught.value.error_code == "encryption_not_configured"


def test_customers_of_one_address_come_in_pages_newest_first(
    desk: Desk, clock: TurnableClock
) -> None:
    payments = desk.client(OLD_CIPHER)
    created = []
    for number in range(5):
        created.append(payments.create_customer(f"user{number}", EMAIL).id)
        clock.turn(1)
    payments.create_customer("ada", "ada@example.com")
    found: list[str] = []
    cursor = None
    for _ in range(3):
        page = payments.customers_by_email(EMAIL, limit=2, cursor=cursor)
        found += [customer.customer_id for customer in page]
        cursor = page.cursor
    assert cursor is None
    assert found == created[::-1]


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a b@example.com", None, 5])
def test_what_is_no_address_is_not_looked_up(desk: Desk, email: Any) -> None:
    with pytest.raises(cp.InvalidRequest) as caught:
        desk.client(OLD_CIPHER).customers_by_email(email)
    assert caught.value.param == "email"


def test_a_limit_or_cursor_that_cannot_be_right_is_refused(desk: Desk) -> None:
    look_up = desk.client(OLD_CIPHER).customers_by_email
    with pytest.raises(cp.InvalidRequest):
        look_up(EMAIL, limit=101)
    with pytest.raises(cp.InvalidRequest):
        look_up(EMAIL, cursor="nonsense")


def test_a_refresh_keeps_what_was_kept_by_nobody_or_changed_at_stripe(
    desk: Desk, stripe: StripeSimulator
) -> None:
    customer_id = desk.client(None).create_customer("ada", EMAIL, NAME).id
    payments = desk.client(OLD_CIPHER)
    assert payments.refresh_customer(customer_id).email == EMAIL
    [found] = payments.customers_by_email(EMAIL)
    assert (found.user_id, found.name) == ("ada", NAME)

    client = sdk.StripeClient(stripe.secret_key, base_addresses={"api": stripe.url})
    client.v1.customers.update(customer_id, {"email": "moved@example.com"})
    payments.refresh_customer(customer_id)
    assert list(payments.customers_by_email(EMAIL)) == []
    assert [found.name for found in payments.customers_by_email("moved@example.com")] == [NAME]


def test_a_customer_that_is_forgotten_leaves_only_whose_it_is(desk: Desk) -> None:
    payments = desk.client(OLD_CIPHER)
    customer_id = payments.create_customer("ada", EMAIL, NAME, PHONE).id
    payments.forget_customer(customer_id)
    payments.forget_customer(customer_id)
    row = desk.rows()[customer_id]
    assert row.user_id == "ada"
    assert (row.email, row.name, row.phone, row.email_index) == (None, None, None, None)
    assert list(payments.customers_by_email(EMAIL)) == []


@pytest.mark.parametrize("method", ["refresh_customer", "forget_customer"])
def test_a_customer_that_is_not_known_is_not_found(desk: Desk, method: str) -> None:
    with pytest.raises(cp.NotFound):
        getattr(desk.client(OLD_CIPHER), method)("cus_missing")
    assert desk.rows() == {}


def test_a_rotation_moves_everything_to_the_new_key_and_the_old_one_may_go(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_data, "PAGE_ROWS", 2)
    desk.fill(OLD_CIPHER, "ada", "bob", "cyd", "dan", "eve")
    desk.client(None).create_customer("fay", "fay@example.com")
    with pytest.raises(cp.DecryptionFailed, match="'old', which is missing"):
        desk.client(NEW_CIPHER).customers_by_email("ada@example.com")

    before = desk.rows()
    planned = desk.rotate(BOTH_CIPHER, dry_run=True)
    assert (planned.customers, planned.renewed) == (6, 5)
    assert desk.rows() == before

    assert not planned.complete, "the old key is still needed"
    done = desk.rotate(BOTH_CIPHER)
    assert done == attrs.evolve(planned, dry_run=False)
    assert done.complete
    [found] = desk.client(NEW_CIPHER).customers_by_email("ada@example.com")
    assert (found.user_id, found.name) == ("ada", "ada")

    after = desk.rows()
    again = desk.rotate(BOTH_CIPHER)
    assert (again.customers, again.renewed) == (6, 0)
    assert desk.rows() == after, "the second run does nothing"


def test_a_rotation_that_was_interrupted_goes_on_where_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_data, "PAGE_ROWS", 2)
    desk.fill(OLD_CIPHER, "ada", "bob", "cyd", "dan", "eve")
    submit, calls = desk.queue.submit, iter(range(10))

    def killed_at_the_second_page(command: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return submit(command)

    monkeypatch.setattr(desk.queue, "submit", killed_at_the_second_page)
    with pytest.raises(KeyboardInterrupt):
        desk.rotate(BOTH_CIPHER)
    emails = [row.email or "" for row in desk.rows().values()]
    assert sum(map(BOTH_CIPHER.is_current, emails)) == 2

    assert desk.rotate(BOTH_CIPHER).renewed == 3
    for user in ("ada", "bob", "cyd", "dan", "eve"):
        assert len(desk.client(NEW_CIPHER).customers_by_email(f"{user}@example.com")) == 1


def test_what_somebody_changes_during_a_rotation_stays_changed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = desk.fill(OLD_CIPHER, "ada", "bob", "cyd")
    submit = desk.queue.submit

    def overtaken(command: Any) -> Any:
        monkeypatch.setattr(desk.queue, "submit", submit)
        desk.client(OLD_CIPHER).forget_customer(first)
        return submit(command)

    monkeypatch.setattr(desk.queue, "submit", overtaken)
    report = desk.rotate(BOTH_CIPHER)
    assert (report.renewed, report.changed_meanwhile, report.complete) == (2, 1, False)
    assert desk.rows()[first].email is None
    assert desk.rotate(BOTH_CIPHER).complete


def test_what_cannot_be_read_is_named_left_as_it_is_and_holds_up_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(personal_data, "UNREADABLE_NAMED_MAX", 1)
    desk.fill(AesGcmCipher(KeyRing({"lost": NEW}, INDEX)), "ada", "bob")
    lost = desk.rows()
    desk.fill(OLD_CIPHER, "cyd")
    report = desk.rotate(BOTH_CIPHER)
    assert (report.customers, report.renewed, report.unreadable) == (3, 1, 2)
    assert not report.complete
    [problem] = report.problems
    assert "'lost'" in problem
    assert any(f"stripe_customers/{customer_id}" in problem for customer_id in lost)
    assert {name: row for name, row in desk.rows().items() if name in lost} == lost


def test_a_new_index_key_needs_a_rotation_only(desk: Desk) -> None:
    desk.fill(OLD_CIPHER, "ada")
    reindexed = AesGcmCipher(KeyRing({"old": OLD}, bytes([9]) * 32))
    payments = desk.client(reindexed)
    assert list(payments.customers_by_email("ada@example.com")) == []
    before = desk.rows()
    assert desk.rotate(reindexed).renewed == 1
    [found] = payments.customers_by_email("ada@example.com")
    assert found.email == "ada@example.com"
    assert [row.email for row in desk.rows().values()] == [row.email for row in before.values()]


def test_an_envelope_that_was_put_into_another_row_is_not_read(desk: Desk) -> None:
    payments = desk.client(OLD_CIPHER)
    victim = payments.create_customer("ada", EMAIL).id
    other = payments.create_customer("eve", "eve@example.com").id
    rows = desk.rows()
    moved = msgspec.structs.replace(rows[other], email=rows[victim].email)
    with desk.storage.transaction() as transaction:
        transaction.load([(StripeCustomer, other)])
        transaction.write([], [moved])
    with pytest.raises(cp.DecryptionFailed, match="changed or moved"):
        payments.customers_by_email("eve@example.com")


@pytest.fixture
def connect(stripe: StripeSimulator, tmp_path: Path) -> Callable[..., cp.System]:
    stripe.reset()

    def connect(keys: str | None, index: str | None = encode(INDEX)) -> cp.System:
        return cp.connect(
            database=f"sqlite:///{tmp_path / 'credits.db'}",
            stripe_secret_key=stripe.secret_key,
            stripe_api_base=stripe.url,
            encryption_keys=keys,
            encryption_index_key=index if keys else None,
        )

    return connect


def test_a_dump_of_the_database_shows_nothing_personal(
    connect: Callable[..., cp.System], tmp_path: Path
) -> None:
    old, new = f"old:{encode(OLD)}", f"new:{encode(NEW)}"
    with connect(old) as system:
        system.payments.create_customer("ada", EMAIL, NAME, PHONE)
        check_dump(tmp_path)  # with its write-ahead log
    with connect(f"{new},{old}") as system:
        assert system.rotate_encryption().renewed == 1
        check_dump(tmp_path)
    with connect(new) as system:
        [found] = system.payments.customers_by_email(EMAIL)
        assert (found.email, found.name, found.phone) == (EMAIL, NAME, PHONE)
    check_dump(tmp_path)


def check_dump(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.name.startswith("credits.db")]
    content = b"".join(path.read_bytes() for path in files)
    with closing(sqlite3.connect(folder / "credits.db")) as connection:
        content += "\n".join(connection.iterdump()).encode()
    assert b"v1." in content
    for canary in (EMAIL, NAME, PHONE, EMAIL.lower()):
        for form in (canary.encode(), canary.encode("utf-16-le"), canary.encode().hex().encode()):
            assert form not in content
        # In base64 what surrounds a text changes its edges, not its middle.
        for shift in range(3):
            inner = base64.b64encode(b"\0" * shift + canary.encode())[4:-4]
            assert inner not in content


def test_without_keys_a_system_cannot_rotate(connect: Callable[..., cp.System]) -> None:
    with connect(None) as system, pytest.raises(cp.NotConfigured, match="encryption_keys"):
        system.rotate_encryption()


def test_keys_that_cannot_be_used_are_refused_before_a_database_is_made(
    connect: Callable[..., cp.System], tmp_path: Path
) -> None:
    with pytest.raises(cp.ConfigurationError, match="encryption_keys: key 1"):
        connect("old:tooshort")
    assert list(tmp_path.iterdir()) == []
