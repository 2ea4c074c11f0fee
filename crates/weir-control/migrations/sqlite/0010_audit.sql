-- What was done, by whom: a chain of hashes per tenant (docs/guides/audit.md says which bytes).
CREATE TABLE audit (
    tenant TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    principal TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    correlation_id TEXT,
    -- Canonical JSON.
    details TEXT NOT NULL,
    -- Of what stands in audit_personal, with its salt.
    personal_hash TEXT,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (tenant, number),
    UNIQUE (tenant, id)
) STRICT;

-- What names people: removed without breaking the chain, which holds its hash only.
CREATE TABLE audit_personal (
    tenant TEXT NOT NULL,
    number INTEGER NOT NULL,
    personal TEXT NOT NULL,
    salt TEXT NOT NULL,
    PRIMARY KEY (tenant, number),
    FOREIGN KEY (tenant, number) REFERENCES audit (tenant, number) ON DELETE CASCADE
) STRICT;

-- The end of each chain. Who appends locks its row.
CREATE TABLE audit_heads (
    tenant TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    hash TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_moves_head AFTER INSERT ON audit
BEGIN
    UPDATE audit_heads SET hash = NEW.hash WHERE tenant = NEW.tenant AND number = NEW.number;
END;

-- Signed heads, and the signed place before the oldest record that is kept.
CREATE TABLE audit_seals (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    hash TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    public_key TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, number)
) STRICT;
