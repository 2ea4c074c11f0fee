CREATE TABLE connections (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    connector TEXT NOT NULL,
    -- The source part of table names.
    source TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
