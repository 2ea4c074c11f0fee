-- Circuit breakers that are open, as processes told of their own.
CREATE TABLE breakers (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    -- As in permits.client.
    client TEXT NOT NULL,
    -- The next request is tried then.
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, connection, client)
) STRICT;
