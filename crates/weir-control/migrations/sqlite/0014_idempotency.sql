-- Requests that change something and carry a key, so that the same one sent again changes nothing more.
CREATE TABLE idempotency_keys (
    tenant TEXT NOT NULL REFERENCES tenants (tenant) ON DELETE CASCADE,
    principal TEXT NOT NULL,
    key TEXT NOT NULL,
    -- SHA-256 of method, path and body.
    digest TEXT NOT NULL,
    -- Names the request that has the key, so that it knows its own again.
    claim TEXT NOT NULL,
    began_at_ms INTEGER NOT NULL,
    -- NULL: under way, or its process died.
    status INTEGER,
    headers TEXT,
    body TEXT,
    PRIMARY KEY (tenant, principal, key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (tenant, began_at_ms);
