-- Calls of actions: written before anything is sent, and ended in the transaction of their outcome.
CREATE TABLE calls (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    connector TEXT NOT NULL,
    connector_version TEXT NOT NULL,
    action TEXT NOT NULL,
    effect TEXT NOT NULL CHECK (effect IN ('read', 'write', 'destructive', 'money', 'message')),
    -- Who asked, with which token.
    principal TEXT NOT NULL,
    token TEXT,
    -- The caller's; gone where the call surely had no effect and may be asked for again.
    idempotency_key TEXT,
    -- SHA-256 of connection, action and input as they were given.
    asked_digest TEXT NOT NULL,
    -- JSON, with the schema's defaults.
    input TEXT NOT NULL,
    -- SHA-256 of all that an approval is bound to.
    digest TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'ready', 'running', 'done', 'failed', 'uncertain', 'refused')),
    -- Fencing number: grows with every process that takes the call.
    term BIGINT NOT NULL,
    -- JSON of the process that has it.
    owner TEXT,
    lease_until_ms BIGINT,
    -- When an uncertain call is looked at again.
    look_at_ms BIGINT,
    created_at_ms BIGINT NOT NULL,
    began_at_ms BIGINT,
    finished_at_ms BIGINT,
    -- JSON
    output TEXT,
    remote_id TEXT,
    http_status BIGINT,
    -- JSON
    error TEXT,
    settled_by TEXT,
    settled_reason TEXT,
    FOREIGN KEY (tenant, connection) REFERENCES connections (tenant, name) ON DELETE CASCADE
);
CREATE UNIQUE INDEX calls_by_key ON calls (tenant, principal, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX calls_by_action ON calls (tenant, connection, action, id);
CREATE INDEX calls_open ON calls (tenant, status) WHERE status IN ('waiting', 'ready', 'running', 'uncertain');
