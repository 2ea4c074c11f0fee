-- What is notable, written in the transaction of the change that it tells of.
CREATE TABLE events (
    -- UUID v7: sorts by the time of creation.
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    family TEXT NOT NULL,
    -- Of the family's schema.
    version INTEGER NOT NULL,
    subject TEXT NOT NULL,
    happened_at_ms INTEGER NOT NULL,
    -- JSON object.
    data TEXT NOT NULL,
    -- The run or request that it belongs to.
    correlation_id TEXT,
    -- Names what may be told only once.
    occasion TEXT,
    -- NULL: webhooks and alerts have not been asked yet.
    routed_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX events_by_occasion ON events (tenant, occasion) WHERE occasion IS NOT NULL;
CREATE INDEX events_by_tenant ON events (tenant, id);
CREATE INDEX events_by_age ON events (happened_at_ms);
CREATE INDEX events_to_route ON events (id) WHERE routed_at_ms IS NULL;
