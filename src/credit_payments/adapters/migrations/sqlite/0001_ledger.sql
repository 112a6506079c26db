-- Everything as of the first schema.

CREATE TABLE wallets (
    user_id TEXT NOT NULL PRIMARY KEY,
    available INTEGER NOT NULL,
    held INTEGER NOT NULL,
    frozen INTEGER NOT NULL,
    debt INTEGER NOT NULL,
    suspended INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    head TEXT NOT NULL,
    due_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE lots (
    lot_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    source TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    expires_at TEXT NOT NULL,
    credits INTEGER NOT NULL,
    open INTEGER NOT NULL,
    available INTEGER NOT NULL,
    held INTEGER NOT NULL,
    frozen INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    written_off INTEGER NOT NULL,
    expiries INTEGER NOT NULL,
    locked INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX lots_by_user_id_open_priority_expires_at_sequence ON lots (user_id, open, priority, expires_at, sequence);
CREATE INDEX lots_by_user_id_open_expires_at_sequence ON lots (user_id, open, expires_at, sequence) WHERE expires_at < '9999-12-31T23:59:59.999999Z';
CREATE TABLE holds (
    hold_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    open INTEGER NOT NULL,
    status TEXT NOT NULL,
    credits INTEGER NOT NULL,
    captured INTEGER NOT NULL,
    overage TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    taken TEXT NOT NULL,
    lapses_at TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX holds_by_user_id_open_lapses_at_hold_id ON holds (user_id, open, lapses_at, hold_id);
CREATE TABLE entries (
    transaction_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    cause TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    credits INTEGER NOT NULL,
    balance_after INTEGER NOT NULL,
    held_after INTEGER NOT NULL,
    frozen_after INTEGER NOT NULL,
    debt_after INTEGER NOT NULL,
    legs TEXT NOT NULL,
    lots TEXT NOT NULL,
    actor TEXT,
    reason TEXT,
    metadata TEXT,
    created_at TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_by_user_id_sequence ON entries (user_id, sequence);
CREATE TABLE quotes (
    quote_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    credits INTEGER NOT NULL,
    package_id TEXT,
    customer_id TEXT,
    rule TEXT NOT NULL,
    expires_seconds INTEGER,
    fingerprint TEXT NOT NULL,
    payment_intent_id TEXT,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE payments (
    payment_intent_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    quote_id TEXT NOT NULL,
    status TEXT NOT NULL,
    quarantined INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    credits INTEGER NOT NULL,
    expires_seconds INTEGER,
    received_minor INTEGER NOT NULL,
    credited INTEGER NOT NULL,
    refunded_credits INTEGER NOT NULL,
    disputed_credits INTEGER NOT NULL,
    locked INTEGER NOT NULL,
    reversals INTEGER NOT NULL,
    refunds TEXT NOT NULL,
    disputes TEXT NOT NULL,
    clawback TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE credit_purchases (
    payment_intent_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    transaction_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    amount_usd TEXT,
    credits_purchased INTEGER NOT NULL,
    status TEXT NOT NULL,
    payment_method TEXT NOT NULL,
    stripe_payment_intent TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX credit_purchases_by_user_id_sequence ON credit_purchases (user_id, sequence);
CREATE TABLE failed_payments (
    failure_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    payment_intent_id TEXT NOT NULL,
    status TEXT NOT NULL,
    failure_reason TEXT NOT NULL,
    decline_code TEXT,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX failed_payments_by_user_id_created_at_failure_id ON failed_payments (user_id, created_at, failure_id);
CREATE TABLE disputes (
    dispute_id TEXT NOT NULL PRIMARY KEY,
    payment_intent_id TEXT,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    reason TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX disputes_by_payment_intent_id_dispute_id ON disputes (payment_intent_id, dispute_id);
CREATE TABLE stripe_customers (
    stripe_customer_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    email TEXT,
    name TEXT,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX stripe_customers_by_user_id_created_at_stripe_customer_id ON stripe_customers (user_id, created_at, stripe_customer_id);
CREATE TABLE events (
    event_id TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    received_at TEXT NOT NULL
) STRICT;
CREATE TABLE quarantine (
    incident_id TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    event_id TEXT,
    facts TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX quarantine_by_status_created_at_incident_id ON quarantine (status, created_at, incident_id);
CREATE TABLE notifications (
    notification_id TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    user_id TEXT NOT NULL,
    payload TEXT NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at TEXT NOT NULL,
    lease TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX notifications_by_type_status_due_at_notification_id ON notifications (type, status, due_at, notification_id);
