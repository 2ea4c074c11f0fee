-- Policies that were in force, for the decisions that name their version.
CREATE TABLE policy_versions (
    tenant TEXT NOT NULL REFERENCES tenants (tenant) ON DELETE CASCADE,
    -- SHA-256 of the files.
    version TEXT NOT NULL,
    -- JSON: path and text of each.
    files TEXT NOT NULL,
    first_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, version)
) STRICT;
