-- Secrets, encrypted: each version by a data key of its own, that by the master key (docs/guides/secrets.md).
CREATE TABLE secrets (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- Which master key wraps the data key.
    master_key_id TEXT NOT NULL,
    -- Base64: nonce, encrypted data key, tag.
    wrapped_key TEXT NOT NULL,
    -- Base64: nonce, encrypted value, tag.
    ciphertext TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    -- When this version's value was set.
    set_at_ms INTEGER NOT NULL,
    read_at_ms INTEGER,
    PRIMARY KEY (tenant, name)
) STRICT;
CREATE INDEX secrets_by_master_key ON secrets (master_key_id);
