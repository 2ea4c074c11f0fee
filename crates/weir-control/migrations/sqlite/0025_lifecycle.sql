-- Versions of connectors, and how far each has come (docs/guides/connector-lifecycle.md).
CREATE TABLE connector_versions (
    tenant TEXT NOT NULL REFERENCES tenants (tenant) ON DELETE CASCADE,
    connector TEXT NOT NULL,
    version TEXT NOT NULL,
    -- SHA-256 of its files.
    digest TEXT NOT NULL,
    -- JSON: path in the connector's folder to text.
    files TEXT NOT NULL,
    -- JSON: the spec as it was read.
    spec TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('draft', 'approved', 'staging', 'production', 'retired')),
    created_at_ms INTEGER NOT NULL,
    moved_at_ms INTEGER NOT NULL,
    moved_by TEXT NOT NULL,
    -- JSON: what the newest staged sync of it found.
    staged TEXT,
    -- The version whose place it took.
    replaced TEXT,
    PRIMARY KEY (tenant, connector, version)
) STRICT;
CREATE UNIQUE INDEX connector_in_production ON connector_versions (tenant, connector) WHERE stage = 'production';
