-- What was done, by whom: a chain of hashes per tenant (docs/guides/audit.md says which bytes).
CREATE TABLE audit (
    tenant TEXT NOT NULL,
    number BIGINT NOT NULL,
    id TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
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
);

-- What names people: removed without breaking the chain, which holds its hash only.
CREATE TABLE audit_personal (
    tenant TEXT NOT NULL,
    number BIGINT NOT NULL,
    personal TEXT NOT NULL,
    salt TEXT NOT NULL,
    PRIMARY KEY (tenant, number),
    FOREIGN KEY (tenant, number) REFERENCES audit (tenant, number) ON DELETE CASCADE
);

-- The end of each chain. Who appends locks its row.
CREATE TABLE audit_heads (
    tenant TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    hash TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);

CREATE FUNCTION audit_move_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE audit_heads SET hash = NEW.hash WHERE tenant = NEW.tenant AND number = NEW.number;
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_moves_head AFTER INSERT ON audit
FOR EACH ROW EXECUTE FUNCTION audit_move_head();

-- Signed heads, and the signed place before the oldest record that is kept.
CREATE TABLE audit_seals (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    number BIGINT NOT NULL,
    hash TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    public_key TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, number)
);

-- The one way by which records go: the application may neither change nor delete any.
CREATE FUNCTION audit_prune(of_tenant TEXT, through BIGINT) RETURNS BIGINT
LANGUAGE plpgsql SECURITY DEFINER SET search_path = weir AS $$
DECLARE
    gone BIGINT;
BEGIN
    IF current_setting('weir.tenant') NOT IN (of_tenant, '*') THEN
        RETURN 0;
    END IF;
    DELETE FROM audit
    WHERE tenant = of_tenant AND number <= through
      AND at_ms <= (SELECT now_ms FROM clock) - 7776000000;
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;
