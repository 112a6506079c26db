-- Events that wait to be applied, decisions of people, and how far long tasks have come.

ALTER TABLE events
    ADD COLUMN status text COLLATE "C" NOT NULL DEFAULT 'done',
    ADD COLUMN lane text COLLATE "C" NOT NULL DEFAULT '0',
    ADD COLUMN payload text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN attempts bigint NOT NULL DEFAULT 0,
    ADD COLUMN due_at text COLLATE "C" NOT NULL DEFAULT '9999-12-31T23:59:59.999999Z',
    ADD COLUMN lease text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN problem text COLLATE "C",
    ADD COLUMN created_at text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX events_by_received_at_event_id ON events (received_at, event_id);
CREATE INDEX events_by_lane_status_due_at_event_id ON events (lane, status, due_at, event_id) WHERE due_at < '9999-12-31T23:59:59.999999Z';
CREATE INDEX wallets_by_due_at_user_id ON wallets (due_at, user_id) WHERE due_at < '9999-12-31T23:59:59.999999Z';
ALTER TABLE payments ADD COLUMN decided_by text COLLATE "C";
ALTER TABLE quarantine ADD COLUMN decision text COLLATE "C";
ALTER TABLE stripe_customers ADD COLUMN as_of text COLLATE "C" NOT NULL DEFAULT '';
CREATE TABLE checkpoints (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    state text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL
);
