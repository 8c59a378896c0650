-- Gateways that a token lets in: the token's hash until it is used, then the thumbprint of the gateway's key.
CREATE TABLE enrolments (
    gateway TEXT PRIMARY KEY,
    labels TEXT NOT NULL,
    token_hash TEXT,
    expires_at BIGINT NOT NULL,
    -- The token that gave the key, so that it may be shown again with the same key.
    used_hash TEXT,
    key_thumbprint TEXT
);

-- Gateways that get no new sessions.
CREATE TABLE draining (gateway TEXT PRIMARY KEY, since BIGINT NOT NULL);

CREATE INDEX authorizations_gateway ON authorizations (gateway);
