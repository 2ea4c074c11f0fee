-- Bundles: several calls as one, with what takes each of them back.

-- The run of a bundle that a call is a step of. Audit records, events and requests name it.
ALTER TABLE calls ADD COLUMN correlation_id TEXT;
CREATE INDEX calls_by_correlation ON calls (tenant, correlation_id) WHERE correlation_id IS NOT NULL;

CREATE TABLE bundle_runs (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    bundle TEXT NOT NULL,
    -- JSON: the bundle as it was asked for. The run goes by it whatever becomes of its file.
    description TEXT NOT NULL,
    effect TEXT NOT NULL CHECK (effect IN ('read', 'write', 'destructive', 'money', 'message')),
    principal TEXT NOT NULL,
    -- JSON: who asked. What a token may do is asked anew at each step.
    caller TEXT NOT NULL,
    via TEXT NOT NULL,
    idempotency_key TEXT,
    -- SHA-256 of bundle and input as they were given.
    asked_digest TEXT NOT NULL,
    -- JSON, with the schema's defaults.
    input TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'compensating', 'parked', 'done', 'failed', 'compensated')),
    -- Whether it takes back what is done.
    is_back BIGINT NOT NULL,
    -- A person said that what cannot be taken back may stay.
    may_leave BIGINT NOT NULL,
    -- Why a person has to do something.
    parked_for TEXT CHECK (parked_for IN ('uncertain', 'compensation', 'pivot')),
    parked_step TEXT,
    -- JSON
    parked_error TEXT,
    -- The call whose end it waits for.
    waits_for TEXT,
    -- When it is gone on with.
    look_at_ms BIGINT,
    -- Fencing number: grows with every process that takes the run.
    term BIGINT NOT NULL,
    -- JSON of the process that has it.
    owner TEXT,
    lease_until_ms BIGINT,
    cancelled_by TEXT,
    -- JSON: who let it go on, and does so where the caller cannot any more.
    retried_by TEXT,
    -- JSON
    output TEXT,
    -- JSON
    error TEXT,
    created_at_ms BIGINT NOT NULL,
    finished_at_ms BIGINT,
    erased_at_ms BIGINT
);
CREATE UNIQUE INDEX bundle_runs_by_key ON bundle_runs (tenant, principal, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX bundle_runs_open ON bundle_runs (tenant, status) WHERE finished_at_ms IS NULL;
CREATE INDEX bundle_runs_by_bundle ON bundle_runs (tenant, bundle, id);

CREATE TABLE bundle_steps (
    run TEXT NOT NULL REFERENCES bundle_runs (id) ON DELETE CASCADE,
    tenant TEXT NOT NULL,
    place BIGINT NOT NULL,
    step TEXT NOT NULL,
    connection TEXT NOT NULL,
    action TEXT NOT NULL,
    effect TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('planned', 'registered', 'sent', 'done', 'skipped', 'failed', 'undone', 'kept', 'settled')),
    -- JSON of the call's input.
    input TEXT,
    call TEXT,
    -- How often it was tried before.
    attempt BIGINT NOT NULL,
    -- JSON of what takes it back, written down before anything is sent.
    compensation TEXT,
    -- The call that takes it back.
    undo_call TEXT,
    undo_attempt BIGINT NOT NULL,
    -- JSON
    error TEXT,
    settled_by TEXT,
    settled_reason TEXT,
    PRIMARY KEY (run, step)
);
