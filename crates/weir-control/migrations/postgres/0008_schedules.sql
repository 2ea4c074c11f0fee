-- When connections are synced by themselves.
CREATE TABLE schedules (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    -- JSON: tier, cron, time_zone, latency_ms, attempts, backoff, backoff_base_ms, jitter_ms, catch_up.
    timing TEXT NOT NULL,
    next_due_at_ms BIGINT NOT NULL,
    paused_at_ms BIGINT,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, connection),
    FOREIGN KEY (tenant, connection) REFERENCES connections (tenant, name) ON DELETE CASCADE
);
CREATE INDEX schedules_by_due ON schedules (next_due_at_ms) WHERE paused_at_ms IS NULL;
