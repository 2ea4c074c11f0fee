-- People who logged in with a browser.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    -- SHA-256 of the secret part of the cookie, in hexadecimal. It has 256 random bits: nothing is guessed from here.
    hash TEXT NOT NULL,
    -- JSON: ["operator"], as the identity provider's claims said at login.
    roles TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    last_used_at_ms BIGINT NOT NULL,
    -- Its end, however much it is used.
    expires_at_ms BIGINT NOT NULL,
    FOREIGN KEY (tenant, principal) REFERENCES principals (tenant, name) ON DELETE CASCADE
);
CREATE INDEX sessions_by_principal ON sessions (tenant, principal);

-- Values of secrets that were exchanged. The old one is a secret, 'previous/<id>', until no run holds it.
CREATE TABLE rotations (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    secret TEXT NOT NULL,
    -- JSON: the connections that use it.
    connections TEXT NOT NULL,
    principal TEXT NOT NULL,
    rotated_at_ms BIGINT NOT NULL,
    -- When the old value was removed.
    ended_at_ms BIGINT,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX rotations_by_end ON rotations (tenant, ended_at_ms);

-- When a secret's value ends, where somebody said so, and when that was told.
ALTER TABLE secrets ADD COLUMN expires_at_ms BIGINT;
ALTER TABLE secrets ADD COLUMN warned_at_ms BIGINT;
