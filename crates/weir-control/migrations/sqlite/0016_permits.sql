-- How requests for a connection are paced over all processes that send them.

CREATE TABLE rate_limits (
    tenant TEXT NOT NULL,
    connection TEXT NOT NULL,
    -- Which of the connection's limits; '' is that of all its requests.
    name TEXT NOT NULL,
    -- The vendor asked to be left alone until then.
    held_until_ms INTEGER NOT NULL,
    -- When somebody who waits for an answer last asked for a permit.
    person_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, connection, name)
) STRICT;
CREATE INDEX rate_limits_by_age ON rate_limits (tenant, held_until_ms);

-- Leave to send requests, as it was given out or used.
CREATE TABLE permits (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    connection TEXT NOT NULL,
    rate_limit TEXT NOT NULL,
    -- The client of a process that has them.
    client TEXT NOT NULL,
    permits INTEGER NOT NULL,
    -- They are used then at the latest: how long they count begins there.
    until_ms INTEGER NOT NULL,
    -- They count nowhere any more.
    gone_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX permits_by_limit ON permits (tenant, connection, rate_limit);
CREATE INDEX permits_by_age ON permits (tenant, gone_at_ms);
