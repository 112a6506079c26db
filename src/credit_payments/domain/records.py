"""The rows that are kept, each as one frozen record, with where it lives and how it is found.

A storage adapter needs nothing else to know about a row: `TABLE` is its table or collection,
`KEY` its one text key, `UNIQUE` and `INDEXES` what must be unique and what is listed in order
(`SPARSE`, indexes of those rows only for which the instant in a column ever comes),
`MUTABLE` the fields that an update may change (a kind without any is only ever added to), `GROUP`
whose rows of the kind are looked at together; decisions may rest on there being no such row of a
kind that is `GUARDED`. Somebody waits for new rows that have the value in the column that `AWAITED`
names. The text of `DECIMALS` is a decimal number, for databases that have those.
The fields are text and integers only, so that every database keeps exactly what was hashed:
instants are ISO 8601 text in UTC with six decimals (sortable as text; MongoDB would cut a date to
milliseconds), amounts are minor units, structured values are canonical JSON text.

Records are msgspec structs rather than attrs classes because a posting builds several on the hot
path: building one and turning it into a row costs a tenth there.
"""

from __future__ import annotations

from operator import attrgetter
from typing import ClassVar, TypeAlias

import msgspec

CREDITS_MAX = 2**53 - 1
"""The largest number of credits anywhere: JSON numbers above it lose digits in browsers (RFC 8259
section 6)."""


NEVER = "9999-12-31T23:59:59.999999Z"
"""The instant of what does not expire; as text it sorts behind all others."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all rows share: the place they live in; as JSON, a row is an array.

    Rows hold text and numbers, so the garbage collector, which looks for cycles, need not see them.
    """

    TABLE: ClassVar[str]
    KEY: ClassVar[str]
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = ()
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = ()
    SPARSE: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    MUTABLE: ClassVar[tuple[str, ...]] = ()
    GROUP: ClassVar[str | None] = None
    GUARDED: ClassVar[bool] = False
    AWAITED: ClassVar[tuple[str, str] | None] = None
    DECIMALS: ClassVar[tuple[str, ...]] = ()


Key: TypeAlias = tuple[type[Record], str]
"""Names one row: its kind and the value of its key field."""


class Wallet(Record, frozen=True):
    """What a user holds now; each number can be recomputed from the user's entries.

    `due_at` is no later than the next instant at which a lot expires or a hold lapses: before it,
    nobody has to look. While `suspended` is 1 nothing can be spent.
    """

    TABLE: ClassVar = "wallets"
    KEY: ClassVar = "user_id"
    SPARSE: ClassVar = (("due_at", ("due_at", "user_id")),)
    MUTABLE: ClassVar = (
        "available",
        "held",
        "frozen",
        "debt",
        "suspended",
        "entries",
        "head",
        "due_at",
        "updated_at",
    )

    user_id: str
    available: int = 0
    held: int = 0
    frozen: int = 0
    debt: int = 0
    suspended: int = 0
    entries: int = 0
    head: str = ""
    due_at: str = NEVER
    updated_at: str = ""


class Lot(Record, frozen=True):
    """Credits that came in together: one purchase, or one grant.

    Its `lot_id` is the cause of the entry that brought it. What is neither available nor held,
    frozen or expired was spent or taken back; `written_off` was to be taken back, was missing, and
    is forgiven. `covered_by` is the JSON of what else was missing then, and of what stood in for
    it: other lots, and at last the wallet's debt; what comes back to the lot is theirs. `open` is 1
    while something is available, `locked` while a dispute freezes whatever comes back into it. Lots
    are spent in the order of `SPENDING_ORDER`; `sequence` is that of their first entry, and so
    their age.
    """

    TABLE: ClassVar = "lots"
    KEY: ClassVar = "lot_id"
    GROUP: ClassVar = "user_id"
    INDEXES: ClassVar = (("user_id", "open", "priority", "expires_at", "sequence"),)
    SPARSE: ClassVar = (("expires_at", ("user_id", "open", "expires_at", "sequence")),)
    MUTABLE: ClassVar = (
        "open",
        "available",
        "held",
        "frozen",
        "expired",
        "written_off",
        "expiries",
        "locked",
        "covered_by",
    )

    lot_id: str
    user_id: str
    source: str
    sequence: int
    priority: int
    expires_at: str
    credits: int
    open: int
    available: int
    held: int
    frozen: int
    expired: int
    written_off: int
    expiries: int
    locked: int
    created_at: str
    covered_by: str = ""


