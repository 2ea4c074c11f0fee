-- What authorization servers granted to connections. The tokens themselves are secrets: 'oauth/<connection>'.
CREATE TABLE grants (
    tenant TEXT NOT NULL REFERENCES tenants (tenant) ON DELETE CASCADE,
    connection TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('connected', 'reconnect_needed', 'revoked')),
    -- Of whom the tokens are, and to whom alone they are shown: client id and token URL.
    client TEXT NOT NULL,
    method TEXT NOT NULL,
    -- JSON: what was asked for, what was granted.
    asked TEXT NOT NULL,
    scopes TEXT NOT NULL,
    -- Counts the tokens that were stored.
    version INTEGER NOT NULL,
    -- 1: there is a refresh token.
    can_refresh INTEGER NOT NULL,
    access_expires_at_ms INTEGER,
    refresh_expires_at_ms INTEGER,
    connected_at_ms INTEGER NOT NULL,
    refreshed_at_ms INTEGER NOT NULL,
    -- SHA-256 of the refresh token in the connection's file, where it has one.
    seed TEXT,
    -- Why the last refresh failed.
    error TEXT,
    error_at_ms INTEGER,
    -- When it was told that it expires.
    warned_at_ms INTEGER,
    -- Who refreshes: counts those who did, names the one who does, until when.
    term INTEGER NOT NULL,
    holder TEXT,
    held_until_ms INTEGER,
    PRIMARY KEY (tenant, connection)
) STRICT;

-- Consents under way. What proves that the answer is for us is a secret: 'login/<id>'.
CREATE TABLE logins (
    tenant TEXT NOT NULL REFERENCES tenants (tenant) ON DELETE CASCADE,
    id TEXT NOT NULL,
    -- SHA-256 of the `state` that the answer brings.
    state_hash TEXT NOT NULL UNIQUE,
    connection TEXT NOT NULL,
    -- Who began it, and with what: only they may end it.
    principal TEXT NOT NULL,
    begun_with TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
