-- Slices that the holder of a stream lets other workers read. They are gone once it has what they held.
CREATE TABLE slices (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    stream TEXT NOT NULL,
    -- Who offered it: the run, under the term of its lease.
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    term INTEGER NOT NULL,
    -- JSON: all that the source needs to read it.
    task TEXT NOT NULL,
    -- Workers that may help the run at once.
    helpers_max INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'claimed', 'done', 'failed')),
    -- Grows with every claim: what two of them read lies apart.
    attempt INTEGER NOT NULL DEFAULT 0,
    -- As in runs.worker.
    worker TEXT,
    -- Claimed, the right to it ends then without a heartbeat.
    expires_at_ms INTEGER NOT NULL DEFAULT 0,
    -- Read so far in this attempt.
    pages INTEGER NOT NULL DEFAULT 0,
    error TEXT
) STRICT;
CREATE INDEX slices_by_stream ON slices (tenant, connection, stream);
CREATE INDEX slices_by_run ON slices (run, status);
