-- What people were asked. `waiting`: nobody decided. `granted`: it may be used once, until its time is over. The others are final.
CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    -- For what exactly it counts.
    digest TEXT NOT NULL,
    resource TEXT NOT NULL,
    policy TEXT NOT NULL,
    -- What each rule asks, the operation, the run and what it did before, as JSON.
    terms TEXT NOT NULL,
    subject TEXT NOT NULL,
    identity TEXT NOT NULL,
    so_far TEXT NOT NULL,
    what TEXT NOT NULL,
    trust_rule TEXT NOT NULL,
    wait TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Milliseconds.
    asked_at BIGINT NOT NULL,
    until BIGINT NOT NULL,
    decided_at BIGINT,
    used_at BIGINT,
    used_by TEXT,
    -- The state that receivers were last told of.
    told TEXT NOT NULL DEFAULT ''
);
CREATE INDEX approvals_open ON approvals (until) WHERE state IN ('waiting', 'granted');
CREATE INDEX approvals_untold ON approvals (id) WHERE told <> state;
CREATE INDEX approvals_session ON approvals (session);
CREATE INDEX approvals_digest ON approvals (digest);
-- One request for each operation of a job that does not wait.
CREATE UNIQUE INDEX approvals_parked ON approvals (digest) WHERE wait = 'park' AND state IN ('waiting', 'granted');

-- Who said what. Each person once.
CREATE TABLE approval_votes (
    approval TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    groups TEXT NOT NULL,
    granted BIGINT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (approval, issuer, subject)
);

-- What receivers have to be told. A row goes when it was taken, or when its tries are over.
CREATE TABLE webhook_deliveries (
    id TEXT PRIMARY KEY,
    webhook TEXT NOT NULL,
    approval TEXT NOT NULL,
    event TEXT NOT NULL,
    tries BIGINT NOT NULL,
    next_try BIGINT NOT NULL,
    problem TEXT,
    UNIQUE (webhook, approval, event)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_try);
CREATE TRIGGER approvals_tell AFTER UPDATE OF state ON approvals FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION guard_tell();
