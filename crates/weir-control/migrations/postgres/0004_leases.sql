-- A time-bounded right to sync one stream. The row stays when it is free, so that terms only grow.
CREATE TABLE leases (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    stream TEXT NOT NULL,
    term BIGINT NOT NULL,
    -- NULL: free.
    run TEXT REFERENCES runs (id) ON DELETE SET NULL,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    -- Tells whether a pid can be judged from here, and whether it is still the same process.
    machine TEXT NOT NULL,
    process_start TEXT NOT NULL,
    acquired_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, connection, stream)
);
CREATE INDEX leases_by_run ON leases (run);
