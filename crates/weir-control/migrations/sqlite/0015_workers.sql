-- Processes that take runs from the queue, as they were last heard of.
CREATE TABLE workers (
    -- As in runs.worker.
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Who it acts as; none where it is a part of a server.
    principal TEXT,
    version TEXT NOT NULL,
    first_heard_at_ms INTEGER NOT NULL,
    last_heard_at_ms INTEGER NOT NULL,
    -- Runs that it took so far.
    runs_carried INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX workers_by_age ON workers (tenant, last_heard_at_ms);
