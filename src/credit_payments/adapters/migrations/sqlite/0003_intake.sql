-- Events that wait to be applied, decisions of people, and how far long tasks have come.

ALTER TABLE events ADD COLUMN status TEXT NOT NULL DEFAULT 'done';
ALTER TABLE events ADD COLUMN lane TEXT NOT NULL DEFAULT '0';
ALTER TABLE events ADD COLUMN payload TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN due_at TEXT NOT NULL DEFAULT '9999-12-31T23:59:59.999999Z';
ALTER TABLE events ADD COLUMN lease TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN problem TEXT;
ALTER TABLE events ADD COLUMN created_at TEXT NOT NULL DEFAULT '';
CREATE INDEX events_by_received_at_event_id ON events (received_at, event_id);
CREATE INDEX events_by_lane_status_due_at_event_id ON events (lane, status, due_at, event_id) WHERE due_at < '9999-12-31T23:59:59.999999Z';
CREATE INDEX wallets_by_due_at_user_id ON wallets (due_at, user_id) WHERE due_at < '9999-12-31T23:59:59.999999Z';
ALTER TABLE payments ADD COLUMN decided_by TEXT;
ALTER TABLE quarantine ADD COLUMN decision TEXT;
ALTER TABLE stripe_customers ADD COLUMN as_of TEXT NOT NULL DEFAULT '';
CREATE TABLE checkpoints (
    name TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
