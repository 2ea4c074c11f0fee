-- What somebody should look at. One open alert for each fingerprint.
CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    rule TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- Family and data of the newest event behind it.
    cause TEXT NOT NULL,
    facts TEXT NOT NULL,
    subject TEXT NOT NULL,
    connection TEXT,
    raised_at_ms BIGINT NOT NULL,
    seen_at_ms BIGINT NOT NULL,
    -- Events behind it so far.
    seen BIGINT NOT NULL,
    -- When and how often the channels were told.
    told_at_ms BIGINT,
    told BIGINT NOT NULL,
    resolved_at_ms BIGINT,
    resolved_because TEXT
);
CREATE UNIQUE INDEX alerts_open ON alerts (tenant, fingerprint) WHERE resolved_at_ms IS NULL;
CREATE INDEX alerts_by_tenant ON alerts (tenant, id);

-- What the channels are not told for a while.
CREATE TABLE silences (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    -- NULL: of every rule, of every connection.
    rule TEXT,
    connection TEXT,
    reason TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    ends_at_ms BIGINT NOT NULL
);
CREATE INDEX silences_by_tenant ON silences (tenant, ends_at_ms);

-- Which promises passed is asked again and again.
CREATE INDEX runs_by_promise ON runs (promised_by_ms) WHERE promised_by_ms IS NOT NULL;
