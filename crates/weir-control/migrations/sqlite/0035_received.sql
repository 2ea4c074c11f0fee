-- What outside systems sent by themselves.

-- How far the messages of a connection have come. The row is locked while messages are added, so that they
-- become visible in the order of their places.
CREATE TABLE hooks (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    -- Of the newest message.
    place INTEGER NOT NULL,
    -- Messages up to there are in the lake.
    landed INTEGER NOT NULL,
    PRIMARY KEY (tenant, connection)
) STRICT;

CREATE TABLE received (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    place INTEGER NOT NULL,
    -- The sender's, or a digest: sent again, the message is the same.
    id TEXT NOT NULL,
    kind TEXT,
    received_at_ms INTEGER NOT NULL,
    -- JSON.
    body TEXT NOT NULL,
    PRIMARY KEY (tenant, connection, place),
    UNIQUE (tenant, connection, id)
) STRICT;
CREATE INDEX received_by_age ON received (tenant, received_at_ms);
