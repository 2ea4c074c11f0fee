-- The streams of a run in the order in which they were asked for.
ALTER TABLE run_streams ADD COLUMN position BIGINT NOT NULL DEFAULT 0;
