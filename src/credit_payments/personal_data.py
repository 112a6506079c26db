"""What is personal about a customer, encrypted at the edge of the core.

Envelopes are made and read here and nowhere else, and so are the names that bind them to their
place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import msgspec

from credit_payments.domain import customers, instants, values
from credit_payments.domain.customers import Renew, Renewal, Sealed
from credit_payments.domain.records import StripeCustomer
from credit_payments.errors import DecryptionFailed, NotConfigured
from credit_payments.ports.encryption import FieldCipher
from credit_payments.ports.storage import Reader
from credit_payments.posting import PostingQueue

PAGE_ROWS = 100
"""How many customers are read, and written in one transaction, at a time while keys are rotated."""
UNREADABLE_NAMED_MAX = 100

_FIELDS = ("email", "name", "phone")
_WALK = (StripeCustomer.KEY,)


@attrs.frozen(kw_only=True)
class RotationReport:
    """What a rotation has done.

    Attributes:
        customers: how many were looked at.
        renewed: how many were encrypted anew, or would have been.
        changed_meanwhile: how many somebody else wrote at the same moment; run again for them.
        unreadable: how many could not be decrypted, and are as they were.
        problems: what is wrong with the first 100 of those, a sentence each.
        dry_run: whether nothing was written.
    """

    customers: int
    renewed: int
    changed_meanwhile: int
    unreadable: int
    problems: Sequence[str]
    dry_run: bool = False

    @property
    def complete(self) -> bool:
        """Whether every envelope is under the primary key now."""
        left = self.renewed if self.dry_run else self.changed_meanwhile
        return not left and not self.unreadable


def needed(cipher: FieldCipher | None) -> FieldCipher:
    """The cipher, where there is one.

    Raises:
        NotConfigured: there is none.
    """
    if cipher is None:
        raise NotConfigured(
            "Encryption is not configured: set encryption_keys and encryption_index_key.",
            param="encryption_keys",
            code="encryption_not_configured",
        )
    return cipher


def seal(
    cipher: FieldCipher, customer_id: str, *, email: str | None, name: str | None, phone: str | None
) -> Sealed:
    """What a customer's row keeps of these."""
    texts = {"email": email, "name": name, "phone": phone}
    record = _record(customer_id)
    envelopes = {
        field: None if text is None else cipher.encrypt(text, record=record, field=field)
        for field, text in texts.items()
    }
    return Sealed(**envelopes, email_index=None if email is None else index(cipher, email))


def index(cipher: FieldCipher, email: str) -> str:
    """By what an address is found."""
    return cipher.blind(customers.normal_email(email), field="email")


def kept(cipher: FieldCipher, row: StripeCustomer) -> values.KeptCustomer:
    """A customer, as it is kept.

    Raises:
        DecryptionFailed: an envelope cannot be read.
    """
    return values.KeptCustomer(
        customer_id=row.stripe_customer_id,
        user_id=row.user_id,
        **_opened(cipher, row),
        created_at=instants.from_text(row.created_at),
    )


def rotate(
    reader: Reader, queue: PostingQueue, cipher: FieldCipher, *, dry_run: bool
) -> RotationReport:
    """Encrypt anew what is not under the primary key, and index anew what is not under its key.

    Every envelope is read, so every one that cannot be is found. May be interrupted at any time:
    what is done is done, and the next run goes on with the rest.

    Raises:
        TryAgain: the database failed.
    """
    rotation = _Rotation(cipher)
    for rows in _pages(reader):
        renewals = tuple(rotation.renewals(rows))
        done = len(renewals)
        if renewals and not dry_run:
            done = queue.submit(Renew(renewals=renewals))
        rotation.renewed += done
        rotation.changed_meanwhile += len(renewals) - done
    return rotation.report(dry_run=dry_run)


@attrs.define
class _Rotation:
    """How far one has come."""

    cipher: FieldCipher
    customers: int = 0
    renewed: int = 0
    changed_meanwhile: int = 0
    unreadable: int = 0
    problems: list[str] = attrs.field(factory=list)

    def renewals(self, rows: Sequence[StripeCustomer]) -> Iterator[Renewal]:
        """Those of the rows that are to change; the others are only counted."""
        for row in rows:
            self.customers += 1
            try:
                sealed = _renewed(self.cipher, row)
            except DecryptionFailed as error:
                self.unreadable += 1
                if self.unreadable <= UNREADABLE_NAMED_MAX:
                    self.problems.append(error.message)
            else:
                if sealed != Sealed.of(row):
                    yield Renewal(row, sealed)

    def report(self, *, dry_run: bool) -> RotationReport:
        return RotationReport(
            customers=self.customers,
            renewed=self.renewed,
            changed_meanwhile=self.changed_meanwhile,
            unreadable=self.unreadable,
            problems=tuple(self.problems),
            dry_run=dry_run,
        )


def _pages(reader: Reader) -> Iterator[list[StripeCustomer]]:
    """All customers by their ids, page by page: no long read holds up the database meanwhile."""
    after: tuple[str] | None = None
    while rows := reader.page(StripeCustomer, {}, order=_WALK, after=after, limit=PAGE_ROWS):
        yield rows
        after = (rows[-1].stripe_customer_id,)


def _renewed(cipher: FieldCipher, row: StripeCustomer) -> Sealed:
    """The fields under the primary key; what is under it already stays the same envelope."""
    fresh = seal(cipher, row.stripe_customer_id, **_opened(cipher, row))
    envelopes = _envelopes(row).items()
    current = {field: envelope for field, envelope in envelopes if cipher.is_current(envelope)}
    return msgspec.structs.replace(fresh, **current)


def _opened(cipher: FieldCipher, row: StripeCustomer) -> dict[str, str | None]:
    record = _record(row.stripe_customer_id)
    texts = {
        field: cipher.decrypt(envelope, record=record, field=field)
        for field, envelope in _envelopes(row).items()
    }
    return {field: texts.get(field) for field in _FIELDS}


def _envelopes(row: StripeCustomer) -> dict[str, str]:
    """What of a row is encrypted."""
    fields = {"email": row.email, "name": row.name, "phone": row.phone}
    return {field: envelope for field, envelope in fields.items() if envelope is not None}


def _record(customer_id: str) -> str:
    return f"{StripeCustomer.TABLE}/{customer_id}"
