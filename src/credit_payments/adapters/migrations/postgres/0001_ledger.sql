-- Everything as of the first schema.
--
-- Text is compared by code point (COLLATE "C"): equal means the same characters, in every locale.
-- Rows of wallets and lots change again and again: the room that is left in their pages keeps the
-- next version beside the last one, and so out of the indexes.

CREATE TABLE wallets (
    user_id text COLLATE "C" NOT NULL PRIMARY KEY,
    available bigint NOT NULL,
    held bigint NOT NULL,
    frozen bigint NOT NULL,
    debt bigint NOT NULL,
    suspended bigint NOT NULL,
    entries bigint NOT NULL,
    head text COLLATE "C" NOT NULL,
    due_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL
) WITH (fillfactor = 80);
CREATE TABLE lots (
    lot_id text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    priority bigint NOT NULL,
    expires_at text COLLATE "C" NOT NULL,
    credits bigint NOT NULL,
    open bigint NOT NULL,
    available bigint NOT NULL,
    held bigint NOT NULL,
    frozen bigint NOT NULL,
    expired bigint NOT NULL,
    written_off bigint NOT NULL,
    expiries bigint NOT NULL,
    locked bigint NOT NULL,
    created_at text COLLATE "C" NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX lots_by_user_id_open_priority_expires_at_sequence ON lots (user_id, open, priority, expires_at, sequence);
CREATE INDEX lots_by_user_id_open_expires_at_sequence ON lots (user_id, open, expires_at, sequence) WHERE expires_at < '9999-12-31T23:59:59.999999Z';
CREATE TABLE holds (
    hold_id text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    open bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    credits bigint NOT NULL,
    captured bigint NOT NULL,
    overage text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    taken text COLLATE "C" NOT NULL,
    lapses_at text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL
);
CREATE INDEX holds_by_user_id_open_lapses_at_hold_id ON holds (user_id, open, lapses_at, hold_id);
CREATE TABLE entries (
    transaction_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    cause text COLLATE "C" NOT NULL PRIMARY KEY,
    fingerprint text COLLATE "C" NOT NULL,
    credits bigint NOT NULL,
    balance_after bigint NOT NULL,
    held_after bigint NOT NULL,
    frozen_after bigint NOT NULL,
    debt_after bigint NOT NULL,
    legs text COLLATE "C" NOT NULL,
    lots text COLLATE "C" NOT NULL,
    actor text COLLATE "C",
    reason text COLLATE "C",
    metadata text COLLATE "C",
    created_at text COLLATE "C" NOT NULL,
    previous_hash text COLLATE "C" NOT NULL,
    hash text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX entries_by_user_id_sequence ON entries (user_id, sequence);
CREATE TABLE quotes (
    quote_id text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    credits bigint NOT NULL,
    package_id text COLLATE "C",
    customer_id text COLLATE "C",
    rule text COLLATE "C" NOT NULL,
    expires_seconds bigint,
    fingerprint text COLLATE "C" NOT NULL,
    payment_intent_id text COLLATE "C",
    created_at text COLLATE "C" NOT NULL
);
CREATE TABLE payments (
    payment_intent_id text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    quote_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    quarantined bigint NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    credits bigint NOT NULL,
    expires_seconds bigint,
    received_minor bigint NOT NULL,
    credited bigint NOT NULL,
    refunded_credits bigint NOT NULL,
    disputed_credits bigint NOT NULL,
    locked bigint NOT NULL,
    reversals bigint NOT NULL,
    refunds text COLLATE "C" NOT NULL,
    disputes text COLLATE "C" NOT NULL,
    clawback text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL
);
CREATE TABLE credit_purchases (
    payment_intent_id text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    transaction_id text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    amount_usd numeric,
    credits_purchased bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    payment_method text COLLATE "C" NOT NULL,
    stripe_payment_intent text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL
);
CREATE INDEX credit_purchases_by_user_id_sequence ON credit_purchases (user_id, sequence);
CREATE TABLE failed_payments (
    failure_id text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    payment_intent_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    failure_reason text COLLATE "C" NOT NULL,
    decline_code text COLLATE "C",
    created_at text COLLATE "C" NOT NULL
);
CREATE INDEX failed_payments_by_user_id_created_at_failure_id ON failed_payments (user_id, created_at, failure_id);
CREATE TABLE disputes (
    dispute_id text COLLATE "C" NOT NULL PRIMARY KEY,
    payment_intent_id text COLLATE "C",
    amount bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL
);
CREATE INDEX disputes_by_payment_intent_id_dispute_id ON disputes (payment_intent_id, dispute_id);
CREATE TABLE stripe_customers (
    stripe_customer_id text COLLATE "C" NOT NULL PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    email text COLLATE "C",
    name text COLLATE "C",
    created_at text COLLATE "C" NOT NULL
);
CREATE INDEX stripe_customers_by_user_id_created_at_stripe_customer_id ON stripe_customers (user_id, created_at, stripe_customer_id);
CREATE TABLE events (
    event_id text COLLATE "C" NOT NULL PRIMARY KEY,
    type text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    received_at text COLLATE "C" NOT NULL
);
CREATE TABLE quarantine (
    incident_id text COLLATE "C" NOT NULL PRIMARY KEY,
    status text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    event_id text COLLATE "C",
    facts text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL
);
CREATE INDEX quarantine_by_status_created_at_incident_id ON quarantine (status, created_at, incident_id);
CREATE TABLE notifications (
    notification_id text COLLATE "C" NOT NULL PRIMARY KEY,
    type text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    payload text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    attempts bigint NOT NULL,
    due_at text COLLATE "C" NOT NULL,
    lease text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL
);
CREATE INDEX notifications_by_type_status_due_at_notification_id ON notifications (type, status, due_at, notification_id);
