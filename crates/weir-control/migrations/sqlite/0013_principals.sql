-- Who acts.
CREATE TABLE principals (
    tenant TEXT NOT NULL REFERENCES tenants (tenant) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('user', 'agent', 'token', 'system')),
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

CREATE TABLE tokens (
    -- The part of the token that is no secret.
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    -- SHA-256 of the secret part, in hexadecimal. The secret has 256 random bits: nothing is guessed from here.
    hash TEXT NOT NULL,
    -- JSON: ["operator"], ["runs:read"].
    roles TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER,
    -- To the minute.
    last_used_at_ms INTEGER,
    FOREIGN KEY (tenant, principal) REFERENCES principals (tenant, name) ON DELETE CASCADE
) STRICT;
CREATE INDEX tokens_by_principal ON tokens (tenant, principal);
