-- Who is sent events. The secret that signs them is one of the secrets, by the webhook's name.
CREATE TABLE webhooks (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    -- Families between spaces: ' run.failed schema.* ', or ' * '.
    types TEXT NOT NULL,
    allow_private INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    -- Since when nothing is sent.
    paused_at_ms INTEGER,
    paused_because TEXT,
    -- Until when the secret before this one signs too.
    old_secret_until_ms INTEGER,
    PRIMARY KEY (tenant, name)
) STRICT;

-- One event on its way to one webhook ('webhook:NAME') or channel ('channel:NAME').
CREATE TABLE deliveries (
    event TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    target TEXT NOT NULL,
    tenant TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'delivered', 'dead')),
    attempts INTEGER NOT NULL,
    not_before_ms INTEGER NOT NULL,
    -- Who sends it just now, and until when it is theirs.
    holder TEXT,
    held_until_ms INTEGER,
    -- HTTP status of the newest try.
    answer INTEGER,
    error TEXT,
    ended_at_ms INTEGER,
    PRIMARY KEY (event, target)
) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (target, event) WHERE status = 'waiting';
CREATE INDEX deliveries_dead ON deliveries (tenant, event) WHERE status = 'dead';
