-- What stands in for credits that were to be taken back of a lot, and were missing.

ALTER TABLE lots ADD COLUMN covered_by text COLLATE "C" NOT NULL DEFAULT '';
