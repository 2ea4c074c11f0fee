-- The borders of isolation.
CREATE TABLE tenants (
    tenant TEXT NOT NULL PRIMARY KEY,
    created_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO tenants (tenant, created_at_ms) SELECT 'default', now_ms FROM clock;
