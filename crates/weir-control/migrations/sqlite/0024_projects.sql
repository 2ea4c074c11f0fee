-- What `weir apply` made of a project folder: its files, and how often it was changed.
CREATE TABLE projects (
    tenant TEXT NOT NULL PRIMARY KEY REFERENCES tenants (tenant) ON DELETE CASCADE,
    -- Counts applies: whoever planned with another one plans again.
    version INTEGER NOT NULL,
    -- SHA-256 of all paths and texts.
    digest TEXT NOT NULL,
    applied_at_ms INTEGER NOT NULL,
    applied_by TEXT NOT NULL
) STRICT;

CREATE TABLE project_files (
    tenant TEXT NOT NULL REFERENCES projects (tenant) ON DELETE CASCADE,
    -- From the project's folder on.
    path TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (tenant, path)
) STRICT;
