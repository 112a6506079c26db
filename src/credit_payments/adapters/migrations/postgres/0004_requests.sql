-- Requests over HTTP that their callers have named, and the answers that they were given.

CREATE TABLE idempotent_requests (
    request_id text COLLATE "C" NOT NULL PRIMARY KEY,
    fingerprint text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    lease text COLLATE "C" NOT NULL,
    leased_until text COLLATE "C" NOT NULL,
    answer_status bigint,
    answer text COLLATE "C",
    created_at text COLLATE "C" NOT NULL
);