class Hold(Record, frozen=True):
    """Credits set aside for work whose price is known only afterwards.

    `taken` is the JSON of which lots gave how much, `open` is 1 until the hold is captured,
    released or lapsed. From `lapses_at` on it holds nothing, whoever looks.
    """

    TABLE: ClassVar = "holds"
    KEY: ClassVar = "hold_id"
    GROUP: ClassVar = "user_id"
    INDEXES: ClassVar = (("user_id", "open", "lapses_at", "hold_id"),)
    MUTABLE: ClassVar = ("open", "status", "captured", "lapses_at")

    hold_id: str
    user_id: str
    open: int
    status: str
    credits: int
    captured: int
    overage: str
    fingerprint: str
    taken: str
    lapses_at: str
    created_at: str


class Entry(Record, frozen=True):
    """One change of a wallet: legs that sum to zero, linked to the entry before it.

    `credits` is the change of what is available, the columns `…_after` say what the wallet holds
    afterwards, `lots` is the JSON of which lots changed, and by how much. `cause` names the effect
    (`payment:pi_…`): the unique key on it is what makes a cause post only once. `transaction_id`
    is derived from it.
    """

    TABLE: ClassVar = "entries"
    KEY: ClassVar = "cause"
    UNIQUE: ClassVar = (("user_id", "sequence"),)

    transaction_id: str
    user_id: str
    sequence: int
    kind: str
    cause: str
    fingerprint: str
    credits: int
    balance_after: int
    held_after: int
    frozen_after: int
    debt_after: int
    legs: str
    lots: str
    actor: str | None
    reason: str | None
    metadata: str | None
    created_at: str
    previous_hash: str
    hash: str


class Quote(Record, frozen=True):
    """What an amount buys, kept before Stripe is asked to charge it."""

    TABLE: ClassVar = "quotes"
    KEY: ClassVar = "quote_id"
    MUTABLE: ClassVar = ("payment_intent_id",)

    quote_id: str
    user_id: str
    amount_minor: int
    currency: str
    credits: int
    package_id: str | None
    customer_id: str | None
    rule: str
    expires_seconds: int | None
    fingerprint: str
    payment_intent_id: str | None
    created_at: str


class Payment(Record, frozen=True):
    """A payment intent of ours: its quote, and the facts known about it.

    `quarantined` is 1 while what is filed about it is not settled, and 0 otherwise. `refunds` and
    `disputes` are the JSON of the facts known, by Stripe's ids. What was posted of them stands in
    `refunded_credits` and `disputed_credits` (together, what was taken back), `clawback` (the JSON
    of where it was taken from) and `reversals` (how often something was posted); `locked` is 1
    while a dispute freezes the lot. The credits expire `expires_seconds` after they came.
    `decided_by` names the person who decided whose it is and what it buys, where one had to.
    """

    TABLE: ClassVar = "payments"
    KEY: ClassVar = "payment_intent_id"
    GUARDED: ClassVar = True  # what is told of an unknown payment is filed, for when it is known
    MUTABLE: ClassVar = (
        "user_id",
        "status",
        "quarantined",
        "amount_minor",
        "currency",
        "credits",
        "received_minor",
        "credited",
        "refunded_credits",
        "disputed_credits",
        "locked",
        "reversals",
        "refunds",
        "disputes",
        "clawback",
        "updated_at",
        "decided_by",
    )

    payment_intent_id: str
    user_id: str
    quote_id: str
    status: str
    quarantined: int
    amount_minor: int
    currency: str
    credits: int
    expires_seconds: int | None
    received_minor: int
    credited: int
    refunded_credits: int
    disputed_credits: int
    locked: int
    reversals: int
    refunds: str
    disputes: str
    clawback: str
    created_at: str
    updated_at: str
    decided_by: str | None = None


