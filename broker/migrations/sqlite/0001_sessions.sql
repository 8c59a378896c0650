-- Identity tokens that were exchanged: each once.
CREATE TABLE used_tokens (
    issuer TEXT NOT NULL,
    jti TEXT NOT NULL,
    forget_after INTEGER NOT NULL,
    PRIMARY KEY (issuer, jti)
) STRICT, WITHOUT ROWID;

-- Sessions. `ended_at` is set when a session is over, `head` when its record is sealed.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    key_thumbprint TEXT NOT NULL,
    identity TEXT NOT NULL,
    trust_rule TEXT NOT NULL,
    mask_key TEXT NOT NULL,
    until INTEGER NOT NULL,
    end_reason TEXT,
    exit_code INTEGER,
    -- How far the record was known to reach, to find a file that was cut while the broker was down.
    entries INTEGER NOT NULL DEFAULT 0,
    head TEXT,
    sealed INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE grants (
    session TEXT NOT NULL REFERENCES sessions (id),
    resource TEXT NOT NULL,
    policy TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (session, resource)
) STRICT, WITHOUT ROWID;

-- The texts of policies that were granted, by their SHA-256.
CREATE TABLE policies (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    yaml TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Gateways that a session's shim went to, each for one resource.
CREATE TABLE authorizations (
    session TEXT NOT NULL REFERENCES sessions (id),
    resource TEXT NOT NULL,
    gateway TEXT NOT NULL,
    PRIMARY KEY (session, resource, gateway)
) STRICT, WITHOUT ROWID;

-- Leases that are out.
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id),
    resource TEXT NOT NULL,
    holder TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Gateways as they registered last.
CREATE TABLE gateways (
    name TEXT PRIMARY KEY,
    address TEXT NOT NULL,
    certificate TEXT NOT NULL,
    version TEXT NOT NULL
) STRICT, WITHOUT ROWID;
