-- Tools of MCP servers behind connections: what was accepted, and what the servers have now.
CREATE TABLE upstream_tools (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    -- As the server has it.
    tool TEXT NOT NULL,
    -- JSON, with its digest; NULL where the server does not have it any more.
    seen TEXT,
    seen_digest TEXT,
    -- When it became what it is.
    seen_at_ms INTEGER NOT NULL,
    -- As above; NULL where nobody accepted it.
    accepted TEXT,
    accepted_digest TEXT,
    accepted_by TEXT,
    accepted_at_ms INTEGER,
    PRIMARY KEY (tenant, connection, tool)
) STRICT;