class Purchase(Record, frozen=True):
    """A completed sale, in the documented collection `credit_purchases`.

    `sequence` is its entry's: purchases are listed in the order in which they were posted.
    """

    TABLE: ClassVar = "credit_purchases"
    KEY: ClassVar = "payment_intent_id"
    DECIMALS: ClassVar = ("amount_usd",)
    INDEXES: ClassVar = (("user_id", "sequence"),)

    payment_intent_id: str
    user_id: str
    sequence: int
    transaction_id: str
    amount_minor: int
    currency: str
    amount_usd: str | None
    credits_purchased: int
    status: str
    payment_method: str
    stripe_payment_intent: str
    created_at: str


class FailedPayment(Record, frozen=True):
    """One failed attempt to pay, in the documented collection `failed_payments`."""

    TABLE: ClassVar = "failed_payments"
    KEY: ClassVar = "failure_id"
    INDEXES: ClassVar = (("user_id", "created_at", "failure_id"),)

    failure_id: str
    user_id: str
    payment_intent_id: str
    status: str
    failure_reason: str
    decline_code: str | None
    created_at: str


class Dispute(Record, frozen=True):
    """A dispute as Stripe last described it, in the documented collection `disputes`."""

    TABLE: ClassVar = "disputes"
    KEY: ClassVar = "dispute_id"
    INDEXES: ClassVar = (("payment_intent_id", "dispute_id"),)
    MUTABLE: ClassVar = ("status", "reason", "amount", "payment_intent_id")

    dispute_id: str
    payment_intent_id: str | None
    amount: int
    currency: str
    reason: str
    status: str
    created_at: str


class StripeCustomer(Record, frozen=True):
    """Which user a Stripe customer belongs to, in the documented collection `stripe_customers`.

    `email`, `name` and `phone` are envelopes of the cipher, and `email_index` is what the address
    is found by without being read. All four are None where no cipher is configured: personal data
    then stays with Stripe. `as_of` is the instant of Stripe's latest word on them; it is `NEVER`
    for a customer that is gone, so that no late message brings anything back.
    """

    TABLE: ClassVar = "stripe_customers"
    KEY: ClassVar = "stripe_customer_id"
    INDEXES: ClassVar = (
        ("user_id", "created_at", "stripe_customer_id"),
        ("email_index", "created_at", "stripe_customer_id"),
    )
    MUTABLE: ClassVar = ("email", "name", "phone", "email_index", "as_of")

    stripe_customer_id: str
    user_id: str
    email: str | None
    name: str | None
    created_at: str
    # Behind the others because they came later, and a column can only be added at the end.
    phone: str | None = None
    email_index: str | None = None
    as_of: str = ""


class Event(Record, frozen=True):
    """A webhook event and what became of it; `subject` is the Stripe object it speaks of.

    `status` is `due` until it was applied (`done`), or too many tries have failed (`dead`), or a
    person has put it away (`discarded`). While it is due, `payload` is the JSON of the facts in it,
    nothing personal among them (of an event that is the host's to handle, only whose account it is
    of); `due_at` is when it is tried next, `attempts` how often it was,
    `lease` who tries now, and `problem` why the last try failed. Events about one subject share a
    `lane`, so that workers who take different lanes keep out of each other's way. `created_at` is
    Stripe's instant, `received_at` ours.
    """

    TABLE: ClassVar = "events"
    KEY: ClassVar = "event_id"
    AWAITED: ClassVar = ("status", "due")
    GROUP: ClassVar = "lane"
    INDEXES: ClassVar = (("received_at", "event_id"),)
    SPARSE: ClassVar = (("due_at", ("lane", "status", "due_at", "event_id")),)
    MUTABLE: ClassVar = (
        "outcome",
        "status",
        "payload",
        "attempts",
        "due_at",
        "lease",
        "problem",
    )

    event_id: str
    type: str
    subject: str
    outcome: str
    received_at: str
    # Behind the others because they came later.
    status: str = "done"
    lane: str = "0"
    payload: str = ""
    attempts: int = 0
    due_at: str = NEVER
    lease: str = ""
    problem: str | None = None
    created_at: str = ""


