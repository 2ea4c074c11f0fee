-- Runs that wait for a worker, and the worker that has them.

-- JSON: what the run is asked to do.
ALTER TABLE runs ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
-- The moment that a schedule asked for; the promise counts from here.
ALTER TABLE runs ADD COLUMN due_at_ms INTEGER;
-- The promise: succeeded by then.
ALTER TABLE runs ADD COLUMN promised_by_ms INTEGER;
-- No worker takes it before.
ALTER TABLE runs ADD COLUMN not_before_ms INTEGER NOT NULL DEFAULT 0;
-- Of the attempts at one thing; each is a run of its own.
ALTER TABLE runs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN attempts_max INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN backoff TEXT NOT NULL DEFAULT 'exponential';
ALTER TABLE runs ADD COLUMN backoff_base_ms INTEGER NOT NULL DEFAULT 60000;
-- The attempt before it.
ALTER TABLE runs ADD COLUMN retry_of TEXT;
-- The worker that has it, and until when.
ALTER TABLE runs ADD COLUMN worker TEXT;
ALTER TABLE runs ADD COLUMN expires_at_ms INTEGER;
ALTER TABLE runs ADD COLUMN cancel_asked_at_ms INTEGER;

CREATE INDEX runs_waiting ON runs (not_before_ms, id) WHERE status = 'queued';
CREATE INDEX runs_held ON runs (worker) WHERE status = 'running';
CREATE INDEX runs_busy ON runs (tenant, connection) WHERE status = 'running';
-- A moment that a schedule asked for is asked for once.
CREATE UNIQUE INDEX runs_by_due ON runs (tenant, connection, due_at_ms, attempt) WHERE due_at_ms IS NOT NULL;
