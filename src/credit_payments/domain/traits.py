"""What can be observed of a database and of Stripe, for whoever judges whether they will do.

Plain values, and no judgment but one: which of the database's settings fit, as only its adapter
knows. No secret and no address with a password is among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from credit_payments.domain.records import RECORDS, Record

# -- a database --------------------------------------------------------------------------------


@attrs.frozen
class Index:
    """An index that reads, or a promise, rest on.

    Attributes:
        table: the table, or collection.
        columns: in the order of the index.
        unique: whether it keeps two rows from having the same values.
        ending: the column whose instant ever comes in the rows that it has; None for all rows.
    """

    table: str
    columns: tuple[str, ...]
    unique: bool = False
    ending: str | None = None

    @property
    def name(self) -> str:
        """What it is called where the name has to be unique in the database."""
        return f"{self.table}_by_{'_'.join(self.columns)}"


@attrs.frozen
class MissingIndex:
    """One that is not there, and the statement that makes it."""

    index: Index
    remedy: str


@attrs.frozen
class DatabaseSetting:
    """A setting on which depends whether what was acknowledged survives.

    Attributes:
        name: as the database calls it.
        value: the one in force.
        wanted: what has to be set, where the value does not fit.
        fits: whether nothing that was acknowledged can be lost with this value.
    """

    name: str
    value: str
    wanted: str
    fits: bool


@attrs.frozen(kw_only=True)
class DatabaseTraits:
    """What was observed of a database.

    Attributes:
        kind: what it is called, with its version and its form: `PostgreSQL 17.2`.
        is_kept: whether rows outlive the process.
        has_transactions: without them a crash may leave half of a write.
        is_writable: whether it takes writes now, for all that it tells.
        settings: what durability rests on, as it is in force for our own transactions.
        missing_tables: tables, or collections, that are not there; what else is said of them is of
            no use.
        missing_indexes: of those that the records name.
        missing_rights: statements that give the database's user what it lacks; None where users
            have no rights.
        unchecked: collections whose documents the server does not check any more; None where it
            checks otherwise.
    """

    kind: str
    is_kept: bool = True
    has_transactions: bool = True
    is_writable: bool = True
    settings: tuple[DatabaseSetting, ...] = ()
    missing_tables: tuple[str, ...] = ()
    missing_indexes: tuple[MissingIndex, ...] = ()
    missing_rights: tuple[str, ...] | None = None
    unchecked: tuple[str, ...] | None = None


def indexes(kinds: Sequence[type[Record]] = RECORDS) -> Iterator[Index]:
    """The indexes that the records name, those of their keys first.

    >>> from credit_payments.domain.records import Entry
    >>> [index.columns for index in indexes([Entry])]
    [('cause',), ('user_id', 'sequence')]
    """
    for kind in kinds:
        yield Index(kind.TABLE, (kind.KEY,), unique=True)
        yield from (Index(kind.TABLE, columns, unique=True) for columns in kind.UNIQUE)
        yield from (Index(kind.TABLE, columns) for columns in kind.INDEXES)
        yield from (Index(kind.TABLE, columns, ending=ending) for ending, columns in kind.SPARSE)


def serves(found: Index, wanted: Index) -> bool:
    """Whether an index does what another one is wanted for.

    One over all rows serves for some of them, and one with further columns behind it for reading.

    >>> wanted = Index("lots", ("user_id", "open"))
    >>> serves(Index("lots", ("user_id", "open", "lot_id")), wanted)
    True
    >>> serves(Index("lots", ("user_id", "open"), ending="expires_at"), wanted)
    False
    """
    if found.table != wanted.table or found.ending not in (None, wanted.ending):
        return False
    if wanted.unique:
        return found.unique and found.columns == wanted.columns
    return found.columns[: len(wanted.columns)] == wanted.columns


# -- Stripe ------------------------------------------------------------------------------------

Access: TypeAlias = Literal["granted", "refused", "forbidden", "rejected", "unavailable"]
"""How Stripe answered: the key is wrong (`refused`, 401) or lacks a permission (`forbidden`, 403);
the request is not understood (`rejected`, 400); or there is no usable answer."""


@attrs.frozen(kw_only=True)
class ClockReading:
    """What another clock said, and ours before it was asked and after it had answered.

    Attributes:
        said: whole seconds, cut, as an HTTP `Date` has them (RFC 9110, section 6.6.1).
        asked_at: ours, before.
        answered_at: ours, after.
    """

    said: datetime
    asked_at: datetime
    answered_at: datetime


@attrs.frozen(kw_only=True)
class WebhookEndpoint:
    """An endpoint that is registered with Stripe.

    See https://docs.stripe.com/api/webhook_endpoints/object.

    Attributes:
        endpoint_id: `we_…`.
        url: as registered; it may hold a password or a token, so `repr` leaves it out.
        is_enabled: whether events are sent to it.
        enabled_events: their types; `*` stands for all.
        api_version: in whose form they are sent; None for the account's default.
        livemode: whether they are about real money.
    """

    endpoint_id: str
    url: str = attrs.field(repr=False)
    is_enabled: bool
    enabled_events: tuple[str, ...]
    api_version: str | None
    livemode: bool


@attrs.frozen(kw_only=True)
class StripeTraits:
    """What was observed of Stripe.

    Attributes:
        payments: whether payment intents may be read with the key.
        webhooks: whether webhook endpoints may be read with it.
        endpoints: those that are registered; none where they may not be read.
        clock: Stripe's; None where no answer came.
        api_version: in which version it has answered.
    """

    payments: Access
    webhooks: Access
    endpoints: tuple[WebhookEndpoint, ...] = ()
    clock: ClockReading | None = None
    api_version: str | None = None
