-- Ranges that are read again, chunk by chunk; each chunk is a run.
CREATE TABLE backfills (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    -- JSON: ["orders"].
    streams TEXT NOT NULL,
    -- JSON: where chunks begin and end, one more than there are chunks.
    edges TEXT NOT NULL,
    -- Chunks that are read.
    done BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'paused', 'succeeded', 'failed', 'cancelled')),
    created_at_ms BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    error TEXT,
    FOREIGN KEY (tenant, connection) REFERENCES connections (tenant, name) ON DELETE CASCADE
);
CREATE INDEX backfills_by_connection ON backfills (tenant, connection);
ALTER TABLE runs ADD COLUMN backfill TEXT;
CREATE INDEX runs_by_backfill ON runs (backfill) WHERE backfill IS NOT NULL;
