-- What people decide about calls that wait: one a call, with its id.
CREATE TABLE approvals (
    call TEXT NOT NULL PRIMARY KEY REFERENCES calls (id) ON DELETE CASCADE,
    tenant TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'expired', 'used', 'void')),
    -- Different people that have to approve.
    needed BIGINT NOT NULL,
    -- JSON: lists of principals, groups and roles; who decides is in each of them.
    deciders TEXT NOT NULL,
    -- JSON: names of the rules that ask for it.
    rules TEXT NOT NULL,
    allows_break_glass BIGINT NOT NULL,
    -- JSON: the request as it will be sent, without credential.
    request TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    decided_at_ms BIGINT,
    -- Who approved alone, in an emergency, and who looked at it afterwards.
    glass_broken_by TEXT,
    reviewed_by TEXT,
    reviewed_at_ms BIGINT,
    review TEXT
);
CREATE INDEX approvals_by_status ON approvals (tenant, status);
CREATE TABLE approval_votes (
    call TEXT NOT NULL REFERENCES approvals (call) ON DELETE CASCADE,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'reject')),
    -- Of the call, as it was voted on.
    digest TEXT NOT NULL,
    reason TEXT,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (call, principal)
);
