-- The borders of isolation.
CREATE TABLE tenants (
    tenant TEXT NOT NULL PRIMARY KEY,
    created_at_ms BIGINT NOT NULL
);
INSERT INTO tenants (tenant, created_at_ms) SELECT 'default', now_ms FROM clock;
