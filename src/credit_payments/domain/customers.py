"""Keeping which Stripe customer is whose, as commands of the database queue.

What is personal arrives here as envelopes: making them takes randomness, so it is done before.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

import msgspec

from credit_payments.domain.decision import Ask, Decision, View
from credit_payments.domain.records import NEVER, StripeCustomer


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The personal fields of a customer's row: envelopes and the index, or nothing at all."""

    email: str | None = None
    name: str | None = None
    phone: str | None = None
    email_index: str | None = None

    @classmethod
    def of(cls, row: StripeCustomer) -> Sealed:
        """Those of a row."""
        return cls(email=row.email, name=row.name, phone=row.phone, email_index=row.email_index)

    def put_into(self, row: StripeCustomer) -> StripeCustomer:
        """The row with these instead of its own."""
        return msgspec.structs.replace(row, **msgspec.structs.asdict(self))


NOTHING = Sealed()


class ChangedCustomer(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="object", tag="changed_customer"
):
    """What an event said of a customer at the instant `as_of`: `NEVER` when it is gone.

    `sealed` is None where there are no keys to encrypt it with, and `NOTHING` where nothing is
    left at Stripe.
    """

    customer_id: str
    as_of: str
    sealed: Sealed | None = NOTHING

    def put_into(self, row: StripeCustomer) -> StripeCustomer:
        """The row as this says, if it is no older than what the row has from Stripe.

        What is not kept of a customer does not begin to be; what only Stripe has emptied, does.
        """
        if self.sealed is None or row.as_of > self.as_of:
            return row
        is_kept = Sealed.of(row) != NOTHING or row.as_of
        if not is_kept and self.as_of != NEVER:
            return row
        return msgspec.structs.replace(self.sealed.put_into(row), as_of=self.as_of)


def normal_email(email: str) -> str:
    """An e-mail address as it is looked up: in any case, and however its accents are written.

    White space around it goes, case is folded, and composed and decomposed characters become one
    (Unicode 15, D145: canonical caseless matching). RFC 5321, section 2.4, lets a host tell cases
    apart in front of the `@`; none that people use does, and a look-up that fails for `Ada@` would
    be the greater surprise. Nothing else is changed: dots and `+tags` have different meanings with
    different hosts.

    Example:
        >>> normal_email(" Ada@Example.COM")
        'ada@example.com'
    """
    decomposed = unicodedata.normalize("NFD", email.strip())
    return unicodedata.normalize("NFC", decomposed.casefold())


class KeepCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """A Stripe customer belongs to one of our users."""

    customer_id: str
    user_id: str
    sealed: Sealed = NOTHING

    def keys(self) -> Iterator[Ask]:
        """The customer."""
        yield StripeCustomer, self.customer_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[None]:
        """Keep it once; what is personal also later, if it was not kept at first."""
        known = view.get(StripeCustomer, self.customer_id)
        if known is None:
            new = StripeCustomer(self.customer_id, self.user_id, None, None, now)
            return Decision(None, (self.sealed.put_into(new),))
        if known.user_id != self.user_id or Sealed.of(known) != NOTHING or self.sealed == NOTHING:
            return Decision(None)
        if known.as_of == NEVER:  # forgotten: a late repetition brings nothing back
            return Decision(None)
        return Decision(None, (self.sealed.put_into(known),))


class Reseal(msgspec.Struct, frozen=True, kw_only=True):
    """The personal fields of a customer are to be others."""

    customer_id: str
    sealed: Sealed

    def keys(self) -> Iterator[Ask]:
        """The customer."""
        yield StripeCustomer, self.customer_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[None]:
        """Replace them, if there is such a customer; with nothing, no late message undoes it."""
        known = view.get(StripeCustomer, self.customer_id)
        if known is None:
            return Decision(None)
        as_of = NEVER if self.sealed == NOTHING else now
        changed = msgspec.structs.replace(self.sealed.put_into(known), as_of=as_of)
        return Decision(None, () if changed == known else (changed,))


class Renewal(msgspec.Struct, frozen=True):
    """A row as it was read, and its fields encrypted anew."""

    row: StripeCustomer
    sealed: Sealed


class Renew(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that say what they said, under another key."""

    renewals: tuple[Renewal, ...]

    def keys(self) -> Iterator[Ask]:
        """The customers."""
        for renewal in self.renewals:
            yield StripeCustomer, renewal.row.stripe_customer_id

    def keys_after(self, view: View) -> Iterable[Ask]:  # noqa: ARG002 - part of the protocol
        """Nothing more."""
        return ()

    def decide(self, view: View, now: str) -> Decision[int]:  # noqa: ARG002 - part of the protocol
        """Replace the rows that are as they were read; the answer is how many.

        What somebody changed meanwhile says something else by now.
        """
        changes = [
            renewal.sealed.put_into(renewal.row)
            for renewal in self.renewals
            if view.get(StripeCustomer, renewal.row.stripe_customer_id) == renewal.row
        ]
        return Decision(len(changes), changes)
