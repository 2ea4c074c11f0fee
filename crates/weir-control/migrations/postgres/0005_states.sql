-- A copy of where each stream is read on; the lake's own is the truth.
CREATE TABLE states (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    stream TEXT NOT NULL,
    -- Checkpoint that the state belongs to; 0 before the first.
    sequence BIGINT NOT NULL,
    run TEXT,
    mode TEXT,
    state TEXT NOT NULL,
    -- A person's wish for the next run: JSON state, or 'null' to start at the beginning. It holds
    -- as long as no checkpoint after `wish_after` exists.
    wish TEXT,
    wish_after BIGINT,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, connection, stream),
    FOREIGN KEY (tenant, connection) REFERENCES connections (tenant, name) ON DELETE CASCADE
);
