-- The streams of a run in the order in which they were asked for.
ALTER TABLE run_streams ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
UPDATE run_streams SET position = rowid;
