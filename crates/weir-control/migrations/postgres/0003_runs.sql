CREATE TABLE runs (
    -- UUID v7: sorts by the time of creation.
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('sync', 'action', 'backfill', 'rebuild', 'model', 'maintenance')),
    started_by TEXT NOT NULL CHECK (started_by IN ('person', 'schedule', 'api')),
    status TEXT NOT NULL
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'abandoned')),
    created_at_ms BIGINT NOT NULL,
    started_at_ms BIGINT,
    finished_at_ms BIGINT,
    error_kind TEXT,
    error_message TEXT,
    error_hint TEXT,
    FOREIGN KEY (tenant, connection) REFERENCES connections (tenant, name) ON DELETE CASCADE
);
CREATE INDEX runs_by_connection ON runs (tenant, connection, id);
CREATE INDEX runs_by_status ON runs (status) WHERE status IN ('queued', 'running');

-- One try at a run under one owner's leases.
CREATE TABLE run_attempts (
    tenant TEXT NOT NULL DEFAULT current_setting('weir.tenant'),
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    owner TEXT NOT NULL,
    started_at_ms BIGINT NOT NULL,
    finished_at_ms BIGINT,
    error_kind TEXT,
    error_message TEXT,
    PRIMARY KEY (run, number)
);

CREATE TABLE run_streams (
    tenant TEXT NOT NULL DEFAULT current_setting('weir.tenant'),
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    stream TEXT NOT NULL,
    -- sync_<source>_<stream>_<mode>
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    status TEXT NOT NULL
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'abandoned')),
    started_at_ms BIGINT,
    finished_at_ms BIGINT,
    -- The books, up to and including the newest checkpoint.
    read BIGINT NOT NULL DEFAULT 0,
    landed BIGINT NOT NULL DEFAULT 0,
    filtered BIGINT NOT NULL DEFAULT 0,
    deduplicated BIGINT NOT NULL DEFAULT 0,
    quarantined BIGINT NOT NULL DEFAULT 0,
    pages BIGINT NOT NULL DEFAULT 0,
    requests BIGINT NOT NULL DEFAULT 0,
    source_bytes BIGINT NOT NULL DEFAULT 0,
    bronze_bytes BIGINT NOT NULL DEFAULT 0,
    silver_bytes BIGINT NOT NULL DEFAULT 0,
    checkpoints BIGINT NOT NULL DEFAULT 0,
    -- Of the newest checkpoint.
    sequence BIGINT,
    table_name TEXT,
    table_version BIGINT,
    -- JSON: [["reason", count], ...]
    quarantine_reasons TEXT NOT NULL DEFAULT '[]',
    error_kind TEXT,
    error_message TEXT,
    error_hint TEXT,
    PRIMARY KEY (run, stream)
);

-- What the lake returned for each checkpoint. The books in it count from the run's start.
CREATE TABLE receipts (
    tenant TEXT NOT NULL DEFAULT current_setting('weir.tenant'),
    run TEXT NOT NULL,
    stream TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    table_name TEXT,
    table_version BIGINT,
    books TEXT NOT NULL,
    -- 1: written later, from what the lake itself knew, because the run died before it could.
    recovered BIGINT NOT NULL,
    stored_at_ms BIGINT NOT NULL,
    PRIMARY KEY (run, stream, sequence),
    FOREIGN KEY (run, stream) REFERENCES run_streams (run, stream) ON DELETE CASCADE
);

CREATE TABLE run_notices (
    tenant TEXT NOT NULL DEFAULT current_setting('weir.tenant'),
    run TEXT NOT NULL,
    stream TEXT NOT NULL,
    number BIGINT NOT NULL,
    noticed_at_ms BIGINT NOT NULL,
    message TEXT NOT NULL,
    hint TEXT,
    PRIMARY KEY (run, stream, number),
    FOREIGN KEY (run, stream) REFERENCES run_streams (run, stream) ON DELETE CASCADE
);
