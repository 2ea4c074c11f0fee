-- What callers were asked before their request could go on: shown back once, by the same caller, for the same request.
CREATE TABLE questions (
    -- SHA-256 of what the caller shows.
    hash TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (tenant) ON DELETE CASCADE,
    principal TEXT NOT NULL,
    -- SHA-256 of the request that was asked about.
    about TEXT NOT NULL,
    -- JSON: what is known so far. The caller never sees it.
    kept TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX questions_by_expiry ON questions (tenant, expires_at_ms);