class Incident(Record, frozen=True):
    """Something about a payment that a person must decide, kept with what is needed for it.

    `status` is `open` until the same facts, reported again, could be applied (`resolved`), or a
    person has decided; then `decision` says what, and who.
    """

    TABLE: ClassVar = "quarantine"
    KEY: ClassVar = "incident_id"
    INDEXES: ClassVar = (("status", "created_at", "incident_id"),)
    MUTABLE: ClassVar = ("status", "reason", "facts", "event_id", "decision")

    incident_id: str
    status: str
    reason: str
    event_id: str | None
    facts: str
    created_at: str
    decision: str | None = None


class Notification(Record, frozen=True):
    """Something the host is to be told, written together with what it tells of.

    `status` is `due` until a handler has taken it (`delivered`) or too many tries have failed
    (`dead`); `due_at` is when it is tried next, and `lease` who tries now. `payload` is JSON.
    """

    TABLE: ClassVar = "notifications"
    KEY: ClassVar = "notification_id"
    AWAITED: ClassVar = ("status", "due")
    GROUP: ClassVar = "type"
    INDEXES: ClassVar = (("type", "status", "due_at", "notification_id"),)
    MUTABLE: ClassVar = ("status", "attempts", "due_at", "lease")

    notification_id: str
    type: str
    user_id: str
    payload: str
    status: str
    attempts: int
    due_at: str
    lease: str
    created_at: str


class Checkpoint(Record, frozen=True):
    """How far a long task has come, so that another process can go on with it.

    `state` is the task's own JSON.
    """

    TABLE: ClassVar = "checkpoints"
    KEY: ClassVar = "name"
    MUTABLE: ClassVar = ("state", "updated_at")

    name: str
    state: str
    updated_at: str


class KeptRequest(Record, frozen=True):
    """A request over HTTP that its caller has named with a key, and the answer that it was given.

    `request_id` is a digest of the route, the caller and the key, `fingerprint` one of the payload
    (see `requests.payload_fingerprint`). `status` is `in_flight` until there is an `answer`
    (`answered`); meanwhile `lease` says who works on it, empty for nobody, and from `leased_until`
    on others may. `answer` is JSON, without what is secret or personal.
    """

    TABLE: ClassVar = "idempotent_requests"
    KEY: ClassVar = "request_id"
    MUTABLE: ClassVar = ("status", "lease", "leased_until", "answer_status", "answer")

    request_id: str
    fingerprint: str
    status: str
    lease: str
    leased_until: str
    answer_status: int | None
    answer: str | None
    created_at: str


RECORDS: tuple[type[Record], ...] = (
    Event,
    Incident,
    Payment,
    Quote,
    Purchase,
    FailedPayment,
    Dispute,
    StripeCustomer,
    Wallet,
    Lot,
    Hold,
    Entry,
    Notification,
    Checkpoint,
    KeptRequest,
)
"""Every kind of row, in the order in which databases lock and write them.

It is the order in which commands come by them: an event leads to a payment, that to a wallet, that
to its lots. So what is found only in a later pass is locked in order, too.
"""


_KEY_OF = {kind: attrgetter(kind.KEY) for kind in RECORDS}


def key_of(record: Record) -> Key:
    """The name of the row that a record is.

    >>> key_of(Wallet("ada")) == (Wallet, "ada")
    True
    """
    kind = type(record)
    return kind, _KEY_OF[kind](record)
