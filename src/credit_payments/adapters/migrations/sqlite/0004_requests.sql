-- Requests over HTTP that their callers have named, and the answers that they were given.

CREATE TABLE idempotent_requests (
    request_id TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    status TEXT NOT NULL,
    lease TEXT NOT NULL,
    leased_until TEXT NOT NULL,
    answer_status INTEGER,
    answer TEXT,
    created_at TEXT NOT NULL
) STRICT;
